"""Recordings on an accelerator: workers prepare them, this process embeds what is ready, threads store it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.embed.workers import exclusion, settle_in, worker_died
from hypnos_bench.encoders.base import Embedding, EncoderOptions, Prepared, StagedEncoder, is_staged
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.processes import signals_held
from hypnos_bench.store.embeddings import EmbeddingStore

_SAVING_THREADS = 2  # one hashes and writes some ten nights a second

_preparer: tuple[StagedEncoder, Path] | None = None  # one per process, made by _start


def overlapped(
    todo: Sequence[Recording],
    encoder: StagedEncoder,
    store: EmbeddingStore,
    setup: tuple[str, EncoderOptions],
    workers: int,
    *,
    simulated: bool,
) -> Iterator[Exclusion | None]:
    """Embed and store recordings; yields one outcome for each, in any order.

    A batch is what is ready when the model is: few recordings where workers are the slower side, as many as the
    encoder wants where the model is.

    Parameters
    ----------
    todo : sequence of Recording
    encoder : StagedEncoder
        Embeds here; workers build their own from `setup`, to prepare.
    store : EmbeddingStore
    setup : (encoder id, EncoderOptions)
    workers : int
        Processes that prepare.
    simulated : bool
        Whether the stored files must say that nobody was recorded.

    Raises
    ------
    DataError
        When the store or the scratch folder cannot be written, or a worker process dies.
    """
    size = encoder.batch_size()
    saving: deque[Future[Exclusion | None]] = deque()

    def save(recording: Recording, fingerprint: str, outcome: Embedding | RecordingError) -> Exclusion | None:
        try:
            if isinstance(outcome, RecordingError):
                raise outcome
            store.save(encoder.card, recording, fingerprint, outcome, simulated=simulated)
        except (RecordingError, OSError) as error:
            return exclusion(recording, error)
        return None

    with _Preparation(todo, setup, workers, ahead=workers + 2 * size) as preparation:
        savers = ThreadPoolExecutor(_SAVING_THREADS)
        try:
            while outcomes := preparation.ready(size):
                yield from (outcome for _, outcome in outcomes if isinstance(outcome, Exclusion))
                parcels = [(recording, parcel) for recording, parcel in outcomes if isinstance(parcel, Parcel)]
                embedded = encoder.encode_prepared([parcel.open() for _, parcel in parcels]) if parcels else []
                for (recording, parcel), result in zip(parcels, embedded, strict=True):
                    saving.append(savers.submit(save, recording, parcel.fingerprint, result))
                while saving and (saving[0].done() or len(saving) > size):  # never more than a batch in memory
                    yield saving.popleft().result()
            while saving:
                yield saving.popleft().result()
        finally:
            savers.shutdown(wait=True)  # what is computed is stored, whatever ended the run


class _Preparation:
    """Worker processes that prepare recordings, longest first, and never more than `ahead` before they are taken.

    Neighbours are then of like length, which suits a batch, and no long one is left for the end.
    """

    def __init__(
        self, todo: Sequence[Recording], setup: tuple[str, EncoderOptions], workers: int, *, ahead: int
    ) -> None:
        self._setup, self._workers, self._ahead = setup, workers, ahead
        self._waiting = deque(sorted(todo, key=_length_s, reverse=True))
        self._begun: dict[Future[Parcel | Exclusion], Recording] = {}

    def __enter__(self) -> _Preparation:
        try:
            self._scratch = tempfile.TemporaryDirectory(prefix="hypnos-bench-")
        except OSError as error:
            raise DataError(f"{tempfile.gettempdir()}: no scratch folder can be made ({error.strerror})") from error
        context = multiprocessing.get_context("spawn")  # fork and torch do not mix
        arguments = (*self._setup, Path(self._scratch.name))
        self._pool = ProcessPoolExecutor(self._workers, context, _start, arguments)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._scratch.cleanup()

    def ready(self, most: int) -> list[tuple[Recording, Parcel | Exclusion]]:
        """Outcomes that are there, up to `most`; waits for the first, and gives none when all have been taken."""
        try:
            with signals_held():  # processes start while recordings are submitted, and inherit this
                while self._waiting and len(self._begun) < self._ahead:
                    recording = self._waiting.popleft()
                    self._begun[self._pool.submit(_prepare, recording)] = recording
            wait(self._begun, return_when=FIRST_COMPLETED)
            done = [future for future in self._begun if future.done()][:most]
            return [(self._begun.pop(future), future.result()) for future in done]
        except BrokenProcessPool as error:
            raise worker_died(self._setup[0], self._workers) from error


def _length_s(recording: Recording) -> float:
    try:
        return recording.duration_s()
    except (RecordingError, OSError):
        return 0.0  # what is wrong with it is said when it is prepared


@dataclass(frozen=True)
class Parcel:
    """A prepared recording on its way between processes; its arrays lie one after the other in a scratch file.

    Not in the pool's pipe: a night has 100 MB, which took a tenth of a second of the receiver's time, and a GPU is to
    embed three a second. Not in shared memory, of which many containers have 64 MB.
    """

    fingerprint: str
    prepared: Prepared  # without its arrays
    lengths: Mapping[str, int]
    path: Path

    @classmethod
    def pack(cls, fingerprint: str, prepared: Prepared, folder: Path) -> Parcel:
        """Write the arrays to a new file in `folder`.

        Raises
        ------
        DataError
            When the folder cannot be written.
        """
        try:
            handle, name = tempfile.mkstemp(".float32", dir=folder)
            with os.fdopen(handle, "wb") as file:
                for array in prepared.arrays.values():
                    file.write(np.ascontiguousarray(array, np.float32).data)
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written ({error.strerror}); preprocessed signals lie there until they are "
                "embedded: make room, or choose another place with TMPDIR"
            ) from error
        lengths = {name: len(array) for name, array in prepared.arrays.items()}
        return cls(fingerprint, replace(prepared, arrays={}), lengths, Path(name))

    def open(self) -> Prepared:
        """Map the arrays. The file loses its name now and goes when the arrays do."""
        if sys.platform == "win32" or not sum(self.lengths.values()):
            # A file cannot be deleted there while it is mapped, and an empty one cannot be mapped anywhere.
            flat = np.fromfile(self.path, np.float32)
        else:
            flat = np.memmap(self.path, np.float32, "r")
        self.path.unlink()
        stops = itertools.accumulate(self.lengths.values())
        arrays = {name: flat[stop - n : stop] for (name, n), stop in zip(self.lengths.items(), stops, strict=True)}
        return replace(self.prepared, arrays=arrays)


def _start(encoder_id: str, options: EncoderOptions, scratch: Path) -> None:
    global _preparer
    settle_in(scratch)
    encoder = make_encoder(encoder_id, options)
    if not is_staged(encoder):
        raise RuntimeError(f"encoder {encoder_id} has no stages")
    _preparer = (encoder, scratch)


def _prepare(recording: Recording) -> Parcel | Exclusion:
    if _preparer is None:
        raise RuntimeError("worker process was not initialised")
    encoder, scratch = _preparer
    try:
        fingerprint = recording.source_fingerprint()  # first, as for whole recordings
        prepared = encoder.prepare(recording)
    except (RecordingError, OSError) as error:
        return exclusion(recording, error)
    return Parcel.pack(fingerprint, prepared, scratch)
