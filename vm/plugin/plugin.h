/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCG plugin for QEMU that records every store to a range of kernel memory, the struct pages,
 * and to the pages that these say are page tables.
 *
 * Built without QEMU's and GLib's headers: the part of the plugin API that is used is declared
 * here.  Versions 1 (QEMU 6.0 to 8.2) and 4 (10.0) of that API are supported by one object.
 *
 *   -plugin FILE,out=PATH,ram=BYTES,text=LO-HI[,text=LO-HI][,stack=SHIFT]
 *
 * PATH is memory shared with zaptrace, which lays it out (struct shared) and says there which
 * range is meant, as soon as the guest knows.  Records and call stacks go there as well.
 */
#ifndef ZAPTRACE_PLUGIN_H
#define ZAPTRACE_PLUGIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- QEMU: include/qemu/qemu-plugin.h, as far as it is used ---- */
#define EXPORT __attribute__((visibility("default")))
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
typedef struct {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus, max_vcpus;
	} system;
} qemu_info_t;
typedef void (*mem_cb)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *);
typedef void (*exec_cb)(unsigned int, void *);
enum { NO_REGS = 0 };  /* enum qemu_plugin_cb_flags */
enum { MEM_WRITE = 2 }; /* enum qemu_plugin_mem_rw */
void qemu_plugin_reset(qemu_plugin_id_t, void (*)(qemu_plugin_id_t));
void qemu_plugin_register_vcpu_tb_trans_cb(
	qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, mem_cb, int, int, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, exec_cb, int, void *);
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *);

/* ---- the shared memory: zaptrace/life/record_layout.py has the same ---- */
#define MAGIC "ZAPLIFE\3"

struct shared {
	/* by zaptrace, before QEMU starts */
	char magic[8];
	uint64_t size;                    /* bytes of all */
	uint64_t nodes_at, max_nodes;     /* struct node[]; number 0 is no node */
	uint64_t records_at, max_records; /* struct record[] */
	/* by zaptrace, while the guest is stopped */
	uint64_t lo;      /* the range's virtual address */
	uint64_t len;     /* its bytes; 0: nothing is recorded yet */
	uint64_t direct;  /* virtual address of physical 0 in the kernel's direct map */
	uint64_t moved;   /* how far above text= the kernel's code runs, modulo 2^64 */
	uint64_t page_size; /* bytes of a struct page; 0: page tables are not recorded */
	uint64_t type_at;   /* offset of its page_type */
	uint64_t type_mask, type_value; /* page_type & type_mask == type_value: a page table */
	/* by the plugin */
	uint64_t api;     /* version of QEMU's plugin API */
	uint64_t storage; /* enum storage */
	uint64_t start_ns; /* CLOCK_MONOTONIC of the first record */
	uint64_t ram;     /* bytes of guest memory, once found in QEMU; 0: values are missing */
	_Atomic uint64_t count;       /* records wanted, more than max_records when it was full */
	_Atomic uint64_t nodes;       /* nodes used */
	_Atomic uint64_t lost_stacks; /* stacks, frames or nodes for which there was no room */
	_Atomic uint64_t healed;      /* returns past a frame whose return was not seen */
	_Atomic uint64_t tables;      /* times that a page became a page table */
};

/* How storage-to-storage instructions (s390x) are seen. */
enum storage {
	BY_QEMU = 0,   /* as any other store */
	FOLLOWED = 1,  /* by their registers, after the fact */
	NOT_SEEN = 2,
};

/* Short, for a boot makes 1.7 million of them, and fresh memory costs more than all else. */
struct record {
	uint64_t value; /* the aligned 8 bytes around the store after it, as they lie in memory */
	_Atomic uint64_t where; /* see below; written last */
	uint32_t node; /* the call stack, with the instruction itself innermost; 0: not known */
	uint32_t time; /* since start_ns, in units of 2^TIME_SHIFT ns, modulo 2^32 */
};
/* Of `where`, from the lowest bit: */
enum {
	PLACE_BITS = 40, /* of the store, or of a later word of it, in the range; TABLE: physical */
	CPU_BITS = 8,
	BYTES_BITS = 4, /* of the store that lie in this word */
	FLAGS_AT = PLACE_BITS + CPU_BITS + BYTES_BITS,
	TIME_SHIFT = 8,
};
enum {
	VALID = 1,   /* the record is whole */
	VALUE = 2,   /* value is known */
	ALIAS = 4,   /* the store came through the direct map; its place is the page's in the range */
	MORE = 8,    /* not the first word of its store */
	STORAGE = 16, /* of a storage-to-storage instruction */
	TABLE = 32   /* to a page table, through the direct map */
};

struct node {
	uint32_t parent; /* the caller's; 0 for a root */
	uint32_t next;   /* in its hash bucket; means nothing to a reader */
	uint64_t address; /* return address; of a root the start of its stack; of a record its code */
};

extern struct shared *shared;
enum { MAX_CPUS = 256 };

/* ---- ram.c: the guest's memory, in this process ---- */
extern const uint8_t *ram;
extern uint64_t ram_size;
void setup_ram(uint64_t bytes);
void find_ram(const void *code);
uint64_t ram_offset(uint64_t physical);

/* ---- clock.c ---- */
void setup_clock(void);
void measure_clock(void);
uint64_t now_ns(unsigned int cpu, bool same);

/* ---- registers.c: s390x's ---- */
bool setup_registers(void);
uint64_t gpr(unsigned int cpu, int number);

/* ---- stores.c ---- */
int setup_stores(bool physical_addresses, bool big_endian);
void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, void *pc);
void record_bytes(unsigned int cpu, uint64_t va, uint64_t bytes, uint64_t pc);

/* ---- stacks.c ---- */
int setup_stacks(unsigned int shift);
uint32_t node_of_store(unsigned int cpu, uint64_t pc, bool *same);
bool is_same_stack(unsigned int cpu);
void add_site(uint64_t address);
bool is_site(uint64_t address);
void on_return_site(unsigned int cpu, void *here);
void on_call_pushing(unsigned int cpu, void *back);
void on_call(unsigned int cpu, void *back);
void on_call_pushed(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t sp, void *back);
void on_saved(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, void *disp);
bool is_calling(unsigned int cpu);
void stand(unsigned int cpu, uint64_t sp);

/* ---- s390x.c, x86_64.c: machine code ---- */
struct place { /* an instruction that is being translated */
	struct qemu_plugin_insn *insn;
	uint64_t pc;
	size_t size;
	uint8_t code[16];    /* and zeros */
	const uint8_t *here; /* the same, in the guest's memory; NULL: not known */
	bool first, last;    /* of its block */
	/* s390x */
	const struct storage_op *before; /* the instruction before it, in the block */
	bool moved;          /* an instruction before it, in the block, may have changed %r15 */
};
struct machine {
	const char *name;
	/* Hook a call, and what else is needed to follow calls and to see all stores. */
	void (*hook)(struct place *);
	/* Whether the instruction surely stores nothing that matters: most only load. */
	bool (*quiet)(const uint8_t *code, size_t size);
	/* Whether the bytes before `end` may be a call. */
	bool (*after_call)(const uint8_t *end);
};
extern const struct machine s390x, x86_64;
void setup_storage(int api); /* of s390x */

/* ---- life.c ---- */
bool in_text(uint64_t pc);

static inline uint64_t mixed(uint64_t key)
{
	key *= 0x9e3779b97f4a7c15ull;
	return key ^ key >> 32;
}

#endif
