"""Guests: architectures, lab kernels, initramfs, QEMU, QMP, gdbstub."""
