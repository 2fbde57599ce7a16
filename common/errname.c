/* SPDX-License-Identifier: MIT */
/*
 * errname.c - errno and signals by name, and what to do about them.
 *
 * strerrorname_np(3) and sigabbrev_np(3) would do, but exist in glibc alone.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "errname.h"

#define NAMED(x)      \
	{             \
		x, #x \
	}

static const struct name {
	int number;
	const char *name;
} errnos[] = {
	NAMED(EPERM),	     NAMED(ENOENT),	    NAMED(ESRCH),
	NAMED(EINTR),	     NAMED(EIO),	    NAMED(ENXIO),
	NAMED(E2BIG),	     NAMED(ENOEXEC),	    NAMED(EBADF),
	NAMED(ECHILD),	     NAMED(EAGAIN),	    NAMED(ENOMEM),
	NAMED(EACCES),	     NAMED(EFAULT),	    NAMED(ENOTBLK),
	NAMED(EBUSY),	     NAMED(EEXIST),	    NAMED(EXDEV),
	NAMED(ENODEV),	     NAMED(ENOTDIR),	    NAMED(EISDIR),
	NAMED(EINVAL),	     NAMED(ENFILE),	    NAMED(EMFILE),
	NAMED(ENOTTY),	     NAMED(ETXTBSY),	    NAMED(EFBIG),
	NAMED(ENOSPC),	     NAMED(ESPIPE),	    NAMED(EROFS),
	NAMED(EMLINK),	     NAMED(EPIPE),	    NAMED(EDOM),
	NAMED(ERANGE),	     NAMED(EDEADLK),	    NAMED(ENAMETOOLONG),
	NAMED(ENOLCK),	     NAMED(ENOSYS),	    NAMED(ENOTEMPTY),
	NAMED(ELOOP),	     NAMED(ENODATA),	    NAMED(ETIME),
	NAMED(EPROTO),	     NAMED(EOVERFLOW),	    NAMED(EUSERS),
	NAMED(ENOTSOCK),     NAMED(EMSGSIZE),	    NAMED(EPROTOTYPE),
	NAMED(ENOPROTOOPT),  NAMED(EPROTONOSUPPORT), NAMED(EOPNOTSUPP),
	NAMED(EAFNOSUPPORT), NAMED(EADDRINUSE),	    NAMED(EADDRNOTAVAIL),
	NAMED(ENETDOWN),     NAMED(ENETUNREACH),    NAMED(ECONNABORTED),
	NAMED(ECONNRESET),   NAMED(ENOBUFS),	    NAMED(EISCONN),
	NAMED(ENOTCONN),     NAMED(ETIMEDOUT),	    NAMED(ECONNREFUSED),
	NAMED(EHOSTUNREACH), NAMED(EALREADY),	    NAMED(EINPROGRESS),
	NAMED(ESTALE),	     NAMED(EDQUOT),	    NAMED(ECANCELED),
	NAMED(EKEYREJECTED), { 0, NULL },
}, signals[] = {
	NAMED(SIGHUP),	NAMED(SIGINT),	NAMED(SIGQUIT), NAMED(SIGILL),
	NAMED(SIGTRAP), NAMED(SIGABRT), NAMED(SIGBUS),	NAMED(SIGFPE),
	NAMED(SIGKILL), NAMED(SIGUSR1), NAMED(SIGSEGV), NAMED(SIGUSR2),
	NAMED(SIGPIPE), NAMED(SIGALRM), NAMED(SIGTERM), NAMED(SIGCHLD),
	NAMED(SIGCONT), NAMED(SIGSTOP), NAMED(SIGTSTP), NAMED(SIGTTIN),
	NAMED(SIGTTOU), NAMED(SIGXCPU), NAMED(SIGXFSZ), NAMED(SIGSYS),
	{ 0, NULL },
};

static const char *find(const struct name *table, int number)
{
	static char digits[16];

	while (table->name && table->number != number)
		table++;
	if (table->name)
		return table->name;
	snprintf(digits, sizeof(digits), "%d", number);
	return digits;
}

const char *errno_name(int err)
{
	return find(errnos, err);
}

const char *signal_name(int sig)
{
	return find(signals, sig);
}

const char *errno_hint(int err)
{
	switch (err) {
	case EPERM:
		return "a capability is missing or a security policy refuses it: try `nslab doctor`";
	case EACCES:
		return "the permissions of the file or a security policy refuse it";
	case ENOSPC:
		return "a limit is reached: see /proc/sys/user/max_*_namespaces, and the disk's free space";
	case EUSERS:
		return "namespaces are nested as deep as the kernel allows";
	case ENOSYS:
		return "this kernel has no such call, or a seccomp filter hides it";
	case EINVAL:
		return "this kernel does not know the argument, or it was built without the feature";
	case EMFILE:
	case ENFILE:
		return "no descriptor is free: raise `ulimit -n`";
	case EAGAIN:
		return "no process can be added: raise `ulimit -u`";
	case ENOMEM:
		return "no memory, or a PID namespace whose init has ended";
	case ENODEV:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
		return "this kernel was built without it, or its module is missing";
	case ENOENT:
		return "the file is missing: is /proc mounted?";
	default:
		return "see the call's manual page";
	}
}
