"""What bcc's own headers include, in a folder of a few lines instead of the kernel's headers.

bcc compiles against the source tree that BCC_KERNEL_SOURCE names.  Its helpers
want a handful of headers to be there and a few names from them; the program
itself wants none.  Compiling takes 1 to 2 s in an emulated guest this way, and
half a minute with linux/mm.h; and it works where no headers are installed.
"""

from __future__ import annotations

import mmap
import platform
from pathlib import Path

from probes.bpfprogram import PT_REGS_WORDS

_TYPES = f"""\
#pragma once
typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __s8 s8;
typedef __u8 u8;
typedef __s16 s16;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef __u16 __le16, __be16, __sum16;
typedef __u32 __le32, __be32, __wsum;
typedef __u64 __le64, __be64, __aligned_u64;
typedef _Bool bool;
typedef unsigned long size_t, uintptr_t;
typedef long ssize_t;
#define true 1
#define false 0
#define NULL ((void *)0)
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
struct pt_regs {{
	u64 word[{PT_REGS_WORDS}];
}};
"""
_FILES = {
    "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "include/linux/types.h": _TYPES,
    "include/uapi/linux/types.h": _TYPES,
    "include/linux/bpf_common.h": "#define BPF_CLASS(code) ((code) & 7)\n",
    "include/uapi/linux/bpf.h": "#include <linux/types.h>\n#include <bcc/bpf.h>\n",
    "include/uapi/linux/if_packet.h": "",
    "include/uapi/asm/ptrace.h": "",
    "include/linux/sched.h": "",
    # BPF_STACK_TRACE rounds its size up; ours are powers of two.
    "include/linux/log2.h": "#define roundup_pow_of_two(n) (n)\n",
    "include/asm/page.h": f"#define PAGE_SIZE {mmap.PAGESIZE}\n",
}


def files() -> dict[str, str]:
    """Return path -> text of the tree for the running kernel."""
    major, minor = (int("".join(filter(str.isdigit, part))) for part in _release())
    version = (
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        f"#define LINUX_VERSION_CODE KERNEL_VERSION({major}, {minor}, 0)\n"
    )
    return {**_FILES, "include/linux/version.h": version}


def write(folder: Path) -> None:
    """Write the tree that BCC_KERNEL_SOURCE is to name into an empty folder."""
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _release() -> tuple[str, str]:
    major, minor, *_ = platform.release().split(".")
    return major, minor
