"""The life of a page: every store to its struct page, in order, with the stack that did it.

QEMU's plugin (`vm.plugin`) records; here the records are read.  Imports the model only.
"""
