// SPDX-License-Identifier: GPL-2.0-only
/*
 * `zaptrace` in a live guest: has the agent run it, which has Python and all that
 * zaptrace imports in memory already (vm/guest/agent.py), and is what it would be:
 * its terminal, its signals, its exit status.  Where the agent refuses, Python
 * itself is started, as on any other machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENT "/run/zaptrace/socket"

extern char **environ;

static const int forwarded[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH };
static int agent = -1;

/* Mirrored by _HEADER in vm/guest/agent.py. */
struct header {
	uint32_t size;		/* of the words that follow */
	uint32_t arguments;	/* how many of them, after the working directory */
	uint32_t mask;		/* umask */
	uint32_t reserved;
	uint64_t ignored;	/* signals: 1 << (number - 1) */
};

static void forward(int number)
{
	int before = errno;
	char byte = number;

	if (write(agent, &byte, 1) < 0)
		_exit(125);
	errno = before;
}

static size_t put(char **at, const char *word)
{
	size_t size = strlen(word) + 1;

	if (at) {
		memcpy(*at, word, size);
		*at += size;
	}
	return size;
}

static size_t put_words(char **at, const char *folder, char **argv)
{
	size_t size = put(at, folder);

	for (char **word = argv + 1; *word; word++)
		size += put(at, *word);
	for (char **word = environ; *word; word++)
		size += put(at, *word);
	return size;
}

static int send_all(const char *data, size_t size)
{
	while (size) {
		ssize_t sent = send(agent, data, size, MSG_NOSIGNAL);

		if (sent < 0)
			return -1;
		data += sent;
		size -= sent;
	}
	return 0;
}

/* The header goes with standard input, output and error. */
static int send_header(struct header *header)
{
	int descriptors[3] = { 0, 1, 2 };
	char space[CMSG_SPACE(sizeof(descriptors))] = "";
	struct iovec piece = { header, sizeof(*header) };
	struct msghdr message = {
		.msg_iov = &piece, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);

	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(descriptors));
	memcpy(CMSG_DATA(control), descriptors, sizeof(descriptors));
	return sendmsg(agent, &message, MSG_NOSIGNAL) == sizeof(*header) ? 0 : -1;
}

static int ask(int argc, char **argv, const char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = AGENT };
	struct header header = { .size = put_words(NULL, folder, argv), .arguments = argc - 1 };
	struct sigaction action;
	char *words = malloc(header.size), *at = words, taken;

	agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!words || agent < 0 || connect(agent, (void *)&address, sizeof(address)))
		return -1;
	put_words(&at, folder, argv);
	header.mask = umask(0);
	umask(header.mask);
	for (int number = 1; number < 32; number++)
		if (!sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN)
			header.ignored |= UINT64_C(1) << (number - 1);
	if (send_header(&header) || send_all(words, header.size))
		return -1;
	return recv(agent, &taken, 1, MSG_WAITALL) == 1 && taken == 'y' ? 0 : -1;
}

/* As the command ended, so do we. */
static int end(void)
{
	int32_t status;
	ssize_t got;

	do
		got = recv(agent, &status, sizeof(status), MSG_WAITALL);
	while (got < 0 && errno == EINTR);
	if (got != sizeof(status))
		return 125;
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		return 128 + WTERMSIG(status);
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	char *folder = getcwd(NULL, 0);
	char *fresh[argc + 3];

	if (folder && !ask(argc, argv, folder)) {
		for (size_t at = 0; at < sizeof(forwarded) / sizeof(*forwarded); at++) {
			struct sigaction action = { .sa_handler = forward, .sa_flags = SA_RESTART };

			/* Ours to ignore is none: the command may handle what it inherits so. */
			sigaction(forwarded[at], &action, NULL);
		}
		return end();
	}
	fresh[0] = "python3";
	fresh[1] = "-m";
	fresh[2] = "zaptrace";
	memcpy(fresh + 3, argv + 1, argc * sizeof(*argv));
	execvp(fresh[0], fresh);
	perror("python3");
	return 127;
}
