"""Which accelerator QEMU can use here, found out by using it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from . import cache
from .guest import QEMU, Guest, Machine, Parts
from .kernels import Kernel

KVM = "/dev/kvm"
SECONDS = 5.0


def accelerator(wanted: str, kernel: Kernel, init: Path) -> str:
    """ "kvm" where a guest really runs on it, else "tcg"; "" for user-mode Linux.

    A /dev/kvm that exists may hang its guest: it is tried once, with a short limit,
    and the answer is remembered for this boot of the host and this QEMU.
    """
    if kernel.uml:
        return ""
    if wanted != "auto":
        return wanted
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    version = subprocess.run([QEMU, "--version"], capture_output=True, check=False)
    key = hashlib.sha256(boot.encode() + version.stdout).hexdigest()[:16]
    answer = cache.folder("kvm") / key
    try:
        return answer.read_text()
    except FileNotFoundError:
        guest = Guest(Machine(kernel, "kvm"), Parts(init, {}), [], SECONDS, SECONDS)
        for _ in guest.run():
            pass
        found = "kvm" if guest.delivered else "tcg"
        cache.write(answer, found.encode())
        return found
