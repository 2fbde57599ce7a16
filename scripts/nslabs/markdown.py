"""A page in the terminal: the Markdown of the labs' pages, wrapped and painted.

Not all of Markdown, but what pages use: headings, paragraphs, emphasis, code, lists,
tables, quotations, links, and the few HTML tags that fold an answer away.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from .terminal import Screen, bare, cells, cut

FENCE = re.compile(r"^( {0,3})(`{3,}|~{3,})\s*([^`]*)$")
HEADING = re.compile(r"^ {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*$")
UNDERLINE = re.compile(r"^ {0,3}(=+|-+)\s*$")
RULE = re.compile(r"^ {0,3}([-*_])\s*(?:\1\s*){2,}$")
ITEM = re.compile(r"^( *)([-*+]|\d{1,9}[.)])( +|$)(.*)$")
QUOTE = re.compile(r"^ {0,3}> ?(.*)$")
TABLE_RULE = re.compile(r"^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
INLINE = re.compile(
    r"\\(?P<escape>[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|!\[(?P<alt>[^\]]*)\]\((?P<image>[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)[^)]*\)"
    r"|\[(?P<text>(?:[^\[\]]|\[[^\]]*\])+)\]"
    r"\((?P<url>[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)"
    r"|<(?P<auto>[a-z][a-z+.-]*:[^<>\s]+)>"
    r"|(?P<strong>\*\*|__)(?=\S)(?P<bold>.+?)(?<=\S)(?P=strong)"
    r"|\*(?=[^\s*])(?P<star>.+?)(?<=[^\s*])\*(?!\*)"
    r"|(?<!\w)_(?=[^\s_])(?P<under>.+?)(?<=[^\s_])_(?!\w)"
    r"|(?P<tag></?[A-Za-z][^<>]*>)",
    re.DOTALL,
)

Style = tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """A stretch of text in one style; a line break where the text is a newline."""

    text: str
    style: Style = ()


def render(text: str, screen: Screen, width: int) -> str:
    """The page, as lines of at most `width` columns (code is never broken)."""
    page = _Page(screen)
    lines = page.blocks(_without_comments(text).splitlines(), max(20, width))
    while lines and not lines[0]:
        lines.pop(0)
    if page.links:
        lines += ["", screen.paint("Links", "bold")]
        for number, url in enumerate(page.links, 1):
            lines.append(f"  [{number}] {screen.paint(url, 'dim')}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Page:
    """One rendering; remembers the links it has met."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.links: list[str] = []

    # --- Blocks

    def blocks(self, lines: list[str], width: int) -> list[str]:
        """Render lines of Markdown; blocks are set apart by one empty line."""
        out: list[str] = []
        index = 0
        while index < len(lines):
            line = lines[index]
            if not line.strip():
                index += 1
                continue
            block, index = self._block(lines, index, width)
            if block:
                out += ["", *block] if out else block
        return out

    def _block(self, lines: list[str], index: int, width: int) -> tuple[list[str], int]:
        """The block that begins at this line, and the line after it."""
        line = lines[index]
        fence = FENCE.match(line)
        if fence:
            return self._fenced(lines, index, fence)
        heading = HEADING.match(line)
        if heading:
            words = self._heading(heading[2] or "", len(heading[1]), width)
            return words, index + 1
        if RULE.match(line):
            return [self.screen.rule(width)], index + 1
        if QUOTE.match(line):
            return self._quote(lines, index, width)
        if line.startswith(("    ", "\t")):
            return self._indented(lines, index)
        if ITEM.match(line):
            return self._list(lines, index, width)
        if (
            "|" in line
            and index + 1 < len(lines)
            and TABLE_RULE.match(lines[index + 1])
        ):
            return self._table(lines, index, width)
        return self._paragraph(lines, index, width)

    def _heading(self, text: str, level: int, width: int) -> list[str]:
        styles: Style = ("bold",) if level < 3 else ("bold", "cyan")
        lines = self._wrapped(text, width, styles)
        if level < 3:
            line = "═" if level == 1 else "─"
            if not self.screen.unicode:
                line = "=" if level == 1 else "-"
            longest = max(cells(bare(shown)) for shown in lines)
            lines.append(self.screen.paint(line * longest, "dim"))
        elif not self.screen.colour:
            lines[0] = f"{'#' * level} {lines[0]}"
        return lines

    def _fenced(
        self, lines: list[str], index: int, fence: re.Match[str]
    ) -> tuple[list[str], int]:
        margin, mark = len(fence[1]), fence[2]
        code: list[str] = []
        index += 1
        while index < len(lines):
            line = lines[index]
            index += 1
            end = FENCE.match(line)
            if end and end[2].startswith(mark) and not end[3].strip():
                break
            code.append(line[margin:] if not line[:margin].strip() else line)
        return self._code(code), index

    def _indented(self, lines: list[str], index: int) -> tuple[list[str], int]:
        code: list[str] = []
        while index < len(lines):
            line = lines[index].expandtabs(4)
            if line.strip() and not line.startswith("    "):
                break
            code.append(line[4:])
            index += 1
        while code and not code[-1].strip():
            code.pop()
        return self._code(code), index

    def _code(self, code: list[str]) -> list[str]:
        lines = [_harmless(line.expandtabs(8)) for line in code]
        return [f"    {self.screen.paint(line, 'cyan')}" for line in lines]

    def _quote(self, lines: list[str], index: int, width: int) -> tuple[list[str], int]:
        inner: list[str] = []
        while index < len(lines) and lines[index].strip():
            quoted = QUOTE.match(lines[index])
            inner.append(quoted[1] if quoted else lines[index])
            index += 1
        bar = self.screen.paint("│" if self.screen.unicode else "|", "dim")
        return [f"{bar} {line}" for line in self.blocks(inner, width - 2)], index

    def _list(self, lines: list[str], index: int, width: int) -> tuple[list[str], int]:
        out: list[str] = []
        loose = False
        number = 0
        while index < len(lines):
            item = ITEM.match(lines[index])
            if not item or RULE.match(lines[index]):
                break
            margin = len(item[1]) + len(item[2]) + max(1, min(len(item[3]), 4))
            inner = [item[4]]
            index += 1
            blank = False
            while index < len(lines):
                line = lines[index].expandtabs(4)
                depth = len(line) - len(line.lstrip())
                if not line.strip():
                    blank = True
                    inner.append("")
                elif depth >= margin:
                    inner.append(line[margin:])
                elif depth > len(item[1]) and ITEM.match(line):
                    inner.append(line.lstrip())
                elif blank or ITEM.match(line) or HEADING.match(line):
                    break
                else:
                    inner.append(line.strip())
                index += 1
            more = index < len(lines) and ITEM.match(lines[index]) is not None
            while inner and not inner[-1].strip():
                inner.pop()
                loose = loose or more
            if item[2][0] in "-*+":
                bullet = "•" if self.screen.unicode else "-"
            else:
                number = number + 1 if out else int(item[2][:-1])
                bullet = f"{number}."
            room = width - len(bullet) - 3
            body = self.blocks(inner, room) or [""]
            if _is_tight(inner):
                body = [line for line in body if line]
            if loose and out:
                out.append("")
            out.append(f"  {bullet} {body[0]}")
            out += [" " * (len(bullet) + 3) + line for line in body[1:]]
        return out, index

    def _table(self, lines: list[str], index: int, width: int) -> tuple[list[str], int]:
        head = _cells(lines[index])
        right = [
            rule.strip().endswith(":") and not rule.strip().startswith(":")
            for rule in _cells(lines[index + 1])
        ]
        rows = [head]
        index += 2
        while index < len(lines) and "|" in lines[index] and lines[index].strip():
            rows.append(_cells(lines[index]))
            index += 1
        count = len(head)
        rows = [(row + [""] * count)[:count] for row in rows]
        right = (right + [False] * count)[:count]
        spans = [[self._spans(cell) for cell in row] for row in rows]
        widths = _widths(spans, width - 2 * (count - 1))
        out: list[str] = []
        for number, row in enumerate(spans):
            style: Style = ("bold",) if number == 0 else ()
            columns = [
                self._lines([Span(s.text, s.style + style) for s in cell], room)
                for cell, room in zip(row, widths)
            ]
            height = max(len(column) for column in columns)
            for row_line in range(height):
                parts = []
                for column, room, flush in zip(columns, widths, right):
                    shown = column[row_line] if row_line < len(column) else ""
                    space = " " * (room - cells(bare(shown)))
                    parts.append(space + shown if flush else shown + space)
                out.append("  ".join(parts))
            if number == 0:
                out.append("  ".join(self.screen.rule(room) for room in widths))
        return out, index

    def _paragraph(
        self, lines: list[str], index: int, width: int
    ) -> tuple[list[str], int]:
        words: list[str] = []
        first = index
        while index < len(lines) and lines[index].strip():
            line = lines[index]
            if index > first:
                below = UNDERLINE.match(line)
                if below:
                    level = 1 if below[1][0] == "=" else 2
                    return self._heading(" ".join(words), level, width), index + 1
                item = ITEM.match(line)
                if (
                    FENCE.match(line)
                    or HEADING.match(line)
                    or QUOTE.match(line)
                    or RULE.match(line)
                    or (item and not item[1] and item[2] in "-*+1.")
                ):
                    break
            broken = line.endswith(("  ", "\\"))
            words.append(line.strip().rstrip("\\") + ("\n" if broken else ""))
            index += 1
        text = " ".join(words)
        if not self._spans(text):
            return [], index  # tags alone
        return self._wrapped(text, width), index

    # --- Inline

    def _wrapped(self, text: str, width: int, style: Style = ()) -> list[str]:
        return self._lines(self._spans(text, style), width)

    def _spans(self, text: str, style: Style = ()) -> list[Span]:
        """A text taken apart into styles."""
        spans: list[Span] = []
        end = 0
        for match in INLINE.finditer(text):
            spans.append(_span(text[end : match.start()], style))
            spans += self._inline(match, style)
            end = match.end()
        spans.append(_span(text[end:], style))
        return [span for span in spans if span.text]

    def _inline(self, match: re.Match[str], style: Style) -> list[Span]:
        found = match.groupdict()
        if found["escape"]:
            return [Span(found["escape"], style)]
        if found["code"]:
            code = found["code"].replace("\n", " ")
            if code.startswith(" ") and code.endswith(" ") and code.strip():
                code = code[1:-1]
            mark = "" if self.screen.colour else "`"
            return [Span(f"{mark}{_harmless(code)}{mark}", (*style, "cyan"))]
        if found["image"] is not None:
            return [_span(found["alt"] or found["image"], (*style, "italic"))]
        if found["url"] is not None:
            return self._link(found["text"], found["url"], style)
        if found["auto"]:
            return [Span(found["auto"], (*style, "underline"))]
        if found["bold"]:
            return self._spans(found["bold"], (*style, "bold"))
        if found["star"] or found["under"]:
            return self._spans(found["star"] or found["under"], (*style, "italic"))
        tag = (found["tag"] or "").lower()
        if tag.startswith("<br"):
            return [Span("\n")]
        if tag.startswith("<summary"):
            return [Span("▸ " if self.screen.unicode else "> ", ("bold",))]
        if tag.startswith("</summary"):
            return [Span("\n")]
        return []

    def _link(self, text: str, url: str, style: Style) -> list[Span]:
        spans = self._spans(text, (*style, "underline"))
        if re.match(r"https?:", url) and url != text:
            if url not in self.links:
                self.links.append(url)
            number = self.links.index(url) + 1
            spans.append(Span(f" [{number}]", (*style, "dim")))
        return spans

    def _lines(self, spans: list[Span], width: int) -> list[str]:
        """Spans as painted lines, broken at spaces."""
        lines: list[list[Span]] = [[]]
        used = 0
        for word in _words(spans):
            if word == [Span("\n")]:
                lines.append([])
                used = 0
                continue
            size = sum(cells(piece.text) for piece in word)
            if used and used + 1 + size > width:
                lines.append([])
                used = 0
            if used:
                before = lines[-1][-1].style
                shared = before if before == word[0].style else ()
                lines[-1].append(Span(" ", shared))
                used += 1
            for piece in word:
                text = piece.text
                while used + cells(text) > width and cells(text) > 1:
                    if used >= width:
                        lines.append([])
                        used = 0
                        continue
                    head = cut(text, width - used) or text[0]
                    lines[-1].append(Span(head, piece.style))
                    text = text[len(head) :]
                    lines.append([])
                    used = 0
                lines[-1].append(Span(text, piece.style))
                used += cells(text)
        while len(lines) > 1 and not lines[-1]:
            lines.pop()
        return [self._painted(line) for line in lines]

    def _painted(self, line: list[Span]) -> str:
        out = ""
        index = 0
        while index < len(line):
            style, text = line[index].style, ""
            while index < len(line) and line[index].style == style:
                text += line[index].text
                index += 1
            out += self.screen.paint(text, *dict.fromkeys(style))
        return out


def _span(text: str, style: Style) -> Span:
    return Span(_harmless(html.unescape(text)), style)


def _harmless(text: str) -> str:
    """No control characters: a page must not steer the terminal."""
    return "".join(
        char for char in text if char >= " " and char != "\x7f" or char == "\n"
    )


def _words(spans: list[Span]) -> list[list[Span]]:
    """Words, each of pieces with a style; a word may change its style inside."""
    words: list[list[Span]] = []
    word: list[Span] = []
    for span in spans:
        for piece in re.findall(r"\n|[^\S\n]+|\S+", span.text):
            if piece.strip():
                word.append(Span(piece, span.style))
                continue
            if word:
                words.append(word)
                word = []
            if piece == "\n":
                words.append([Span("\n")])
    if word:
        words.append(word)
    return words


def _widths(rows: list[list[list[Span]]], room: int) -> list[int]:
    """Widths of a table's columns that together fit; narrow ones keep theirs."""
    count = len(rows[0])
    longest = [1] * count
    least = [1] * count
    for row in rows:
        for column, cell in enumerate(row):
            text = "".join(span.text for span in cell)
            longest[column] = max(longest[column], cells(text))
            words = [cells(word) for word in text.split()]
            least[column] = max([least[column], *(min(word, 24) for word in words)])
    widths = list(longest)
    while sum(widths) > room:
        spare = [width - low for width, low in zip(widths, least)]
        widest = max(
            range(count), key=lambda column: (spare[column] > 0, widths[column])
        )
        if widths[widest] <= 1 or (max(spare) <= 0 and max(widths) <= 4):
            break
        widths[widest] -= 1
    return widths


def _cells(line: str) -> list[str]:
    """The cells of a table's row; a bar in code or after a backslash is none."""
    cells_found: list[str] = []
    cell, code, index = "", False, 0
    line = line.strip()
    while index < len(line):
        char = line[index]
        if char == "\\" and line[index + 1 : index + 2] == "|":
            cell += "|"
            index += 2
            continue
        if char == "`":
            code = not code
        if char == "|" and not code:
            cells_found.append(cell.strip())
            cell = ""
        else:
            cell += char
        index += 1
    cells_found.append(cell.strip())
    if line.startswith("|"):
        cells_found.pop(0)
    if line.endswith("|") and cells_found and not cells_found[-1]:
        cells_found.pop()
    return cells_found


def _is_tight(lines: list[str]) -> bool:
    """An item without empty lines between its blocks shows none."""
    return all(line.strip() for line in lines)


def _without_comments(text: str) -> str:
    """Without HTML comments, except where code shows one."""
    parts = re.split(
        r"(?ms)(^ {0,3}(?:`{3,}|~{3,}).*?^ {0,3}(?:`{3,}|~{3,})[ \t]*$)", text
    )
    return "".join(
        part if index % 2 else COMMENT.sub("", part) for index, part in enumerate(parts)
    )
