// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes zaptrace's events through kprobes and one raw tracepoint, for bcc.
 *
 * No kernel header is included: registers and offsets are numbers that
 * probes/bpfprogram.py puts in front of this text, and the functions that take
 * one site's arguments are generated after it.
 *
 * From the front:
 *	ZT_RING_PAGES, ZT_SPARE_PAGES	pages of the ring buffer, and of the spare one
 *	ZT_SITES			how many functions there are
 *	ZT_TASK(tgid, self)		whether a process is wanted; self is who reads the events
 *	ZT_COMM(low, high)		whether a task's name is, as two words
 *	ZT_CGROUP			only tasks below one cgroup
 *	ZT_ANONYMOUS, ZT_LARGE		only rmap removals of such pages
 *	ZT_MAPPING, ZT_HEAD, ZT_PAGE	page.mapping, page.compound_head (or _info), sizeof page
 */

/* Mirrored by RECORD in probes/bccrecords.py; 120 bytes and 8 of header. */
struct event {
	u64 clock;
	u64 page;
	u64 folio;
	u64 mm;
	u64 vma;
	u64 addr;
	u64 end;
	u64 more;		/* pte of bad_pte; address of bad_page's reason */
	u64 caller;
	s32 raw_mapcount;
	s32 refcount;
	u32 pid;
	u32 tgid;
	u32 nr;
	s32 stack;
	u32 cpu;
	u16 site;
	u8 order;
	u8 reserved;
	char comm[16];
};

/* Of one site on one CPU.  Mirrored by COUNTS in probes/bpflosses.py. */
struct counts {
	u64 entered;		/* hits that reached its program; kprobes alone */
	u64 failed;		/* events that found both rings full, or locked */
	u64 stackless;		/* events whose stack could not be kept */
	u64 reasonless;		/* reasons that could not be kept */
};

/* Mirrored by probes/bpfloaded.py. */
struct gate {
	u32 open;		/* 0 until every probe is attached */
	u32 self;		/* the process that reads the events */
};

struct reason {
	char text[64];
};

BPF_RINGBUF_OUTPUT(events, ZT_RING_PAGES);
BPF_RINGBUF_OUTPUT(spare, ZT_SPARE_PAGES);
BPF_PERCPU_ARRAY(counts, struct counts, ZT_SITES);
BPF_ARRAY(gate, struct gate, 1);
/* One id a stack: events refer to it, so that none takes another one's (BPF_F_REUSE_STACKID). */
BPF_STACK_TRACE(stacks, 16384);
BPF_HASH(reasons, u64, struct reason, 256);
#ifdef ZT_CGROUP
BPF_CGROUP_ARRAY(cgroup, 1);
#endif

static __always_inline u64 at(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline s32 at32(u64 address)
{
	s32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline struct counts *counts_of(u32 site)
{
	return counts.lookup(&site);
}

/* One more of a member of struct counts. */
#define COUNT(site, member)					\
	do {							\
		struct counts *mine = counts_of(site);		\
								\
		if (mine)					\
			mine->member += 1;			\
	} while (0)

static __always_inline struct gate *open_gate(void)
{
	int zero = 0;
	struct gate *state = gate.lookup(&zero);

	return state && state->open ? state : 0;
}

/* The user's filters thin ordinary traffic, never reports of bugs. */
static __always_inline int task_wanted(u64 who, u32 self)
{
	if (!(ZT_TASK((u32)(who >> 32), self)))
		return 0;
#ifdef ZT_COMM
	u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	if (!(ZT_COMM(comm[0], comm[1])))
		return 0;
#endif
#ifdef ZT_CGROUP
	if (cgroup.check_current_task(0) <= 0)
		return 0;
#endif
	return 1;
}

#if defined(ZT_ANONYMOUS) || defined(ZT_LARGE)
/*
 * The first page of a folio.  A tail page has bit 0 of this member set: the rest
 * of it is the head's address or, since "mm: rework compound_head() for power-of-2
 * sizeof(struct page)" (7.1), the mask that makes the tail's address the head's.
 * No struct page is as near to 2^64 as the masks are.
 */
static __always_inline u64 head_of(u64 page)
{
	u64 link = at(page + ZT_HEAD);
	u64 span = 1 - link;

	if (!(link & 1))
		return page;
	return span <= 1ULL << 40 && !(span & (span - 1)) ? page & (link - 1) : link - 1;
}
#endif

static __always_inline int page_wanted(u64 page)
{
#ifdef ZT_ANONYMOUS
	if (!(at(head_of(page) + ZT_MAPPING) & 1))	/* PAGE_MAPPING_ANON */
		return 0;
#endif
#ifdef ZT_LARGE
	if (head_of(page) == page && head_of(page + ZT_PAGE) != page)
		return 0;
#endif
	return 1;
}

static __always_inline struct event *begin(u32 site, u64 who)
{
	struct event *event = 0;

	/*
	 * A kprobe that is a breakpoint is an NMI to x86_64: there the ring's lock
	 * is but tried, and another CPU may hold it for this moment, or for
	 * milliseconds, when it is a guest's and does not run.
	 */
#pragma unroll
	for (int tries = 0; !event && tries < 4; tries++)
		event = events.ringbuf_reserve(sizeof(struct event));
#pragma unroll
	for (int tries = 0; !event && tries < 4; tries++)
		event = spare.ringbuf_reserve(sizeof(struct event));
	if (!event) {
		COUNT(site, failed);
		return 0;
	}
	event->clock = bpf_ktime_get_boot_ns();
	event->cpu = bpf_get_smp_processor_id();
	event->pid = who;
	event->tgid = who >> 32;
	event->site = site;
	event->stack = -1;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	return event;
}

static __always_inline void keep_reason(u32 site, u64 address)
{
	struct reason reason = {};
	long error;

	bpf_probe_read_kernel_str(reason.text, sizeof(reason.text), (void *)address);
	error = reasons.insert(&address, &reason);
	if (error && error != -17)	/* EEXIST: it is kept already */
		COUNT(site, reasonless);
}
