"""A liar: prints a recorded trace, with living processes as actors, does nothing.

Usage: liar.py TRACE. Waits for a line at each step, as a lab does with --step.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def bystander() -> int:
    """A process that lives until the liar ends: it looks like an actor."""
    liar = os.getpid()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != liar:  # it died before that
            os._exit(0)
        signal.pause()
        os._exit(0)
    return pid


def main() -> None:
    pids: dict[str, int] = {}
    try:
        with open(sys.argv[1]) as trace:
            for line in trace:
                event = json.loads(line)
                for name, number in (("who", "pid"), ("child", "child_pid")):
                    if number in event:
                        actor = event[name]
                        if actor not in pids:
                            pids[actor] = bystander()
                        event[number] = pids[actor]
                print(json.dumps(event), flush=True)
                if event["event"] == "step":
                    sys.stdin.readline()
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
