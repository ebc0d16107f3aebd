/* SPDX-License-Identifier: GPL-2.0-only */
/* x86_64 machine code: calls. */
#include "plugin.h"

static bool is_call(const uint8_t *code, size_t size)
{
	size_t i = 0;

	/* Prefixes: segments (also as padding of a retpoline's call), operand size, REX. */
	while (i + 1 < size && (code[i] == 0x2e || code[i] == 0x3e || code[i] == 0x66 ||
				(code[i] & 0xf0) == 0x40))
		i++;
	if (code[i] == 0xe8)
		return true;
	return i + 1 < size && code[i] == 0xff && (code[i + 1] >> 3 & 7) == 2;
}

static void calls(struct qemu_plugin_insn *insn, uint64_t pc, const uint8_t *code, size_t size)
{
	void *back = (void *)(pc + size);

	if (!is_call(code, size))
		return;
	add_site(pc + size);
	qemu_plugin_register_vcpu_insn_exec_cb(insn, on_call_pushing, NO_REGS, back);
	qemu_plugin_register_vcpu_mem_cb(insn, on_call_pushed, NO_REGS, MEM_WRITE, back);
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

const struct machine x86_64 = { "x86_64", calls, after_call, NULL };
