"""A kernel's memory, opened once through drgn."""
