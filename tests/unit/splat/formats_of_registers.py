"""The faulting function among the registers, as each architecture prints it."""

from __future__ import annotations

_PLACE = "zap_pte_range+0x123/0x456"

# (architecture and kernels, how its stack is printed, the lines before that, what they say)
REGISTERS: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    (
        "x86_64, 2.6.24",
        "x86_64, 2.6.24, and of a module",
        (
            "Unable to handle kernel paging request at 0000000000100108 RIP: \n"
            f" [<ffffffff80270123>] {_PLACE}\nPGD 3f1e067 PUD 3f1f067 PMD 0 \n"
            "Oops: 0002 [1] SMP \nCPU 3 \nModules linked in: ext3 jbd\n"
            "Pid: 55, comm: Web Content Tainted: P   B   2.6.24-16 #1\n"
            f"RIP: 0010:[<ffffffff80270123>]  [<ffffffff80270123>] {_PLACE}\n"
            "RSP: 0018:ffff81003d2d3d28  EFLAGS: 00010246\n"
            "RAX: 0000000000000000 RBX: ffff81003d2d3d28 RCX: 0000000000000001\n"
            "FS:  0000000000000000(0000) GS:ffffffff805a0000(0000) knlGS:0000000000000000\n"
            "Process Web Content (pid: 55, threadinfo ffff81003d2d2000, task ffff81003e0f0000)\n"
            "Stack:  0000000000000000 ffff81003d2d3d28 0000000000000001\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "2.6.24-16"},
    ),
    (
        "i386, 2.6.24",
        "i386, 2.6.24",
        (
            "BUG: unable to handle kernel paging request at virtual address 00100108\n"
            "printing eip: c0150123 *pde = 00000000 \nOops: 0002 [#1] SMP \n"
            "Modules linked in: ext3 jbd\n\nPid: 55, comm: Web Content Tainted: P   B   "
            "(2.6.24-16 #1)\n"
            "EIP: 0060:[<c0150123>] EFLAGS: 00010246 CPU: 3\n"
            f"EIP is at {_PLACE}\nEAX: 00000000 EBX: c1234567 ECX: 00000001 EDX: 00000000\n"
            " DS: 007b ES: 007b FS: 00d8 GS: 0033 SS: 0068\n"
            "Process Web Content (pid: 55, ti=de2d2000 task=de0f0000 task.ti=de2d2000)\n"
            "Stack: 00000000 c1234567 00000001 \n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "2.6.24-16"},
    ),
    (
        "x86_64, 3.4",
        "x86, 2.6.27 to 4.9",
        (
            "BUG: unable to handle kernel paging request at ffff880100100108\n"
            f"IP: [<ffffffff81150123>] {_PLACE}\nPGD 1a0c063 PUD 0 \nOops: 0002 [#1] SMP \nCPU 3 \n"
            "Modules linked in: ext4\n\nPid: 55, comm: Web Content Tainted: P    B      3.4.65 #1 "
            "LENOVO 20A/20B\n"
            f"RIP: 0010:[<ffffffff81150123>]  [<ffffffff81150123>] {_PLACE}\n"
            "RSP: 0018:ffff88003d2d3d28  EFLAGS: 00010246\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "3.4.65"},
    ),
    (
        "x86_64, 4.4",
        "x86, 2.6.27 to 4.9",
        (
            "BUG: unable to handle kernel paging request at ffff880100100108\n"
            f"IP: [<ffffffff81150123>] {_PLACE}\nPGD 1a0c063 PUD 0 \nOops: 0002 [#1] SMP \n"
            "Modules linked in: ext4\nCPU: 3 PID: 55 Comm: Web Content Tainted: P    B           "
            "4.4.0-31-generic #50-Ubuntu\nHardware name: LENOVO 20A/20B, BIOS 1.2 03/04/2015\n"
            "task: ffff88003e0f0000 ti: ffff88003d2d2000 task.ti: ffff88003d2d2000\n"
            f"RIP: 0010:[<ffffffff81150123>]  [<ffffffff81150123>] {_PLACE}\n"
            "RSP: 0018:ffff88003d2d3d28  EFLAGS: 00010246\nStack:\n ffff88003d2d3d28 "
            "0000000000000001\n"
        ),
        {
            "cpu": 3,
            "pid": 55,
            "comm": "Web Content",
            "tainted": "PB",
            "release": "4.4.0-31-generic",
        },
    ),
    (
        "x86_64, 7.3",
        "x86, 5.16 to 7.3: tasks' and interrupts' stacks, build IDs",
        (
            "BUG: unable to handle page fault for address: ffff880100100108\n"
            "#PF: supervisor write access in kernel mode\n#PF: error_code(0x0002) - "
            "not-present page\n"
            "PGD 1a0c063 P4D 1a0c063 PUD 0 \nOops: Oops: 0002 [#1] SMP PTI\n"
            "CPU: 3 UID: 1000 PID: 55 Comm: Web Content Kdump: loaded Tainted: G    B   W   "
            "E       "
            "7.3.4-amd64 #1 PREEMPT(lazy)  Debian 7.3.4-1 \n"
            "Tainted: [B]=BAD_PAGE, [W]=WARN, [E]=UNSIGNED_MODULE\nHardware name: QEMU Q35\n"
            f"RIP: 0010:{_PLACE}\nCode: 0f 0b <48> 89\nRSP: 0018:ffffc900012d3d28 EFLAGS: "
            f"00010246\n"
            "RAX: 0000000000000000 RBX: ffff88003d2d3d28 RCX: 0000000000000001\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GBWE", "release": "7.3.4-amd64"},
    ),
    (
        "arm, 2.6.24",
        "arm, 2.6.24 to 3.5",
        (
            "Unable to handle kernel paging request at virtual address 00100108\n"
            "pgd = c0004000\n[00100108] *pgd=00000000\nInternal error: Oops: 805 [#1]\n"
            "Modules linked in: ext3\nCPU: 3    Tainted: P    B    (2.6.24-16 #1)\n"
            f"PC is at {_PLACE}\nLR is at unmap_vmas+0x20/0x40\n"
            "pc : [<c0080123>]    lr : [<c0080456>]    psr: 60000013\n"
            "sp : c1234e78  ip : c1234e90  fp : c1234eb4\nr10: 00000000  r9 : c1234000  r8 : "
            "00000001\n"
            "Flags: nZCv  IRQs on  FIQs on  Mode SVC_32  ISA ARM  Segment user\n"
            "Control: 10c5387d  Table: 8f12c019  DAC: 00000015\n"
            "Process Web Content (pid: 55, stack limit = 0xc12342e8)\n"
            "Stack: (0xc1234e78 to 0xc1236000)\n4e60:                   00000000 c1234e90\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "2.6.24-16"},
    ),
    (
        "arm, 7.3",
        "arm, 5.13 to 7.3",
        (
            "8<--- cut here ---\nUnable to handle kernel paging request at virtual address "
            "00100108 "
            "when write\n[00100108] *pgd=00000000\nInternal error: Oops: 805 [#1] SMP ARM\n"
            "Modules linked in: ext4\nCPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    "
            "B   W     "
            "      7.3.4 #1 VOLUNTARY \nTainted: [B]=BAD_PAGE, [W]=WARN\n"
            "Hardware name: Generic DT based system\n"
            f"PC is at {_PLACE}\nLR is at unmap_vmas+0x20/0x40\n"
            "pc : [<c0080123>]    lr : [<c0080456>]    psr: 60000013\n"
            "Register r0 information: non-paged memory\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GBW", "release": "7.3.4"},
    ),
    (
        "arm64, 3.10",
        "arm64, 3.7 to 4.14",
        (
            "Unable to handle kernel paging request at virtual address 00100108\n"
            "pgd = ffffffc03d2d2000\n[00100108] *pgd=0000000000000000\n"
            "Internal error: Oops: 96000045 [#1] PREEMPT SMP\nModules linked in:\n"
            "CPU: 3 PID: 55 Comm: Web Content Tainted: P    B        3.10.101 #1\n"
            "task: ffffffc03e0f0000 ti: ffffffc03d2d2000 task.ti: ffffffc03d2d2000\n"
            f"PC is at {_PLACE}\nLR is at unmap_vmas+0x20/0x40\n"
            "pc : [<ffffffc000150123>] lr : [<ffffffc000150456>] pstate: 60000145\n"
            "sp : ffffffc03d2d3d28\nx29: ffffffc03d2d3d28 x28: 0000000000000000 \n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "3.10.101"},
    ),
    (
        "arm64, 7.3",
        "arm64, 6.12 to 7.3: where a frame came from",
        (
            "Unable to handle kernel paging request at virtual address ffff000100100108\n"
            "Mem abort info:\n  ESR = 0x0000000096000045\n"
            "  EC = 0x25: DABT (current EL), IL = 32 bits\n  SET = 0, FnV = 0\n  EA = 0, "
            "S1PTW = 0\n"
            "  FSC = 0x05: level 1 translation fault\nData abort info:\n"
            "  ISV = 0, ISS = 0x00000045, ISS2 = 0x00000000\n"
            "swapper pgtable: 4k pages, 48-bit VAs, pgdp=0000000041d4f000\n"
            "[ffff000100100108] pgd=0000000000000000, p4d=0000000000000000\n"
            "Internal error: Oops: 0000000096000045 [#1]  SMP\nModules linked in:\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B               7.3.4 #1 "
            "PREEMPT \n"
            "Tainted: [B]=BAD_PAGE\nHardware name: linux,dummy-virt (DT)\n"
            "pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)\n"
            f"pc : {_PLACE}\nlr : unmap_vmas+0x20/0x40\nsp : ffff80008012bd28\n"
            "x29: ffff80008012bd28 x28: 0000000000000000 x27: 0000000000000000\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "7.3.4"},
    ),
    (
        "powerpc 64, 2.6.24",
        "powerpc 64, 2.6.24: dots",
        (
            "Unable to handle kernel paging request for data at address 0xc000000100100108\n"
            "Faulting instruction address: 0xc000000000150123\nOops: Kernel access of bad "
            "area, sig: 11 "
            "[#1]\nSMP NR_CPUS=32 NUMA pSeries\nModules linked in: ext3\n"
            "NIP: c000000000150123 LR: c000000000150456 CTR: 0000000000000000\n"
            "REGS: c00000003d2d3a90 TRAP: 0300   Tainted: P    B    (2.6.24-16)\n"
            "MSR: 8000000000009032 <EE,ME,IR,DR>  CR: 24000042  XER: 20000000\n"
            "DAR: c000000100100108, DSISR: 0000000042000000\n"
            "TASK = c00000003e0f0000[55] 'Web Content' THREAD: c00000003d2d0000 CPU: 3\n"
            "GPR00: 0000000000000000 c00000003d2d3d10 c0000000006a1234 0000000000000001 \n"
            f"NIP [c000000000150123] .{_PLACE}\nLR [c000000000150456] .unmap_vmas+0x20/0x40\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "2.6.24-16"},
    ),
    (
        "powerpc 64, 7.3",
        "powerpc 64, 7.3, traced functions",
        (
            "BUG: Unable to handle kernel data access on write at 0xc000000100100108\n"
            "Faulting instruction address: 0xc000000000150123\n"
            "Oops: Kernel access of bad area, sig: 11 [#1]\n"
            "LE PAGE_SIZE=64K MMU=Radix  SMP NR_CPUS=2048 NUMA pSeries\nModules linked in: ext4\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B               7.3.4 #1 "
            "VOLUNTARY \n"
            "Tainted: [B]=BAD_PAGE\nHardware name: IBM,9009-22A POWER9 (architected) 0x4e0202\n"
            "NIP:  c000000000150123 LR: c000000000150456 CTR: 0000000000000000\n"
            "REGS: c00000003d2d3a90 TRAP: 0300   Tainted: G    B                (7.3.4)\n"
            "MSR:  8000000000009033 <SF,EE,ME,IR,DR,RI,LE>  CR: 24000042  XER: 20000000\n"
            "CFAR: c00000000000cbb4 DAR: c000000100100108 DSISR: 42000000 IRQMASK: 0 \n"
            "GPR00: 0000000000000000 c00000003d2d3d10 c0000000006a1234 0000000000000001 \n"
            f"NIP [c000000000150123] {_PLACE}\nLR [c000000000150456] unmap_vmas+0x20/0x40\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "7.3.4"},
    ),
    (
        "powerpc 64, xmon",
        "powerpc, xmon",
        (
            "BUG: Kernel NULL pointer dereference on read at 0x00000000\n"
            "Faulting instruction address: 0xc000000000150123\n"
            "cpu 0x3: Vector: 380 (Data SLB Access) at [c000000c6d19f700]\n"
            f"    pc: c000000000150123: {_PLACE}\n"
            "    lr: c000000000150456: unmap_vmas+0x20/0x40\n    sp: c000000c6d19f990\n"
            "   msr: 8000000002009033\n  current = 0xc000000c6d177480\n"
            "  paca    = 0xc00000001ec4f400   irqmask: 0x03   irq_happened: 0x01\n"
            "    pid   = 55, comm = Web Content\n"
        ),
        {"pid": 55, "comm": "Web Content"},
    ),
    (
        "s390, 2.6.24",
        "s390, 2.6.24 to 4.9",
        (
            "Unable to handle kernel pointer dereference at virtual kernel address "
            "0000000000100000\n"
            "Oops: 0011 [#1]\nModules linked in: qeth\nCPU:    3    Tainted: P   B    \n"
            "Process Web Content (pid: 55, task: 000000003e0f0000, ksp: 000000003d2d3a90)\n"
            f"Krnl PSW : 0704000180000000 0000000000150123 ({_PLACE})\n"
            "           R:0 T:1 IO:1 EX:1 Key:0 M:1 W:0 P:0 AS:0 CC:0 PM:0 EA:3\n"
            "Krnl GPRS: 0000000000000000 0000000000000001 0000000000000002 0000000000000003\n"
            "           0000000000000004 0000000000000005 0000000000000006 0000000000000007\n"
            "Krnl Code: 0000000000150114: a7f4001a           brc     15,150148\n"
            "          >0000000000150123: d20310002000       mvc     0(4,%r1),0(%r2)\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB"},
    ),
    (
        "s390, 7.3",
        "s390, 4.10 to 7.3",
        (
            "Unable to handle kernel pointer dereference in virtual kernel address space\n"
            "Failing address: 0000000000100000 TEID: 0000000000100803\n"
            "Fault in home space mode while using kernel ASCE.\nAS:0000000001a2c007 "
            "R3:0000000000000024\n"
            "Oops: 0011 ilc:3 [#1]SMP \nModules linked in:\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B               7.3.4 #1 NONE \n"
            "Tainted: [B]=BAD_PAGE\nHardware name: QEMU 8561 QEMU (KVM/Linux)\n"
            f"Krnl PSW : 0704c00180000000 000003ff80150123 ({_PLACE})\n"
            "           R:0 T:1 IO:1 EX:1 Key:0 M:1 W:0 P:0 AS:3 CC:0 PM:0 RI:0 EA:3\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "7.3.4"},
    ),
    (
        "riscv, 6.12",
        "riscv, 4.15 to 5.4",
        (
            "Unable to handle kernel paging request at virtual address ff60000100100108\n"
            "Oops [#1]\nModules linked in:\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B              6.12.117 #1\n"
            "Tainted: [B]=BAD_PAGE\nHardware name: riscv-virtio,qemu (DT)\n"
            f"epc : {_PLACE}\n ra : unmap_vmas+0x20/0x40\n"
            "epc : ffffffff80150123 ra : ffffffff80150456 sp : ff2000000012bd28\n"
            " gp : ffffffff81a12345 tp : ff60000003e0f000 t0 : 0000000000000000\n"
            "status: 0000000200000120 badaddr: ff60000100100108 cause: 000000000000000f\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "6.12.117"},
    ),
    (
        "mips, 2.6.24",
        "mips: the first frame after the words, 2.6.24 to 7.3",
        (
            "CPU 3 Unable to handle kernel paging request at virtual address 00100108, "
            "epc == 80150123, ra == 80150456\nOops[#1]:\nCpu 3\n"
            "$ 0   : 00000000 10008400 00000001 80123456\n$ 4   : 00000000 10008400 00000001 "
            "80123456\n"
            f"Hi    : 00000000\nLo    : 00000001\nepc   : 80150123 {_PLACE}     Tainted: P   "
            f"B    \n"
            "ra    : 80150456 unmap_vmas+0x20/0x40\nStatus: 10008403    KERNEL EXL IE \n"
            "Cause : 0080000c\nBadVA : 00100108\nPrId  : 00019374 (MIPS 24Kc)\n"
            "Modules linked in: ath9k\n"
            "Process Web Content (pid: 55, threadinfo=81234000, task=810f0000)\n"
            "Stack : 00000000 81234e78 00000001 80123456\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB"},
    ),
    (
        "mips, 6.12",
        "mips: the first frame after the words, 2.6.24 to 7.3",
        (
            "CPU 3 Unable to handle kernel paging request at virtual address 00100108, "
            "epc == 80150123, ra == 80150456\nOops[#1]:\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B              6.12.117 #1\n"
            "Tainted: [B]=BAD_PAGE\nHardware name: Ubiquiti ER-X\n"
            "$ 0   : 00000000 00000001 80a12345 80123456\n"
            f"Hi    : 00000000\nLo    : 00000001\nepc   : 80150123 {_PLACE}\n"
            "ra    : 80150456 unmap_vmas+0x20/0x40\nStatus: 11008403\tKERNEL EXL IE \n"
            "Cause : 4080000c (ExcCode 03)\nBadVA : 00100108\nPrId  : 0001992f (MIPS 1004Kc)\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "6.12.117"},
    ),
    (
        "loongarch, 6.12",
        "loongarch",
        (
            "CPU 3 Unable to handle kernel paging request at virtual address 0000000000100108, "
            "era == 9000000000250123, ra == 9000000000250456\nOops[#1]:\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B              6.12.117 #1\n"
            "Tainted: [B]=BAD_PAGE\nHardware name: QEMU QEMU Virtual Machine, BIOS unknown "
            "2/2/2022\n"
            "pc 9000000000250123 ra 9000000000250456 tp 9000000103e0f000 sp 9000000103e0fd28\n"
            "a0 0000000000000000 a1 0000000000000001 a2 0000000000000002 a3 0000000000000003\n"
            f"   ra: 9000000000250456 unmap_vmas+0x20/0x40\n  ERA: 9000000000250123 {_PLACE}\n"
            " CRMD: 000000b0 (PLV0 -IE -DA +PG DACF=CC DACM=CC -WE)\n"
            "ESTAT: 00010000 [PIL] (IS= ECode=1 EsubCode=0)\n BADV: 0000000000100108\n"
            "Process Web Content (pid: 55, threadinfo=00000000deadbeef, task=00000000deadbeef)\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "6.12.117"},
    ),
    (
        "sparc64, 4.19",
        "sparc64",
        (
            "Unable to handle kernel paging request at virtual address 0000000000100108\n"
            "tsk->{mm,active_mm}->context = 0000000000000123\n"
            "tsk->{mm,active_mm}->pgd = fff800003d2d2000\n"
            "              \\|/ ____ \\|/\n"
            '              "@\'/ .. \\`@"\n              /_| \\__/ |_\\\n'
            "                 \\__U_/\nWeb Content(55): Oops [#1]\n"
            "CPU: 3 PID: 55 Comm: Web Content Tainted: G    B             4.19.0 #1\n"
            "TSTATE: 0000004411001606 TPC: 0000000000550123 TNPC: 0000000000550127 Y: 00000000    "
            f"Tainted: G    B            \nTPC: <{_PLACE}>\n"
            "g0: 0000000000000000 g1: 0000000000000001 g2: 0000000000000002 g3: 0000000000000003\n"
            "o0: 0000000000000000 o1: 0000000000000001 o2: 0000000000000002 o3: 0000000000000003\n"
            "RPC: <unmap_vmas+0x20/0x40>\n"
            "l0: 0000000000000000 l1: 0000000000000001 l2: 0000000000000002 l3: 0000000000000003\n"
            "I7: <exit_mmap+0x20/0x40>\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "4.19.0"},
    ),
    (
        "parisc, 6.12",
        "parisc",
        (
            "Unable to handle kernel paging request at virtual address 0000000000100108\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B              6.12.117 #1\n"
            "Tainted: [B]=BAD_PAGE\nHardware name: 9000/785/C8000\n\n"
            "     YZrvWESTHLNXBCVMcbcbcbcbOGFRQPDI\nPSW: 00001000000001001111111100001111 "
            "Tainted: G    B\n"
            "r00-03  000000ff0804ff0f 0000000040b12345 00000000401abcde 000000007f12bd28\n"
            "sr00-03  0000000000000000 0000000000000000 0000000000000000 0000000000000001\n\n"
            "IASQ: 0000000000000000 0000000000000000 IAOQ: 0000000040250123 0000000040250127\n"
            " IIR: 0f5010dc    ISR: 0000000000000000  IOR: 0000000000100108\n"
            " CPU:        3   CR30: 000000007e0f0000 CR31: ffffffffffffffff\n"
            f" ORIG_R28: 0000000000000000\n IAOQ[0]: {_PLACE}\n IAOQ[1]: "
            f"zap_pte_range+0x127/0x456\n"
            " RP(r2): unmap_vmas+0x20/0x40\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "6.12.117"},
    ),
    (
        "ia64, 4.19",
        "ia64",
        (
            "Unable to handle kernel paging request at virtual address 0000000000100108\n"
            "Web Content[55]: Oops 8804682956800 [1]\nModules linked in: ext4\n\n"
            "CPU: 3 PID: 55 Comm: Web Content Tainted: G    B             4.19.0 #1\n"
            "Hardware name: hp server rx2660, BIOS 04.30 07/18/2012\n"
            "psr : 00001010085a2010 ifs : 8000000000000389 ip  : [<a000000100150123>]    "
            f"Tainted: G    B             (4.19.0)\nip is at {_PLACE}\n"
            "unat: 0000000000000000 pfs : 0000000000000389 rsc : 0000000000000003\n"
            "b0  : a000000100150456 b6  : a000000100160000 b7  : a000000100170000\n"
            "f6  : 000000000000000000000 f7  : 1003e0000000000000000\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB", "release": "4.19.0"},
    ),
    (
        "ia64, 2.6.24",
        "ia64",
        (
            "Unable to handle kernel paging request at virtual address 0000000000100108\n"
            "Web Content[55]: Oops 8804682956800 [1]\nModules linked in: ext3\n\n"
            "Pid: 55, CPU 3, comm:          Web Content\n"
            "psr : 00001010085a2010 ifs : 8000000000000389 ip  : [<a000000100150123>]    "
            "Tainted: P   B "
            f"  (2.6.24)\nip is at {_PLACE}\n"
            "unat: 0000000000000000 pfs : 0000000000000389 rsc : 0000000000000003\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "2.6.24"},
    ),
    (
        "alpha, 6.12",
        "alpha",
        (
            "Unable to handle kernel paging request at virtual address 0000000000100108\n"
            "CPU 3 \nWeb Content(55): Oops 1\n"
            "pc = [<fffffc0000350123>]  ra = [<fffffc0000350456>]  ps = 0000    Tainted: G    B\n"
            f"pc is at {_PLACE}\nra is at unmap_vmas+0x20/0x40\n"
            "v0 = 0000000000000000  t0 = 0000000000000001  t1 = 0000000000000002\n"
            "gp = fffffc0000a12345  sp = (ptrval)\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "GB"},
    ),
    (
        "m68k, 6.12",
        "m68k: the first frame after the words",
        (
            "Unable to handle kernel access at virtual address (ptrval)\nOops: 00000000\n"
            f"Modules linked in:\nPC: [<00050123>] {_PLACE}\nSR: 2000  SP: (ptrval)  a2: 00123456\n"
            "d0: 00000000    d1: 00000001    d2: 00000002    d3: 00000003\n"
            "Process Web Content (pid: 55, task=(ptrval))\n"
            "Frame format=7 eff addr=00100108 ssw=0505 faddr=00100108\n"
        ),
        {"pid": 55, "comm": "Web Content"},
    ),
    (
        "sh, 2.6.32",
        "sh",
        (
            "BUG: unable to handle kernel paging request at 00100108\npc = 88050123\n*pde = "
            "00000000\n"
            "Oops: 0000 [#1]\nModules linked in:\n\nPid : 55, Comm: \t\tWeb Content\n"
            "CPU : 3        \t\tTainted: P   B    (2.6.32 #1)\n\n"
            f"PC is at {_PLACE}\nPR is at unmap_vmas+0x20/0x40\n"
            "PC  : 88050123 SP  : 8f12bd28 SR  : 40008100 TEA : 00100108\n"
            "R0  : 00000000 R1  : 00000001 R2  : 00000002 R3  : 00000003\n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "tainted": "PB", "release": "2.6.32"},
    ),
    (
        "openrisc, 6.12",
        "openrisc",
        (
            "Unable to handle kernel access\n at virtual address 0x00100108\n\nOops#: 0000\n"
            "CPU #: 3\n   PC: c0050123    SR: 0000807f    SP: c112bd28\n"
            "GPR00: 00000000 GPR01: c112bd28 GPR02: c112bd40 GPR03: 00000001\n"
            "  RES: 00000000 oGPR11: ffffffff\nProcess Web Content (pid: 55, "
            "stackpage=c10f0000)\n\n"
            "Stack: \n"
        ),
        {"cpu": 3, "pid": 55, "comm": "Web Content", "fault": False},
    ),
    (
        "xtensa, 6.12",
        "xtensa",
        (
            "Unable to handle kernel paging request at virtual address 00100108\n"
            " pc = d0050123, ra = 90050456\nOops: sig: 11 [#1] PREEMPT SMP\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B              6.12.117 #1\n"
            "Tainted: [B]=BAD_PAGE\n"
            "a00: 90050456 d112bd28 00000000 00000001 00000002 00000003 00000004 00000005\n"
            "pc: d0050123, ps: 00060d10, depc: 00000000, excvaddr: 00100108\n"
            "lbeg: d0001234, lend: d0001240 lcount: 00000000, sar: 00000004\n"
        ),
        {
            "cpu": 3,
            "pid": 55,
            "comm": "Web Content",
            "tainted": "GB",
            "release": "6.12.117",
            "fault": False,
        },
    ),
    (
        "csky, 6.12",
        "csky",
        (
            "Unable to handle kernel paging request at virtual addr 0x00100108, pc: 0x80050123\n"
            "Oops [#1]\n\nCURRENT PROCESS:\n\nCOMM=Web Content PID=55\n"
            "TEXT=00008000-00009000 DATA=0000a000-0000b000 BSS=0000b000-0000c000\n"
            f"PC: 0x80050123 ({_PLACE})\nLR: 0x80050456 (unmap_vmas+0x20/0x40)\n"
            "SP: 0x8f12bd28\nPSR: 0x80000140\n a0: 0x00000000   a1: 0x00000001\n"
        ),
        {"pid": 55, "comm": "Web Content"},
    ),
    (
        "um, 6.12",
        "um, 3.12 to 7.3",
        (
            "Kernel panic - not syncing: Kernel mode fault at addr 0x100108, ip 0x60050123\n"
            "CPU: 3 UID: 0 PID: 55 Comm: Web Content Tainted: G    B              6.12.117 #1\n"
            "Tainted: [B]=BAD_PAGE\n"
        ),
        {
            "cpu": 3,
            "pid": 55,
            "comm": "Web Content",
            "tainted": "GB",
            "release": "6.12.117",
            "fault": False,
        },
    ),
)
