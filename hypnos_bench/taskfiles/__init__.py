"""Reads ``tasks/*.toml`` into :class:`~hypnos_bench.spec.TaskSpec`.

Tasks are data: a folder of the checkout, packaged as ``hypnos_bench/_tasks`` in the wheel. A file may build on one
other through ``extends = "id"`` (one level; tables are merged key by key, except that new ``classes`` with a
``class_map`` start a new map).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import TaskSpec
from hypnos_bench.taskfiles.check import MisfitError, check_task
from hypnos_bench.taskfiles.values import read_value

_FIELDS = {f.name: f for f in fields(TaskSpec)}
_REQUIRED = {name for name, f in _FIELDS.items() if f.default is MISSING and f.default_factory is MISSING}


def tasks_dir() -> Path:
    """Folder of the packaged tasks: inside the wheel, or beside the package in an editable install.

    Raises
    ------
    UsageError
        When neither is there, which means a broken installation.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_tasks", package.parent / "tasks"):
        if folder.is_dir():
            return folder
    raise UsageError(f"no task files found in {package / '_tasks'}: reinstall hypnos-bench")


def task_paths(extra: Path | None = None) -> dict[str, Path]:
    """Task id (the file's stem) to file. Tasks in the folder `extra` come on top and may not redefine one.

    Raises
    ------
    UsageError
        When `extra` is no folder, or holds an id that is taken.
    """
    paths = {path.stem: path for path in sorted(tasks_dir().rglob("*.toml"))}
    if extra is not None:
        if not extra.is_dir():
            raise UsageError(f"--tasks-dir {extra}: no such folder")
        for path in sorted(extra.rglob("*.toml")):
            if path.stem in paths:
                raise UsageError(f"{path}: task id {path.stem!r} is taken by {paths[path.stem]}; choose another id")
            paths[path.stem] = path
    return paths


def load_task(task_id: str, extra: Path | None = None) -> TaskSpec:
    """Read, extend and check one task.

    Raises
    ------
    UsageError
        Unknown id, unknown or missing key, wrong type or value: one line naming the file and the key.
    """
    paths = task_paths(extra)
    if task_id not in paths:
        raise UsageError(f"unknown task {task_id!r}.{did_you_mean(task_id, paths)} Known: {', '.join(sorted(paths))}")
    path = paths[task_id]
    table = _read(path)
    parent_id = table.pop("extends", None)
    if parent_id is None:
        return _task(table, path, {})
    merged = _merge(_parent(parent_id, path, paths), table)
    return _task(merged, path, _inherited(merged, table, parent_id))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a readable TOML file: {error}") from error


def _parent(parent_id: object, path: Path, paths: Mapping[str, Path]) -> dict[str, Any]:
    if not isinstance(parent_id, str) or parent_id not in paths:
        hint = did_you_mean(str(parent_id), paths)
        raise UsageError(f"{path}: extends = {parent_id!r} names no task.{hint}")
    parent = _read(paths[parent_id])
    if "extends" in parent:
        raise UsageError(f"{path}: extends {parent_id!r}, which itself extends another task; one level is allowed")
    return parent


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        # The parent's map leads to the parent's classes, which are not the child's when it names its own.
        replaced = key == "class_map" and "classes" in over
        merged[key] = {**merged[key], **value} if both_tables and not replaced else value
    return merged


def _inherited(merged: Mapping[str, Any], own: Mapping[str, Any], parent_id: str) -> dict[str, str]:
    """Keys, and ``table.entry`` of merged tables, that the child does not state itself, to the parent's id."""
    names = [key for key in merged if key not in own]
    for key, value in merged.items():
        if isinstance(value, dict):
            stated = own.get(key, {})
            names += [f"{key}.{entry}" for entry in value if entry not in stated]
    return dict.fromkeys(names, parent_id)


def _task(table: dict[str, Any], path: Path, inherited: Mapping[str, str]) -> TaskSpec:
    missing = sorted(_REQUIRED - set(table))
    try:
        for key in table:
            if key not in _FIELDS:
                raise MisfitError(key, f"unknown key {key!r}.{did_you_mean(key, _FIELDS)}")
        if missing:
            raise MisfitError(missing[0], f"missing key {missing[0]!r}")
        values = {key: read_value(key, value) for key, value in table.items()}
        if values["unit"] in ("recording", "person"):
            values.setdefault("unit_s", 0.0)
        task = TaskSpec(**values)
        if task.id != path.stem:
            raise MisfitError("id", f"id = {task.id!r} must equal the file name {path.stem!r}")
        check_task(task)
    except MisfitError as error:
        note = ""
        if error.key in inherited:
            key = error.key.partition(".")[0]
            note = f" ({key} is inherited from {inherited[error.key]!r}; state {key} in this file as well)"
        raise UsageError(f"{path}: {error}{note}") from error
    return task
