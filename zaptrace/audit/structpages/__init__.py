"""The struct pages of a kernel: the array, its flags, counters and free lists."""
