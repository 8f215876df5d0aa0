"""Who teaches and who is tested in one cell: rows of every fold, checked for leaks before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.leakage import assert_disjoint
from hypnos_bench.probe.data import Indices, ProbeData
from hypnos_bench.spec import CellSpec, digest
from hypnos_bench.splits import ListedFold, draw, epoch_split, folds, recording_split


@dataclass(frozen=True)
class FoldRows:
    """Training and test rows of one fold, and whose they are."""

    available: Sequence[str]  # persons who could teach
    train: Indices
    test: Indices


@dataclass(frozen=True)
class Division:
    """Folds of a cell.

    Parameters
    ----------
    folds : list of FoldRows
    told : list
        Who is on which side, before anybody is found missing: its digest is the split hash.
    facts : dict
        What the cell's counts must tell of it.
    """

    folds: list[FoldRows]
    told: list[Any]
    facts: dict[str, Any] = field(default_factory=dict)


def divide(
    spec: CellSpec,
    cohort_id: str,
    data: ProbeData,
    listed: ListedFold | None = None,
    untested: frozenset[str] = frozenset(),
) -> Division:
    """Rows of every fold.

    Parameters
    ----------
    spec : CellSpec
    cohort_id : str
    data : ProbeData
    listed : ListedFold, optional
        Published lists as they divide the cohort, for a split that is named after them.
    untested : frozenset of str
        Persons who are left out of test sides.

    Raises
    ------
    FitError, UsageError
        When there is nobody to learn from, or to test.
    IntegrityError
        When a person, family or duplicate is on both sides: a bug, and never a number.
    """
    if spec.split.listed:
        if listed is None:
            raise ValueError(f"split {spec.split.kind} needs its lists")
        made = _by_lists(spec, data, listed)
    elif spec.split.leaky:
        made = _leaky(spec, cohort_id, data)
    else:
        made = _by_persons(spec, cohort_id, data)
    return _without(made, data, untested) if untested else made


def _by_persons(spec: CellSpec, cohort_id: str, data: ProbeData) -> Division:
    divided = folds(cohort_id, [*data.everyone], spec.split, data.everyone)
    there = set(data.persons)
    found = []
    for fold in divided:
        available = [person for person in fold.train if person in there]
        shown = _draw(spec, available)
        assert_disjoint(fold.train, fold.test, data.everyone)
        assert_disjoint(shown, fold.test, data.everyone)
        found.append(FoldRows(available, data.rows_of(data.of(shown)), data.rows_of(data.of(fold.test))))
    return Division(found, [[fold.train, fold.test] for fold in divided])


def _draw(spec: CellSpec, available: Sequence[str]) -> tuple[str, ...]:
    if not available:
        raise FitError("no training person has an embedding; see the excluded recordings")
    # Who is missing leaves the order of the others as it is.
    return draw(available, spec.shots, spec.seed)


def _by_lists(spec: CellSpec, data: ProbeData, listed: ListedFold) -> Division:
    """One fold as published: recordings are divided, and persons drawn from the training side."""
    place = {name: i for i, name in enumerate(data.recordings)}
    train = [place[name] for name in listed.train if name in place]
    test = [place[name] for name in listed.test if name in place]
    available = sorted({data.persons[i] for i in train})
    shown = set(_draw(spec, available))
    if not spec.split.leaky:
        assert_disjoint(available, {data.persons[i] for i in test}, data.everyone)
    rows = FoldRows(available, data.rows_of([i for i in train if data.persons[i] in shown]), data.rows_of(test))
    return Division(
        [rows],
        [[list(listed.train), list(listed.test)]],
        {"listed": listed.facts, "overlap": {**listed.overlap, "text": overlap_line(listed)}},
    )


def overlap_line(listed: ListedFold) -> str:
    """What a published split leaks: ``154 of 381 test recordings are of persons who are also in train``."""
    counts = listed.overlap
    line = (
        f"{counts['recordings_in_train']:,} of {counts['recordings']:,} test recordings are of persons who are also in "
        f"train; {len(listed.test):,} are on the test side, before labels and losses"
    )
    absent = {side: count for side, count in listed.absent.items() if count}
    if absent:
        line += f"; not at hand: {', '.join(f'{count:,} of the {side} list' for side, count in absent.items())}"
    return line


def _leaky(spec: CellSpec, cohort_id: str, data: ProbeData) -> Division:
    """Folds over single units, or over files: persons are on both sides, to show what that does to a score."""
    if spec.shots.label != "100%":
        raise UsageError(f"--split {spec.split.kind} ignores persons: it goes with --shots 100% only")
    everyone = sorted(set(data.persons))
    if spec.split.kind == "recording":
        place = {name: i for i, name in enumerate(data.recordings)}
        divided = recording_split(cohort_id, data.recordings, spec.split)
        sides = [[data.rows_of([place[name] for name in side]) for side in (fold.train, fold.test)] for fold in divided]
        return Division(
            [FoldRows(everyone, train, test) for train, test in sides], [[fold.train, fold.test] for fold in divided]
        )
    fold_of_row = epoch_split(len(data.targets), spec.split)
    rows = [
        FoldRows(everyone, np.flatnonzero(fold_of_row != k), np.flatnonzero(fold_of_row == k))
        for k in range(spec.split.folds)
    ]
    return Division(rows, [digest(fold_of_row.tolist())])


def _without(made: Division, data: ProbeData, untested: frozenset[str]) -> Division:
    """Test sides without some persons; who is learned from stays as it is."""
    out = np.array([person in untested for person in data.persons], dtype=bool)
    of_row = out[data.recording_of_row]
    gone = np.concatenate([fold.test[of_row[fold.test]] for fold in made.folds])
    recordings = np.unique(data.recording_of_row[gone])
    left = [replace(fold, test=fold.test[~of_row[fold.test]]) for fold in made.folds]
    if not any(len(fold.test) for fold in left):
        raise FitError("--clean-only leaves nobody to test: an encoder of the run has seen every test person")
    persons = sorted({data.persons[i] for i in recordings})
    facts = {"untested": {"persons": len(persons), "who": persons, "recordings": len(recordings), "units": len(gone)}}
    return replace(made, folds=left, facts={**made.facts, **facts})
