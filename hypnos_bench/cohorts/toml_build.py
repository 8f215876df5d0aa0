"""Frozen dataclasses from TOML tables, refusing unknown, missing and mistyped keys."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

T = TypeVar("T")


def build(kind: type[T], table: Any, where: str) -> T:
    """Make a dataclass from a TOML table.

    Fields may be str, int, float, bool, ``Literal``, sequences, mappings, other dataclasses, and unions of them.

    Parameters
    ----------
    kind : type
    table : object
        What TOML gave.
    where : str
        File and table, for messages.

    Raises
    ------
    UsageError
        One line naming the key, what was found and what is expected.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where}: expected a table")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(table, known, where)
    values = {}
    for key, f in known.items():
        if key in table:
            values[key] = check_value(table[key], hints[key], where, key)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise UsageError(f"{where}: {key!r} is missing")
    return kind(**values)


def refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ``UsageError`` for the first key that is not known, with the nearest one that is."""
    names = list(known)
    for key in table:
        if key not in names:
            raise UsageError(f"{where}: unknown key {key!r}.{did_you_mean(key, names)} Known: {', '.join(names)}")


def check_value(value: Any, hint: Any, where: str, key: str) -> Any:
    """A TOML value as the type `hint` wants it: lists as tuples, tables as dataclasses.

    Raises
    ------
    UsageError
        When it does not fit.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _any_of(value, arguments, where, key)
    if origin is Literal:
        if not any(value == word and type(value) is type(word) for word in arguments):
            near = did_you_mean(str(value), map(str, arguments))
            raise UsageError(f"{where}: {key} = {value!r} is unknown.{near} Known: {', '.join(map(str, arguments))}")
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, f"{where} [{key}]")
    if origin in (Sequence, tuple) and isinstance(value, list):
        if is_dataclass(arguments[0]) and isinstance(arguments[0], type):
            return tuple(build(arguments[0], entry, f"{where} [[{key}]] {i}") for i, entry in enumerate(value, 1))
        return tuple(check_value(entry, arguments[0], where, key) for entry in value)
    if origin is Mapping and isinstance(value, dict):
        return {name: check_value(entry, arguments[1], f"{where} [{key}]", name) for name, entry in value.items()}
    if isinstance(hint, type) and _is(value, hint):
        return float(value) if hint is float else value
    raise UsageError(f"{where}: {key} is {value!r}, expected {_name(hint)}")


def _is(value: Any, hint: type) -> bool:
    """Whether a value is of a plain type: whole numbers are numbers, true and false are not."""
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _any_of(value: Any, hints: Sequence[Any], where: str, key: str) -> Any:
    errors = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return check_value(value, hint, where, key)
        except UsageError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    expected = " or ".join(_name(hint) for hint in hints if hint is not type(None))
    raise UsageError(f"{where}: {key} is {value!r}, expected {expected}")


def _name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Sequence, tuple):
        items = "tables" if is_dataclass(arguments[0]) else _name(arguments[0])
        return f"a list of {items}"
    if origin is Mapping:
        return "a table" if arguments[1] is Any else f"a table of {_name(arguments[1])}"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if is_dataclass(hint):
        return "a table"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint))
