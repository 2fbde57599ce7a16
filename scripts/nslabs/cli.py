"""The command line: finds the verb, runs it, and ends the process rightly.

Each module `verb_NAME` is a verb, `verb_A_B` the verb of two words "A B". It has
SUMMARY (a line for the help), ORDER (its place there), `arguments(parser)` and
`main(args) -> exit code`; with AFTER, what follows -- is `args.after`. A new file is
a new verb; nothing else knows them by name.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from . import signals
from .errors import BROKEN, OK, USAGE, Interrupted, UserError, errno_text, suggestion

PREFIX = "verb_"


def main(argv: list[str]) -> int:
    """Run `nslab ARGV`. Returns the exit code, or dies from a signal."""
    signals.install()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    try:
        _take_stdout()
        code = _dispatch(argv)
        _flush()
        return code
    except UserError as error:
        _say(str(error))
        return _quiet_end(error.code)
    except Interrupted as stop:
        return _die(stop.signum)
    except BrokenPipeError:
        # Whoever read our output has gone; end as any filter does.
        return _die(signal.SIGPIPE)
    except OSError as error:
        place = error.filename or ("standard output" if _stuck() else "error")
        _say(f"{place}: {errno_text(error)}")
        return _quiet_end(BROKEN)


def verbs() -> list[str]:
    """The names of all verbs."""
    folder = Path(__file__).parent
    names = [path.stem[len(PREFIX) :] for path in folder.glob(f"{PREFIX}*.py")]
    return sorted(name.replace("_", " ") for name in names)


def _module(name: str) -> Any:
    """The module of a verb."""
    return import_module(f".{PREFIX}{name.replace(' ', '_')}", __package__)


def version() -> str:
    """The version of this tree or installation."""
    here = Path(__file__).resolve().parent
    for folder in (here, *here.parents[:2]):
        path = folder / "VERSION"
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    return "unknown"


class Parser(argparse.ArgumentParser):
    """Errors as one line and a way to the help; no abbreviations."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        """Wrong usage: exit 2."""
        raise UserError(f"{message}\ntry: {self.prog} --help")


def _dispatch(argv: list[str]) -> int:
    build: str | None = None
    words = list(argv)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in ("-h", "--help"):
            return _help()
        if word == "--version":
            print(f"nslab (nslabs) {version()}")
            return OK
        if word == "--build" and words:
            build = words.pop(0)
        elif word.startswith("--build="):
            build = word.partition("=")[2]
        else:
            raise UserError(f"unknown option {word}\ntry: nslab --help", USAGE)
    if not words:
        return _help()
    name = words.pop(0)
    if name == "help":
        if not words:
            return _help()
        name, words = words[0], [*words[1:], "--help"]
    family = [verb for verb in verbs() if verb.startswith(f"{name} ")]
    if family:
        if not words or words[0] in ("-h", "--help"):
            return _help(family)
        name = f"{name} {words.pop(0)}"
    if name not in verbs():
        near = suggestion(name, verbs())
        raise UserError(f"there is no verb '{name}'.{near}\ntry: nslab --help")
    verb = _module(name)
    parser = Parser(
        prog=f"nslab {name}",
        description=verb.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--build",
        metavar="DIR",
        default=build,
        help="where the labs were built (default: build/, or $NSLABS_BUILD)",
    )
    verb.arguments(parser)
    after: list[str] = []
    if hasattr(verb, "AFTER") and "--" in words:
        mark = words.index("--")
        words, after = words[:mark], words[mark + 1 :]
    try:
        args = parser.parse_intermixed_args(words)
    except SystemExit as end:
        return int(end.code or 0)
    args.after = after
    code: int = verb.main(args)
    return code


def _help(names: list[str] | None = None) -> int:
    rows = []
    for name in names or verbs():
        verb = _module(name)
        rows.append((verb.ORDER, name, verb.SUMMARY))
    print("Usage: nslab VERB [OPTION]...\n")
    print("Experiments on Linux namespaces, run on this kernel and checked.\n")
    for _, name, summary in sorted(rows):
        print(f"  {name:<11} {summary}")
    print("\n  nslab VERB --help tells more; nslab --version")
    print("  --build DIR, or NSLABS_BUILD=DIR: labs built somewhere else")
    return OK


def _say(message: str) -> None:
    _stuck()  # what was printed before comes before
    try:
        sys.stderr.write(f"nslab: {message}\n")
        sys.stderr.flush()
    except OSError:
        pass


def _take_stdout() -> None:
    """Standard output as a buffer of our own, whatever PYTHONUNBUFFERED says.

    What could not be written stays in it, so that it can be asked for the error
    later; and a character that the output cannot show does not end the command.
    """
    if sys.stdout is None:
        raise UserError("standard output is closed")
    raw = io.FileIO(sys.stdout.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=sys.stdout.isatty(),
    )


def _stuck() -> bool:
    """Whether standard output cannot be written: what failed once fails again."""
    try:
        sys.stdout.flush()
    except (OSError, AttributeError):
        return True
    return False


def _flush() -> None:
    """Whatever was printed must really have gone out."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"standard output: {errno_text(error)}", BROKEN) from None


def _quiet_end(code: int) -> int:
    """Nothing more may fail: Python flushes once more on its way out."""
    if _stuck():
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    return code


def _die(signum: int) -> int:
    _stuck()
    signals.die_from(signum)
    return 128 + signum
