"""Rows of features of one encoder: what is stored of labelled recordings, pooled onto the labelled units."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Cohort, Exclusion, Recording
from hypnos_bench.embed import embed_recordings
from hypnos_bench.encoders.base import Embedding
from hypnos_bench.errors import IntegrityError, RecordingError, UsageError, is_transient
from hypnos_bench.heads.rows import RowSource
from hypnos_bench.labelling.pooling import make_units, pool_recording
from hypnos_bench.probe import RowCollector
from hypnos_bench.probe.data import IN_MEMORY_BYTES, Indices
from hypnos_bench.runner.labels import Labels, Say
from hypnos_bench.runner.request import Pooling, RunRequest
from hypnos_bench.runner.sources import Source
from hypnos_bench.store.atomic import remove
from hypnos_bench.store.embeddings import EmbeddingStore
from hypnos_bench.store.pooled import PooledFile

_LEAST_BYTES = IN_MEMORY_BYTES // 8


@dataclass(frozen=True)
class Gathered:
    """Rows of one encoder.

    Parameters
    ----------
    source : Source
    rows : RowSource or None
        Features (n, d) of its recordings below each other; ``None`` for the demographics-only baseline.
    units : mapping of str to ndarray of intp
        Recording to those of its labelled units that have a row, ascending, in the order of `rows`; a recording as a
        whole has the one unit 0.
    lost : tuple of Exclusion
        Labelled recordings without rows, with reasons.
    embed_s : float
    """

    source: Source
    rows: RowSource | None
    units: Mapping[str, Indices]
    lost: tuple[Exclusion, ...]
    embed_s: float = 0.0

    def rows_of(self, units: Mapping[str, Indices]) -> Indices | None:
        """Which rows stand for these units, all of which it has; ``None`` when it is all rows in their order."""
        first, start = {}, 0
        for name, index in self.units.items():
            first[name], start = start, start + len(index)
        parts = [first[name] + np.searchsorted(self.units[name], index) for name, index in units.items()]
        picked = np.concatenate(parts).astype(np.intp) if parts else np.empty(0, np.intp)
        return None if np.array_equal(picked, np.arange(start)) else picked

    def close(self) -> None:
        """Give the space of a spill file back."""
        if isinstance(self.rows, PooledFile):
            self.rows.close()


def gather(
    request: RunRequest,
    cohort: Cohort,
    source: Source,
    pooling: Pooling,
    labels: Labels,
    lost: tuple[Exclusion, ...],
    *,
    only: Container[str] | None = None,
    embed_s: float = 0.0,
    n_sources: int = 1,
    say: Say = lambda line: None,
) -> Gathered:
    """Pool what a source has embedded of the labelled recordings.

    Parameters
    ----------
    lost : tuple of Exclusion
        What could not be embedded.
    only : container of str, optional
        Recordings to read; ``None`` for all that are labelled.
    n_sources : int
        How many are held side by side: they share the memory before rows go to disk.
    """
    labelled = [r for r in labels.labelled(cohort) if only is None or r.id in only]
    if not source.embedded:
        return Gathered(source, None, {recording.id: np.zeros(1, np.intp) for recording in labelled}, ())
    gone = {exclusion.recording for exclusion in lost}
    losses = list(lost)
    collector = RowCollector(request.results, max(_LEAST_BYTES, IN_MEMORY_BYTES // n_sources))
    kept: list[tuple[str, Indices]] = []
    for recording in labelled:
        if recording.id in gone:
            continue
        try:
            embedding = _load_or_remake(request, cohort, source, recording, say)
            if isinstance(embedding, Exclusion):
                losses.append(embedding)
                continue
            x, units = _features(request, recording, pooling, labels, source, embedding)
        except (RecordingError, UsageError) as error:  # rows of a length that does not fit the task: of this recording
            reason = error.reason if isinstance(error, RecordingError) else str(error)
            losses.append(Exclusion(recording.id, reason, is_transient(error)))
            continue
        collector.add(len(kept), x)
        kept.append((recording.id, units))
    rows = collector.finish() if kept else None
    odd = dict(collector.odd)
    for i, width in odd.items():
        reason = f"its embedding has {width} columns, most others have {collector.width}"
        losses.append(Exclusion(kept[i][0], reason))
    losses.sort(key=lambda exclusion: exclusion.recording)
    return Gathered(source, rows, dict(e for i, e in enumerate(kept) if i not in odd), tuple(losses), embed_s)


def _features(
    request: RunRequest, recording: Recording, pooling: Pooling, labels: Labels, source: Source, embedding: Embedding
) -> tuple[NDArray[np.float32], Indices]:
    if labels.units is None:
        return pool_recording(embedding, pooling, recording.id)[None, :], np.zeros(1, np.intp)
    made = make_units(request.task, recording, labels.units[recording.id], embedding, source.card.lag_rows)
    return made.x, made.kept


def _load_or_remake(
    request: RunRequest, cohort: Cohort, source: Source, recording: Recording, say: Say
) -> Embedding | Exclusion:
    """Read an embedding; one whose content was damaged on disk is made again where that is possible, and said."""
    store = EmbeddingStore(request.results)
    fingerprints = cohort.source_fingerprints
    try:
        return store.load(source.card, recording, fingerprints[recording.id])
    except IntegrityError as error:
        say(f"made again: {error}")
    remove(store.path(source.card, recording.cohort, recording.id))
    report = embed_recordings(
        [recording], fingerprints, source.reference, source.options, request.results, simulated=cohort.card.simulated
    )
    if report.failed:
        return report.failed[0]  # which says whether trying again may help
    return store.load(source.card, recording, fingerprints[recording.id])
