/* SPDX-License-Identifier: GPL-2.0-only */
/* What the victims of all faults share: victim.c. */
#ifndef VICTIM_H
#define VICTIM_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern long page_size;
extern const char *fault;	/* the one to provoke */

/* Say what failed, with errno, and end. */
void fail(const char *what) __attribute__((noreturn));

/* An entry of /proc/self/pagemap or /proc/kpageflags. */
uint64_t entry(const char *file, unsigned long number);
unsigned long pfn_of(const char *page);

/* The truth, on the console before any report can break into it. */
void say_at(pid_t owner, pid_t zapper, const char *at, unsigned long pfn, const char *evidence);
void say_of(pid_t owner, pid_t zapper, const char *page, const char *evidence);
void say(const char *page, const char *evidence);

char *map(size_t size);
char *small_page(void);
int pin(char *page);
void zap(char *at, size_t size);
char *marked_page(void);
void settle(void);

void name_ourselves(const char *name);
pid_t child(void);
void hold(void) __attribute__((noreturn));
void tell(const int ends[2]);
void hear(const int ends[2]);

/* Faults of the zap: victim_zap.c. */
void rmap_small(void);
void rmap_large(void);
void stale_small(void);
void stale_large(void);
void overput_small(void);
void overput_large(void);
void rss_small(void);
void rss_large(void);

/* Faults of other functions: victim_elsewhere.c. */
void cow(void);
void forked(void);
void lost_in_mprotect(void);
void lost_in_mremap(void);
void pipes(void);
void reads(void);
void scribble(void);
void flag(void);

/* Of references, and of what moves pages: victim_references.c. */
void held(void);
void put_when_free(void);
void driver(void);
void migrate(void);
void reclaim(void);

#endif /* VICTIM_H */
