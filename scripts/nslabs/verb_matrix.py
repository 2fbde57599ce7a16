"""Run the labs, experiment and control, on many kernels: which claim holds where.

Kernels are columns, labs (with -v, claims) are rows. By default all kernels that were
fetched and the host's own running kernel, as "this". Every kernel is a job of its own.

Exit code: 0; 1 a claim disagrees (with --strict also: kernels differ where no claim
declares it); 99 broken, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from . import junit
from .errors import BROKEN, Interrupted, UserError, errno_text
from .labs import find_house
from .matrix import Column, Matrix
from .matrix_pages import lines, markdown, page
from .terminal import LiveLine, duration
from .trace import Result
from .verb_run import positive, processors
from .vm import kernels
from .vm.guest import Machine

SUMMARY = "claims against kernels: which holds where"
ORDER = 10
THIS = "this"
CROWDED = 3.0  # how much longer, when guests outnumber processors


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab matrix`."""
    parser.add_argument("labs", metavar="LAB", nargs="*", help="labs; default: all")
    parser.add_argument(
        "--kernels",
        metavar="NAME,...",
        help=f'such as 5.10,6.12,uml; "{THIS}" is the running one, "fetched" all in '
        f"the cache (default: fetched,{THIS})",
    )
    parser.add_argument(
        "--jobs", "-j", metavar="N", type=positive, help="kernels at the same time"
    )
    parser.add_argument(
        "--strict", action="store_true", help="an undeclared difference fails"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a row each claim")
    parser.add_argument(
        "--json", action="store_true", help="the matrix as JSON instead"
    )
    for name, what in (
        ("markdown", "a Markdown table"),
        ("html", "a self-contained page"),
        ("junit", "JUnit XML"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", help=f"also write {what}")
    parser.add_argument(
        "--accel", choices=["auto", "kvm", "tcg"], default="auto", help="for QEMU"
    )


def main(args: argparse.Namespace) -> int:
    """Run, then show."""
    find_house(args.build).choose_built(args.labs)
    names = _names(args.kernels)
    for name in (args.markdown, args.html, args.junit):
        if name and not os.access(Path(name).resolve().parent, os.W_OK):
            raise UserError(f"{name}: its folder cannot be written")
    jobs = args.jobs or processors()
    columns = {name: Column(name) for name in names}
    live = LiveLine(sys.stderr)
    began = time.monotonic()
    work = _gather(args, names, jobs, live)
    try:
        for column in work:
            columns[column.name] = column
            live.clear()
            if not args.json:
                print(_told(column), file=sys.stderr, flush=True)
    except Interrupted:
        live.clear()
        print(
            "nslab: interrupted; kernels without a result are left out", file=sys.stderr
        )
        columns = {name: c for name, c in columns.items() if c.results}
        _write(args, Matrix(list(columns.values())))
        raise
    finally:
        work.close()
        live.clear()
    matrix = Matrix(list(columns.values()))
    _write(args, matrix)
    if not args.json:
        print(
            f"  {len(names)} kernels in {duration(time.monotonic() - began)}, "
            f"{jobs} at a time"
        )
    return matrix.exit_code(args.strict)


def _names(wanted: str | None) -> list[str]:
    """The kernels asked for, oldest first; all must be here."""
    here = [kernel.name for kernel in kernels.fetched()]
    names: dict[str, None] = {}
    for word in (wanted or f"fetched,{THIS}").split(","):
        for name in here if word == "fetched" else [word]:
            if name and name != THIS:
                Machine(kernels.find(name)).need()
            if name:
                names.setdefault(name)
    if not names:
        raise UserError("no kernels; 'nslab vm fetch 6.12' gets one")
    return sorted(names, key=lambda name: (name == THIS, kernels.order(name)))


@dataclass
class _Job:
    """One kernel at work: a process whose output is a JSON report."""

    name: str
    process: subprocess.Popen[bytes]
    began: float
    out: bytearray
    err: bytearray


def _start(args: argparse.Namespace, name: str, slow: float) -> _Job:
    words = [sys.executable, "-m", __package__ or "nslabs"]
    if args.build:
        words += ["--build", args.build]
    if name == THIS:
        words += ["run", "--both", "--json", "--jobs", "1"]
    else:
        words += ["vm", "run", "--both", "--json", "--kernel", name]
        words += ["--accel", args.accel, "--slow", f"{slow:g}"]
    folder = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [*words, *args.labs],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return _Job(name, process, time.monotonic(), bytearray(), bytearray())


def _gather(
    args: argparse.Namespace, names: list[str], jobs: int, live: LiveLine
) -> Generator[Column, None, None]:
    """Run every kernel, so many at a time; columns as they come."""
    waiting = names[::-1]
    running: list[_Job] = []
    done = 0
    began = time.monotonic()
    slow = CROWDED if jobs > processors() else 1.0
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    job = _start(args, waiting.pop(), slow)
                    running.append(job)
                    for stream, into in (
                        (job.process.stdout, job.out),
                        (job.process.stderr, job.err),
                    ):
                        assert stream
                        selector.register(stream, selectors.EVENT_READ, into)
                for key, _ in selector.select(0.5):
                    data = os.read(key.fd, 1 << 16)
                    key.data.extend(data)
                    if not data:
                        selector.unregister(key.fileobj)
                here = {id(key.data) for key in selector.get_map().values()}
                for job in list(running):
                    if not {id(job.out), id(job.err)} & here:
                        running.remove(job)
                        done += 1
                        yield _column(job)
                now = ", ".join(job.name for job in running)
                seconds = time.monotonic() - began
                live.show(f"  {done} of {len(names)}, now {now}, {seconds:.0f} s")
        finally:
            for job in running:
                job.process.terminate()
            for job in running:
                job.process.communicate()


def _column(job: _Job) -> Column:
    """What a finished job came to."""
    status = job.process.wait()
    for stream in (job.process.stdout, job.process.stderr):
        if stream:
            stream.close()
    seconds = time.monotonic() - job.began
    with suppress(ValueError, KeyError):
        return Column.of(job.name, json.loads(bytes(job.out)), seconds)
    said = bytes(job.err).decode("utf-8", "replace").strip()
    why = said.splitlines()[-1] if said else f"exit code {status}"
    return Column(job.name, seconds=seconds, error=why)


def _told(column: Column) -> str:
    verdicts = [result["verdict"] for result in column.results.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    text = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    return f"  {column.name}: {column.error or text} ({duration(column.seconds)})"


def _write(args: argparse.Namespace, matrix: Matrix) -> None:
    today = datetime.date.today().isoformat()
    if args.json:
        json.dump(matrix.to_json(), sys.stdout, indent=1)
        print()
    else:
        for line in lines(matrix, sys.stdout, args.verbose):
            print(line)
    for name, data in (
        (args.markdown, markdown(matrix, today).encode()),
        (args.html, page(matrix, today).encode()),
        (args.junit, junit.document(_results(matrix))),
    ):
        if name:
            try:
                Path(name).write_bytes(data)
            except OSError as error:
                raise UserError(f"{name}: {errno_text(error)}", BROKEN) from None


def _results(matrix: Matrix) -> Iterator[Result]:
    """Every result, its lab named with its kernel."""
    for column in matrix.columns:
        for result in column.results.values():
            yield replace(Result.of(result), lab=f"{column.name}.{result['lab']}")
