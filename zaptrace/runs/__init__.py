"""The run folder and the steps of a repro boot."""
