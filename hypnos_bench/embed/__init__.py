"""Phase 1: embed every recording of a cohort that is not in the store yet.

On a CPU each worker process embeds whole recordings. On an accelerator workers read and preprocess, this process runs
the model over several recordings at once, and threads store the results. One numeric thread per process.

A recording that fails is listed with its reason and does not stop the rest; whatever is finished is on disk, so a
killed run resumes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.embed.overlap import overlapped
from hypnos_bench.embed.workers import embed_one, in_processes
from hypnos_bench.embed.workers import make_encoder as make_encoder
from hypnos_bench.encoders.base import EncoderOptions, is_staged
from hypnos_bench.store.embeddings import EmbeddingStore


@dataclass(frozen=True)
class EmbedReport:
    """What phase 1 did: recordings embedded now (`damaged` of them in place of a damaged file), reused, and failed."""

    embedded: int
    reused: int
    damaged: int
    seconds: float
    failed: tuple[Exclusion, ...]


def embed_recordings(
    recordings: Sequence[Recording],
    fingerprints: Mapping[str, str],
    encoder_id: str,
    options: EncoderOptions,
    results: Path,
    *,
    simulated: bool = False,
    workers: int = 1,
    overlap: bool | None = None,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]] | None = None,
) -> EmbedReport:
    """Embed what is missing and return what happened.

    Parameters
    ----------
    recordings : sequence of Recording
    fingerprints : mapping of str to str
        Recording id to source fingerprint, to tell fresh entries from stale ones.
    encoder_id : str
    options : EncoderOptions
    results : Path
        Folder that holds the store.
    simulated : bool
        Whether the stored files must say that nobody was recorded.
    workers : int
        Processes. With 1 everything happens in this process, unless work overlaps.
    overlap : bool, optional
        Prepare in worker processes and run the model here, for encoders that offer both stages. Default: on an
        accelerator.
    progress : callable, optional
        Wraps the iterator of finished recordings: ``progress(iterator, total, description)``.

    Raises
    ------
    DataError
        When the store cannot be written, or a worker process dies.
    """
    started = time.perf_counter()
    encoder = make_encoder(encoder_id, options)
    store = EmbeddingStore(results)
    states = {r.id: store.state(encoder.card, r, fingerprints[r.id]) for r in recordings}
    todo = [r for r in recordings if states[r.id] != "ok"]
    description = f"embed {encoder_id}"
    with_progress = progress or (lambda done, total, text: done)
    if overlap is None:
        overlap = options.device.startswith(("cuda", "mps"))
    failed: list[Exclusion] = []
    outcomes: Iterator[Exclusion | None]
    workers = min(workers, len(todo))
    if overlap and is_staged(encoder) and len(todo) > 1:
        outcomes = overlapped(todo, encoder, store, (encoder_id, options), workers, simulated=simulated)
    elif workers <= 1:
        outcomes = (embed_one(encoder, store, recording, simulated) for recording in todo)
    else:
        outcomes = in_processes(todo, (encoder_id, options, results, simulated), workers)
    for outcome in with_progress(outcomes, len(todo), description):
        if outcome is not None:
            failed.append(outcome)
    failed.sort(key=lambda exclusion: exclusion.recording)
    damaged = sum(state == "damaged" for state in states.values())
    seconds = time.perf_counter() - started
    return EmbedReport(len(todo) - len(failed), len(recordings) - len(todo), damaged, seconds, tuple(failed))
