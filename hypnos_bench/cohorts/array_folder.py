"""A folder of ready-made embeddings: ``<recording>.npz`` with rows ``X`` and stage codes ``y``.

There are no signals: the encoder ``precomputed`` reads X, this cohort reads y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.runs import runs_of
from hypnos_bench.cohorts.base import (
    STAGES,
    Cohort,
    CohortCard,
    CohortOptions,
    Exclusion,
    Recording,
    Scoring,
)
from hypnos_bench.cohorts.scan import PersonPattern, by_id, nothing_found, require_root, split_repeated, walk_files
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.arrays import npz_headers, read_arrays
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.spec import EPOCH_S, SplitSpec

EXAMPLE = "night1.npz with X (epochs, dim) and y (stage codes 0..4, -1 unscored)"

MAX_EPOCHS = 100_000
"""More than a month of epochs: such a file is something else."""

MAX_X_BYTES = 2 * 1024**3
"""Unpacked size of X: 100,000 epochs of 5,000 float32 columns."""


CARD = CohortCard(
    id="array-folder",
    title="Folder of ready-made embeddings with stages",
    labels=("stage",),
    split=SplitSpec("cv5"),
    encoders=("precomputed",),
    source="files given by the user",
    note=(
        "One .npz per recording: X of shape (epochs, dim), y of shape (epochs,) with 0 W, 1 N1, 2 N2, 3 N3, 4 R and "
        "-1 unscored. Without a person pattern every recording counts as its own person."
    ),
)


@dataclass(frozen=True)
class ArrayFile:
    """Stands where a signal file would: it has a length, but no channels."""

    recording: str
    path: Path
    epochs: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The ``.npz``."""
        return (self.path,)

    def channels(self) -> tuple[Channel, ...]:
        """None."""
        return ()

    def duration_s(self) -> float:
        """30 s per epoch."""
        return self.epochs * EPOCH_S

    def start_clock(self) -> time | None:
        """Unknown."""
        return None

    def repairs(self) -> tuple[str, ...]:
        """None: there is no header."""
        return ()

    def unreadable(self) -> Mapping[str, str]:
        """None: there are no channels."""
        return {}

    def read(self, label: str) -> Signal:
        """There is nothing to read."""
        raise RecordingError(
            self.recording, f"{self.path.name} holds embeddings, not signals ({label}): use the encoder 'precomputed'"
        )


@dataclass(frozen=True)
class ArrayLabels:
    """Stages from ``y``."""

    recording: str
    path: Path
    epochs: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The ``.npz``."""
        return (self.path,)

    @property
    def rules(self) -> str:
        """Nothing can be set."""
        return ""

    def read(self) -> Scoring:
        """Stages of every epoch.

        Raises
        ------
        RecordingError
            When y is no list of stage codes, or X holds values that are not finite.
        """
        y = _read(self.recording, self.path, "y")
        if len(y) != self.epochs:
            raise RecordingError(self.recording, f"{self.path.name}: changed since it was listed: {len(y)} epochs")
        codes = stage_codes(y, self.recording, self.path.name)
        x = _read(self.recording, self.path, "X")
        finite = np.isfinite(x).all(axis=1)
        if not finite.all():
            raise RecordingError(
                self.recording,
                f"{self.path.name}: X is not finite in {int((~finite).sum())} of {len(x)} rows, "
                f"the first is {int(np.argmin(finite))}",
            )
        return Scoring(stages=runs_of(codes, where="row"))


class ArrayFolder:
    """Opener of a folder of arrays; subfolders are searched."""

    @property
    def card(self) -> CohortCard:
        """The card."""
        return CARD

    def open(self, options: CohortOptions) -> Cohort:
        """List the recordings. Only the shapes of X and y are read.

        Raises
        ------
        UsageError
            For no root, or a person pattern that does not fit.
        DataError
            When the folder is missing or holds no usable file.
        """
        pattern = PersonPattern(options.person_pattern)
        root = require_root(options, CARD.id, EXAMPLE)
        found, excluded = split_repeated(((path.stem, path) for path in walk_files(root, ".npz")), root)
        recordings = []
        for stem, path in found.items():
            person = pattern.person(stem)
            try:
                epochs = epochs_in(stem, path)
            except RecordingError as error:
                excluded.append(Exclusion(stem, error.reason))
                continue
            signals = ArrayFile(stem, path, epochs)
            recordings.append(Recording(CARD.id, stem, person, signals, ArrayLabels(stem, path, epochs), montage={}))
        if not recordings:
            raise nothing_found(root, CARD.id, "*.npz in it and its subfolders", EXAMPLE, excluded)
        card = replace(CARD, persons_assumed=options.person_pattern is None)
        return Cohort(card, by_id(recordings), tuple(sorted(excluded, key=lambda e: e.recording)))


def epochs_in(recording: str, path: Path) -> int:
    """Epochs of one file, after checking the shapes of X and y by their headers.

    Raises
    ------
    RecordingError
        When an array is missing, misshaped, too large, or the two differ in length.
    """
    shapes = _headers(recording, path)
    for name, ndim in (("X", 2), ("y", 1)):
        if name not in shapes:
            raise RecordingError(
                recording, f"{path.name}: no array {name!r}; found {', '.join(sorted(shapes)) or 'none'}"
            )
        shape, dtype = shapes[name]
        if len(shape) != ndim or 0 in shape:
            expected = "(epochs, dim)" if ndim == 2 else "(epochs,)"
            raise RecordingError(recording, f"{path.name}: {name} has shape {shape}, expected {expected}")
        if dtype.kind not in "iuf":
            raise RecordingError(recording, f"{path.name}: {name} holds {dtype}, expected numbers")
    (x_shape, x_dtype), (y_shape, _) = shapes["X"], shapes["y"]
    if x_shape[0] != y_shape[0]:
        raise RecordingError(recording, f"{path.name}: X has {x_shape[0]} rows, y has {y_shape[0]}")
    if y_shape[0] > MAX_EPOCHS or x_shape[0] * x_shape[1] * x_dtype.itemsize > MAX_X_BYTES:
        raise RecordingError(
            recording,
            f"{path.name}: X of shape {x_shape} is above the limit of {MAX_EPOCHS} epochs or {MAX_X_BYTES} bytes",
        )
    return int(y_shape[0])


def stage_codes(y: NDArray[np.generic], recording: str, name: str) -> NDArray[np.int8]:
    """Check that `y` holds nothing but -1..4 and return it as int8."""
    wrong = ~np.isin(y, np.arange(-1, len(STAGES)))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise RecordingError(recording, f"{name}: y[{first}] is {y[first]}, expected -1..{len(STAGES) - 1}")
    return y.astype(np.int8)


def _headers(recording: str, path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
    """Shape and type of every array in the archive, without unpacking them."""
    try:
        return npz_headers(path)
    except (ValueError, OSError) as error:
        raise RecordingError(recording, f"{path.name}: not a readable .npz: {error}") from error


def _read(recording: str, path: Path, name: str) -> NDArray[np.generic]:
    epochs_in(recording, path)  # bounds the size before anything is unpacked
    try:
        array: NDArray[np.generic] = read_arrays(path, (name,))[name]
    except (ValueError, OSError) as error:
        raise RecordingError(recording, f"{path.name}: {name} cannot be read: {error}") from error
    return array


SOURCE = ArrayFolder()
