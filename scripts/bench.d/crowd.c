/* SPDX-License-Identifier: MIT */
/* crowd N - N processes asleep, gone when this one goes; says when they are there. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int size = argc > 1 ? atoi(argv[1]) : 1;

	for (int i = 0; i < size; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("crowd: fork");
			return 1;
		}
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	puts("here");
	fflush(stdout);
	for (;;)
		pause();
}
