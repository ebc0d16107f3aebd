/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * s390x machine code: calls, and storage-to-storage instructions.
 *
 * QEMU before 8.1 does not report what helpers store (MVC, NC, OC, XC, ..., also by EX and EXRL).
 * After such an instruction the registers are in memory, whatever the callback's flags, and the
 * gdbstub's function reads the address out of there.  It is exported, but not part of any API:
 * where it is missing, these stores are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

enum { GPR0 = 2 }; /* number of %r0 in s390x's gdb registers, after the PSW */
typedef struct {
	uint8_t *data;
	unsigned int len;
} byte_array; /* GByteArray */

static void *(*get_cpu)(int);
static int (*read_register)(void *, byte_array *, int);
static byte_array *(*new_array)(void);
static byte_array *(*set_size)(byte_array *, unsigned int);
static bool following;
static struct {
	const struct storage_op *last; /* one that ended the CPU's last block */
	byte_array *buffer;
	char pad[48];
} cpus[MAX_CPUS];

/* One storage-to-storage instruction: `bytes` + 1 from `disp`(`base`) on. */
struct storage_op {
	uint64_t pc;
	uint16_t disp, ex_disp;
	uint8_t size;       /* of the instruction that is executed: MVC itself, EX or EXRL */
	uint8_t base, bytes;
	uint8_t bytes_from; /* EX, EXRL: register with more bits of `bytes`, or 0 */
	uint8_t ex_base, ex_index; /* EX: where the target is; 0: not an EX */
	uint64_t text;      /* EX: what turns an address of the kernel's text into a place in ram */
};

int setup_storage(int api)
{
	if (api > 1) {
		shared->storage = BY_QEMU;
		return 0;
	}
	*(void **)&get_cpu = dlsym(RTLD_DEFAULT, "qemu_get_cpu");
	*(void **)&read_register = dlsym(RTLD_DEFAULT, "s390_cpu_gdb_read_register");
	*(void **)&new_array = dlsym(RTLD_DEFAULT, "g_byte_array_new");
	*(void **)&set_size = dlsym(RTLD_DEFAULT, "g_byte_array_set_size");
	following = get_cpu && read_register && new_array && set_size;
	shared->storage = following ? FOLLOWED : NOT_SEEN;
	return 0;
}

/* ---- calls ---- */
static void calls(struct qemu_plugin_insn *insn, uint64_t pc, const uint8_t *code, size_t size)
{
	if ((code[0] == 0xc0 && code[1] == 0xe5) ||     /* brasl %r14,... */
	    (code[0] == 0xa7 && code[1] == 0xe5) ||     /* bras %r14,... */
	    (code[0] == 0x0d && (code[1] & 0xf0) == 0xe0 && (code[1] & 15))) { /* basr %r14,%rN */
		add_site(pc + size);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_call, NO_REGS, (void *)(pc + size));
	} else if (size == 6 && code[0] == 0xeb && code[5] == 0x24 && (code[1] & 15) == 15 &&
		   code[2] >> 4 == 15) { /* stmg %rN,%r15,disp(%r15) */
		uint64_t disp = (code[2] & 15) << 8 | code[3];

		qemu_plugin_register_vcpu_mem_cb(insn, on_saved, NO_REGS, MEM_WRITE, (void *)disp);
	}
}

static bool after_call(const uint8_t *end)
{
	return (end[-6] == 0xc0 && end[-5] == 0xe5) || (end[-4] == 0xa7 && end[-3] == 0xe5) ||
	       (end[-2] == 0x0d && (end[-1] & 0xf0) == 0xe0);
}

/*
 * Whether all that the instruction stores lies at a displacement from %r15: in the kernel's stack,
 * where no struct page and no page table is.  Every second store is such a one.
 */
static bool to_stack(const uint8_t *code, size_t size)
{
	if (size < 4 || code[2] >> 4 != 15)
		return false;
	switch (code[0]) {
	case 0x40: /* STH */
	case 0x42: /* STC */
	case 0x50: /* ST */
	case 0x60: /* STD */
	case 0x70: /* STE */
	case 0xe3: /* STG, STY, ... */
		return (code[1] & 15) == 0; /* no index */
	case 0x90: /* STM */
	case 0x92: /* MVI */
	case 0x94: /* NI */
	case 0x96: /* OI */
	case 0xd1 ... 0xd4: /* MVN, MVC, MVZ, NC */
	case 0xd6 ... 0xd7: /* OC, XC */
	case 0xdc: /* TR */
	case 0xeb: /* STMG, ... */
		return true;
	case 0xe5:
		return code[1] == 0x44 || code[1] == 0x48 || code[1] == 0x4c; /* MVHHI, MVGHI, MVHI */
	}
	return false;
}

/* z/Architecture Principles of Operation, appendix B.  What is not known to be quiet is not. */
static bool quiet(const uint8_t *code, size_t size)
{
	if (to_stack(code, size))
		return true;
	switch (code[0]) {
	case 0x05 ... 0x07: /* BALR, BCTR, BCR */
	case 0x0d: /* BASR */
	case 0x10 ... 0x1f: /* RR: LPR to SLR */
	case 0x41: /* LA */
	case 0x43: /* IC */
	case 0x45 ... 0x4d: /* BAL to BAS */
	case 0x54 ... 0x5f: /* N to SL */
	case 0x86 ... 0x8f: /* BXH, BXLE, shifts */
	case 0x91: /* TM */
	case 0x95: /* CLI */
	case 0x98: /* LM */
	case 0xa5: /* IIHH to LLILL */
	case 0xa7: /* TMLH to CGHI */
	case 0xc0: /* LARL to LLILF */
	case 0xc2: /* MSGFI to CLFI */
	case 0xec: /* compare and branch, rotate, add immediate */
		return true;
	case 0xc4: /* relative long: stores are STHRL, STGRL, STRL */
		return (code[1] & 15) != 7 && (code[1] & 15) != 0xb && (code[1] & 15) != 0xf;
	case 0xb9:
		return (code[1] < 0x20 && code[1] != 0x1e) || /* LPGR to LRVR, but KMAC */
		       (code[1] >= 0x80 && code[1] < 0x8a); /* NGR to SLBGR */
	case 0xe3:
		switch (size == 6 ? code[5] : 0) {
		case 0x02: /* LTG */
		case 0x04: /* LG */
		case 0x08 ... 0x0d: /* AG to DSG */
		case 0x12: /* LT */
		case 0x14 ... 0x1a: /* LGF to ALGF */
		case 0x20 ... 0x21: /* CG, CLG */
		case 0x54 ... 0x5b: /* NY to SY */
		case 0x71: /* LAY */
		case 0x76 ... 0x79: /* LB to CHY */
		case 0x80 ... 0x82: /* NG, OG, XG */
		case 0x90 ... 0x95: /* LLGC to LLH */
			return true;
		}
		return false;
	case 0xeb:
		return size == 6 && (code[5] == 0x04 || (code[5] >= 0x0a && code[5] <= 0x0d) ||
				     code[5] == 0x51 || code[5] == 0x55); /* LMG, shifts, TMY, CLIY */
	}
	return false;
}

/* ---- storage-to-storage ---- */
static bool stores_to_storage(const uint8_t *code)
{
	switch (code[0]) {
	case 0xd1: /* MVN */
	case 0xd2: /* MVC */
	case 0xd3: /* MVZ */
	case 0xd4: /* NC */
	case 0xd6: /* OC */
	case 0xd7: /* XC */
	case 0xdc: /* TR */
		return code[2] >> 4; /* without a base register: the lowcore */
	}
	return false;
}

static bool storage_at(uint64_t at)
{
	return ram_size >= 6 && at <= ram_size - 6 && stores_to_storage(ram + at);
}

static void take(struct storage_op *op, const uint8_t *code)
{
	op->bytes = code[1];
	op->base = code[2] >> 4;
	op->disp = (code[2] & 15) << 8 | code[3];
}

/*
 * What to follow of an instruction; NULL: nothing.  Never freed: QEMU may run it at any time.
 * `at`: where the instruction is in ram.  The kernel's text is contiguous there.
 */
static struct storage_op *storage_op(uint64_t pc, uint64_t at, const uint8_t *code, size_t size)
{
	struct storage_op op = { .pc = pc, .size = size };
	struct storage_op *kept;

	if (size == 6 && stores_to_storage(code)) {
		if (to_stack(code, size))
			return NULL;
		take(&op, code);
	} else if (size == 6 && code[0] == 0xc6 && (code[1] & 15) == 0) { /* exrl */
		uint32_t halves = (uint32_t)code[2] << 24 | code[3] << 16 | code[4] << 8 | code[5];
		uint64_t target = at + 2 * (int64_t)(int32_t)halves;

		if (!storage_at(target))
			return NULL;
		take(&op, ram + target);
		op.bytes_from = code[1] >> 4;
	} else if (size == 4 && code[0] == 0x44 && code[2] >> 4) { /* ex: only at run time */
		op.ex_base = code[2] >> 4;
		op.ex_index = code[1] & 15;
		op.ex_disp = (code[2] & 15) << 8 | code[3];
		op.bytes_from = code[1] >> 4;
		op.text = at - pc;
	} else {
		return NULL;
	}
	kept = malloc(sizeof *kept);
	if (kept)
		*kept = op;
	else
		shared->storage = NOT_SEEN;
	return kept;
}

static uint64_t gpr(unsigned int cpu, int number)
{
	byte_array *buffer = cpus[cpu].buffer;
	uint64_t value;

	if (!buffer)
		buffer = cpus[cpu].buffer = new_array();
	set_size(buffer, 0);
	if (read_register(get_cpu(cpu), buffer, number + GPR0) != 8)
		return 0;
	memcpy(&value, buffer->data, 8);
	return __builtin_bswap64(value);
}

static void on_after_storage(unsigned int cpu, void *udata)
{
	struct storage_op op = *(const struct storage_op *)udata;
	uint64_t bytes;

	if (!shared->len)
		return;
	if (op.ex_base) {
		uint64_t at = gpr(cpu, op.ex_base) + op.ex_disp + op.text;

		if (op.ex_index)
			at += gpr(cpu, op.ex_index);
		if (!storage_at(at))
			return;
		take(&op, ram + at);
	}
	bytes = op.bytes;
	if (op.bytes_from)
		bytes |= gpr(cpu, op.bytes_from) & 255;
	record_bytes(cpu, gpr(cpu, op.base) + op.disp, bytes + 1, op.pc);
}

static void on_last_storage(unsigned int cpu, void *op)
{
	cpus[cpu].last = op;
}

static void on_block_after_storage(unsigned int cpu, void *here)
{
	const struct storage_op *op = cpus[cpu].last;

	cpus[cpu].last = NULL;
	if (op && op->pc + op->size == (uint64_t)here)
		on_after_storage(cpu, (void *)op);
}

static bool after_storage(const struct qemu_plugin_insn *insn, uint64_t pc)
{
	const uint8_t *end = qemu_plugin_insn_haddr(insn);

	if (end && (pc & 4095) >= 6)
		return stores_to_storage(end - 6) || end[-6] == 0xc6 || end[-4] == 0x44;
	return true; /* what is before it is on another page: rare */
}

static void block(const struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	struct storage_op *before = NULL;

	for (size_t i = 0; following && i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t pc = qemu_plugin_insn_vaddr(insn);
		uint8_t code[16] = { 0 };
		size_t size = code_of(insn, code);
		const uint8_t *here;

		if (before)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_after_storage, NO_REGS,
							       before);
		if (!i && after_storage(insn, pc))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_block_after_storage,
							       NO_REGS, (void *)pc);
		here = qemu_plugin_insn_haddr(insn);
		before = here ? storage_op(pc, here - ram, code, size) : NULL;
		if (before && i == count - 1)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_last_storage, NO_REGS,
							       before);
	}
}

const struct machine s390x = { "s390x", calls, quiet, after_call, block };
