"""Links of README.md, docs/ and their like lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import LINKED, anchors_of, prose_of
from tests.support import ROOT

# pages that the site alone has
GENERATED = {
    "docs/reference/command-line.md",
    "docs/reference/python.md",
    "docs/reference/schemas.md",
    "docs/reference/boards.md",
}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        assert not _problem(page, target), f"{page}: {target}: {_problem(page, target)}"


def _problem(page: Path, target: str) -> str:
    if re.match(r"(https|mailto):", target):
        return ""
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.is_relative_to(ROOT):
        return "outside of the project"
    if file.relative_to(ROOT).as_posix() in GENERATED:
        return ""  # mkdocs looks at those
    if not file.exists():
        return "no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors_of(file):
        return "no such heading"
    return ""


@pytest.mark.parametrize("target", ["none.md", "energy.md#none", "../../outside", "http://plain.example"])
def test_broken_links_are_seen(target: str) -> None:
    assert _problem(ROOT / "docs" / "devices.md", target)
