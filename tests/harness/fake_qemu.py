"""Stands in for QEMU: reads the job of the guest it is given, and acts a guest.

Usage as that of qemu-system-x86_64. NSLABS_FAKE says what goes wrong, if anything.
It writes its job and its arguments to NSLABS_FAKE_LOG, when that names a folder.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

RELEASE = "9.9.9-made-up"


def cpio_files(archive: bytes) -> dict[str, bytes]:
    """The files of the first newc archive."""
    files: dict[str, bytes] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701", archive[at : at + 16]
        fields = [int(archive[at + n : at + n + 8], 16) for n in range(6, 110, 8)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 109 + name_size].decode()
        begin = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return files
        files[name] = archive[begin : begin + size]
        at = (begin + size + 3) & ~3


def plain(data: bytes) -> bytes:
    """As squeeze.c would send it if nothing ever came twice."""
    parts = [data[n : n + 128] for n in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def trace(lab: str, mode: str) -> list[dict[str, Any]]:
    """The events of a lab that agrees."""
    holds = mode == "experiment"
    claim: dict[str, Any] = {
        "event": "claim",
        "id": "holds",
        "text": "it holds",
        "premise": False,
        "left": "it",
        "relation": "IS",
        "right": "one",
        "left_value": "one" if holds else "two",
        "right_value": None,
        "holds": holds,
        "reason": None,
        "as_expected": True,
    }
    head = {"event": "lab", "name": lab, "question": "?", "mode": mode}
    head |= {"stage": "user", "kernel": RELEASE, "version": "0"}
    end = {"event": "end", "verdict": "agrees", "reason": None, "seconds": 0.1}
    events = [head, {"event": "step", "text": "The only step."}, claim, end]
    return [{"v": 1, "seq": n, **event} for n, event in enumerate(events, 1)]


def main() -> int:
    story = os.environ.get("NSLABS_FAKE", "good")
    arguments = " ".join(sys.argv[1:])
    if "--version" in sys.argv:
        print("QEMU emulator version 0.0")
        return 0
    found = re.search(r"socket,id=r,fd=(\d+)", arguments)
    assert found, arguments
    results = int(found[1])
    job = cpio_files(Path(sys.argv[sys.argv.index("-initrd") + 1]).read_bytes())
    lines = job["nslabs/job"].decode().splitlines()
    if log := os.environ.get("NSLABS_FAKE_LOG"):
        Path(log, "job").write_text("\n".join(lines))
        Path(log, "arguments").write_text(arguments)
        Path(log, "pid").write_text(str(os.getpid()))

    def send(text: str) -> None:
        os.write(results, plain(text.encode()))

    if "-accel kvm" in arguments and "NSLABS_FAKE_KVM" not in os.environ:
        return 1
    if story == "refuses":
        print("qemu-system-x86_64: -accel kvm: no such thing here", flush=True)
        return 1
    if story == "mute" or (story == "kvm hangs" and "-accel kvm" in arguments):
        signal.pause()
    if story == "initramfs":
        print("[    1.000000] Initramfs unpacking failed: write error", flush=True)
    print("init: begun", flush=True)
    send(f"H {RELEASE}\n")
    if story == "hangs before a lab":
        signal.pause()
    if story == "trouble":
        send("T 2 load /nslabs/modules/veth.ko\n")
    nonce = ""
    for line in lines:
        words = line.split("\t")
        if words[0] == "nonce":
            nonce = words[1]
        elif words[0] == "run":
            index, lab = words[1], words[3].rpartition("/")[2]
            mode = "control" if "--control" in words else "experiment"
            send(f"S {index}\n")
            if story == f"panics in {lab}":
                send(f"O {index} {json.dumps(trace(lab, mode)[0])}\n")
                print(
                    "[    2.000000] a reason\n[    2.1] Kernel panic - not syncing: x"
                )
                print("[    2.200000] Kernel Offset: disabled", flush=True)
                return 0
            if story == f"hangs in {lab}":
                signal.pause()
            if story == f"cut off in {lab}":
                send(f"O {index} {{")
                return 0
            if story == f"garbage in {lab}":
                os.write(results, b"\xff\xff\xff")
                signal.pause()
            for event in trace(lab, mode):
                send(f"O {index} {json.dumps(event)}\n")
            send(f"E {index} a word on standard error\nX {index} 0 12.5\n")
            if story == f"all but the end in {lab}":
                return 0
    send("Z another\n" if story == "another nonce" else f"Z {nonce}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
