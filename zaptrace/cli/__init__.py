"""The commands: one small module each; only main prints errors and sets exit codes."""
