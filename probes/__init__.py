"""How events leave a running kernel."""
