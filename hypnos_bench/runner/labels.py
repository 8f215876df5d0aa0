"""Labels of a cohort, and the families that folds are made of: the same for every encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Cohort, Exclusion, Recording
from hypnos_bench.errors import DataError, RecordingError, is_transient
from hypnos_bench.labelling.people import PeopleLabels, read_people_labels
from hypnos_bench.labelling.units import UnitLabels, read_unit_labels
from hypnos_bench.probe import Targets
from hypnos_bench.spec import TaskSpec
from hypnos_bench.splits import ListedFold

Progress = Callable[[Iterator[Any], int, str], Iterator[Any]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Labels:
    """Labels of one cohort: of units within recordings, or of recordings as a whole.

    Parameters
    ----------
    units : mapping of str to UnitLabels, or None
    people : PeopleLabels or None
    excluded : list of Exclusion
        Recordings without a usable label.
    everyone : mapping of str to str
        Persons with labels to their families: folds and draws are made of them, the same for every encoder.
    duplicates : mapping, optional
        What the search for duplicate recordings came to.
    listed : ListedFold, optional
        Published lists as they divide the cohort, for a split that is named after them.
    """

    units: Mapping[str, UnitLabels] | None
    people: PeopleLabels | None
    excluded: list[Exclusion]
    everyone: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, Any] | None = None
    listed: ListedFold | None = None

    @property
    def recordings(self) -> set[str]:
        """Ids of the labelled recordings."""
        return set(self.units if self.units is not None else self.people.recordings if self.people else ())

    def count(self, recording: str) -> int:
        """Labelled units of a recording; a recording as a whole is one."""
        return 1 if self.units is None else len(self.units[recording].y)

    def labelled(self, cohort: Cohort) -> list[Recording]:
        """Labelled recordings, in the cohort's order."""
        known = self.recordings
        return [recording for recording in cohort.recordings if recording.id in known]

    def targets(self, units: Mapping[str, NDArray[np.intp]]) -> Targets:
        """Labels of some units of some recordings, below each other in this order."""
        if self.units is not None:
            parts = [self.units[name].y[index] for name, index in units.items()]
            return Targets(np.concatenate(parts) if parts else np.empty(0, np.int64))
        people = self._people
        place = {name: i for i, name in enumerate(people.recordings)}
        index = np.array([place[name] for name in units], dtype=np.intp)
        if people.y is not None:
            return Targets(people.y[index])
        return Targets(
            time=people.time[index], event=people.event[index], at_risk=people.at_risk[index], outcomes=people.outcomes
        )

    def shares(self, units: Mapping[str, NDArray[np.intp]]) -> NDArray[np.float32] | None:
        """Shares of the positive class in these units, where windows have them."""
        parts: list[NDArray[np.float32]] = []
        for name, index in units.items():
            share = self.units[name].share if self.units is not None else None
            if share is None:
                return None
            parts.append(share[index])
        return np.concatenate(parts) if parts else None

    @property
    def _people(self) -> PeopleLabels:
        if self.people is None:
            raise ValueError("labels of whole recordings are missing")
        return self.people


def read_labels(task: TaskSpec, cohort: Cohort) -> Labels:
    """Labels of a cohort, and the recordings that have none, with reasons.

    Raises
    ------
    DataError, UsageError
        When no recording has a label, or the cohort lacks the task's columns.
    """
    if task.by_person:
        people = read_people_labels(task, cohort)
        found = Labels(None, people, [*cohort.excluded, *people.excluded])
    else:
        units: dict[str, UnitLabels] = {}
        found = Labels(units, None, list(cohort.excluded))
        for recording in cohort.recordings:
            try:
                units[recording.id] = read_unit_labels(task, recording)
            except RecordingError as error:
                found.excluded.append(Exclusion(recording.id, error.reason, is_transient(error)))
    if not found.recordings:
        first = "; ".join(f"{e.recording}: {e.reason}" for e in found.excluded[:3])
        raise DataError(f"no recording of {cohort.card.id} has labels for task {task.id} ({first})")
    return found
