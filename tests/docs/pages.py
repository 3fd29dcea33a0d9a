"""What README.md and docs/ hold: blocks of commands and of Python, links, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
# beside these the links of what the site takes from elsewhere
LINKED = (
    *PAGES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "yolo_edge/sample/MODEL_CARD.md",
)

_SHELL = ("sh", "bash", "console")
_PROGRAMS = (
    "yolo-edge",
    "python",
    "python3",
    "pip",
    "make",
    "apt",
    "pkg",
    "source",
    "ssh",
    "scp",
    ".venv-dev/bin/python",
)
_FENCE = re.compile(r"^(`{3,})(\S*)")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
_PAGE_NOT_RUN = re.compile(r"<!-- the commands of this page are not run: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file.
        line: Where the fence begins, from 1.
        language: Behind the fence; empty: none.
        lines: What is in it.
        not_run: Why the page says that it cannot be run here; empty: it can.
    """

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    not_run: str = ""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_python(self) -> bool:
        return self.language == "python"

    @property
    def has_commands(self) -> bool:
        """Whether it is for a shell, tagged or not."""
        if self.language:
            return self.language in _SHELL
        first = next((line.split()[0] for line in self.lines if line.strip()), "")
        return first == "$" or first in _PROGRAMS

    @property
    def is_synopsis(self) -> bool:
        """Whether it shows what a command takes: brackets, alternatives, dots."""
        prompts = any(line.startswith("$ ") for line in self.lines)
        shown = [line for line in self.lines if line.startswith("$ ") or not prompts]
        return self.has_commands and bool(re.search(r"\[-|(?m:^yolo-edge .* \| )| \.\.\.( |$)", "\n".join(shown)))

    @property
    def commands(self) -> tuple["Command", ...]:
        return tuple(_commands(self))


@dataclass
class Command:
    """One line for a shell, its continuations joined.

    Attributes:
        text: Without the prompt.
        shown: What the page shows that it prints.
        fed: The lines of a here-document.
    """

    text: str
    shown: list[str] = field(default_factory=list)
    fed: list[str] = field(default_factory=list)


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    whole = _PAGE_NOT_RUN.search("\n".join(lines))
    number, note = 0, ""
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            if lines[number].strip():
                remark = _NOT_RUN.fullmatch(lines[number].strip())
                note = remark[1] if remark else ""
            number += 1
            continue
        end = next(i for i in range(number + 1, len(lines)) if lines[i].startswith(fence[1]))
        reason = note or (whole[1] if whole else "")
        found.append(Block(page, number + 1, fence[2], tuple(lines[number + 1 : end]), reason))
        number, note = end + 1, ""
    return found


def _commands(block: Block) -> Iterator[Command]:
    prompts = any(line.startswith("$ ") for line in block.lines)
    lines = iter(block.lines)
    current: Command | None = None
    for line in lines:
        if prompts and not line.startswith("$ "):
            if current is not None:
                current.shown.append(line)
            continue
        text = line.removeprefix("$ ").rstrip()
        while text.endswith("\\"):
            text = text[:-1].rstrip() + " " + next(lines).strip()
        if not text or text.startswith("#"):
            continue
        current = Command(text)
        mark = re.search(r"<<'(\w+)'", text)
        if mark:
            for fed in lines:
                if fed == mark[1]:
                    break
                current.fed.append(fed)
        yield current


def prose_of(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"(?ms)^(`{3,})[^\n]*\n.*?^\1[^\n]*$", "", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """What `#…` may name, by GitHub's rule."""
    found: dict[str, int] = {}
    anchors = set()
    for match in re.finditer(r"(?m)^#{1,6} (.+)$", prose_of(page)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors
