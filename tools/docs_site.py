"""A hook of mkdocs: what the site has beside docs/.

Pages of the repository outside of docs/ (README, CONTRIBUTING …), the reference, schemas and examples become files of
the site, and links that people follow in the repository lead to them. Pages in docs/ that `nav` does not name come last
among the topics.
"""

import os
import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import docs_reference

ROOT = docs_reference.ROOT
# path in the repository → page
_PAGES = {
    "README.md": "guide.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "yolo_edge/sample/MODEL_CARD.md": "project/model-card.md",
}
_TITLES = {"README.md": "Commands, files, limits"}
_REFERENCE = {
    "reference/command-line.md": docs_reference.command_line,
    "reference/python.md": docs_reference.python_api,
    "reference/schemas.md": docs_reference.schemas,
    "reference/boards.md": docs_reference.boards,
}
_FILES = {
    **{schema: f"reference/schemas/{Path(schema).name}" for schema in docs_reference.SCHEMAS},
    **{f"examples/{file.name}": f"examples/{file.name}" for file in sorted((ROOT / "examples").glob("*.py"))},
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff",
}
_PLACES = {**_PAGES, **_FILES, "devices/profiles": "reference/boards.md", "docs": "index.md"}
_ORIGINS = {page: path for path, page in _PAGES.items()}
_FARM = tempfile.TemporaryDirectory(prefix="yolo-edge-docs-")  # removed when mkdocs ends
_DRAWING = re.compile(r"!\[[^\]]*\]\(([^)]+\.svg)\)")
_COMMANDS = re.compile(r'(?s)(<div class="language-sh highlight"><pre><span></span><code>)(.*?)(</code>)')
_BETWEEN = re.compile(r'(<span class="w">[^<]*</span>|\n)')
_OPTION = re.compile(r"<code>(-[^<]{1,24})</code>")
_ROW = re.compile(r"(?m)^\|.*$")
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"(?ms)^(```+).*?^\1\s*$")


@event_priority(100)  # before mkdocstrings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that `nav` does not name among the topics, and show mkdocstrings the rooms as one package."""
    named = set(_named(config.nav))
    topics = _part(config.nav, "Topics")
    for folder, part in ((".", topics), ("families", _part(topics, "Families of detectors"))):
        pages = sorted(file.relative_to(config.docs_dir) for file in Path(config.docs_dir, folder).glob("*.md"))
        part.extend(page.as_posix() for page in pages if page.as_posix() not in named)
    farm = Path(_FARM.name)
    # griffe does not look into folders that are links
    for room, place in (("yolo_edge", "."), ("export", "export"), ("benchmarks", "benchmarks"), ("devices", "devices")):
        shutil.copytree(ROOT / room, farm / "yolo_edge" / place, ignore=_not_python, dirs_exist_ok=True)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(farm)]
    return config


def _not_python(folder: str, names: list[str]) -> list[str]:
    return [
        name for name in names if not name.endswith(".py") and (Path(folder, name).is_file() or name == "__pycache__")
    ]


def _part(nav: Any, title: str) -> list[Any]:
    found: list[Any] = next(part[title] for part in nav if isinstance(part, dict) and title in part)
    return found


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav or []
    return [name for part in parts for name in _named(part)]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what is not in docs/."""
    for path, page in _PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        if path in _TITLES:
            text = re.sub(r"\A# .+", f"# {_TITLES[path]}", text)
        files.append(File.generated(config, page, content=text))
    for page, make in _REFERENCE.items():
        files.append(File.generated(config, page, content=make()))
    for path, target in _FILES.items():
        files.append(File.generated(config, target, content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has what they name."""
    here = page.file.src_uri
    origin = _ORIGINS.get(here, f"docs/{here}")
    # inside of the page drawings take the colours of its scheme
    folder = Path(config.docs_dir) / posixpath.dirname(here)
    markdown = _DRAWING.sub(lambda match: _drawing(folder / match[1]) or match[0], markdown)
    if here.startswith("reference/"):
        return markdown
    # within code of a table GitHub wants bars escaped, and shows them without; here they would be shown with
    markdown = _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), markdown)
    parts, last = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_lead(markdown[last : fence.start()], here, origin), fence[0]]
        last = fence.end()
    parts.append(_lead(markdown[last:], here, origin))
    return "".join(parts)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark options, and the words of commands, which a browser would break behind their hyphens."""
    html = _COMMANDS.sub(lambda block: block[1] + _words(block[2]) + block[3], html)
    return _OPTION.sub(r'<code class="option">\1</code>', html)


def _words(commands: str) -> str:
    parts = _BETWEEN.split(commands)
    parts[::2] = [f'<span class="word">{word}</span>' if word else "" for word in parts[::2]]
    return "".join(parts)


def _drawing(path: Path) -> str:
    """One of ours as a part of the page; empty: another picture."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return f'<div class="drawing" markdown="0">\n{text}</div>' if 'class="drawing"' in text else ""


def _lead(text: str, here: str, origin: str) -> str:
    def replace(match: re.Match[str]) -> str:
        target, mark, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        place = _PLACES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if place is None:  # of what the site has no copy only the name stays; of what there is not mkdocs complains
            return match[1].lstrip("!")[1:-2] if (ROOT / path).exists() else match[0]
        relative = posixpath.relpath(place, posixpath.dirname(here) or os.curdir)
        return f"{match[1]}{relative}{mark}{anchor}{match[3]}"

    return _LINK.sub(replace, text)
