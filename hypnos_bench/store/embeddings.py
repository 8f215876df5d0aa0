"""One file per recording and encoder: phase 1 writes them, phase 2 only reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench import __version__
from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.errors import IntegrityError, RecordingError
from hypnos_bench.spec import digest, plain
from hypnos_bench.store.atomic import remove, safe_name
from hypnos_bench.store.lost import read_marker, write_marker
from hypnos_bench.store.tensorfile import damaged, read_header, read_tensors, write_tensors

EMBEDDING_SCHEMA = 1
"""Version of the embedding file."""

LOST_SCHEMA = 1
"""Version of the marker of a lost recording."""

State = Literal["ok", "missing", "stale", "damaged", "lost"]

_DTYPES = ("float16", "float32")


class EmbeddingStore:
    """Embedding files under ``root/embeddings/<cohort>/<encoder>-<hash>/<recording>.safetensors``.

    A recording that the encoder refused has ``<recording>.lost.json`` there instead.

    Parameters
    ----------
    root : Path
        The results folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, card: EncoderCard, cohort: str, recording: str) -> Path:
        """Where the embedding of a recording lies; another definition of the encoder is another folder."""
        folder = f"{safe_name(card.id)}-{digest(card.definition())[:8]}"
        return self.root / "embeddings" / safe_name(cohort) / folder / f"{safe_name(recording)}.safetensors"

    def save(
        self,
        card: EncoderCard,
        recording: Recording,
        source_fingerprint: str,
        embedding: Embedding,
        *,
        simulated: bool = False,
    ) -> Path:
        """Store an embedding and return its path; a marker that the recording is lost goes.

        Parameters
        ----------
        source_fingerprint : str
            ``recording.source_fingerprint()``, computed once by the caller.
        simulated : bool
            True when the cohort was never recorded; the file says so.

        Raises
        ------
        RecordingError
            For arrays that may not enter a benchmark: NaN, infinity, no rows, rows that differ between modalities, rows
            before the recording or beyond it, another width than the card says.
        DataError
            When the disk refuses.
        """
        problem = embedding_problem(embedding, card) or misfit(embedding, card, recording.duration_s())
        if problem:
            raise RecordingError(recording.id, f"encoder {card.id} gave {problem}")
        header = {
            "schema": EMBEDDING_SCHEMA,
            "cohort": recording.cohort,
            "recording": recording.id,
            "start_s": float(embedding.start_s),
            "step_s": float(embedding.step_s),
            "rate_hz": 1.0 / float(embedding.step_s),
            "arrays": _layout(embedding.arrays),
            "channels": dict(embedding.channels),
            "skipped": dict(embedding.skipped),
            "source": source_fingerprint,
            "encoder": plain(card.definition()),
            "weights": card.weights,
            "marks": sorted({*card.marks, *(["simulated"] if simulated else [])}),
            "version": __version__,
        }
        path = self.path(card, recording.cohort, recording.id)
        write_tensors(path, embedding.arrays, header)
        remove(self.lost_path(card, recording.cohort, recording.id))
        return path

    def state(self, card: EncoderCard, recording: Recording, source_fingerprint: str) -> State:
        """Say whether a usable file is there, from its header alone: cheap enough to plan thousands.

        ``stale``: made from other signals or by another definition. ``damaged``: truncated, altered or foreign.
        ``lost``: none of use is there, since this definition of the encoder refused these signals.
        """
        found = self._state_of_file(card, recording, source_fingerprint)
        refused = found != "ok" and self.lost_reason(card, recording, source_fingerprint) is not None
        return "lost" if refused else found

    def _state_of_file(self, card: EncoderCard, recording: Recording, source_fingerprint: str) -> State:
        path = self.path(card, recording.cohort, recording.id)
        if not path.exists():
            return "missing"
        try:
            header = read_header(path)
        except IntegrityError:
            return "damaged"
        return "stale" if mismatch(header, card, recording, source_fingerprint) else "ok"

    def lost_path(self, card: EncoderCard, cohort: str, recording: str) -> Path:
        """Where the marker lies that an encoder refused a recording."""
        return self.path(card, cohort, recording).with_suffix(".lost.json")

    def mark_lost(self, card: EncoderCard, recording: Recording, source_fingerprint: str, reason: str) -> None:
        """Leave a marker that the encoder refused these signals, and why. Raises ``DataError`` as `save`."""
        path = self.lost_path(card, recording.cohort, recording.id)
        write_marker(path, _lost_facts(card, recording, source_fingerprint), reason)

    def lost_reason(self, card: EncoderCard, recording: Recording, source_fingerprint: str) -> str | None:
        """Why this release's encoder refused these signals, or ``None``; a damaged marker counts as none."""
        path = self.lost_path(card, recording.cohort, recording.id)
        return read_marker(path, _lost_facts(card, recording, source_fingerprint))

    def load(self, card: EncoderCard, recording: Recording, source_fingerprint: str) -> Embedding:
        """Read an embedding, verified against its hashes, the encoder and the signals it must come from.

        Raises
        ------
        DataError
            When there is no such file.
        IntegrityError
            When it is damaged, or belongs to other signals or another encoder.
        """
        path = self.path(card, recording.cohort, recording.id)
        header, arrays = read_tensors(path)
        wrong = mismatch(header, card, recording, source_fingerprint)
        if wrong:
            raise damaged(path, wrong)
        embedding = _embedding(path, header, arrays)
        problem = embedding_problem(embedding, card)
        if problem or header["arrays"] != _layout(arrays):
            raise damaged(path, f"holds {problem or 'other arrays than its header says'}")
        return embedding

    def header(self, card: EncoderCard, recording: Recording) -> dict[str, Any]:
        """Read the verified header of a stored embedding (provenance of channels, marks). Raises as :meth:`load`."""
        return read_header(self.path(card, recording.cohort, recording.id))


def mismatch(header: Mapping[str, Any], card: EncoderCard, recording: Recording, source_fingerprint: str) -> str | None:
    """Say in what a header differs from what is wanted, or ``None``."""
    wanted = {
        "schema": (EMBEDDING_SCHEMA, "has another schema"),
        "cohort": (recording.cohort, "belongs to another cohort"),
        "recording": (recording.id, "belongs to another recording"),
        "encoder": (plain(card.definition()), "was made by another definition of the encoder"),
        "source": (source_fingerprint, "was made from other signals"),
    }
    return next((words for name, (value, words) in wanted.items() if header.get(name) != value), None)


def embedding_problem(embedding: Embedding, card: EncoderCard) -> str | None:
    """Say why an embedding may not be stored or used, or ``None``."""
    if not embedding.arrays:
        return "no array"
    if not (np.isfinite(embedding.start_s) and np.isfinite(embedding.step_s) and embedding.step_s > 0):
        return f"impossible row times (start {embedding.start_s} s, step {embedding.step_s} s)"
    if card.step_s is not None and embedding.step_s != card.step_s:
        return f"rows every {embedding.step_s} s although its card says {card.step_s} s"
    rows = {name: len(array) for name, array in embedding.arrays.items()}
    if len(set(rows.values())) > 1:
        return f"different numbers of rows: {rows}"
    for name, array in embedding.arrays.items():
        if array.ndim != 2 or 0 in array.shape:
            return f"{name!r} of shape {array.shape} instead of (rows, dim)"
        if array.dtype.name not in _DTYPES:
            return f"{name!r} as {array.dtype.name} instead of float16 or float32"
        lost = np.isnan(array).all(axis=1)  # rows that the encoder had no signal for: units drop them
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1) & ~(lost & (not lost.all())))
        if bad.size:
            return f"NaN or infinity in {name!r}, first in row {bad[0]} ({bad.size} of {len(array)} rows)"
    return None


def misfit(embedding: Embedding, card: EncoderCard, duration_s: float) -> str | None:
    """Say why an embedding cannot be one of a recording of so many seconds by this card, or ``None``.

    A last row may reach beyond the end, by less than a row. Rows of 15 s under a card of 30 s reach twice as far as the
    recording, which is how they are found out: an array has no times of its own.
    """
    widths = {name: array.shape[1] for name, array in embedding.arrays.items()}
    if card.dim is not None and set(widths.values()) != {card.dim}:
        return f"columns {widths} although its card says {card.dim}"
    n_rows = len(next(iter(embedding.arrays.values())))
    end_s = embedding.start_s + n_rows * embedding.step_s
    if embedding.start_s < 0 or end_s > duration_s + embedding.step_s + 1e-6:
        return (
            f"{n_rows} rows of {embedding.step_s:g} s from {embedding.start_s:g} s to {end_s:g} s for a recording of "
            f"{duration_s:g} s; check the step on its card"
        )
    return None


def _lost_facts(card: EncoderCard, recording: Recording, source_fingerprint: str) -> dict[str, Any]:
    """What a refusal rests on. The release too: the next one may read what this one does not."""
    return {
        "schema": LOST_SCHEMA,
        "cohort": recording.cohort,
        "recording": recording.id,
        "source": source_fingerprint,
        "encoder": plain(card.definition()),
        "version": __version__,
    }


def _layout(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in arrays.items()}


def _embedding(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Embedding:
    try:
        return Embedding(
            arrays=dict(arrays),
            start_s=float(header["start_s"]),
            step_s=float(header["step_s"]),
            channels={str(k): str(v) for k, v in header["channels"].items()},
            skipped={str(k): str(v) for k, v in header["skipped"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"lacks a header field ({error})") from error
