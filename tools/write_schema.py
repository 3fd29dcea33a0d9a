"""Write the JSON Schema of `ModelSpec` to yolo_edge/spec.schema.json; `--check` only compares."""

import inspect
import json
import sys
from pathlib import Path

import msgspec

from yolo_edge.ondevice.spec import ModelSpec

TARGET = Path(__file__).parent.parent / "yolo_edge" / "spec.schema.json"


def main() -> None:
    """Write or compare."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "yolo_edge.spec, version 1",
        **msgspec.json.schema(ModelSpec),
    }
    for definition in schema["$defs"].values():
        definition["additionalProperties"] = False  # unknown keys are refused
        definition["description"] = inspect.cleandoc(definition["description"])
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not TARGET.exists() or TARGET.read_text() != text:
            sys.exit(f"{TARGET} is not what the code says: run `make schema`")
        return
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
