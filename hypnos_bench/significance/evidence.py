"""What tests and figures take from side files, each read once; whole files of a cohort's epochs are not kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import IntegrityError
from hypnos_bench.scoring.classification import Predictions, point_scores, recording_scores, replicates
from hypnos_bench.scoring.entries import draws, person_codes
from hypnos_bench.scoring.regression import (
    RegressionPredictions,
    recording_errors,
    regression_point,
    regression_replicates,
)
from hypnos_bench.scoring.survival import SurvivalPredictions, survival_point, survival_replicates
from hypnos_bench.spec import TaskSpec
from hypnos_bench.store.cells import Cell, CellStore
from hypnos_bench.store.side import ClassificationSide, RegressionSide, SurvivalSide

F64 = NDArray[np.float64]
AnySide = ClassificationSide | RegressionSide | SurvivalSide

MANY_OUTCOMES = 40
"""More outcomes than this are tested only where side files hold their replicates: to make them takes minutes."""


@dataclass(frozen=True)
class Kept:
    """What tests and figures take from one cell's side file.

    Parameters
    ----------
    recordings, persons : tuple of str, length R
    confusion : ndarray of float64, shape (C, C), optional
        Summed over recordings.
    own : ndarray of float64, shape (R,), optional
        The main metric recording by recording, where it has such values.
    side : side file, optional
        As a whole, unless it is large: a cohort's units (where there is `own`), or many outcomes.
    drawn : Drawn, optional
        What is left of many outcomes, where their replicates were stored.
    """

    recordings: tuple[str, ...]
    persons: tuple[str, ...]
    confusion: F64 | None = None
    own: F64 | None = None
    side: AnySide | None = None
    drawn: Drawn | None = None


@dataclass(frozen=True)
class Drawn:
    """The main metric of M outcomes (or of the one question), its replicates (M, B), and the persons behind each."""

    outcomes: tuple[str, ...]
    points: F64
    replicates: NDArray[np.floating[Any]]
    persons: NDArray[np.int64]


class UntestableError(Exception):
    """Why rows cannot be tested against each other."""


class SideFiles:
    """Side files of a store, each read once, for the tests and figures of all tables.

    `problems` names the damaged ones met so far, one line each: pages are made without them, and whoever prints
    must say so.
    """

    def __init__(self, store: CellStore) -> None:
        self._store = store
        self._kept: dict[str, Kept] = {}
        self._damaged: dict[str, IntegrityError] = {}
        self._drawn: dict[tuple[str, tuple[str, ...]], Drawn] = {}

    def of(self, cell: Cell) -> Kept:
        """What is needed of a cell's side file.

        Raises
        ------
        DataError
            When it is not there.
        IntegrityError
            When it is damaged; `problems` has the message from then on.
        """
        if cell.key in self._damaged:
            raise self._damaged[cell.key]
        if cell.key not in self._kept:
            try:
                side = self._store.load_side(self._store.path(cell.spec, cell.key))
            except IntegrityError as error:
                self._damaged[cell.key] = error
                raise
            self._kept[cell.key] = _kept(cell, side)
        return self._kept[cell.key]

    @property
    def problems(self) -> list[str]:
        """What is wrong with each damaged side file, in the order met."""
        return [str(error) for error in self._damaged.values()]

    def drawn(self, cell: Cell, recordings: tuple[str, ...]) -> Drawn:
        """The main metric of some of a cell's test recordings, on the draws of persons that all cells share.

        Raises
        ------
        UntestableError
            When there are so many outcomes that only stored replicates will do, and those are missing or of other
            recordings.
        """
        key = (cell.key, recordings)
        if key not in self._drawn:
            kept = self.of(cell)
            same = set(kept.recordings) == set(recordings)
            if kept.side is not None:
                side = kept.side if same else only(kept.side, set(recordings))
                self._drawn[key] = _draw(TaskSpec.of(cell.spec["task"]), side, int(cell.spec["bootstrap"]))
            elif kept.drawn is None:
                raise UntestableError("the side files lack the replicates of so many outcomes; run their cells again")
            elif not same:
                raise UntestableError("the replicates of so many outcomes are not of the same recordings")
            else:
                self._drawn[key] = kept.drawn
        return self._drawn[key]


def _kept(cell: Cell, side: AnySide) -> Kept:
    task = TaskSpec.of(cell.spec["task"])
    own, people = _own(task, side), (tuple(side.recordings), tuple(side.persons))
    if isinstance(side, ClassificationSide):
        confusion = side.confusion.sum(axis=0).astype(np.float64)
        return Kept(*people, confusion, own, side if own is None else None)
    if isinstance(side, SurvivalSide) and len(side.outcomes) > MANY_OUTCOMES:
        return Kept(*people, drawn=_stored(task.metrics[0], cell, side))
    return Kept(*people, own=own, side=side)


def _stored(main: str, cell: Cell, side: SurvivalSide) -> Drawn | None:
    """Values that the cell states, and the replicates of its side file."""
    if side.replicates is None:
        return None
    told = {outcome["name"]: outcome for outcome in cell.outcomes}
    values = [told[name]["scores"][main]["value"] for name in side.outcomes]
    points = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    persons = np.array([told[name]["persons"] for name in side.outcomes], dtype=np.int64)
    return Drawn(tuple(side.outcomes), points, side.replicates, persons)


def _own(task: TaskSpec, side: AnySide) -> F64 | None:
    """The main metric recording by recording, or ``None`` where recordings have none of their own."""
    main = task.metrics[0]
    if isinstance(side, RegressionSide):
        return recording_errors(_regression(side))["mae"] if main == "mae" else None
    if isinstance(side, SurvivalSide) or task.by_person:
        return None
    return recording_scores(replace(task, metrics=(main,)), _classification(task, side)).get(main)


def _draw(task: TaskSpec, side: AnySide, n_boot: int) -> Drawn:
    main, code = task.metrics[0], person_codes(side.persons)[0]
    n_persons = len(set(side.persons))
    weights = draws(n_persons, n_boot)
    if weights is None:
        raise UntestableError(f"{n_persons} persons are too few to draw from")
    if isinstance(side, SurvivalSide):
        told = SurvivalPredictions.of_side(side)
        drawn = side.replicates if side.replicates is not None else survival_replicates([main], told, weights)[main]
        scored = told.at_risk & ~np.isnan(told.risk)
        persons = np.array([len(np.unique(code[scored[:, m]])) for m in range(len(side.outcomes))], dtype=np.int64)
        return Drawn(tuple(side.outcomes), survival_point([main], told)[main], drawn, persons)
    if isinstance(side, RegressionSide):
        numbers = _regression(side)
        point, drawn = regression_point(task, numbers)[main], regression_replicates(task, numbers, weights)[main]
    else:
        single, answered = replace(task, metrics=(main,)), _classification(task, side)
        point, drawn = point_scores(single, answered)[main], replicates(single, answered, weights)[main]
    return Drawn(("",), np.array([point]), drawn[None], np.array([n_persons]))


def only(side: AnySide, names: set[str]) -> AnySide:
    """A side file with some of its recordings; replicates, which were drawn from all of them, are gone."""
    index = np.array([i for i, name in enumerate(side.recordings) if name in names], dtype=np.intp)
    changed: dict[str, Any] = {part: [getattr(side, part)[i] for i in index] for part in ("recordings", "persons")}
    if isinstance(side, ClassificationSide):
        units = np.isin(side.unit_recording, index)
        changed |= {name: array[units] for name, array in side.arrays().items() if name != "confusion"}
        changed["unit_recording"] = np.searchsorted(index, changed["unit_recording"]).astype(np.int32)
        changed["confusion"] = side.confusion[index]
    else:
        changed |= {name: array[index] for name, array in side.arrays().items() if name != "replicates"}
        changed |= {"replicates": None} if isinstance(side, SurvivalSide) else {}
    return replace(side, **changed)


def _classification(task: TaskSpec, side: ClassificationSide) -> Predictions:
    return Predictions.of_side(side, task.classes.index(task.positive) if task.positive is not None else None)


def _regression(side: RegressionSide) -> RegressionPredictions:
    return RegressionPredictions(side.recordings, side.persons, side.fold, side.y_true, side.y_pred)
