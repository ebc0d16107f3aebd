"""The page tables of a kernel: their formats, the walk, and what an entry says."""
