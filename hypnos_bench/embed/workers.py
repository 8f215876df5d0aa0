"""Worker processes: how they start and end, and those that embed whole recordings."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.encoders.base import Encoder, EncoderOptions
from hypnos_bench.encoders.registry import ENCODERS
from hypnos_bench.errors import DataError, RecordingError, is_transient
from hypnos_bench.processes import end_with_parent, signals_held
from hypnos_bench.store.embeddings import EmbeddingStore

_worker: tuple[Encoder, EmbeddingStore, bool] | None = None  # one per process, made by _start_worker


def make_encoder(encoder_id: str, options: EncoderOptions) -> Encoder:
    """Build an encoder by id."""
    encoder: Encoder = ENCODERS.load(encoder_id)(options)
    return encoder


def embed_one(encoder: Encoder, store: EmbeddingStore, recording: Recording, simulated: bool) -> Exclusion | None:
    """Embed and store a recording, or say why it cannot be used."""
    try:
        # Fingerprint first: if the file changes while it is read, the stored entry is stale, not wrong.
        fingerprint = recording.source_fingerprint()
        store.save(encoder.card, recording, fingerprint, encoder.encode(recording), simulated=simulated)
    except (RecordingError, OSError) as error:
        return exclusion(recording, error)
    return None


def exclusion(recording: Recording, error: RecordingError | OSError) -> Exclusion:
    """What an error says about a recording."""
    if isinstance(error, RecordingError):
        return Exclusion(recording.id, error.reason, is_transient(error))
    return Exclusion(recording.id, f"{recording.signals.path}: {error.strerror or error}", transient=True)


def settle_in(scratch: Path | None = None) -> None:
    """Make the calling process a worker: one thread, and an end when its parent is gone."""
    from hypnos_bench.threads import one_thread

    end_with_parent(scratch)
    one_thread()


def worker_died(encoder_id: str, workers: int) -> DataError:
    """Build the error of a pool that lost a process."""
    return DataError(
        f"a worker process died while running {encoder_id}, most likely out of memory; finished recordings are "
        f"kept: rerun with fewer --workers (now {workers})"
    )


def in_processes(
    todo: Sequence[Recording], setup: tuple[str, EncoderOptions, Path, bool], workers: int
) -> Iterator[Exclusion | None]:
    """Outcomes of recordings that workers embed and store, each with an encoder of its own, in any order."""
    context = multiprocessing.get_context("spawn")  # fork and torch do not mix
    pool = ProcessPoolExecutor(workers, context, _start_worker, setup)
    try:
        with signals_held():  # processes start while recordings are submitted, and inherit this
            futures: list[Future[Exclusion | None]] = [pool.submit(_embed_in_worker, r) for r in todo]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise worker_died(setup[0], workers) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(encoder_id: str, options: EncoderOptions, results: Path, simulated: bool) -> None:
    global _worker
    settle_in()
    _worker = (make_encoder(encoder_id, options), EmbeddingStore(results), simulated)


def _embed_in_worker(recording: Recording) -> Exclusion | None:
    if _worker is None:
        raise RuntimeError("worker process was not initialised")
    encoder, store, simulated = _worker
    return embed_one(encoder, store, recording, simulated)
