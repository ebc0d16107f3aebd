"""ELF files: headers, sections, symbols, notes, core dumps.  Standard library only.

Everything in a file is checked against its size before it is used.
"""
