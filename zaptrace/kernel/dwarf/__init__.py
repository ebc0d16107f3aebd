"""DWARF: compile units, inlined calls, and where variables lie; the only user of pyelftools."""
