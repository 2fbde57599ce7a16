"""The matrix on paper: lines for a terminal, Markdown, and one HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import TextIO

from .matrix import (
    AGREES,
    BROKEN,
    DISAGREES,
    NOT_RUN,
    SKIPPED,
    Column,
    Difference,
    Matrix,
)
from .terminal import Screen, cells, pad, wrap

SIGNS = {AGREES: "✔", DISAGREES: "✘", SKIPPED: "○", BROKEN: "‼", NOT_RUN: " "}
WORDS = {
    AGREES: "agrees",
    DISAGREES: "disagrees",
    SKIPPED: "skipped",
    BROKEN: "broken",
    NOT_RUN: "not run",
}


def lines(matrix: Matrix, out: TextIO, verbose: bool) -> Iterator[str]:
    """The matrix for a terminal: kernels as columns, labs (and claims) as rows."""
    screen = Screen(out)
    labels = list(matrix.labs)
    if verbose:
        labels += [f"  {c}" for lab in matrix.labs for _, c, _, _ in matrix.claims(lab)]
    width = max((cells(label) for label in labels), default=3)
    names = [column.name for column in matrix.columns]
    room = max([4, *(cells(name) for name in names)]) + 1
    head = "".join(pad(name, room, right=True) for name in names)
    yield ""
    yield "  " + screen.paint(f"{pad('lab', width)}{head}", "bold")
    yield f"  {screen.rule(width + room * len(names))}"
    for lab in matrix.labs:
        marks = "".join(_mark(screen, c.lab(lab)[0], room) for c in matrix.columns)
        yield f"  {screen.paint(pad(lab, width), 'bold')}{marks}"
        for mode, claim, _, _ in matrix.claims(lab) if verbose else ():
            facts = [c.fact(lab, mode, claim) for c in matrix.columns]
            if mode == "control" and all(f.state == AGREES for f in facts):
                continue
            label = claim if mode == "experiment" else f"{claim} (control)"
            row = "".join(_mark(screen, fact.state, room) for fact in facts)
            yield f"    {pad(label, width - 2)}{row}"
    yield ""
    yield from _reasons(matrix, screen)
    yield from _differences(matrix, screen)


def _mark(screen: Screen, state: str, room: int) -> str:
    if state == NOT_RUN:
        return " " * (room - 1) + screen.paint("-", "dim")
    return " " * (room - 1) + screen.mark(state)


def _reasons(matrix: Matrix, screen: Screen) -> Iterator[str]:
    """Why something is not a plain yes, said once with its kernels."""
    why: dict[tuple[str, str, str], list[str]] = {}
    for column in matrix.columns:
        if column.error:
            why.setdefault(("", BROKEN, column.error), []).append(column.name)
        for lab in matrix.labs:
            state, reasons = column.lab(lab)
            for reason in reasons if state != AGREES else ():
                why.setdefault((lab, state, reason), []).append(column.name)
    for (lab, state, reason), names in sorted(why.items()):
        text = f"{lab or 'kernel'} ({', '.join(names)}): {reason}"
        first, *rest = wrap(text, screen.width - 4)
        yield f"  {screen.mark(state)} {first}"
        yield from (f"    {line}" for line in rest)
    if why:
        yield ""


def _differences(matrix: Matrix, screen: Screen) -> Iterator[str]:
    found = matrix.differences()
    if not found:
        yield "  no differences between these kernels"
    for together in _alike(found):
        difference = together[0]
        claims = ", ".join(_name(other) for other in together)
        where = "; ".join(f"{s} on {', '.join(n)}" for s, n in _groups(difference))
        text = f"{difference.lab}, {claims}: {where}"
        note = difference.declared or "UNDECLARED: not known to differ"
        style = "dim" if difference.declared else "red"
        first, *rest = wrap(text, screen.width - 4)
        yield f"  ≠ {first}" if screen.unicode else f"  # {first}"
        yield from (f"    {line}" for line in rest)
        for line in wrap(note, screen.width - 6):
            yield f"      {screen.paint(line, style)}"
    yield ""


def _name(difference: Difference) -> str:
    """A claim, with its mode where that is the control."""
    suffix = " (control)" if difference.mode == "control" else ""
    return f"{difference.claim}{suffix}"


def _groups(difference: Difference) -> list[tuple[str, list[str]]]:
    """The kernels that gave each answer."""
    groups: dict[str, list[str]] = {}
    for name, fact in difference.facts.items():
        if fact.decided:
            groups.setdefault(WORDS[fact.state], []).append(name)
    return list(groups.items())


def _alike(found: list[Difference]) -> list[list[Difference]]:
    """Claims of a lab that differ between the same kernels, for the same reason."""
    together: dict[str, list[Difference]] = {}
    for difference in found:
        key = repr((difference.lab, difference.declared, _groups(difference)))
        together.setdefault(key, []).append(difference)
    return list(together.values())


def markdown(matrix: Matrix, date: str) -> str:
    """The matrix as a page of docs/."""
    names = [column.name for column in matrix.columns]
    out = [
        "# The kernel matrix",
        "",
        f"Every lab, experiment and control, on every kernel below; run on {date} with",
        "`nslab matrix`. ✔ agrees · ✘ disagrees · ○ skipped, with its reason below ·",
        "‼ broken.",
        "A number behind ✔ counts claims that the kernel cannot answer.",
        "",
        f"| lab | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for lab in matrix.labs:
        row = []
        for column in matrix.columns:
            state, _ = column.lab(lab)
            left = column.undecided(lab)
            row.append(SIGNS[state] + (f" {left}" if left else ""))
        out.append(f"| [{lab}](../labs/{lab}/README.md) | {' | '.join(row)} |")
    out += ["", "## The kernels", "", "| name | release | run by |", "|---|---|---|"]
    out += [f"| {c.name} | {c.release} | {_engine(c)} |" for c in matrix.columns]
    out += ["", "## What was skipped", ""]
    out += list(_markdown_reasons(matrix)) or ["Nothing."]
    out += ["", "## Where kernels differ", ""]
    out += list(_markdown_differences(matrix)) or ["Nowhere."]
    return "\n".join(out) + "\n"


def _engine(column: Column) -> str:
    return column.where.rpartition(", ")[2]


def _markdown_reasons(matrix: Matrix) -> Iterator[str]:
    why: dict[tuple[str, str], list[str]] = {}
    for column in matrix.columns:
        for lab in matrix.labs:
            state, reasons = column.lab(lab)
            for reason in reasons if state != AGREES else ():
                why.setdefault((lab, reason), []).append(column.name)
    for (lab, reason), names in sorted(why.items()):
        yield f"- **{lab}** on {', '.join(names)}: {_escaped(reason)}"


def _markdown_differences(matrix: Matrix) -> Iterator[str]:
    for together in _alike(matrix.differences()):
        first = together[0]
        claims = ", ".join(_name(difference) for difference in together)
        declared = _escaped(first.declared) if first.declared else "**not declared**"
        yield f"- **{first.lab}**, {_escaped(claims)}: {declared}"
        for what, names in _groups(first):
            yield f"  - {what}: {', '.join(names)}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_")


STYLE = """
:root { color-scheme: light dark; --line: #8884; --ok: #18794e; --no: #b42318;
  --skip: #946200; --bad: #8e24aa; }
@media (prefers-color-scheme: dark) { :root { --ok: #5bd39a; --no: #ff8a80;
  --skip: #ffcc66; --bad: #e1a6f5; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem;
  padding: 0 1rem; }
table { border-collapse: collapse; } caption { text-align: left; padding: .5rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); }
th { text-align: left; } thead th { position: sticky; top: 0; background: Canvas; }
td.c { text-align: center; cursor: pointer; } td.c:focus { outline: 2px solid; }
.agrees { color: var(--ok); } .disagrees { color: var(--no); font-weight: bold; }
.skipped { color: var(--skip); } .broken { color: var(--bad); font-weight: bold; }
tr.claim { display: none; font-size: .9rem; } .open tr.claim { display: table-row; }
tr.lab th { cursor: pointer; }
tr.claim th { font-weight: normal; padding-left: 2rem; }
#what { position: sticky; bottom: 0; background: Canvas; padding: .6rem 0;
  border-top: 2px solid var(--line); min-height: 3.2rem; }
code { font-size: .9em; } .diff { background: #fa03; }
"""

SCRIPT = """
const what = document.getElementById('what');
for (const cell of document.querySelectorAll('td.c')) {
  cell.tabIndex = 0;
  const show = () => { what.textContent = cell.dataset.what; };
  cell.addEventListener('click', show);
  cell.addEventListener('focus', show);
}
for (const head of document.querySelectorAll('tr.lab th')) {
  const body = head.closest('tbody');
  head.tabIndex = 0;
  const turn = () => body.classList.toggle('open');
  head.addEventListener('click', turn);
  head.addEventListener('keydown', e => { if (e.key === 'Enter') turn(); });
}
const data = JSON.parse(document.getElementById('data').textContent);
const pick = [...document.querySelectorAll('select')];
const compare = () => {
  const [a, b] = pick.map(p => p.value);
  const told = (row, kernel) => row.facts[kernel].join(': ');
  const rows = data.filter(r => told(r, a) !== told(r, b));
  const table = document.getElementById('differences');
  table.replaceChildren(...rows.map(r => {
    const tr = document.createElement('tr');
    for (const text of [r.name, told(r, a), told(r, b), r.varies || '']) {
      const td = document.createElement('td');
      td.textContent = text;
      tr.append(td);
    }
    return tr;
  }));
  document.getElementById('count').textContent = rows.length + ' differences';
};
pick.forEach(p => p.addEventListener('change', compare));
compare();
"""


def page(matrix: Matrix, date: str) -> str:
    """One HTML file: every cell with the values behind it, any two kernels compared."""
    quote = html.escape
    names = [column.name for column in matrix.columns]
    heads = "".join(
        f'<th scope="col" title="{quote(c.release)}">{quote(c.name)}</th>'
        for c in matrix.columns
    )
    bodies = "".join(_body(matrix, lab) for lab in matrix.labs)
    choices = [
        "".join(
            f"<option{' selected' if n == chosen else ''}>{quote(n)}</option>"
            for n in names
        )
        for chosen in (names[0] if names else "", names[-1] if names else "")
    ]
    data = json.dumps(list(_compared(matrix))).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>nslabs: kernel matrix</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>Claims against kernels</h1>
<p>Run on {quote(date)}. Select a lab for its claims, a cell for what was observed.
<span class="agrees">✔ agrees</span> · <span class="disagrees">✘ disagrees</span> ·
<span class="skipped">○ skipped</span> · <span class="broken">‼ broken</span></p>
<table><thead><tr><th scope="col">lab</th>{heads}</tr></thead>{bodies}</table>
<div id="what" aria-live="polite"></div>
<h2>Two kernels compared</h2>
<p><select aria-label="first kernel">{choices[0]}</select> and
<select aria-label="second kernel">{choices[1]}</select>: <span id="count"></span></p>
<table><tbody id="differences"></tbody></table>
<script type="application/json" id="data">{data}</script>
<script>{SCRIPT}</script></html>
"""


def _body(matrix: Matrix, lab: str) -> str:
    row = "".join(
        _cell(*_of_lab(column, lab), left=column.undecided(lab))
        for column in matrix.columns
    )
    rows = [f'<tr class="lab"><th scope="row">{html.escape(lab)}</th>{row}</tr>']
    for mode, claim, text, premise in matrix.claims(lab):
        facts = [column.fact(lab, mode, claim) for column in matrix.columns]
        cells_of = "".join(_cell(f.state, f.value) for f in facts)
        kind = "premise" if premise else "claim"
        label = f"{text} ({kind}{', control' if mode == 'control' else ''})"
        head = f'<th scope="row">{html.escape(label)}</th>'
        rows.append(f'<tr class="claim">{head}{cells_of}</tr>')
    return f"<tbody>{''.join(rows)}</tbody>"


def _of_lab(column: Column, lab: str) -> tuple[str, str]:
    state, reasons = column.lab(lab)
    return state, "; ".join(reasons) or WORDS[state]


def _cell(state: str, what: str, left: int = 0) -> str:
    note = f" <small>-{left}</small>" if left else ""
    quoted = html.escape(f"{WORDS[state]}: {what}", quote=True)
    return (
        f'<td class="c {state.replace(" ", "-")}" data-what="{quoted}" '
        f'title="{quoted}">{SIGNS[state]}{note}</td>'
    )


def _compared(matrix: Matrix) -> Iterator[Mapping[str, object]]:
    """Every claim with each kernel's answer; numbers that always vary are left out."""
    for lab in matrix.labs:
        for mode, claim, _, _ in matrix.claims(lab):
            facts = {c.name: c.fact(lab, mode, claim) for c in matrix.columns}
            suffix = " (control)" if mode == "control" else ""
            yield {
                "name": f"{lab}.{claim}{suffix}",
                "facts": {
                    name: [fact.state, fact.value if fact.state != AGREES else ""]
                    for name, fact in facts.items()
                },
                "varies": next((f.varies for f in facts.values() if f.varies), None),
            }
