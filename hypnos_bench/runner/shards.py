"""One run on several machines without a scheduler: each embeds its share of recordings and computes its share of cells.

All of them see the same results folder. A recording that its own shard could not embed is marked as lost there, so
that the others do not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypnos_bench.cluster.shard import Shard, in_shard
from hypnos_bench.cohorts.base import Cohort, Exclusion, Recording
from hypnos_bench.errors import DataError
from hypnos_bench.runner.sources import Source
from hypnos_bench.store.embeddings import EmbeddingStore


@dataclass(frozen=True)
class Share:
    """The recordings of one shard, and what is known of the others.

    Parameters
    ----------
    shard : Shard
    results : Path
    cohort : Cohort
    """

    shard: Shard
    results: Path
    cohort: Cohort

    def is_own(self, recording: Recording) -> bool:
        """Whether this shard embeds a recording."""
        return in_shard(self.cohort.card.id, recording.id, self.shard)

    def of_others(self, source: Source, recordings: Iterable[Recording]) -> tuple[list[Exclusion], set[str]]:
        """Of the recordings that other shards embed: those lost for good, and those still to come."""
        store, fingerprints = EmbeddingStore(self.results), self.cohort.source_fingerprints
        lost: list[Exclusion] = []
        missing: set[str] = set()
        for recording in recordings:
            if self.is_own(recording):
                continue
            fingerprint = fingerprints[recording.id]
            state = store.state(source.card, recording, fingerprint)
            reason = store.lost_reason(source.card, recording, fingerprint) if state == "lost" else None
            if reason is not None:
                lost.append(Exclusion(recording.id, reason))
            elif state != "ok":
                missing.add(recording.id)
        return lost, missing

    def wait_for(self, missing: set[str]) -> None:
        """End here when recordings of other shards are missing. Raises ``DataError`` that says so."""
        if missing:
            raise DataError(
                f"shard {self.shard} has embedded its share; {len(missing):,} recordings belong to other shards: rerun "
                "when they are done"
            )
