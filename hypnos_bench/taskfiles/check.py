"""Whether the keys of a task hold together: each kind of label, unit and answer needs some and knows no others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from itertools import pairwise

from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import EPOCH_S, TaskSpec

MINUTE_S = 60.0

_UNITS: Mapping[str, tuple[str, ...]] = {
    "stage": ("epoch",),
    "events": ("epoch",),
    "rhythm": ("window",),
    "minutes": ("window",),
    "record": ("recording", "person"),
    "covariate": ("recording", "person"),
    "outcome": ("recording", "person"),
}
_KINDS: Mapping[str, tuple[str, ...]] = {
    "covariate": ("classification", "regression"),
    "outcome": ("survival",),
}
"""What a label can answer; all others are classes."""

_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "class_map": ("stage", "rhythm", "minutes", "record", "covariate"),
    "ignore": ("stage", "rhythm", "minutes", "record", "covariate"),
    "cuts": ("covariate",),
    "events": ("events",),
    "overlap_s": ("events",),
    "overlap_share": ("events",),
    "mixed": ("rhythm",),
    "columns": ("covariate", "outcome"),
    "horizons": ("outcome",),
}
"""Keys to the labels that they say something about."""

_DEFAULTS = {f.name: f.default for f in fields(TaskSpec)}
_AT_A_TIME = re.compile(r"[a-z-]+-(\d+(?:\.\d+)?)y")
"""Metrics at a horizon: ``auroc-5y``."""


class MisfitError(Exception):
    """A key that does not fit; the caller adds the file, and the parent it was inherited from.

    Parameters
    ----------
    key : str
        The key, or ``table.entry``.
    message : str
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def check_task(task: TaskSpec) -> None:
    """Raise ``MisfitError`` for the first key that does not fit the others."""
    _check_combination(task)
    _check_unit(task)
    if task.kind == "classification":
        _check_classes(task)
    else:
        for key in ("classes", "class_map", "ignore", "cuts", "positive"):
            if getattr(task, key):
                raise MisfitError(key, f"{key} is for classification, but kind = {task.kind!r}")
    _check_columns(task)
    _check_horizons(task)


def _check_combination(task: TaskSpec) -> None:
    if task.unit not in _UNITS[task.label]:
        units = " or ".join(_UNITS[task.label])
        raise MisfitError("unit", f"unit = {task.unit!r}: {task.label} labels are per {units}")
    kinds = _KINDS.get(task.label, ("classification",))
    if task.kind not in kinds:
        raise MisfitError("kind", f"kind = {task.kind!r}: {task.label} labels are for {' or '.join(kinds)}")
    for key, labels in _ONLY_FOR.items():
        if task.label not in labels and _is_set(task, key):
            raise MisfitError(key, f"{key} is for {', '.join(labels)} labels, but label = {task.label!r}")


def _is_set(task: TaskSpec, key: str) -> bool:
    default = _DEFAULTS[key]
    return bool(getattr(task, key)) if default is MISSING else getattr(task, key) != default


def _check_unit(task: TaskSpec) -> None:
    if task.by_person:
        if task.unit_s:
            raise MisfitError("unit_s", f"unit_s is for epochs and windows; leave it out for unit = {task.unit!r}")
        if task.alignment != "reference":
            raise MisfitError("alignment", f"alignment is for epochs and windows, but unit = {task.unit!r}")
        return
    if task.unit_s <= 0:
        raise MisfitError("unit_s", "unit_s must be a positive number of seconds")
    if task.unit == "epoch" and task.unit_s != EPOCH_S:
        raise MisfitError("unit_s", "an epoch is 30 s; for another length use unit = 'window'")
    if task.label == "minutes" and task.unit_s != MINUTE_S:
        raise MisfitError("unit_s", "apnea minutes are 60 s: unit_s must be 60")
    if task.demographics:
        raise MisfitError("demographics", f"demographics stand beside whole recordings, but unit = {task.unit!r}")


def _check_classes(task: TaskSpec) -> None:
    if len(task.classes) < 2:
        raise MisfitError("classes", "classes must be at least two different names")
    if task.positive is not None and task.positive not in task.classes:
        raise MisfitError("positive", f"positive = {task.positive!r} is not one of the classes")
    if task.positive is not None and len(task.classes) != 2:
        raise MisfitError("positive", "positive is for tasks with two classes")
    if task.label == "events":
        _check_events(task)
    elif task.cuts:
        _check_cuts(task)
    else:
        _check_class_map(task)


def _check_class_map(task: TaskSpec) -> None:
    if not task.class_map:
        ways = "class_map, or cuts for a number" if task.label == "covariate" else "class_map"
        raise MisfitError("class_map", f"missing {ways}: which labels belong to which class")
    for label, name in task.class_map.items():
        key = f"class_map.{label}"
        if name not in task.classes:
            hint = did_you_mean(name, task.classes)
            raise MisfitError(key, f"{key} = {name!r} is not one of the classes.{hint}")
        if label in task.ignore:
            raise MisfitError("ignore", f"ignore has {label!r}, which class_map makes {name!r}")
    _check_stages(task)
    without = [name for name in task.classes if name not in task.class_map.values()]
    if without:
        raise MisfitError("class_map", f"class_map leads no label to class {without[0]!r}")


def _check_stages(task: TaskSpec) -> None:
    if task.label != "stage":
        return
    from hypnos_bench.cohorts.base import STAGES

    for key, labels in (("class_map", tuple(task.class_map)), ("ignore", task.ignore)):
        for label in labels:
            if label not in (*STAGES, "*"):
                hint = did_you_mean(label, STAGES)
                raise MisfitError(f"{key}.{label}", f"{key}: {label!r} is no stage ({', '.join(STAGES)}).{hint}")


def _check_cuts(task: TaskSpec) -> None:
    if task.class_map or task.ignore:
        key = "class_map" if task.class_map else "ignore"
        raise MisfitError(key, f"{key} and cuts exclude each other: cuts make classes of a number")
    if any(low >= high for low, high in pairwise(task.cuts)):
        raise MisfitError("cuts", "cuts must ascend")
    if len(task.classes) != len(task.cuts) + 1:
        raise MisfitError("cuts", f"{len(task.cuts)} cuts make {len(task.cuts) + 1} classes, not {len(task.classes)}")


def _check_events(task: TaskSpec) -> None:
    from hypnos_bench.cohorts.base import EVENT_SCOPES

    known = [kind for kinds in EVENT_SCOPES.values() for kind in kinds]
    if not task.events:
        raise MisfitError("events", "missing key 'events': which kinds of events make an epoch positive")
    for kind in task.events:
        if kind not in known:
            raise MisfitError("events", f"events: unknown kind {kind!r}.{did_you_mean(kind, known)}")
    if task.positive is None:
        raise MisfitError("positive", "missing key 'positive': the class of epochs with an event")


def _check_columns(task: TaskSpec) -> None:
    if task.label == "outcome" and not task.columns:
        raise MisfitError("columns", "missing key 'columns': outcome ids, or '*' for all of a cohort")
    if "*" in task.columns and (task.label != "outcome" or len(task.columns) > 1):
        raise MisfitError("columns", "columns: '*' stands alone, and for outcomes only")
    own = [name for name in task.demographics if name in task.columns]
    if own:
        raise MisfitError("demographics", f"demographics must not hold the label itself ({own[0]})")


def _check_horizons(task: TaskSpec) -> None:
    if any(years <= 0 for years in task.horizons) or any(a >= b for a, b in pairwise(task.horizons)):
        raise MisfitError("horizons", "horizons must be positive years that ascend")
    if task.kind != "survival":
        return
    for metric in task.metrics:
        match = _AT_A_TIME.fullmatch(metric)
        if match is not None and float(match[1]) not in task.horizons:
            raise MisfitError("metrics", f"metrics: {metric} needs {match[1]} among the horizons")
