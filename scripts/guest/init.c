/* SPDX-License-Identifier: MIT */
/*
 * init - the first process of a guest: runs the job, delivers the results, reboots.
 *
 * The job is a file of lines, each a word and its fields, separated by tabs:
 *
 *	nonce WORD                this run's own word, in the last line of the results
 *	module PATH               load a kernel module
 *	run INDEX SECONDS ARGV…   run a command, give up on it after so many seconds
 *	shell ROWS COLS ARGV…     an interactive command on the console
 *
 * Results leave through a serial line of their own, apart from the console, as
 * lines: a letter, the index, and a text.
 *
 *	H RELEASE            the kernel, once
 *	M PATH ERRNO         a module that could not be loaded
 *	S INDEX              started
 *	O INDEX TEXT         a line of its standard output
 *	E INDEX TEXT         a line of its standard error
 *	X INDEX STATUS MS    ended: wait(2) status, or -1 when its time was up
 *	Z NONCE              all was delivered
 *
 * With NOPROGRESS on a line of its own, nothing else would tell a hung guest from a
 * slow one, so every started command is announced.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define JOB "/nslabs/job"
#define WORDS 64
#define LINE 65536

static int results = -1; /* the serial line, or where there is none the console */

static void deliver(const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t done = write(results, bytes, size);

		if (done < 0 && errno != EINTR)
			return;
		bytes += done > 0 ? done : 0;
		size -= done > 0 ? (size_t)done : 0;
	}
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	deliver(line, len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- The house --------------------------------------------------------------- */

static void mount_all(void)
{
	static const struct {
		const char *type, *dir, *options;
	} mounts[] = {
		{ "proc", "/proc", NULL },
		{ "sysfs", "/sys", NULL },
		{ "devtmpfs", "/dev", NULL },
		{ "tmpfs", "/dev/shm", NULL },
		{ "devpts", "/dev/pts", NULL },
		{ "mqueue", "/dev/mqueue", NULL },
		{ "tmpfs", "/tmp", "mode=1777" },
		{ "tmpfs", "/run", NULL },
		{ "cgroup2", "/sys/fs/cgroup", NULL },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].dir, 0755);
		mount(mounts[i].type, mounts[i].dir, mounts[i].type, 0,
		      mounts[i].options);
	}
	mkdir("/root", 0700);
	symlink("/proc/self/fd", "/dev/fd");
}

static void loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(s, SIOCSIFFLAGS, &lo);
	close(s);
}

static void raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) == 0) {
		cfmakeraw(&t);
		tcsetattr(fd, TCSANOW, &t);
	}
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if ((fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) && errno != EEXIST)
		say("M %s %d\n", path, errno);
	close(fd);
}

/* --- Commands ---------------------------------------------------------------- */

/* One of a command's two outputs, cut into lines. */
struct stream {
	char letter;
	int fd;
	size_t len;
	char text[LINE];
};

static void deliver_line(struct stream *s, const char *index, size_t len)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "%c %s ", s->letter, index);

	deliver(head, (size_t)n);
	deliver(s->text, len);
	deliver("\n", 1);
}

static void forward(struct stream *s, const char *index)
{
	ssize_t got = read(s->fd, s->text + s->len, LINE - s->len);
	char *end;

	if (got <= 0) {
		if (s->len)
			deliver_line(s, index, s->len);
		close(s->fd);
		s->fd = -1;
		return;
	}
	s->len += (size_t)got;
	while ((end = memchr(s->text, '\n', s->len))) {
		size_t line = (size_t)(end - s->text);

		deliver_line(s, index, line);
		s->len -= line + 1;
		memmove(s->text, end + 1, s->len);
	}
	if (s->len == LINE) {
		deliver_line(s, index, s->len);
		s->len = 0;
	}
}

static void become(char **argv, int in, int out, int err) __attribute__((noreturn));

static void become(char **argv, int in, int out, int err)
{
	setsid();
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void run(char **words, int count)
{
	static struct stream out, err;
	const char *index = words[1];
	double begun = now(), left, limit = atof(words[2]);
	int a[2], b[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), status = -1;
	struct pollfd fds[2];
	pid_t pid;

	words[count] = NULL;
	if (pipe2(a, O_CLOEXEC) < 0 || pipe2(b, O_CLOEXEC) < 0)
		return;
	say("S %s\n", index);
	pid = fork();
	if (pid == 0)
		become(words + 3, null, a[1], b[1]);
	close(null);
	close(a[1]);
	close(b[1]);
	out.letter = 'O';
	out.fd = a[0];
	err.letter = 'E';
	err.fd = b[0];
	out.len = err.len = 0;
	while (out.fd >= 0 || err.fd >= 0) {
		left = limit - (now() - begun);
		fds[0] = (struct pollfd){ out.fd, POLLIN, 0 };
		fds[1] = (struct pollfd){ err.fd, POLLIN, 0 };
		if (left <= 0 || poll(fds, 2, (int)(left * 1000) + 1) == 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			say("X %s -1 %.3f\n", index, (now() - begun) * 1000);
			close(out.fd);
			close(err.fd);
			return;
		}
		if (fds[0].revents)
			forward(&out, index);
		if (fds[1].revents)
			forward(&err, index);
	}
	waitpid(pid, &status, 0);
	say("X %s %d %.3f\n", index, status, (now() - begun) * 1000);
}

/* A command on the console, with job control: the guest's terminal. */
static void shell(char **words, int count)
{
	int tty = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC), status = -1;
	struct winsize size = { .ws_row = (unsigned short)atoi(words[1]),
				.ws_col = (unsigned short)atoi(words[2]) };
	struct pollfd fds[2];
	pid_t pid;
	int pidfd;

	words[count] = NULL;
	ioctl(tty, TIOCSWINSZ, &size);
	pid = fork();
	if (pid == 0) {
		setsid();
		ioctl(tty, TIOCSCTTY, 1);
		dup2(tty, 0);
		dup2(tty, 1);
		dup2(tty, 2);
		chdir("/root");
		execvp(words[3], words + 3);
		dprintf(2, "%s: %s\n", words[3], strerror(errno));
		_exit(127);
	}
	/* The host tells a new size as two bytes each, big-endian: rows, columns. */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	fds[0] = (struct pollfd){ pidfd, POLLIN, 0 };
	fds[1] = (struct pollfd){ results, POLLIN, 0 };
	while (poll(fds, 2, -1) >= 0 && !fds[0].revents) {
		unsigned char b[4];
		size_t n = 0;

		while (n < sizeof(b)) {
			ssize_t got = read(results, b + n, sizeof(b) - n);

			if (got <= 0)
				break;
			n += (size_t)got;
		}
		if (n < sizeof(b))
			break;
		size.ws_row = (unsigned short)(b[0] << 8 | b[1]);
		size.ws_col = (unsigned short)(b[2] << 8 | b[3]);
		ioctl(tty, TIOCSWINSZ, &size);
	}
	waitpid(pid, &status, 0);
	say("X 0 %d 0\n", status);
}

static void do_job(void)
{
	FILE *job = fopen(JOB, "re");
	char *line = NULL, *nonce = NULL;
	size_t room = 0;
	ssize_t len;

	if (!job) {
		say("M %s %d\n", JOB, errno);
		return;
	}
	while ((len = getline(&line, &room, job)) > 0) {
		char *words[WORDS + 1], *rest = line;
		int count = 0;

		line[len - 1] = '\0';
		while (count < WORDS && (words[count] = strsep(&rest, "\t")))
			count++;
		if (strcmp(words[0], "nonce") == 0 && count == 2)
			nonce = strdup(words[1]);
		else if (strcmp(words[0], "module") == 0 && count == 2)
			load(words[1]);
		else if (strcmp(words[0], "run") == 0 && count > 3)
			run(words, count);
		else if (strcmp(words[0], "shell") == 0 && count > 3)
			shell(words, count);
	}
	say("Z %s\n", nonce ? nonce : "-");
}

int main(void)
{
	struct utsname uts;

	mount_all();
	results = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (results < 0) /* user-mode Linux: the second line is its own */
		results = open("/dev/tty1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	raw(results);
	sethostname("guest", 5);
	loopback_up();
	setenv("PATH", "/nslabs/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("TERM", "linux", 1);
	uname(&uts);
	say("H %s\n", uts.release);
	do_job();
	tcdrain(results);
	sync();
	reboot(RB_AUTOBOOT); /* what ends QEMU with -no-reboot */
	return 0;
}
