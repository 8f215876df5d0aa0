"""What a signal file is to the rest of the house: channels at native rates, read one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UNCALIBRATED = "uncalibrated"
"""Unit of a channel whose file does not say what its stored integers mean: it has a shape, but no amplitude."""


@dataclass(frozen=True)
class Channel:
    """Header entry of one channel."""

    label: str
    rate_hz: float
    unit: str
    n_samples: int


@dataclass(frozen=True)
class Signal:
    """One channel's samples in physical units at its native rate.

    Parameters
    ----------
    values : ndarray of float64, shape (n_samples,)
        Sample i was taken i / `rate_hz` seconds after the first one; NaN where nothing was recorded.
    rate_hz : float
    unit : str
        As the file states it (``uV``, ``mV``, ``V``, blank), or `UNCALIBRATED`.
    source : str
        How it was made, in the file's own labels: ``"C3 - A2"`` or ``"EEG(sec)"``.
    """

    values: NDArray[np.float64]
    rate_hz: float
    unit: str
    source: str


@dataclass(frozen=True)
class Derivation:
    """A canonical channel in terms of a file's own labels: `plus`, or `plus` minus `minus`."""

    plus: str
    minus: str | None = None

    def __str__(self) -> str:
        return self.plus if self.minus is None else f"{self.plus} - {self.minus}"


class SignalFile(Protocol):
    """A recording's signals on disk. Opening is lazy; nothing stays open; instances can be pickled."""

    @property
    def path(self) -> Path:
        """Main file (header)."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds samples, for fingerprints."""
        ...

    def channels(self) -> tuple[Channel, ...]:
        """Header entries in file order. Raises ``RecordingError`` when the file cannot be trusted."""
        ...

    def duration_s(self) -> float:
        """Length of the recording in seconds, pauses included."""
        ...

    def start_clock(self) -> time | None:
        """Time of day of the first sample, or ``None`` when the file does not say."""
        ...

    def repairs(self) -> tuple[str, ...]:
        """One line per thing in the header that was not as the standard wants it, and how it was read.

        Empty for a clean file. Raises as `channels`.
        """
        ...

    def unreadable(self) -> Mapping[str, str]:
        """Label to reason, for channels whose values cannot be given: `read` refuses them. Raises as `channels`."""
        ...

    def read(self, label: str) -> Signal:
        """Read one channel by its exact label.

        Raises
        ------
        RecordingError
            When it cannot be read whole: the file is not to be trusted.
        DataError
            When only this channel cannot be used.
        """
        ...
