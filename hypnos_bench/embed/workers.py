"""Who embeds whole recordings: one unit of work, and the processes of this machine that do it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.encoders.base import Encoder, EncoderOptions
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.errors import DataError, RecordingError, is_transient
from hypnos_bench.processes import end_with_parent, signals_held
from hypnos_bench.spec import digest
from hypnos_bench.store.embeddings import EmbeddingStore

Unit = tuple[Recording, str]
"""A recording, and its source fingerprint where the work was planned."""

_embedder: Embedder | None = None  # one per process, made by _start_worker


@dataclass(frozen=True)
class Setup:
    """What all units of a run share.

    Parameters
    ----------
    encoder : str
        Reference of the encoder.
    definition : str
        Digest of its definition where the work was planned: elsewhere the same reference must mean the same.
    options : EncoderOptions
    results : Path
    simulated : bool
        Whether stored files must say that nobody was recorded.
    """

    encoder: str
    definition: str
    options: EncoderOptions
    results: Path
    simulated: bool


class Embedder:
    """An encoder and the store that it fills, as one process holds them.

    Parameters
    ----------
    setup : Setup
    encoder : Encoder, optional
        The encoder, where it has been made already.

    Raises
    ------
    DataError
        When the encoder is another one here than where the work was planned.
    """

    def __init__(self, setup: Setup, encoder: Encoder | None = None) -> None:
        self._encoder = encoder or make_encoder(setup.encoder, setup.options)
        if digest(self._encoder.card.definition()) != setup.definition:
            raise DataError(
                f"encoder {setup.encoder} is not the same here: other weights, settings or code than where the run "
                "was started; use one installation and one weights file for all"
            )
        self._store, self._simulated = EmbeddingStore(setup.results), setup.simulated

    def embed(self, unit: Unit) -> Exclusion | None:
        """Embed and store a recording, or say why it cannot be used."""
        recording, planned = unit
        card = self._encoder.card
        try:
            # Fingerprint first: if the file changes while it is read, the stored entry is stale, not wrong.
            fingerprint = recording.source_fingerprint()
            if fingerprint != planned:
                reason = (
                    f"{recording.signals.path}: not what was there when the run began, or not what other machines see "
                    "there; rerun, with --root on a filesystem that all of them share"
                )
                return Exclusion(recording.id, reason, transient=True)
            if self._store.state(card, recording, fingerprint) == "ok":
                return None  # by a worker that was lost before it could say so, or by another run
            embedding = self._encoder.encode(recording)
            self._store.save(card, recording, fingerprint, embedding, simulated=self._simulated)
        except (RecordingError, OSError, MemoryError) as error:
            return exclusion(recording, error)
        return None


def exclusion(recording: Recording, error: RecordingError | OSError | MemoryError) -> Exclusion:
    """What an error says about a recording."""
    if isinstance(error, RecordingError):
        return Exclusion(recording.id, error.reason, is_transient(error))
    if isinstance(error, MemoryError):
        reason = f"not enough memory for it ({error or 'no details'}); rerun with fewer --workers"
        return Exclusion(recording.id, reason, transient=True)
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


def in_processes(todo: Sequence[Unit], setup: Setup, workers: int) -> Iterator[Exclusion | None]:
    """Outcomes of recordings that workers embed and store, each with an encoder of its own, in any order."""
    context = multiprocessing.get_context("spawn")  # fork and torch do not mix
    pool = ProcessPoolExecutor(workers, context, _start_worker, (setup,))
    try:
        with signals_held():  # processes start while recordings are submitted, and inherit this
            futures: list[Future[Exclusion | None]] = [pool.submit(_embed_in_worker, unit) for unit in todo]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise worker_died(setup.encoder, workers) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(setup: Setup) -> None:
    global _embedder
    settle_in()
    _embedder = Embedder(setup)


def _embed_in_worker(unit: Unit) -> Exclusion | None:
    if _embedder is None:
        raise RuntimeError("worker process was not initialised")
    return _embedder.embed(unit)
