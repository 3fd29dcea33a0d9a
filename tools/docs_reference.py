"""The reference pages of the documentation: Markdown made from the code and from the schemas."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SCHEMAS = {  # file → what it describes, in one sentence
    "yolo_edge/spec.schema.json": "The spec of a model: inside exported files, and what `--spec` reads.",
    "benchmarks/result.schema.json": "What `benchmark` writes; `--json` prints the same without samples.",
    "export/plan.schema.json": "The plan of an int8 file, which `--plan` reads.",
    "export/front.schema.json": "What an export with a limit measured, which `--plan` reads with `--point`.",
    "export/comparison.schema.json": "What `compare --json` prints.",
}
# packages whose `__all__` is the Python API
PACKAGES = (
    "yolo_edge",
    "yolo_edge.export",
    "yolo_edge.datasets",
    "yolo_edge.evaluation",
    "yolo_edge.anchors",
    "yolo_edge.sample.scenes",
)


def command_line() -> str:
    """A section a command, from the program itself."""
    from typer.main import get_command  # noqa: PLC0415 - mkdocs imports this file

    from yolo_edge.cli.app import app  # noqa: PLC0415

    program = get_command(app)
    lines = [
        "# Command line",
        "",
        "What each command takes, as `--help` prints it. Exit codes: 0 done, 1 a job failed, 2 bad input or usage,",
        "128 + n ended by signal n. `--json` prints one document on standard output, and everything else on standard",
        "error.",
        "",
    ]
    for command, context in _commands(program, program.name or "yolo-edge", None):
        usage = command.get_usage(context).removeprefix("Usage: ")
        lines += [f"## {context.command_path}", "", *_paragraphs(command.help), "", "```text", usage, "```", ""]
        records = [record for param in command.params if (record := param.get_help_record(context)) is not None]
        lines += ["| option | meaning |", "|---|---|"]
        # in code a bar divides no cells
        lines += [f"| `{' '.join(name.split())}` | {_cell(text)} |" for name, text in records]
        lines.append("")
    return "\n".join(lines)


def _commands(command: Any, name: str, parent: Any) -> Iterator[tuple[Any, Any]]:
    """Commands that do something, with their contexts; groups are walked."""
    context = type(command).context_class(command, info_name=name, parent=parent)
    if hasattr(command, "commands"):
        for below in command.commands.values():
            yield from _commands(below, below.name, context)
    else:
        yield command, context


def _paragraphs(text: str | None) -> list[str]:
    return inspect.cleandoc(text or "").splitlines()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def python_api() -> str:
    """What each public package exports; mkdocstrings fills it in from the docstrings."""
    import importlib  # noqa: PLC0415

    lines = ["# Python API", "", "What packages export. Everything else may change without notice.", ""]
    for package in PACKAGES:
        module = importlib.import_module(package)
        text, _, example = (inspect.getdoc(module) or "").partition("\nExamples:\n")
        lines += [f"## {package}", "", text, ""]
        if example:
            lines += ["```pycon", inspect.cleandoc(example), "```", ""]
        for name in module.__all__:
            if not name.startswith("__"):
                lines += [f"::: {_home(package, name)}", ""]
    return "\n".join(lines)


def _home(package: str, name: str) -> str:
    """Where an exported name is defined; constants and aliases: where it is exported from."""
    import importlib  # noqa: PLC0415

    module = getattr(getattr(importlib.import_module(package), name), "__module__", None)
    return f"{module if str(module).startswith('yolo_edge') else package}.{name}"


def schemas() -> str:
    """A section a schema, a table a type."""
    lines = [
        "# JSON schemas",
        "",
        "The files are JSON Schema (2020-12); `make schema` writes them from the code, and tests hold documents to it.",
        "",
    ]
    for file, what in SCHEMAS.items():
        name = Path(file).name
        schema = json.loads((ROOT / file).read_text())
        lines += [f"## {name}", "", what, "", f"[{name}](schemas/{name})", ""]
        for kind, definition in schema["$defs"].items():
            lines += _definition(name.removesuffix(".schema.json"), kind, definition)
    return "\n".join(lines)


def _definition(schema: str, kind: str, definition: dict[str, Any]) -> list[str]:
    text, _, attributes = str(definition.get("description", "")).partition("Attributes:\n")
    meanings = {
        match[1]: " ".join(match[2].split())
        for match in re.finditer(r"(?ms)^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes)
    }
    required = definition.get("required", ())
    lines = [f"### {kind} {{ #{schema}-{kind.lower()} }}", "", *text.strip().splitlines(), ""]
    lines += ["| key | type | meaning |", "|---|---|---|"]
    for key, value in definition.get("properties", {}).items():
        note = meanings.get(key, "")
        if key not in required and value.get("default") is not None:
            note = f"{note} Default: `{json.dumps(value['default'], ensure_ascii=False)}`.".strip()
        lines.append(f"| `{key}`{'' if key in required else ' (optional)'} | {_type(schema, value)} | {_cell(note)} |")
    return [*lines, ""]


def _type(schema: str, value: dict[str, Any]) -> str:
    if "$ref" in value:
        kind = value["$ref"].rpartition("/")[2]
        return f"[{kind}](#{schema}-{kind.lower()})"
    if "anyOf" in value:
        return " or ".join(_type(schema, one) for one in value["anyOf"])
    if "enum" in value:
        return " or ".join(f"`{json.dumps(one, ensure_ascii=False)}`" for one in value["enum"])
    if value.get("type") == "array":
        inner = value.get("items") or next(iter(value.get("prefixItems", ())), {})
        length = (
            f" of {value['minItems']}"
            if value.get("minItems") and value.get("minItems") == value.get("maxItems")
            else ""
        )
        return f"array{length}: {_type(schema, inner)}" if inner else f"array{length}"
    if value.get("type") == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"object: name → {_type(schema, value['additionalProperties'])}"
    return str(value.get("type", "any"))


def boards() -> str:
    """The profiles of boards as they are."""
    lines = [
        "# Boards",
        "",
        "What is known of a board: its power rails, what their total means, limits and remedies.",
        "`yolo-edge devices probe` shows what of it applies; [Energy](../energy.md) says how it is used.",
        "",
    ]
    for file in sorted((ROOT / "devices" / "profiles").glob("*.toml")):
        lines += [f"## {file.stem}", "", "```toml", file.read_text().rstrip(), "```", ""]
    return "\n".join(lines)
