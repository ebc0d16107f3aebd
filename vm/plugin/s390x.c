/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * s390x machine code: calls, and storage-to-storage instructions.
 *
 * QEMU before 8.1 does not report what helpers store (MVC, NC, OC, XC, ..., also by EX and EXRL).
 * After such an instruction the registers are in memory, whatever the callback's flags, and say
 * where it stored.  Where they cannot be read (registers.c), these stores are not seen.
 */
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

static bool following; /* storage-to-storage instructions, by the registers */
static struct {
	const struct storage_op *last; /* one that ended the CPU's last block */
	char pad[56];
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

void setup_storage(int api)
{
	following = api == 1 && setup_registers();
	shared->storage = api > 1 ? BY_QEMU : following ? FOLLOWED : NOT_SEEN;
}

/* ---- calls ---- */
static bool is_call(const uint8_t *code)
{
	return (code[0] == 0xc0 && code[1] == 0xe5) ||     /* brasl %r14,... */
	       (code[0] == 0xa7 && code[1] == 0xe5) ||     /* bras %r14,... */
	       (code[0] == 0x0d && (code[1] & 0xf0) == 0xe0 && (code[1] & 15)); /* basr %r14,%rN */
}

/* stmg %rN,%r15,disp(%r15) */
static bool saves_registers(const uint8_t *code)
{
	return code[0] == 0xeb && code[5] == 0x24 && (code[1] & 15) == 15 && code[2] >> 4 == 15;
}

/* Whether %r15 may be another one after the instruction: it, or %r14 as the first of a pair, is
   named where an instruction says what it changes, or a range of registers is loaded. */
static bool may_move_stack(const uint8_t *code, size_t size)
{
	return code[0] == 0x98 || code[0] == 0xeb || code[1] >> 4 >= 14 || (code[1] & 15) >= 14 ||
	       (size == 4 && (code[3] >> 4 >= 14 || (code[3] & 15) >= 14));
}

static void on_saving(unsigned int cpu, void *udata)
{
	(void)udata;
	if (is_calling(cpu))
		stand(cpu, gpr(cpu, 15));
}

static void hook_calls(struct place *place)
{
	const uint8_t *code = place->code;
	uint64_t back = place->pc + place->size;

	if (is_call(code)) {
		add_site(back);
		qemu_plugin_register_vcpu_insn_exec_cb(place->insn, on_call, NO_REGS, (void *)back);
	} else if (saves_registers(code) && following && !place->moved) {
		/* One callback, and not one for each register. */
		qemu_plugin_register_vcpu_insn_exec_cb(place->insn, on_saving, NO_REGS, NULL);
	} else if (saves_registers(code)) {
		uint64_t disp = (code[2] & 15) << 8 | code[3];

		qemu_plugin_register_vcpu_mem_cb(place->insn, on_saved, NO_REGS, MEM_WRITE,
						 (void *)disp);
	}
	place->moved |= may_move_stack(code, place->size);
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
	case 0xac: /* STNSM */
	case 0xad: /* STOSM */
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

/* z/Architecture Principles of Operation, appendix B.  What is not known to be quiet is not. */
static bool quiet(const uint8_t *code, size_t size)
{
	if (to_stack(code, size) || (following && stores_to_storage(code)))
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
	case 0xbd: /* CLM */
	case 0xbf: /* ICM */
	case 0xc0: /* LARL to LLILF */
	case 0xc2: /* MSGFI to CLFI */
	case 0xc4: /* LLHRL to STRL: what has a name of its own in the kernel's image */
	case 0xd5: /* CLC */
	case 0xec: /* compare and branch, rotate, add immediate */
		return true;
	case 0xb2:
		return code[1] == 0xfa; /* NIAI */
	case 0xb9:
		switch (code[1]) {
		case 0x00 ... 0x1d: /* LPGR to LRVR */
		case 0x1f:
		case 0x20 ... 0x21: /* CGR, CLGR */
		case 0x26 ... 0x27: /* LBR, LHR */
		case 0x30 ... 0x31: /* CGFR, CLGFR */
		case 0x80 ... 0x89: /* NGR to SLBGR */
		case 0x94 ... 0x97: /* LLCR to DLR */
		case 0xe1 ... 0xe2: /* POPCNT, LOCGR */
		case 0xe4 ... 0xeb: /* NGRK to SLGRK */
		case 0xf2 ... 0xfb: /* LOCR to SLRK */
			return true;
		}
		return false;
	case 0xc6: /* relative compare; EXRL may store */
		return code[1] & 15;
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
		switch (size == 6 ? code[5] : 0) {
		case 0x04: /* LMG */
		case 0x0a ... 0x0d: /* shifts */
		case 0x1c ... 0x1d: /* RLLG, RLL */
		case 0x51: /* TMY */
		case 0x55: /* CLIY */
		case 0xdc ... 0xdf: /* SRAK to SLLK */
		case 0xe2: /* LOCG */
			return true;
		}
		return false;
	}
	return false;
}

/* ---- storage-to-storage ---- */
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
static const struct storage_op *storage_op(uint64_t pc, uint64_t at, const uint8_t *code, size_t size)
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

static bool after_storage(const struct place *place)
{
	const uint8_t *end = place->here;

	if (end && (place->pc & 4095) >= 6)
		return stores_to_storage(end - 6) || end[-6] == 0xc6 || end[-4] == 0x44;
	return true; /* what is before it is on another page: rare */
}

static void hook_storage(struct place *place)
{
	const struct storage_op *op = NULL;

	if (place->before)
		qemu_plugin_register_vcpu_insn_exec_cb(place->insn, on_after_storage, NO_REGS,
						       (void *)place->before);
	if (place->first && after_storage(place))
		qemu_plugin_register_vcpu_insn_exec_cb(place->insn, on_block_after_storage, NO_REGS,
						       (void *)place->pc);
	if (place->here)
		op = storage_op(place->pc, place->here - ram, place->code, place->size);
	if (op && place->last)
		qemu_plugin_register_vcpu_insn_exec_cb(place->insn, on_last_storage, NO_REGS,
						       (void *)op);
	place->before = op;
}

static void hook(struct place *place)
{
	if (following)
		hook_storage(place);
	hook_calls(place);
}

const struct machine s390x = { "s390x", hook, quiet, after_call };
