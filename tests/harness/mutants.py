"""Labs with one thing wrong: all mutants of a lab in one program, by one compilation.

Each place in the source that can be mutated asks at run time whether it is the one:
NSLABS_MUTANT is its number. A claim is mutated before the run in the same way, by
NSLABS_CLAIM, its place in the table, and NSLABS_CHANGE, what is done to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import build
from .labs import ROOT

# Before the lab's own first line: how a place asks, and how a claim is changed.
PROLOGUE = f'#include "{Path(__file__).parents[1]}/fixtures/mutants.h"\n#line 1 "%s"\n'

COMMENT_OR_TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL
)
STATEMENT = re.compile(r"^[ \t]+(CALL|NEED|TRY)\(", re.MULTILINE)
CHOICE = re.compile(r"\b(isolate|in_control)\(")
FLAG = re.compile(r"\bCLONE_NEW[A-Z]+\b")
FLAGGED = re.compile(r"\b(isolate|spawn|unshare)\(")
TABLE = re.compile(r"\bstatic const struct claim (\w+)\[\] = \{")
MAIN = re.compile(r"\breturn lab_main\(")


@dataclass(frozen=True)
class Mutant:
    """One place: its number, where it stands, and what is done to it."""

    number: int
    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass
class Mutated:
    """A lab's source with all its mutants."""

    name: str
    source: str = ""
    mutants: list[Mutant] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return ROOT / "labs" / self.name

    def compile(self, folder: Path) -> Path:
        """The program, in a folder that everybody can reach."""
        source = folder / f"{self.name}.mutants.c"
        source.write_text(self.source)
        program = folder / self.name
        rest = [p for p in self.folder.glob("*.c") if p.stem != self.name]
        done = build.compile_lab(source, program, like=self.name, more=rest)
        assert done.returncode == 0, done.stderr
        return program


def blanked(source: str) -> str:
    """The source with blanks for comments, texts and macros, of the same length."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    code = COMMENT_OR_TEXT.sub(blank, source)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.MULTILINE)


def closing(code: str, opening: int) -> int:
    """Where the parenthesis that opens there is closed."""
    depth = 0
    for place in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[place], 0)
        if depth == 0:
            return place
    raise ValueError("a parenthesis is not closed")


def places(code: str) -> Iterator[tuple[int, int, str, str, str]]:
    """Begin, end, what comes before and behind, and the kind of each mutation."""
    for match in STATEMENT.finditer(code):
        begin = match.start(1)
        end = closing(code, match.end() - 1)
        alone = code[:begin].rstrip().endswith((";", "{", "}", ")", ":", "else"))
        if alone and code[end + 1] == ";":
            yield begin, end + 2, "do { if (!mutant(%d)) ", " } while (0);", "drop"
    for match in CHOICE.finditer(code):
        end = closing(code, match.end() - 1)
        value = "0" if match[1] == "isolate" else "1"
        yield match.start(), end + 1, f"(mutant(%d) ? {value} : ", ")", f"{value} for"
    for match in FLAGGED.finditer(code):
        begin, end = match.end(), closing(code, match.end() - 1)
        flags = [f for f in FLAG.finditer(code, begin, end)]
        if match[1] == "isolate" and len(flags) < 2:
            continue  # that is the mutant of isolate() itself
        for flag in flags:
            inner = code.rfind("isolate(", begin, flag.start())
            if inner < 0 or closing(code, inner + 7) < flag.start():
                yield *flag.span(), "(mutant(%d) ? 0 : ", ")", "no"


def mutate(name: str) -> Mutated:
    """The mutants of a lab's own source."""
    original = (ROOT / "labs" / name / f"{name}.c").read_text()
    code = blanked(original)
    result = Mutated(name)
    inserts: list[tuple[int, int, str]] = []
    for number, (begin, end, before, behind, kind) in enumerate(places(code), 1):
        text = re.sub(r"\s+", " ", original[begin:end])
        line = original.count("\n", 0, begin) + 1
        result.mutants.append(Mutant(number, line, f"{kind} {text}"))
        inserts.append((begin, 1, before % number))
        inserts.append((end, 0, behind))
    table, main = TABLE.search(code), MAIN.search(code)
    assert table and main, f"{name}: no table of claims, or no main()"
    inserts.append((main.end() - len("lab_main("), 0, f"mutate({table[1]}), "))
    constant = table.start() + len("static ")
    source = original
    for place, _, text in sorted(inserts, reverse=True):
        source = source[:place] + text + source[place:]
        if place <= constant:
            constant += len(text)
    source = re.sub(TABLE, r"static struct claim \1[] = {", source)
    result.source = PROLOGUE % f"{name}.c" + source
    return result
