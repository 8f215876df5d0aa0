"""Log power spectra per channel and epoch, and nothing else: the simplest spectral baseline.

No band is chosen, nothing is normalised over the night, and no row sees beyond its own 30 s. What a learned encoder
adds to this, it adds to the periodogram.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Recording, n_epochs
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.encoders.channels import nothing_usable, read_usable
from hypnos_bench.encoders.features.epochs import Floats, epoch_frames, gappy_epochs, microvolts
from hypnos_bench.encoders.features.spectral import segment_spectra
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import UNCALIBRATED, Signal
from hypnos_bench.signals.gaps import fill_gaps
from hypnos_bench.spec import EPOCH_S


class Grid(NamedTuple):
    """Where a channel's spectrum is read: length of a Welch segment, and bins of equal width side by side."""

    segment_s: float
    first_edge_hz: float
    width_hz: float
    n_bins: int

    @property
    def edges_hz(self) -> Floats:
        """Edges, shape (n_bins + 1,); bin k holds first_edge + k * width <= f < first_edge + (k + 1) * width."""
        return np.asarray(self.first_edge_hz + self.width_hz * np.arange(self.n_bins + 1), dtype=np.float64)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bins, by their lower edge."""
        return tuple(f"log_psd_from_{edge:.4g}_hz" for edge in self.edges_hz[:-1])


ELECTRIC = Grid(4.0, 0.5, 1.0, 32)
"""EEG, EOG, EMG, ECG: 0.5 to 32.5 Hz, four lines of 0.25 Hz per bin, bins around whole hertz."""

EFFORT = Grid(20.0, 0.025, 0.1, 20)
"""Effort belts: lines of 0.05 Hz from 0.05 to 2 Hz, two per bin. Four seconds would hold no breath."""

GRIDS = {channel: EFFORT if channel in ("ABD", "THX") else ELECTRIC for channel in CANONICAL_CHANNELS}

FEATURE_NAMES = (
    *(f"{channel}.{name}" for channel, grid in GRIDS.items() for name in grid.names),
    *(f"{channel}.present" for channel in GRIDS),
)
"""Names of the columns of an embedding, in order."""

_FLOOR = 1e-15  # of the channel's unit squared per Hz: far below any noise, so that the logarithm exists


class RawPSDEncoder:
    """Log10 power density per canonical channel on a fixed frequency grid, one row per 30 s; needs no weights."""

    title = "Raw power spectra"

    def __init__(self, options: EncoderOptions) -> None:
        options.choose("raw-psd", {})  # nothing to choose
        self._card = EncoderCard(
            id="raw-psd",
            title=self.title,
            version="1",
            step_s=EPOCH_S,
            window_s=EPOCH_S,
            causal=True,
            lag_rows=0,
            pretrained_on=(),
            channels=CANONICAL_CHANNELS,
            missing="a missing channel gives zeros and 0 in its presence column, as does an epoch in which it is "
            "flat or lacks more than a tenth; bins above half the sampling rate are zeros; without calibration the "
            "mean of a channel's log spectrum is taken out of each row; an epoch in which no channel was recorded is "
            "NaN",
            settings={
                "welch": {"window": "hann", "overlap": 0.5, "electric_s": ELECTRIC.segment_s, "effort_s": EFFORT[0]},
                "electric_hz": list(ELECTRIC[1:]),
                "effort_hz": list(EFFORT[1:]),
            },
            licence="MIT",
            note="Log10 of µV²/Hz; belts in the file's own unit, whose gain is arbitrary. Nothing is normalised over "
            "the recording, and a row sees its own 30 s only.",
            dim=len(FEATURE_NAMES),
        )

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        return self._card

    def encode(self, recording: Recording) -> Embedding:
        """Compute the spectra, shape (n_epochs, len(FEATURE_NAMES)) float32 under ``"psd"``.

        A row is NaN as a whole when no channel was recorded in its epoch.

        Raises
        ------
        RecordingError
            When the recording is shorter than an epoch, or no channel is usable.
        """
        from hypnos_bench.hypnos.preprocess import min_rate_hz

        n = n_epochs(recording.duration_s())
        if n == 0:
            raise RecordingError(recording.id, f"shorter than one epoch of {EPOCH_S:g} s")
        signals, skipped = read_usable(recording, CANONICAL_CHANNELS, gaps=True, min_rate_hz=min_rate_hz)
        spectra, unrecorded = [], np.ones(n, dtype=np.bool_)
        for channel, grid in GRIDS.items():
            values = np.full((n, grid.n_bins), np.nan)
            if channel in signals:
                signal = signals[channel]
                values = log_psd(_in_unit(channel, signal), signal.rate_hz, n, grid)
                if signal.unit == UNCALIBRATED:
                    values -= _mean_of_defined(values)
                gappy = gappy_epochs(~np.isfinite(signal.values), signal.rate_hz, n)
                unrecorded[: len(gappy)] &= gappy
            spectra.append(values)
        present = np.stack([np.isfinite(values).any(axis=1) for values in spectra], axis=1)
        if not present.any():
            raise nothing_usable(recording, skipped)
        base = np.nan_to_num(np.concatenate(spectra, axis=1), nan=0.0)
        rows = np.concatenate([base, present], axis=1).astype(np.float32)
        rows[~present.any(axis=1) & unrecorded] = np.nan
        return Embedding({"psd": rows}, 0.0, EPOCH_S, {name: s.source for name, s in signals.items()}, skipped)


def log_psd(values: Floats, rate_hz: float, n_epochs: int, grid: Grid) -> Floats:
    """Log10 of Welch's power density per epoch, averaged over the lines of each bin.

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
        NaN where nothing was recorded; up to a tenth of an epoch is bridged by lines within that epoch.
    rate_hz : float
    n_epochs : int
    grid : Grid

    Returns
    -------
    ndarray, shape (n_epochs, grid.n_bins)
        Unit²/Hz. NaN in bins above half the rate, and in epochs that are flat, gappy or beyond the end.
        Source: Welch 1967, IEEE Trans. Audio Electroacoust. 15:70.
    """
    out = np.full((n_epochs, grid.n_bins), np.nan)
    frames = epoch_frames(np.asarray(values, dtype=np.float64), rate_hz, n_epochs)
    if len(frames) == 0:
        return out
    gaps = ~np.isfinite(frames)
    holes = np.flatnonzero(gaps.any(axis=1))
    usable = ~gappy_epochs(~np.isfinite(values), rate_hz, n_epochs)
    if holes.size:
        frames = frames.copy()  # bridged within the epoch: a row must not see the next one
        for epoch in holes[usable[holes]]:
            frames[epoch] = fill_gaps(frames[epoch])[0]
        frames[~usable] = 0.0
    usable &= frames.max(axis=1) > frames.min(axis=1)
    f, density = segment_spectra(frames, rate_hz, grid.segment_s)
    psd = density.mean(axis=1)
    for k, (low, high) in enumerate(zip(grid.edges_hz[:-1], grid.edges_hz[1:], strict=True)):
        lines = (f >= low) & (f < high)
        if lines.any():
            out[: len(frames), k] = np.log10(np.maximum(psd[:, lines].mean(axis=1), _FLOOR))
    out[: len(frames)][~usable] = np.nan
    return out


def _in_unit(channel: str, signal: Signal) -> NDArray[np.float64]:
    if GRIDS[channel] is EFFORT or signal.unit == UNCALIBRATED:
        return np.asarray(signal.values, dtype=np.float64)
    return microvolts(np.asarray(signal.values, dtype=np.float64), signal.unit)


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the defined bins of each row, shape (n, 1); 0 where none is."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(total / np.maximum(defined.sum(axis=1, keepdims=True), 1))
