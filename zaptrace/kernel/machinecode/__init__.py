"""Machine code: the length of each instruction and what it does to the flow of control."""
