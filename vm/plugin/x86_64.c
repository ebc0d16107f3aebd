/* SPDX-License-Identifier: GPL-2.0-only */
/* x86_64 machine code: calls. */
#include "plugin.h"

/* Prefixes: segments (also as padding of a retpoline's call), operand size, REX. */
static size_t prefixes(const uint8_t *code, size_t size)
{
	size_t i = 0;

	while (i + 1 < size && (code[i] == 0x2e || code[i] == 0x3e || code[i] == 0x66 ||
				(code[i] & 0xf0) == 0x40))
		i++;
	return i;
}

/*
 * Whether the operand in memory lies at a displacement from %rsp: in the kernel's stack, where no
 * struct page and no page table is.
 *
 * `i`: where the opcode is, of one byte.
 */
static bool is_in_stack(const uint8_t *code, size_t size, size_t i)
{
	unsigned int rex = i && (code[i - 1] & 0xf0) == 0x40 ? code[i - 1] : 0;

	return i + 2 < size && (code[i + 1] & 7) == 4 && code[i + 1] < 0xc0 && /* SIB */
	       (code[i + 2] & 0x3f) == 0x24 && !(rex & 3); /* of it, base %rsp and no index */
}

/* Intel's SDM, volume 2, appendix A.  What is not known to be quiet is not. */
static bool quiet(const uint8_t *code, size_t size)
{
	size_t i = prefixes(code, size);
	uint8_t op = code[i], modrm = i + 1 < size ? code[i + 1] : 0;
	unsigned int reg = modrm >> 3 & 7;

	if (((op < 0x40 && (op & 7) < 4) || (op & 0xf8) == 0x80 || (op & 0xf8) == 0x88 ||
	     op == 0xc6 || op == 0xc7 || op >= 0xf6) &&
	    is_in_stack(code, size, i))
		return true;
	if (op == 0x0f)
		return (modrm >= 0x40 && modrm < 0x50) ||      /* CMOVcc */
		       (modrm >= 0x80 && modrm < 0x90) ||      /* Jcc */
		       (modrm & 0xf6) == 0xb6 ||               /* MOVZX, MOVSX */
		       modrm == 0x1f || modrm == 0xa3 || modrm == 0xaf; /* NOP, BT, IMUL */
	if (op < 0x40) /* ALU: r/m, r (stores but for CMP), r, r/m and AL, imm */
		return (op & 7) < 6 && ((op & 7) > 1 || op >= 0x38 || modrm >= 0xc0);
	switch (op) {
	case 0x50 ... 0x5f: /* PUSH, to the stack; POP */
	case 0x63: /* MOVSXD */
	case 0x68:
	case 0x6a: /* PUSH imm */
	case 0x69:
	case 0x6b: /* IMUL */
	case 0x70 ... 0x7f: /* Jcc */
	case 0x84:
	case 0x85: /* TEST */
	case 0x8a:
	case 0x8b: /* MOV r, r/m */
	case 0x8d: /* LEA */
	case 0x90: /* NOP */
	case 0xa8:
	case 0xa9: /* TEST */
	case 0xb0 ... 0xbf: /* MOV r, imm */
	case 0xc3: /* RET */
	case 0xc9: /* LEAVE */
	case 0xe8: /* CALL */
	case 0xe9:
	case 0xeb: /* JMP */
		return true;
	case 0x80:
	case 0x81:
	case 0x83: /* ALU r/m, imm: /7 is CMP */
		return reg == 7 || modrm >= 0xc0;
	case 0x88:
	case 0x89: /* MOV r/m, r */
	case 0xc0:
	case 0xc1:
	case 0xd0 ... 0xd3: /* shifts */
		return modrm >= 0xc0;
	case 0xf6:
	case 0xf7: /* TEST, NOT, NEG, MUL, DIV */
		return (reg != 2 && reg != 3) || modrm >= 0xc0;
	case 0xff:
		return reg >= 2 || modrm >= 0xc0; /* CALL, JMP, PUSH: to the stack, at most */
	}
	return false;
}

static bool is_call(const uint8_t *code, size_t size)
{
	size_t i = prefixes(code, size);

	if (code[i] == 0xe8)
		return true;
	return i + 1 < size && code[i] == 0xff && (code[i + 1] >> 3 & 7) == 2;
}

static void hook(struct place *place)
{
	void *back = (void *)(place->pc + place->size);

	if (!is_call(place->code, place->size))
		return;
	add_site((uint64_t)back);
	qemu_plugin_register_vcpu_insn_exec_cb(place->insn, on_call_pushing, NO_REGS, back);
	qemu_plugin_register_vcpu_mem_cb(place->insn, on_call_pushed, NO_REGS, MEM_WRITE, back);
}

static bool after_call(const uint8_t *end)
{
	if (end[-5] == 0xe8)
		return true;
	for (int size = 2; size <= 7; size++) /* call *: with SIB and displacement */
		if (end[-size] == 0xff && (end[1 - size] >> 3 & 7) == 2)
			return true;
	return false;
}

const struct machine x86_64 = { "x86_64", hook, quiet, after_call };
