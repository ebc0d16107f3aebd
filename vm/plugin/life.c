/* SPDX-License-Identifier: GPL-2.0-only */
/* The plugin's door: its arguments, the shared memory, and the hooks of each translated block. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin.h"

EXPORT int qemu_plugin_version = 1;

struct shared *shared;
static const struct machine *machine;
enum { MAX_TEXTS = 4 };
static struct {
	uint64_t lo, len;
} texts[MAX_TEXTS];
static int n_texts;
static const void *(*insn_data)(const struct qemu_plugin_insn *);
static size_t (*insn_copy)(const struct qemu_plugin_insn *, void *, size_t);

static void read_code(struct place *place)
{
	size_t size = qemu_plugin_insn_size(place->insn);

	place->size = size > sizeof place->code ? sizeof place->code : size;
	memset(place->code, 0, sizeof place->code);
	if (insn_copy)
		insn_copy(place->insn, place->code, place->size);
	else
		memcpy(place->code, insn_data(place->insn), place->size);
}

bool in_text(uint64_t pc)
{
	for (int i = 0; i < n_texts; i++)
		if (pc - texts[i].lo < texts[i].len)
			return true;
	return false;
}

/* Whether a call may return to the first instruction of a block. */
static bool may_be_return(const struct place *place)
{
	if (place->here && (place->pc & 4095) >= 8)
		return machine->after_call(place->here);
	return is_site(place->pc);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);

static void begin(qemu_plugin_id_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
}

/*
 * The kernel runs elsewhere than it was linked, and zaptrace has found out where: have all blocks
 * translated anew, for those of its code so far have no hooks.  Returns whether this is that time.
 */
static bool follow_the_kernel(qemu_plugin_id_t id)
{
	static atomic_flag done = ATOMIC_FLAG_INIT;

	if (!shared->len || !shared->moved || atomic_flag_test_and_set(&done))
		return false;
	for (int i = 0; i < n_texts; i++)
		texts[i].lo += shared->moved;
	qemu_plugin_reset(id, begin);
	return true;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);
	struct place place = { 0 };

	if (follow_the_kernel(id))
		return;
	/* Only the kernel's code: user space has other memory at the same addresses. */
	if (!count || !in_text(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0))))
		return;
	if (!ram)
		find_ram(qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0)));
	for (size_t i = 0; i < count; i++) {
		place.insn = qemu_plugin_tb_get_insn(tb, i);
		place.pc = qemu_plugin_insn_vaddr(place.insn);
		place.here = qemu_plugin_insn_haddr(place.insn);
		place.first = !i;
		place.last = i == count - 1;
		read_code(&place);
		if (place.first && may_be_return(&place))
			qemu_plugin_register_vcpu_insn_exec_cb(place.insn, on_return_site, NO_REGS,
							       (void *)place.pc);
		machine->hook(&place);
		if (!machine->quiet(place.code, place.size))
			qemu_plugin_register_vcpu_mem_cb(place.insn, on_store, NO_REGS, MEM_WRITE,
							 (void *)place.pc);
	}
}

/* QEMU reads qemu_plugin_version before it asks anything: choose the one that it has. */
static __attribute__((constructor)) void choose_version(void)
{
	/* qemu_plugin_mem_get_value: API 4 (9.2); qemu_plugin_get_registers: API 2 (9.0). */
	if (dlsym(RTLD_DEFAULT, "qemu_plugin_mem_get_value"))
		qemu_plugin_version = 4;
	else if (dlsym(RTLD_DEFAULT, "qemu_plugin_get_registers"))
		qemu_plugin_version = 2;
}

static int refuse(const char *why, const char *what)
{
	fprintf(stderr, "zaptrace's plugin: %s%s\n", why, what);
	return -1;
}

static bool fits(uint64_t at, uint64_t count, uint64_t each, uint64_t size)
{
	return at >= sizeof *shared && at <= size && at % 8 == 0 && count <= (size - at) / each;
}

static int map_shared(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;
	void *at = MAP_FAILED;

	if (fd >= 0 && !fstat(fd, &status) && status.st_size >= (off_t)sizeof *shared)
		at = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		return refuse("cannot map ", path);
	shared = at;
	if (memcmp(shared->magic, MAGIC, sizeof shared->magic) ||
	    shared->size != (uint64_t)status.st_size ||
	    !fits(shared->nodes_at, shared->max_nodes, sizeof(struct node), shared->size) ||
	    !fits(shared->records_at, shared->max_records, sizeof(struct record), shared->size) ||
	    shared->max_nodes > UINT32_MAX)
		return refuse("not laid out by this zaptrace: ", path);
	return 0;
}

static int add_text(const char *value)
{
	char *rest;
	uint64_t lo = strtoull(value, &rest, 16), hi;

	if (*rest != '-' || n_texts == MAX_TEXTS)
		return refuse("bad text=", value);
	hi = strtoull(rest + 1, &rest, 16);
	if (*rest || hi <= lo)
		return refuse("bad text=", value);
	texts[n_texts].lo = lo;
	texts[n_texts++].len = hi - lo;
	return 0;
}

static int add_shift(const char *value, unsigned int *shift)
{
	*shift = strtoul(value, NULL, 10);
	return *shift >= 12 && *shift <= 20 ? 0 : refuse("bad stack=", value);
}

static int choose_machine(const qemu_info_t *info)
{
	if (info->version.cur != 1 && info->version.cur != 4)
		return refuse("not tried with this QEMU's plugin API; 7.2 and 10.0 are", "");
	if (!info->system_emulation || info->system.max_vcpus > MAX_CPUS)
		return refuse("only for systems of up to 256 CPUs", "");
	if (!strcmp(info->target_name, s390x.name))
		machine = &s390x;
	else if (!strcmp(info->target_name, x86_64.name))
		machine = &x86_64;
	else
		return refuse("does not know the code of ", info->target_name);
	*(void **)&insn_data = dlsym(RTLD_DEFAULT, "qemu_plugin_insn_data");
	if (info->version.cur >= 3) { /* it copies since API 3 */
		*(void **)&insn_copy = *(void **)&insn_data;
		insn_data = NULL;
	}
	return insn_data || insn_copy ? 0 : refuse("this QEMU lacks qemu_plugin_insn_data", "");
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *out = NULL;
	uint64_t bytes = 0;
	unsigned int shift = 14;
	int wrong = choose_machine(info);

	for (int i = 0; i < argc && !wrong; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = argv[i] + 4;
		else if (!strncmp(argv[i], "text=", 5))
			wrong = add_text(argv[i] + 5);
		else if (!strncmp(argv[i], "ram=", 4))
			bytes = strtoull(argv[i] + 4, NULL, 10);
		else if (!strncmp(argv[i], "stack=", 6))
			wrong = add_shift(argv[i] + 6, &shift);
		else
			wrong = refuse("no such argument: ", argv[i]);
	}
	if (wrong)
		return -1;
	if (!out || !n_texts)
		return refuse("out= and text= are needed", "");
	if (map_shared(out))
		return -1;
	setup_ram(bytes);
	shared->api = info->version.cur;
	if (setup_stacks(shift) || setup_stores(info->version.cur > 1, machine == &s390x))
		return refuse("out of memory", "");
	setup_clock();
	if (machine == &s390x)
		setup_storage(info->version.cur);
	begin(id);
	return 0;
}
