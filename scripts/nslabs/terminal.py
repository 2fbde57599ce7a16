"""Colour, width, wrapping and the live line; all that knows what a terminal is."""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping
from typing import TextIO

STYLES = {
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "underline": "4",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
}

# verdict -> mark, mark where there is no Unicode, style
MARKS = {
    "agrees": ("✔", "+", "green"),
    "disagrees": ("✘", "x", "red"),
    "skipped": ("○", "o", "yellow"),
    "broken": ("‼", "!", "magenta"),
}

WIDEST = 100


class Screen:
    """What an output can show: colours, characters, columns."""

    def __init__(
        self, stream: TextIO, environ: Mapping[str, str] | None = None
    ) -> None:
        environ = os.environ if environ is None else environ
        self.stream = stream
        try:
            self.tty = stream.isatty()
        except ValueError:  # closed
            self.tty = False
        dumb = environ.get("TERM", "dumb") in ("", "dumb")
        self.live = self.tty and not dumb
        self.colour = self.live and not environ.get("NO_COLOR")
        encoding = (getattr(stream, "encoding", None) or "ascii").lower()
        self.unicode = encoding.replace("-", "").startswith("utf")

    @property
    def columns(self) -> int:
        """Columns of the terminal now; 80 where there is none."""
        if self.tty:
            try:
                return os.get_terminal_size(self.stream.fileno()).columns or 80
            except (OSError, ValueError):
                pass
        return shutil.get_terminal_size((80, 24)).columns

    @property
    def width(self) -> int:
        """Columns to fill: not beyond what an eye can follow."""
        return max(40, min(self.columns, WIDEST))

    def paint(self, text: str, *styles: str) -> str:
        """Text in these styles, where there are colours."""
        if not self.colour or not text or not styles:
            return text
        codes = ";".join(STYLES[style] for style in styles)
        return f"\033[{codes}m{text}\033[0m"

    def mark(self, verdict: str) -> str:
        """The painted mark of a verdict."""
        fancy, plain, style = MARKS[verdict]
        return self.paint(fancy if self.unicode else plain, style)

    def rule(self, length: int) -> str:
        """A quiet horizontal line."""
        return self.paint(("─" if self.unicode else "-") * length, "dim")

    @property
    def dot(self) -> str:
        """Stands between the parts of a line."""
        return "·" if self.unicode else "|"


def safe(text: str) -> str:
    """Text that a lab wrote, without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        (
            char
            if char.isprintable()
            else {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char, _escaped(char))
        )
        for char in text
    )


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def cells(text: str) -> int:
    """Columns that a text takes: wide characters count twice, marks not at all."""
    if text.isascii():
        return len(text)
    return sum(
        (
            0
            if unicodedata.combining(char)
            else 2
            if unicodedata.east_asian_width(char) in "WF"
            else 1
        )
        for char in text
    )


def bare(text: str) -> str:
    """Painted text without its paint."""
    return re.sub(r"\033\[[0-9;]*m", "", text)


def pad(text: str, width: int, right: bool = False) -> str:
    """Text filled with spaces to a width in columns."""
    space = " " * (width - cells(text))
    return space + text if right else text + space


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces; at least one line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        while cells(word) > width:
            # A word longer than a line (a path, Chinese) is cut where it must be.
            room = width - cells(line) - 1 if line else width
            if room < 8:
                lines.append(line)
                line = ""
                continue
            head = cut(word, room)
            lines.append(f"{line} {head}" if line else head)
            line, word = "", word[len(head) :]
        if line and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = word
        elif word:
            line = f"{line} {word}" if line else word
    if line or not lines:
        lines.append(line)
    return lines


def cut(text: str, width: int) -> str:
    """The beginning of a text that fits into a width."""
    taken = 0
    for index, char in enumerate(text):
        taken += cells(char)
        if taken > width:
            return text[:index]
    return text


def duration(seconds: float) -> str:
    """Short and of even precision: "0.4 ms", "12 ms", "3.1 s"."""
    if seconds < 0.00095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s"


def me() -> str:
    """This command, as its reader can type it again from where he is."""
    path = sys.argv[0]
    if os.path.basename(path) != "nslab" or shutil.which("nslab") == path:
        return "nslab"
    try:
        near = os.path.relpath(path)
        return min(path, near if "/" in near else f"./{near}", key=len)
    except OSError:  # the folder we are in is gone
        return path


class LiveLine:
    """One line at the bottom of a terminal that says what is going on.

    Nothing is shown on anything else. `clear` before printing anything else.
    """

    def __init__(self, stream: TextIO) -> None:
        self.screen = Screen(stream)
        self.shown = False

    def show(self, text: str) -> None:
        """Replace what the line says."""
        if not self.screen.live:
            return
        text = self.screen.paint(cut(safe(text), self.screen.columns - 1), "dim")
        self._write(f"\r\033[K{text}")
        self.shown = True

    def clear(self) -> None:
        """Remove the line."""
        if self.shown:
            self._write("\r\033[K")
            self.shown = False

    def _write(self, text: str) -> None:
        try:
            self.screen.stream.write(text)
            self.screen.stream.flush()
        except OSError:
            self.screen.live = False
