"""Write the JSON Schemas of specs, plans, fronts, comparisons and benchmark results; `--check` only compares."""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from yolo_edge.benchmarks.result_file import json_schema
from yolo_edge.export.comparison.result import json_schema as comparison_schema
from yolo_edge.export.quantization.front import json_schema as front_schema
from yolo_edge.export.quantization.plan import json_schema as plan_schema
from yolo_edge.ondevice.spec import ModelSpec

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Write or compare."""
    spec = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "yolo_edge.spec, version 1",
        **msgspec.json.schema(ModelSpec),
    }
    for definition in spec["$defs"].values():
        definition["additionalProperties"] = False  # unknown keys are refused
    _write(ROOT / "yolo_edge" / "spec.schema.json", spec)
    _write(ROOT / "benchmarks" / "result.schema.json", json_schema())
    _write(ROOT / "export" / "plan.schema.json", plan_schema())
    _write(ROOT / "export" / "front.schema.json", front_schema())
    _write(ROOT / "export" / "comparison.schema.json", comparison_schema())


def _write(target: Path, schema: dict[str, Any]) -> None:
    for definition in schema["$defs"].values():
        definition["description"] = inspect.cleandoc(definition["description"])
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not target.exists() or target.read_text() != text:
            sys.exit(f"{target} is not what the code says: run `make schema`")
        return
    target.write_text(text)


if __name__ == "__main__":
    main()
