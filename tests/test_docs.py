"""Every command that a page shows is run, and answers what the page says.

A fenced `console` block is a session: commands after `$ ` (continued after `> `)
with their output. A line `...` stands for any lines, `<name>` for one word that is
the same wherever the name returns. A fenced `sh` block must merely succeed. A block
after `<!-- not run: reason -->` is not run. All of it happens as an ordinary user.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import labs

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "labs/*/*.md")
    for path in labs.ROOT.glob(pattern)
)
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*?) -->\n+)?"
    r"^```(?P<language>console|sh)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = "\001end"


@dataclass
class Command:
    """One command of a session, and the output that the page shows."""

    text: str
    output: list[str]


def session(body: str) -> list[Command]:
    """The commands of a console block."""
    commands: list[Command] = []
    for line in body.splitlines():
        if line.startswith(("$ ", "# ")):
            commands.append(Command(line[2:], []))
        elif line.startswith("> ") and commands and not commands[-1].output:
            commands[-1].text += "\n" + line[2:]
        else:
            assert commands, f"output before any command: {line!r}"
            commands[-1].output.append(line)
    return commands


def pattern(lines: list[str], bound: dict[str, str]) -> re.Pattern[str]:
    """A regular expression for shown output, placeholders bound so far filled in."""
    parts, seen = [], set(bound)
    for line in lines:
        if line.strip() in ("...", "…"):
            parts.append(r"(?:.*\n)*?")
            continue
        text = ""
        for piece in re.split(r"(<[a-z][a-z0-9_]*>)", line.rstrip()):
            name = piece[1:-1]
            if not re.fullmatch(r"<[a-z][a-z0-9_]*>", piece):
                text += re.escape(piece)
            elif name in bound:
                text += re.escape(bound[name])
            elif name in seen:
                text += f"(?P={name})"
            else:
                text += rf"(?P<{name}>[^\s\]]+)"
                seen.add(name)
        parts.append(text + r"[ \t]*\n")
    return re.compile("".join(parts))


def workshop(tmp_path: Path) -> Path:
    """A folder that looks like the tree, in which pages may write."""
    place = tmp_path / "tree"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    for entry in labs.ROOT.iterdir():
        (place / entry.name).symlink_to(entry)
    for above in [tmp_path, *tmp_path.parents]:
        if above.stat().st_uid != os.geteuid() or above == Path("/"):
            break
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o755)
    tmp_path.chmod(0o777)
    return place


def user() -> dict[str, object]:
    return labs.players()[-1].popen


def bash(script: str, home: Path) -> tuple[int, str]:
    """Exit status and whole output of a script; nothing of it stays alive."""
    place = home / "tree"
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=place if place.exists() else workshop(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "HOME": str(home),
            "NO_COLOR": "1",
            "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}",
        },
        **user(),  # type: ignore[call-overload]
    )
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return process.returncode, out


def missing_tool(text: str) -> str | None:
    """A tool of the block that this machine has not."""
    for tool in ("fuseiso", "genisoimage", "vagrant", "pstree", "ping", "tcpdump"):
        if re.search(rf"\b{tool}\b", text) and not shutil.which(tool):
            return tool
    return None


def check_session(commands: list[Command], home: Path) -> None:
    """Run the commands in one shell, and compare each answer."""
    script = "\n".join(f"{c.text}\nprintf '{MARK}\\n'" for c in commands)
    _, out = bash(script, home)
    answers = out.split(f"{MARK}\n")
    bound: dict[str, str] = {}
    for command, answer in zip(commands, answers):
        text = "".join(f"{line.rstrip()}\n" for line in answer.splitlines())
        match = pattern(command.output, bound).fullmatch(text)
        shown = "\n".join(command.output)
        assert match, f"$ {command.text}\nthe page shows:\n{shown}\nobserved:\n{text}"
        bound.update(match.groupdict())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(labs.ROOT)))
def test_commands_of_the_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    for block in FENCE.finditer(page.read_text(encoding="utf-8")):
        body = block["body"]
        if block["reason"] or missing_tool(body):
            continue
        if block["language"] == "console":
            check_session(session(body), tmp_path)
        else:
            code, out = bash(f"set -e\n{body}", tmp_path)
            assert code == 0, f"{body}\nexit {code}\n{out}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(labs.ROOT)))
def test_links_of_the_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_the_ladder_of_the_readme_is_that_of_the_labs() -> None:
    ladder = [str(labs.ROOT / "scripts" / "ladder"), "--check"]
    done = subprocess.run(ladder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_page_that_shows_another_answer_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="observed"):
        check_session(session("$ echo one\ntwo\n"), tmp_path)


def test_a_placeholder_must_return_with_the_same_value(tmp_path: Path) -> None:
    check_session(session("$ echo a 1 1\na <n> <n>\n$ echo 1\n<n>\n"), tmp_path)
    with pytest.raises(AssertionError):
        check_session(session("$ echo 1\n<n>\n$ echo 2\n<n>\n"), tmp_path)
