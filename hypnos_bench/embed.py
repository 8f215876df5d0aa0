"""Phase 1: embed every recording of a cohort that is not in the store yet.

One process per worker, one thread per process. A recording that fails is listed with its reason
and does not stop the rest; whatever is finished is on disk, so a killed run resumes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.encoders.base import Encoder, EncoderOptions
from hypnos_bench.encoders.registry import ENCODERS
from hypnos_bench.errors import DataError, RecordingError, is_transient
from hypnos_bench.store.embeddings import EmbeddingStore

_worker: tuple[Encoder, EmbeddingStore, bool] | None = None  # one per process, made by _start_worker


@dataclass(frozen=True)
class EmbedReport:
    """What phase 1 did: recordings embedded now (`damaged` of them in place of a damaged file), reused, and failed."""

    embedded: int
    reused: int
    damaged: int
    seconds: float
    failed: tuple[Exclusion, ...]


def make_encoder(encoder_id: str, options: EncoderOptions) -> Encoder:
    """Build an encoder by id."""
    encoder: Encoder = ENCODERS.load(encoder_id)(options)
    return encoder


def embed_recordings(
    recordings: Sequence[Recording],
    fingerprints: Mapping[str, str],
    encoder_id: str,
    options: EncoderOptions,
    results: Path,
    *,
    simulated: bool = False,
    workers: int = 1,
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
        Processes. With 1 everything happens in this process.
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
    failed: list[Exclusion] = []
    outcomes: Iterator[Exclusion | None]
    if workers <= 1 or len(todo) <= 1:
        outcomes = (_embed_one(encoder, store, recording, simulated) for recording in todo)
    else:
        outcomes = _in_processes(todo, (encoder_id, options, results, simulated), min(workers, len(todo)))
    for outcome in with_progress(outcomes, len(todo), description):
        if outcome is not None:
            failed.append(outcome)
    failed.sort(key=lambda exclusion: exclusion.recording)
    damaged = sum(state == "damaged" for state in states.values())
    seconds = time.perf_counter() - started
    return EmbedReport(len(todo) - len(failed), len(recordings) - len(todo), damaged, seconds, tuple(failed))


def _embed_one(encoder: Encoder, store: EmbeddingStore, recording: Recording, simulated: bool) -> Exclusion | None:
    try:
        # Fingerprint first: if the file changes while it is read, the stored entry is stale, not wrong.
        fingerprint = recording.source_fingerprint()
        store.save(encoder.card, recording, fingerprint, encoder.encode(recording), simulated=simulated)
    except RecordingError as error:
        return Exclusion(recording.id, error.reason, is_transient(error))
    except OSError as error:
        return Exclusion(recording.id, f"{recording.signals.path}: {error.strerror or error}", transient=True)
    return None


def _start_worker(encoder_id: str, options: EncoderOptions, results: Path, simulated: bool) -> None:
    global _worker
    from hypnos_bench.threads import one_thread

    threading.Thread(target=_die_with_parent, daemon=True).start()
    one_thread()
    _worker = (make_encoder(encoder_id, options), EmbeddingStore(results), simulated)


def _die_with_parent() -> None:
    """End this process when its parent is gone: a killed run must not leave workers behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _embed_in_worker(recording: Recording) -> Exclusion | None:
    if _worker is None:
        raise RuntimeError("worker process was not initialised")
    encoder, store, simulated = _worker
    return _embed_one(encoder, store, recording, simulated)


@contextmanager
def _sigint_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment: it reaches this process afterwards, and workers started meanwhile never.

    A worker must not print a traceback of its own; the parent ends it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_processes(
    todo: Sequence[Recording], setup: tuple[str, EncoderOptions, Path, bool], workers: int
) -> Iterator[Exclusion | None]:
    context = multiprocessing.get_context("spawn")  # fork and torch do not mix
    pool = ProcessPoolExecutor(workers, context, _start_worker, setup)
    try:
        with _sigint_held():  # processes start while recordings are submitted, and inherit this
            futures: list[Future[Exclusion | None]] = [pool.submit(_embed_in_worker, r) for r in todo]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process died while running {setup[0]}, most likely out of memory; finished recordings are "
            f"kept: rerun with fewer --workers (now {workers})"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
