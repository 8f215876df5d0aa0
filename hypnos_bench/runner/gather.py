"""From labels and stored embeddings to the rows that cells are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Cohort, Exclusion, Recording
from hypnos_bench.embed import embed_recordings
from hypnos_bench.encoders.base import Embedding
from hypnos_bench.errors import DataError, IntegrityError, RecordingError, is_transient
from hypnos_bench.labelling.demographics import read_demographics
from hypnos_bench.labelling.people import PeopleLabels, read_people_labels
from hypnos_bench.labelling.pooling import Units, make_units, pool_recording
from hypnos_bench.labelling.units import UnitLabels, read_unit_labels
from hypnos_bench.probe import ProbeData, RowCollector, Targets
from hypnos_bench.runner.plan import Block, RunRequest
from hypnos_bench.spec import TaskSpec
from hypnos_bench.store.atomic import remove
from hypnos_bench.store.embeddings import EmbeddingStore

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
    """

    units: Mapping[str, UnitLabels] | None
    people: PeopleLabels | None
    excluded: list[Exclusion]
    everyone: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, Any] | None = None

    @property
    def recordings(self) -> set[str]:
        """Ids of the labelled recordings."""
        return set(self.units if self.units is not None else self.people.recordings if self.people else ())


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


def gather(request: RunRequest, block: Block, labels: Labels, *, progress: Progress, say: Say) -> ProbeData:
    """Rows of a block: embeds what is not stored, pools it, and puts the labels beside it.

    Raises
    ------
    DataError
        When no recording can be used.
    """
    wanted = [recording for recording in block.cohort.recordings if recording.id in labels.recordings]
    excluded = list(labels.excluded)
    embed_s = 0.0
    if block.embedded:
        embed_s, lost = _embed(request, block, wanted, progress, say)
        excluded += lost
        gone = {exclusion.recording for exclusion in lost}
        wanted = [recording for recording in wanted if recording.id not in gone]
    made = (_of_units if labels.units is not None else _of_people)(request, block, labels, wanted, excluded, say)
    if not made.recordings:
        first = "; ".join(f"{e.recording}: {e.reason}" for e in excluded[:3])
        raise DataError(f"{block.encoder.id} embedded no recording of {block.cohort.card.id} ({first})")
    return replace(made, embed_s=embed_s, duplicates=labels.duplicates)


def _embed(
    request: RunRequest, block: Block, wanted: list[Recording], progress: Progress, say: Say
) -> tuple[float, list[Exclusion]]:
    report = embed_recordings(
        wanted,
        block.cohort.source_fingerprints,
        block.encoder.id,
        request.encoder_options,
        request.results,
        simulated=block.cohort.card.simulated,
        workers=request.workers,
        progress=progress,
    )
    if report.damaged:
        say(f"{report.damaged} damaged embedding files were made again")
    for exclusion in report.failed:
        say(f"not embedded: {exclusion.recording}: {exclusion.reason}")
    return report.seconds, list(report.failed)


def _of_units(
    request: RunRequest,
    block: Block,
    labels: Labels,
    wanted: list[Recording],
    excluded: list[Exclusion],
    say: Say,
) -> ProbeData:
    """One row per epoch or window."""
    units, task = labels.units or {}, request.task
    collector, dropped = RowCollector(request.results), Counter[str]()
    kept: list[tuple[Recording, Units]] = []
    for recording in wanted:
        try:
            embedding = _load_or_remake(request, block, recording, say)
            made = make_units(task, recording, units[recording.id], embedding, block.encoder.lag_rows)
        except RecordingError as error:
            excluded.append(Exclusion(recording.id, error.reason, is_transient(error)))
            continue
        collector.add(len(kept), made.x)
        kept.append((recording, replace(made, x=made.x[:0])))  # labels only: features are in the collector
    rows = collector.finish() if kept else None
    kept = _without_odd(kept, collector, excluded)
    for _, made in kept:
        dropped.update(made.dropped)
    shares = [made.share for _, made in kept if made.share is not None]
    return ProbeData(
        everyone=labels.everyone,
        recordings=[recording.id for recording, _ in kept],
        persons=[recording.person for recording, _ in kept],
        first_row=np.concatenate([[0], np.cumsum([len(made.y) for _, made in kept])]).astype(np.intp),
        targets=Targets(np.concatenate([made.y for _, made in kept]) if kept else np.empty(0, np.int64)),
        rows=rows,
        share=np.concatenate(shares) if kept and len(shares) == len(kept) else None,
        excluded=excluded,
        dropped=dropped,
    )


def _of_people(
    request: RunRequest,
    block: Block,
    labels: Labels,
    wanted: list[Recording],
    excluded: list[Exclusion],
    say: Say,
) -> ProbeData:
    """One row per recording, pooled over all of it, with demographics where the task has them."""
    people = labels.people
    if people is None:
        raise ValueError("labels of whole recordings are missing")
    collector = RowCollector(request.results)
    kept: list[tuple[Recording, None]] = []
    for recording in wanted:
        if block.embedded:
            try:
                x = pool_recording(_load_or_remake(request, block, recording, say), block.pooling)
            except RecordingError as error:
                excluded.append(Exclusion(recording.id, error.reason, is_transient(error)))
                continue
            collector.add(len(kept), x[None, :])
        kept.append((recording, None))
    rows = collector.finish() if kept and block.embedded else None
    kept = _without_odd(kept, collector, excluded)
    place = {name: i for i, name in enumerate(people.recordings)}
    index = np.array([place[recording.id] for recording, _ in kept], dtype=np.intp)
    names = max((cell.spec.inputs.demographics for cell in block.cells), key=len)
    return ProbeData(
        everyone=labels.everyone,
        recordings=[recording.id for recording, _ in kept],
        persons=[recording.person for recording, _ in kept],
        first_row=np.arange(len(kept) + 1),
        targets=_targets(people, index),
        rows=rows,
        demographics=read_demographics([recording for recording, _ in kept], names) if names else None,
        excluded=excluded,
        dropped=people.dropped,
        column=people.column,
    )


def _without_odd(kept: list[Any], collector: RowCollector, excluded: list[Exclusion]) -> list[Any]:
    odd = dict(collector.odd)
    for i, width in odd.items():
        reason = f"its embedding has {width} columns, most others have {collector.width}"
        excluded.append(Exclusion(kept[i][0].id, reason))
    return [entry for i, entry in enumerate(kept) if i not in odd]


def _targets(people: PeopleLabels, index: NDArray[np.intp]) -> Targets:
    if people.y is not None:
        return Targets(people.y[index])
    return Targets(
        time=people.time[index], event=people.event[index], at_risk=people.at_risk[index], outcomes=people.outcomes
    )


def _load_or_remake(request: RunRequest, block: Block, recording: Recording, say: Say) -> Embedding:
    """Read an embedding; one whose content was damaged on disk is made again, and that is said."""
    store = EmbeddingStore(request.results)
    fingerprints = block.cohort.source_fingerprints
    try:
        return store.load(block.encoder, recording, fingerprints[recording.id])
    except IntegrityError as error:
        say(f"made again: {error}")
    remove(store.path(block.encoder, recording.cohort, recording.id))
    simulated = block.cohort.card.simulated
    report = embed_recordings(
        [recording], fingerprints, block.encoder.id, request.encoder_options, request.results, simulated=simulated
    )
    if report.failed:
        raise RecordingError(recording.id, report.failed[0].reason)
    return store.load(block.encoder, recording, fingerprints[recording.id])
