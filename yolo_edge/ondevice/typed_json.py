"""JSON to frozen dataclasses with every type checked: the part of msgspec that a bare device needs.

Understands what specs are made of: dataclasses, `Tuple[X, ...]`, fixed tuples, `Dict[str, X]`, `Optional[X]`,
`str`, `int`, `float`, `bool`. Unknown keys are refused: they may change a meaning.
"""

import dataclasses
import json
import math
import typing
from typing import Any, Dict, List, Type, TypeVar, Union

from yolo_edge.ondevice.errors import SpecError

T = TypeVar("T")

LATER = {"later": True}  # of a field that came after version 1 was first written


def loads(cls: Type[T], text: Union[str, bytes], where: str) -> T:
    """Parse `text` into an instance of the dataclass `cls`.

    Args:
        cls: The dataclass to build.
        text: A JSON document.
        where: What the document is, for error messages ("model.onnx: spec").

    Raises:
        SpecError: Not JSON, or not of the dataclass's form; the message names the key.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not valid JSON") from error
    return typing.cast(T, _convert(cls, value, where))


def dumps(value: Any) -> str:
    """The compact JSON of a dataclass; the same value always gives the same text.

    Empty fields with the metadata `LATER` are left out: programs from before them read the text, too.

    Raises:
        ValueError: A number in it is not finite.
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _plain(value: Any) -> Any:
    """As `dataclasses.asdict`."""
    if dataclasses.is_dataclass(value):
        items = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {field.name: _plain(item) for field, item in items if item or not field.metadata.get("later")}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:  # Optional[X]
        if value is None:
            return None
        inner = next(a for a in arguments if a is not type(None))
        return _convert(inner, value, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{where}: expected an object, got {_name(value)}")
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(kind, value, where)


def _convert_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected an object, got {_name(value)}")
    types = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SpecError(f"{where}: unknown key {unknown[0]!r}; a newer yolo-edge may have written it")
    missing = [
        name
        for name, field in fields.items()
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SpecError(f"{where}: key {missing[0]!r} is missing")
    return kind(**{key: _convert(types[key], item, f"{where}.{key}") for key, item in value.items()})


def _convert_tuple(arguments: Any, value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise SpecError(f"{where}: expected a list, got {_name(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds: List[Any] = [arguments[0]] * len(value)
    else:
        kinds = list(arguments)
        if len(value) != len(kinds):
            raise SpecError(f"{where}: expected {len(kinds)} values, got {len(value)}")
    return tuple(_convert(kinds[i], item, f"{where}[{i}]") for i, item in enumerate(value))


_SCALARS: Dict[Any, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    expected = _SCALARS[kind]
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise SpecError(f"{where}: expected a finite number, got {_name(value)}")
        return number
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SpecError(f"{where}: expected {expected}, got {_name(value)}")
    return value


def _name(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
