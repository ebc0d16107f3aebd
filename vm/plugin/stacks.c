/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each CPU's call stack, followed from the outside.
 *
 * A call pushes a frame (its return address, and the stack pointer at which it stands); the
 * instruction after a call pops it.  Frames are kept for each kernel stack, distinguished by the
 * stack pointer's upper bits, so that a context switch or an interrupt changes stacks by itself;
 * a frame whose return was not seen goes when a later one stands at or above it.
 *
 * Stacks are interned in a tree whose nodes are return addresses: a record holds one number.
 */
#include <stdlib.h>

#include "plugin.h"

enum {
	DEPTH = 128,         /* frames of one stack */
	STACKS = 1 << 13,    /* kernel stacks */
	TRIES = 64,
	HEALING = 6,         /* frames that a return may skip */
	BUCKETS = 1 << 16,
	LEAVES = 64,
	SITES = 1 << 18,     /* return sites; a kernel's text has some 10^5 */
};

struct frame {
	uint64_t sp, back;
	uint32_t node; /* 0: not interned yet */
};
struct stack {
	uint64_t id;
	struct stack *interrupted; /* what ran when this one got its first frame */
	int depth;
	struct frame frames[DEPTH];
};
static struct stack *_Atomic table[STACKS];
static struct cpu {
	struct stack *now;
	uint64_t pending; /* return address of a call whose frame has no place yet */
	uint32_t node;    /* of all that */
	bool known;       /* that it still is: nothing has changed since */
	char pad[40];     /* a cache line each */
} cpus[MAX_CPUS];
/* The nodes of stores: most are made in a loop. */
static struct leaf {
	uint64_t pc;
	uint32_t stack, node;
} leaves[MAX_CPUS][LEAVES];
static unsigned int stack_shift;

static struct node *nodes;
static uint32_t *buckets;
static atomic_flag tree = ATOMIC_FLAG_INIT;
static _Atomic uint64_t *sites;

int setup_stacks(unsigned int shift)
{
	stack_shift = shift;
	nodes = (void *)((char *)shared + shared->nodes_at);
	buckets = calloc(BUCKETS, sizeof *buckets);
	sites = calloc(SITES, sizeof *sites);
	atomic_store(&shared->nodes, 1);
	return buckets && sites ? 0 : -1;
}

static void lost(void)
{
	atomic_fetch_add_explicit(&shared->lost_stacks, 1, memory_order_relaxed);
}

/* ---- the tree ---- */
/* The last places are for roots: when it is full, a store has its instruction at least. */
static uint32_t node_of(uint32_t parent, uint64_t address)
{
	uint32_t *bucket = &buckets[mixed(mixed(address) + parent) % BUCKETS];
	uint32_t at;

	while (atomic_flag_test_and_set_explicit(&tree, memory_order_acquire))
		;
	for (at = *bucket; at; at = nodes[at].next)
		if (nodes[at].parent == parent && nodes[at].address == address)
			break;
	if (!at && shared->nodes < (parent ? shared->max_nodes * 15 / 16 : shared->max_nodes)) {
		at = shared->nodes;
		nodes[at] = (struct node){ parent, *bucket, address };
		*bucket = at;
		atomic_store(&shared->nodes, at + 1);
	}
	atomic_flag_clear_explicit(&tree, memory_order_release);
	if (!at)
		lost();
	return at;
}

static uint32_t stack_now(unsigned int cpu)
{
	struct stack *stack = cpus[cpu].now;
	int depth = stack ? stack->depth : 0, i = depth;
	uint32_t node = 0;

	if (depth) {
		while (i && !stack->frames[i - 1].node)
			i--;
		node = i ? stack->frames[i - 1].node : node_of(0, stack->id << stack_shift);
		for (; i < depth && node; i++)
			node = stack->frames[i].node = node_of(node, stack->frames[i].back);
	}
	if (cpus[cpu].pending)
		node = node_of(node, cpus[cpu].pending);
	return node;
}

/*
 * The node of a store: its instruction, below the call stack.
 *
 * `same`: nothing was called or returned since the CPU's last store.
 */
uint32_t node_of_store(unsigned int cpu, uint64_t pc, bool *same)
{
	struct leaf *leaf = &leaves[cpu][mixed(pc) % LEAVES];

	*same = cpus[cpu].known;
	if (!*same) {
		cpus[cpu].node = stack_now(cpu);
		cpus[cpu].known = true;
	}
	if (leaf->pc != pc || leaf->stack != cpus[cpu].node)
		*leaf = (struct leaf){ pc, cpus[cpu].node, node_of(cpus[cpu].node, pc) };
	if (!leaf->node)
		leaf->node = node_of(0, pc);
	return leaf->node;
}

/* Whether nothing was called or returned since the CPU's last record. */
bool is_same_stack(unsigned int cpu)
{
	return cpus[cpu].known;
}

/* ---- the stacks ---- */
static struct stack *stack_of(uint64_t id)
{
	uint64_t slot = mixed(id);

	for (int i = 0; i < TRIES; i++) {
		struct stack *_Atomic *place = &table[(slot + i) % STACKS];
		struct stack *found = atomic_load_explicit(place, memory_order_acquire), *made;

		if (!found) {
			made = calloc(1, sizeof *made);
			if (!made)
				return NULL;
			made->id = id;
			if (atomic_compare_exchange_strong(place, &found, made))
				return made;
			free(made);
		}
		if (found->id == id)
			return found;
	}
	return NULL;
}

static void push(struct cpu *cpu, uint64_t sp, uint64_t back)
{
	struct stack *stack = cpu->now, *to = stack;

	if (!stack || stack->id != sp >> stack_shift) {
		to = stack_of(sp >> stack_shift);
		if (!to) {
			lost();
			return;
		}
	}
	cpu->known = false;
	while (to->depth && to->frames[to->depth - 1].sp <= sp)
		to->depth--;
	if (to != stack) {
		if (!to->depth)
			to->interrupted = stack;
		cpu->now = to;
	}
	if (to->depth < DEPTH)
		to->frames[to->depth++] = (struct frame){ sp, back, 0 };
	else
		lost();
}

/*
 * The later frame through which the function was entered again that made the call of frame `i`; 0
 * when none was.  s390x: a page fault is handled by __do_pgm_check(), and so is a kprobe in there.
 */
static int entered_again(const struct stack *stack, int i)
{
	for (int later = stack->depth - 1; i && later > i; later--)
		if (stack->frames[later].back == stack->frames[i - 1].back)
			return later;
	return 0;
}

void on_return_site(unsigned int cpu, void *where)
{
	struct cpu *of = &cpus[cpu];
	struct stack *stack = of->now;
	uint64_t here = (uint64_t)where;

	of->known = false;
	if (of->pending == here) { /* the callee has not touched the stack */
		of->pending = 0;
		return;
	}
	if (!stack || !stack->depth)
		return;
	for (int i = stack->depth - 1; i >= 0 && i >= stack->depth - HEALING; i--) {
		if (stack->frames[i].back != here)
			continue;
		if (i != stack->depth - 1) {
			int again = entered_again(stack, i);

			if (again) { /* no return: a jump to what follows a call */
				stack->depth = again + 1;
				return;
			}
			atomic_fetch_add_explicit(&shared->healed, 1, memory_order_relaxed);
		}
		stack->depth = i;
		break;
	}
	if (!stack->depth && stack->interrupted)
		of->now = stack->interrupted;
}

/* x86_64: a call is made; its own store comes next. */
void on_call_pushing(unsigned int cpu, void *back)
{
	cpus[cpu].pending = (uint64_t)back;
	cpus[cpu].known = false;
}

/* s390x: a call is made; the callee's save says where its frame stands. */
void on_call(unsigned int cpu, void *back)
{
	struct cpu *of = &cpus[cpu];
	struct stack *stack = of->now;

	if (__builtin_expect(of->pending != 0, 0) && stack && stack->depth && stack->depth < DEPTH) {
		/* The callee calls without having saved anything: it stands below the last frame. */
		uint64_t sp = stack->frames[stack->depth - 1].sp - 1;

		stack->frames[stack->depth++] = (struct frame){ sp, of->pending, 0 };
	}
	of->pending = (uint64_t)back;
	of->known = false;
}

/* x86_64: the call's own store of its return address. */
void on_call_pushed(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t sp, void *back)
{
	/* API 1 leaves callbacks armed after a block's last helper: an exception's pushes come here. */
	if (cpus[cpu].pending != (uint64_t)back || !qemu_plugin_mem_is_store(info))
		return;
	cpus[cpu].pending = 0;
	push(&cpus[cpu], sp, (uint64_t)back);
}

/* s390x: a call was made, and its frame has no place yet. */
bool is_calling(unsigned int cpu)
{
	return cpus[cpu].pending;
}

/* s390x: the callee saves its registers: its caller's frame stands at `sp`. */
void stand(unsigned int cpu, uint64_t sp)
{
	uint64_t back = cpus[cpu].pending;

	cpus[cpu].pending = 0;
	push(&cpus[cpu], sp, back);
}

/* The same, known by the callee's stmg into its caller's save area, `disp` above `sp`. */
void on_saved(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, void *disp)
{
	if (is_calling(cpu) && qemu_plugin_mem_is_store(info))
		stand(cpu, va - (uint64_t)disp);
}

/* ---- return sites: addresses after a call ---- */
void add_site(uint64_t address)
{
	for (uint64_t i = 0, at = mixed(address); i < TRIES; i++) {
		_Atomic uint64_t *place = &sites[(at + i) % SITES];
		uint64_t found = 0;

		if (atomic_load(place) == address ||
		    atomic_compare_exchange_strong(place, &found, address) || found == address)
			return;
	}
}

bool is_site(uint64_t address)
{
	for (uint64_t i = 0, at = mixed(address); i < TRIES; i++) {
		uint64_t found = atomic_load(&sites[(at + i) % SITES]);

		if (found == address)
			return true;
		if (!found)
			return false;
	}
	return false;
}
