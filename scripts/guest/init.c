/* SPDX-License-Identifier: MIT */
/*
 * init - the first process of a guest: does its job, delivers the results, ends.
 *
 * The job is a file of lines, each a word and its fields, separated by tabs:
 *
 *	results PATH              the serial line that results leave through
 *	nonce WORD                this run's own word, in the last line of the results
 *	module PATH               load a kernel module
 *	run INDEX SECONDS ARGV…   run a command, give up on it after so many seconds
 *	shell ROWS COLS TTY ARGV… an interactive command on a terminal
 *	plain ROWS COLS TTY ARGV… the same on one that neither echoes nor adds returns
 *	set NAME VALUE            a variable of the environment
 *	poweroff                  end so, not by a reboot (which is what ends QEMU)
 *
 * On the console it says BEGUN first: what stands before that is of the boot.
 *
 * Results leave apart from the console, squeezed (squeeze.h), as lines: a letter, an
 * index or a number, and a text.
 *
 *	H RELEASE            the kernel, once
 *	T ERRNO TEXT         trouble: what could not be done
 *	S INDEX              started
 *	O INDEX TEXT         a line of its standard output
 *	E INDEX TEXT         a line of its standard error
 *	X INDEX STATUS MS    ended: wait(2) status, or -1 when its time was up
 *	Z NONCE              all was delivered
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "squeeze.h"

#define JOB "/nslabs/job"
#define BEGUN "init: begun"
#define WORDS 64
#define LINE 65536
#define LINGER 2.0 /* seconds for the end of its pipes after the end of a command */

extern char **environ;

static int results = -1;
static int children; /* can be read when one of them has ended */

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
	squeeze(line, len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
	squeeze_out();
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- The house --------------------------------------------------------------- */

static int mount_all(void)
{
	static const struct {
		const char *type, *dir, *options;
		int needed;
	} mounts[] = {
		{ "proc", "/proc", NULL, 1 },
		{ "sysfs", "/sys", NULL, 1 },
		{ "devtmpfs", "/dev", NULL, 1 },
		{ "tmpfs", "/dev/shm", "mode=1777", 0 },
		{ "devpts", "/dev/pts", "ptmxmode=666", 0 },
		{ "mqueue", "/dev/mqueue", NULL, 0 },
		{ "tmpfs", "/tmp", "mode=1777", 1 },
		{ "tmpfs", "/run", "mode=755", 0 },
		{ "cgroup2", "/sys/fs/cgroup", NULL, 0 },
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].dir, 0755);
		if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, 0,
			  mounts[i].options) < 0 &&
		    mounts[i].needed)
			error = errno;
	}
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	return error;
}

static void loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(s, SIOCSIFFLAGS, &lo);
	close(s);
}

static void open_results(const char *path)
{
	struct termios t;

	results = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (results < 0)
		printf("init: %s: %s\n", path, strerror(errno));
	if (tcgetattr(results, &t) == 0) {
		cfmakeraw(&t);
		tcsetattr(results, TCSANOW, &t);
	}
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if ((fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) && errno != EEXIST)
		say("T %d load %s\n", errno, path);
	close(fd);
}

/* --- Commands ---------------------------------------------------------------- */

/* Reap whatever has ended; the status of `pid` if that was among it, else -1. */
static int reap(pid_t pid)
{
	struct signalfd_siginfo told;
	int status, found = -1;
	pid_t dead;

	while (read(children, &told, sizeof(told)) > 0)
		;
	while ((dead = waitpid(-1, &status, WNOHANG)) > 0)
		if (dead == pid)
			found = status;
	return found;
}

/* One of a command's two outputs, cut into lines. */
struct stream {
	char letter;
	int fd;
	size_t len;
	char text[LINE];
};

static void send_line(const struct stream *s, const char *index, const char *text,
		      size_t len)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "%c %s ", s->letter, index);

	squeeze(head, (size_t)n);
	squeeze(text, len);
	squeeze("\n", 1);
}

/* Forward what can be read; a part of a line waits for its end. */
static void forward(struct stream *s, const char *index)
{
	ssize_t got = read(s->fd, s->text + s->len, LINE - s->len);
	char *line = s->text, *end;

	if (got <= 0) {
		if (s->len)
			send_line(s, index, s->text, s->len);
		close(s->fd);
		s->fd = -1;
		squeeze_out();
		return;
	}
	s->len += (size_t)got;
	while ((end = memchr(line, '\n', s->len))) {
		send_line(s, index, line, (size_t)(end - line));
		s->len -= (size_t)(end + 1 - line);
		line = end + 1;
	}
	memmove(s->text, line, s->len);
	if (s->len == LINE) {
		send_line(s, index, s->text, s->len);
		s->len = 0;
	}
	squeeze_out();
}

/* Start a command in a session of its own; -1 and errno. */
static pid_t start(char **argv, int out, int err)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t how;
	sigset_t none;
	pid_t pid;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&files, out, 1);
	posix_spawn_file_actions_adddup2(&files, err, 2);
	posix_spawnattr_init(&how);
	posix_spawnattr_setsigmask(&how, &none);
	posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	errno = posix_spawnp(&pid, argv[0], &files, &how, argv, environ);
	posix_spawnattr_destroy(&how);
	posix_spawn_file_actions_destroy(&files);
	return errno ? -1 : pid;
}

static void run(char **words)
{
	static struct stream out = { .letter = 'O' }, err = { .letter = 'E' };
	const char *index = words[1];
	double begun = now(), end = begun + atof(words[2]);
	int a[2] = { -1, -1 }, b[2] = { -1, -1 }, status = -1, running = 1;
	pid_t pid;

	say("S %s\n", index);
	if (pipe2(a, O_CLOEXEC) < 0 || pipe2(b, O_CLOEXEC) < 0)
		pid = -1;
	else
		pid = start(words + 3, a[1], b[1]);
	if (pid < 0) {
		say("E %s %s: %s\n", index, words[3], strerror(errno));
		status = 127 << 8;
		running = 0;
	}
	close(a[1]);
	close(b[1]);
	out.fd = a[0];
	err.fd = b[0];
	out.len = err.len = 0;
	while (running || out.fd >= 0 || err.fd >= 0) {
		double left = end - now();
		struct pollfd fds[] = { { .fd = out.fd, .events = POLLIN },
					{ .fd = err.fd, .events = POLLIN },
					{ .fd = children, .events = POLLIN } };

		if (left <= 0 || poll(fds, 3, (int)(left * 1000) + 1) == 0)
			break;
		if (fds[0].revents)
			forward(&out, index);
		if (fds[1].revents)
			forward(&err, index);
		if (fds[2].revents) {
			int ended = reap(pid);

			if (ended >= 0 && running) {
				status = ended;
				running = 0;
				end = now() + LINGER < end ? now() + LINGER : end;
			}
		}
	}
	if (pid > 0)
		kill(-pid, SIGKILL);
	close(out.fd);
	close(err.fd);
	say("X %s %d %.3f\n", index, status, (now() - begun) * 1000);
}

/* A new size of the terminal, as the host tells it: a line with two numbers. */
static int told_size(struct winsize *size)
{
	static char line[32];
	static size_t len;
	ssize_t got = read(results, line + len, sizeof(line) - 1 - len);
	char *end;
	int ok;

	len += got > 0 ? (size_t)got : 0;
	line[len] = '\0';
	end = strrchr(line, '\n');
	if (!end && len < sizeof(line) - 1)
		return 0;
	ok = sscanf(line, "%hu %hu\n", &size->ws_row, &size->ws_col) == 2;
	len = 0;
	return ok;
}

/* A command with job control on a terminal, which follows the size of the host's. */
static void shell(char **words)
{
	int tty = open(words[3], O_RDWR | O_NOCTTY | O_CLOEXEC), status = -1;
	struct winsize size = { .ws_row = (unsigned short)atoi(words[1]),
				.ws_col = (unsigned short)atoi(words[2]) };
	struct pollfd fds[] = { { .fd = children, .events = POLLIN },
				{ .fd = results, .events = POLLIN } };
	struct termios t;
	pid_t pid;

	ioctl(tty, TIOCSWINSZ, &size);
	if (strcmp(words[0], "plain") == 0 && tcgetattr(tty, &t) == 0) {
		t.c_lflag &= ~(tcflag_t)ECHO;
		t.c_oflag &= ~(tcflag_t)ONLCR;
		tcsetattr(tty, TCSANOW, &t);
	}
	say("S 0\n");
	pid = fork();
	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		ioctl(tty, TIOCSCTTY, 1);
		dup2(tty, 0);
		dup2(tty, 1);
		dup2(tty, 2);
		if (chdir("/root") == 0)
			execvp(words[4], words + 4);
		dprintf(2, "%s: %s\n", words[4], strerror(errno));
		_exit(127);
	}
	while (status < 0) {
		poll(fds, 2, -1);
		if (fds[0].revents)
			status = reap(pid);
		if (fds[1].revents && told_size(&size))
			ioctl(tty, TIOCSWINSZ, &size);
	}
	tcdrain(tty);
	say("X 0 %d 0\n", status);
	for (;;) /* the host ends us: nothing more may come from the console */
		pause();
}

static int do_job(int mounted)
{
	FILE *job = fopen(JOB, "re");
	char *line = NULL, *nonce = NULL;
	int end = RB_AUTOBOOT;
	struct utsname uts;
	size_t room = 0;
	ssize_t len;

	if (!job)
		printf("init: %s: %s\n", JOB, strerror(errno));
	while (job && (len = getline(&line, &room, job)) > 0) {
		char *words[WORDS + 1], *rest = line;
		int count = 0;

		line[len - 1] = '\0';
		while (count < WORDS && (words[count] = strsep(&rest, "\t")))
			count++;
		words[count] = NULL;
		if (strcmp(words[0], "results") == 0 && count == 2) {
			open_results(words[1]);
			uname(&uts);
			say("H %s\n", uts.release);
			if (mounted != 0)
				say("T %d mount all file systems\n", mounted);
		} else if (strcmp(words[0], "nonce") == 0 && count == 2) {
			nonce = strdup(words[1]);
		} else if (strcmp(words[0], "module") == 0 && count == 2) {
			load(words[1]);
		} else if (strcmp(words[0], "run") == 0 && count > 3) {
			run(words);
		} else if ((strcmp(words[0], "shell") == 0 ||
			    strcmp(words[0], "plain") == 0) &&
			   count > 4) {
			shell(words);
		} else if (strcmp(words[0], "set") == 0 && count == 3) {
			setenv(words[1], words[2], 1);
		} else if (strcmp(words[0], "poweroff") == 0) {
			end = RB_POWER_OFF;
		}
	}
	say("Z %s\n", nonce ? nonce : "-");
	return end;
}

int main(void)
{
	sigset_t ended;
	int end, mounted = mount_all();

	printf("%s\n", BEGUN);
	fflush(stdout);
	squeeze_into(deliver);
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ended, NULL);
	children = signalfd(-1, &ended, SFD_NONBLOCK | SFD_CLOEXEC);
	sethostname("guest", 5);
	loopback_up();
	setenv("PATH", "/nslabs/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	end = do_job(mounted);
	tcdrain(results);
	sync();
	reboot(end);
	return 0;
}
