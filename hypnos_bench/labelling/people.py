"""Labels of whole recordings and of persons: from annotations, from columns of the cohort's tables, from follow-up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Cohort, Exclusion, Recording
from hypnos_bench.errors import DataError, RecordingError, UsageError, is_transient
from hypnos_bench.labelling.classes import ClassMap
from hypnos_bench.labelling.follow_up import REASONS, FollowUp, outcome_ids, read_follow_up
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import TaskSpec

ALL_OUTCOMES = "*"
LATER = "later recordings of a person"

_SHOWN = 40  # names in a message


@dataclass(frozen=True)
class PeopleLabels:
    """Labels of one cohort for a task that asks about whole recordings or persons.

    Parameters
    ----------
    recordings, persons : tuple of str, length n
        Ids of the recordings that count, in the cohort's order, and of whom they are. A person is there once when
        the task asks about persons.
    y : ndarray of int64 (n,) or float64 (n,), optional
        Class codes or numbers; none for outcomes.
    outcomes : tuple of str, length M
        None where there is a `y`: then M is 0 in the next three.
    time : ndarray of float64, shape (n, M)
        Years from the recording to the event or to the end of follow-up; NaN where not at risk.
    event, at_risk : ndarray of bool, shape (n, M)
        Nobody who is not at risk has an event.
    column : str
        What the labels come from: a column, ``record``, or outcomes.
    dropped : mapping of str to int
        By reason. Later recordings are recordings; the other reasons count pairs of person and outcome without
        follow-up, one recording of each person.
    excluded : list of Exclusion
        Recordings without a usable label, beside those that the cohort itself left out.
    """

    recordings: tuple[str, ...]
    persons: tuple[str, ...]
    y: NDArray[np.int64] | NDArray[np.float64] | None
    outcomes: tuple[str, ...]
    time: NDArray[np.float64]
    event: NDArray[np.bool_]
    at_risk: NDArray[np.bool_]
    column: str
    dropped: Mapping[str, int]
    excluded: list[Exclusion]


def read_people_labels(task: TaskSpec, cohort: Cohort) -> PeopleLabels:
    """Labels of the recordings of `cohort` for `task`.

    Where the task asks about persons, the first recording of each counts that has a usable label, by visit and id.
    Labels alone decide this, so that it is the same recording for every encoder; one that cannot be embedded is not
    made up for by a later one.

    Raises
    ------
    UsageError
        When the cohort lacks the column or the outcomes, or the task names none.
    DataError
        When no recording has a usable label.
    """
    if task.label == "outcome":
        return _outcome_labels(task, cohort)
    if task.label == "record":
        return _values(task, cohort, "record", _record_reader(task))
    if task.label == "covariate":
        column, from_outcome = _column(task, cohort)
        return _values(task, cohort, column, _covariate_reader(task, column, from_outcome))
    raise UsageError(f"task {task.id} has labels of stretches of a recording ({task.label}), not of the whole")


Reader = Callable[[Recording], float]
"""Label of a recording; raises ``RecordingError`` with the reason when it has none."""


def _values(task: TaskSpec, cohort: Cohort, column: str, read: Reader) -> PeopleLabels:
    """Labels that are one value per recording."""
    labelled: list[int] = []
    values: list[float] = []
    excluded: list[Exclusion] = []
    for i, recording in enumerate(cohort.recordings):
        try:
            values.append(read(recording))
            labelled.append(i)
        except RecordingError as error:
            excluded.append(Exclusion(recording.id, error.reason, is_transient(error)))
    kept = _first_of_each(task, cohort.recordings, labelled)
    _refuse_none(task, cohort, kept, excluded)
    value_of = dict(zip(labelled, values, strict=True))
    y = np.array([value_of[i] for i in kept], dtype=np.float64)
    nothing = np.zeros((len(kept), 0), dtype=bool)
    return PeopleLabels(
        recordings=tuple(cohort.recordings[i].id for i in kept),
        persons=tuple(cohort.recordings[i].person for i in kept),
        y=y.astype(np.int64) if task.kind == "classification" else y,
        outcomes=(),
        time=nothing.astype(np.float64),
        event=nothing,
        at_risk=nothing,
        column=column,
        dropped=_later(len(labelled) - len(kept)),
        excluded=excluded,
    )


def _outcome_labels(task: TaskSpec, cohort: Cohort) -> PeopleLabels:
    wanted = _outcomes(task, cohort)
    found = read_follow_up(cohort.recordings, wanted)
    usable = found.at_risk.any(axis=1)
    labelled, others = np.flatnonzero(usable).tolist(), np.flatnonzero(~usable).tolist()
    kept = _first_of_each(task, cohort.recordings, labelled)
    excluded = [Exclusion(cohort.recordings[i].id, _why_not(found, i)) for i in others]
    _refuse_none(task, cohort, kept, excluded)
    of_kept = found.of(kept)
    counted = {cohort.recordings[i].person for i in kept} if task.unit == "person" else set()
    without = [i for i in others if cohort.recordings[i].person not in counted]
    codes = found.of([*kept, *_first_of_each(task, cohort.recordings, without)]).codes
    reasons = {reason: int((codes == code).sum()) for code, reason in REASONS.items()}
    return PeopleLabels(
        recordings=tuple(cohort.recordings[i].id for i in kept),
        persons=tuple(cohort.recordings[i].person for i in kept),
        y=None,
        outcomes=wanted,
        time=of_kept.years,
        event=of_kept.event,
        at_risk=of_kept.at_risk,
        column=wanted[0] if len(wanted) == 1 else f"{len(wanted)} outcomes",
        dropped={**_later(len(labelled) - len(kept)), **{reason: n for reason, n in reasons.items() if n}},
        excluded=excluded,
    )


def _why_not(found: FollowUp, i: int) -> str:
    if len(found.outcomes) > 1:
        return f"at risk for none of the {len(found.outcomes)} outcomes"
    return f"{found.outcomes[0]}: {REASONS[int(found.codes[i, 0])]}"


def _first_of_each(task: TaskSpec, recordings: Sequence[Recording], indices: Iterable[int]) -> list[int]:
    """Where the task asks about persons, the first of each by visit and id; in the cohort's order."""
    if task.unit != "person":
        return sorted(indices)
    first: dict[str, int] = {}
    for i in sorted(indices, key=lambda i: (_visit(recordings[i]), recordings[i].id)):
        first.setdefault(recordings[i].person, i)
    return sorted(first.values())


def _visit(recording: Recording) -> list[tuple[int, int, str]]:
    """Order in which visit 10 comes after visit 2."""
    parts = re.findall(r"\d+|\D+", recording.visit or "")
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _later(count: int) -> dict[str, int]:
    return {LATER: count} if count else {}


def _refuse_none(task: TaskSpec, cohort: Cohort, kept: Sequence[int], excluded: Sequence[Exclusion]) -> None:
    if kept:
        return
    reasons = Counter(exclusion.reason for exclusion in excluded).most_common(3)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "there are no recordings"
    raise DataError(f"no recording of {cohort.card.id} has a label for task {task.id} ({told})")


def _record_reader(task: TaskSpec) -> Reader:
    classes = ClassMap.of(task)

    def read(recording: Recording) -> float:
        code, reason = classes.code_of_all(recording.record_codes())
        if code is None:
            raise RecordingError(recording.id, reason)
        return code

    return read


def _covariate_reader(task: TaskSpec, column: str, from_outcome: bool) -> Reader:
    classes = ClassMap.of(task, _spelt)

    def read(recording: Recording) -> float:
        value = _prevalent(recording, column) if from_outcome else recording.covariates.get(column)
        if value is None or value != value:
            raise RecordingError(recording.id, f"{column} is missing")
        if task.class_map:
            code, _ = classes.code_of_all([_spelt(value)])
            if code is None:
                shown = value if isinstance(value, str) else _spelt(value)
                raise RecordingError(recording.id, f"{column} is {shown!r}, which is of no class of the task")
            return code
        if isinstance(value, (str, bool)):
            raise RecordingError(recording.id, f"{column} is {value!r}, not a number")
        if not task.cuts:
            return float(value)
        return int(np.searchsorted(task.cuts, float(value), side="right"))

    return read


def _prevalent(recording: Recording, outcome: str) -> bool | None:
    """Whether somebody had it by the time of the recording; ``None`` when nothing is told."""
    told = recording.outcomes.get(outcome)
    if told is None or told.prevalent or not told.event:
        return None if told is None else told.prevalent
    if told.time_years is None or told.time_years != told.time_years:
        raise RecordingError(recording.id, f"{outcome} happened, before or after the recording: when is not known")
    return told.time_years <= 0


def _spelt(value: Any) -> str:
    """A cell as ``class_map`` spells it: numbers without needless zeros, words in lower case."""
    if isinstance(value, bool):
        return str(value).casefold()
    return value.strip().casefold() if isinstance(value, str) else f"{value:g}"


def _column(task: TaskSpec, cohort: Cohort) -> tuple[str, bool]:
    """The column that labels come from, and whether it is an outcome's prevalence."""
    covariates = sorted({name for recording in cohort.recordings for name in recording.covariates})
    told = set(covariates)
    # Whether somebody had a disease may also stand beside its outcome.
    outcomes = outcome_ids(cohort.recordings) if task.class_map and not told & set(task.columns) else ()
    for names, from_outcome in ((told, False), (set(outcomes), True)):
        for column in task.columns:
            if column in names:
                return column, from_outcome
    raise _lacks(task, cohort, "column", [*covariates, *outcomes])


def _outcomes(task: TaskSpec, cohort: Cohort) -> tuple[str, ...]:
    there = outcome_ids(cohort.recordings)
    if task.columns == (ALL_OUTCOMES,) and there:
        return there
    if task.columns and set(task.columns) <= set(there):
        return task.columns
    raise _lacks(task, cohort, "outcome", there)


def _lacks(task: TaskSpec, cohort: Cohort, noun: str, there: Sequence[str]) -> UsageError:
    listed = ", ".join(there[:_SHOWN]) or f"no {noun}"
    more = f" and {len(there) - _SHOWN:,} more" if len(there) > _SHOWN else ""
    if not task.columns:
        wanted, hint = f"asks about a {noun} that you name (--column)", ""
    else:
        lacking = [name for name in task.columns if name not in there]
        several = f"none of the {noun}s {', '.join(lacking)}" if len(lacking) > 1 else f"no {noun} {lacking[0]}"
        wanted = f"{cohort.card.id} has {'no outcome' if ALL_OUTCOMES in lacking else several}"
        hint = did_you_mean(lacking[0], there)
    elsewhere = "; outcomes of other tables are named in the cohort settings" if noun == "outcome" else ""
    return UsageError(f"task {task.id}: {wanted}.{hint} {cohort.card.id} has {listed}{more}{elsewhere}")
