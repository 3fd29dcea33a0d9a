"""What a page's script needs, small: the data of all charts once, as columns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from yolo_edge.benchmarks.report.content import Content
from yolo_edge.benchmarks.report.figures import facts

Record = Mapping[str, Any]


class SharedData:
    """Takes the data out of charts, and packs it.

    What all records of a row have (its name, how it was measured) is there once, and not in each chart.
    """

    def __init__(self, content: Content):
        """For the charts of one page.

        Args:
            content: Whose rows the charts show.
        """
        self._facts: dict[int, Record] = {row.id: facts(row) for row in content.rows}
        self._datasets: dict[str, Sequence[Record]] = {}

    def without_data(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The chart with names in place of its data; which, is in its `usermeta`."""
        names: dict[str, None] = {}
        taken = self._take(spec, names)
        return {**taken, "usermeta": {"data": list(names)}}

    def packed(self) -> dict[str, Any]:
        """`rows`: what each row has; `charts`: name of a dataset → field → its column."""
        return {
            "rows": _columns(list(self._facts.values())),
            "charts": {name: _columns(self._without_facts(records)) for name, records in self._datasets.items()},
        }

    def _take(self, value: Any, names: dict[str, None]) -> Any:
        if isinstance(value, list):
            return [self._take(item, names) for item in value]
        if not isinstance(value, dict):
            return value
        records = value.get("values")
        if set(value) == {"values"} and isinstance(records, list) and records and isinstance(records[0], dict):
            name = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()[:12]
            self._datasets[name] = records
            names[name] = None
            return {"name": name}
        return {key: self._take(item, names) for key, item in value.items()}

    def _without_facts(self, records: Sequence[Record]) -> list[Record]:
        known = [self._facts.get(record.get("id", -1), {}) for record in records]
        same = {
            field
            for field in next(iter(self._facts.values()), {})
            if field != "id"
            and all(
                field in fact and record.get(field) == fact[field] for record, fact in zip(records, known, strict=True)
            )
        }
        return [{field: value for field, value in record.items() if field not in same} for record in records]


def pack(values: Sequence[Any]) -> Any:
    """A column; one of few texts as those and where each stands."""
    if all(isinstance(value, str) for value in values):
        texts = list(dict.fromkeys(values))
        if len(texts) < len(values):
            place = {text: i for i, text in enumerate(texts)}
            return {"texts": texts, "at": [place[value] for value in values]}
    return list(values)


def filters(content: Content) -> dict[str, Any]:
    """What rows can be filtered by: name → each row's value, where there is a choice."""
    columns = {
        "device": [row.cell.device for row in content.rows],
        "machine": [row.machine for row in content.rows],
        "model": [row.family for row in content.rows],
        "size": [row.size or "-" for row in content.rows],
        "precision": [row.cell.precision or "-" for row in content.rows],
        "runtime": [row.cell.runtime for row in content.rows],
        "threads": [str(row.cell.threads) for row in content.rows],
        "measured": [row.state for row in content.rows],
    }
    if len({row.pool for row in content.rows}) == len(set(columns["device"])):
        del columns["machine"]  # the device says it
    return {name: pack(values) for name, values in columns.items() if len(set(values)) > 1}


def _columns(records: Sequence[Record]) -> dict[str, Any]:
    fields = list(dict.fromkeys(field for record in records for field in record))
    return {field: pack([record.get(field) for record in records]) for field in fields}
