/*
 * An init that maps and unmaps pages by functions that no fault of the lab is in: KSM,
 * userfaultfd, mlock with a fork, a pipe, a memfd that is truncated.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define SOME (4 * PAGE)
#define CHURN (16UL << 20)

static void check(int good, const char *what)
{
	if (!good) {
		perror(what);
		_exit(1);
	}
}

static char *map(size_t size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(at != MAP_FAILED, "mmap");
	return at;
}

static void set(const char *file, const char *value)
{
	int at = open(file, O_WRONLY);

	check(at >= 0 && write(at, value, strlen(value)) > 0, file);
	close(at);
}

static void merged(void)
{
	char *pages = map(SOME);

	memset(pages, 7, SOME);
	check(!madvise(pages, SOME, MADV_MERGEABLE), "MADV_MERGEABLE");
	set("/sys/kernel/mm/ksm/sleep_millisecs", "5");
	set("/sys/kernel/mm/ksm/run", "1");
	usleep(600000);
	*pages = 1;
	munmap(pages, SOME);
	set("/sys/kernel/mm/ksm/run", "2");
}

static void of_user_faults(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int file = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *pages = map(SOME), from[PAGE];
	struct uffdio_register range = { .range = { (uintptr_t)pages, SOME },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_copy copy = { .dst = (uintptr_t)pages, .src = (uintptr_t)from, .len = PAGE };

	memset(from, 3, PAGE);
	check(file >= 0 && !ioctl(file, UFFDIO_API, &api), "userfaultfd");
	check(!ioctl(file, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
	check(!ioctl(file, UFFDIO_COPY, &copy), "UFFDIO_COPY");
	munmap(pages, SOME);
}

static void locked(void)
{
	char *pages = map(SOME);

	check(!mlock(pages, SOME), "mlock");
	memset(pages, 1, SOME);
	if (!fork()) {
		memset(pages, 2, SOME);
		_exit(0);
	}
	wait(NULL);
	munlock(pages, PAGE);
	munmap(pages, SOME);
}

static void of_files(void)
{
	int file = memfd_create("file", 0), ends[2];
	char *pages, copy[PAGE];
	loff_t offset = 0;

	check(file >= 0 && !ftruncate(file, SOME) && !pipe(ends), "memfd");
	pages = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	check(pages != MAP_FAILED, "mmap");
	memset(pages, 1, SOME);
	check(splice(file, &offset, ends[1], NULL, PAGE, 0) == PAGE, "splice");
	check(read(ends[0], copy, PAGE) == PAGE, "read");
	check(!ftruncate(file, PAGE), "ftruncate");
	munmap(pages, SOME);
}

int main(void)
{
	static void (*const kinds[])(void) = { merged, of_user_faults, locked, of_files };

	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mkdir("/sys", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	puts("zaptrace: user space on mappings");
	fflush(stdout);
	usleep(300000);	/* the host may leave out a call now */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!fork()) {
			kinds[i]();
			_exit(0);
		}
		wait(NULL);
	}
	for (int i = 0; i < 4; i++) {	/* per-CPU lists are emptied */
		char *pages = map(CHURN);

		memset(pages, 1, CHURN);
		munmap(pages, CHURN);
	}
	puts("zaptrace: power off");
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
