"""Preprocessing of a signal that is still being recorded: resampler, filters and z-score that carry their state.

Fed in pieces of any length, each gives what the offline function gives for the whole signal. What looks
ahead waits: the resampler for the samples under its symmetric filter, the z-score for its start values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.signals.filters import ForwardFilter
from hypnos_bench.signals.normalise import RunningZscore, compress, moments, start_samples
from hypnos_bench.signals.resample import factors, low_pass

Moments = tuple[float, float]
"""Mean and variance of a filtered signal, in its unit and its unit squared."""


class StreamingResampler:
    """`signals.resample.resample` for a signal that arrives in pieces.

    Output j is given out once the input has reached the end of its filter: ``10 / to_hz`` seconds later when
    the rate goes down, ``10 / from_hz`` when it goes up, at once when it stays.

    Parameters
    ----------
    from_hz, to_hz : float
        Need not be whole.

    Raises
    ------
    ValueError
        When a rate is not a positive number.
    """

    def __init__(self, from_hz: float, to_hz: float) -> None:
        self._up, self._down = factors(from_hz, to_hz)
        self._same = self._up == self._down
        self._taps = np.empty(0) if self._same else low_pass(self._up, self._down) * self._up
        self._half = len(self._taps) // 2
        self._kept = np.empty(0)
        self._start = 0  # index of the first kept sample
        self._n_in = self._n_out = 0

    def push(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the outputs that these samples complete.

        Returns
        -------
        ndarray of float64
            Rounded to float32 when the rate changes, as offline.
        """
        if self._same:
            return values
        self._kept = np.concatenate((self._kept, values))
        self._n_in += len(values)
        return self._outputs((self._n_in * self._up - 1 - self._half) // self._down + 1)

    def finish(self) -> NDArray[np.float64]:
        """Give the last outputs, with zeros beyond the end of the signal."""
        if self._same:
            return np.empty(0)
        self._kept = np.concatenate((self._kept, np.zeros(self._half // self._up + 1)))
        return self._outputs(-(-self._n_in * self._up // self._down))

    def _outputs(self, stop: int) -> NDArray[np.float64]:
        """Outputs up to index `stop`, by SciPy's own loop so that sums are rounded as offline."""
        if stop <= self._n_out:
            return np.empty(0)
        from scipy.signal import upfirdn

        # Zeros in front of the taps bring outputs to multiples of `down`, counted from the first kept sample.
        lead = (self._start * self._up - self._half) % self._down
        taps = np.concatenate((np.zeros(lead), self._taps))
        first = (self._n_out * self._down + self._half - self._start * self._up + lead) // self._down
        values = upfirdn(taps, self._kept, self._up, self._down)[first : first + stop - self._n_out]
        self._n_out = stop
        begin = max(0, -((self._half - stop * self._down) // self._up))  # first input of the next output
        self._kept, self._start = self._kept[begin - self._start :].copy(), begin
        return np.asarray(values, np.float32).astype(np.float64)


class StreamingZscore:
    """`signals.normalise.ema_zscore` for a signal that arrives in pieces.

    Parameters
    ----------
    rate_hz : float
    tau_s : float
        Time constant of the averages.
    start : (mean, variance), optional
        Start values. Without them the first `tau_s` seconds are held back, to take them from there as offline.
    """

    def __init__(self, rate_hz: float, tau_s: float, start: Moments | None = None) -> None:
        self._rate_hz, self._tau_s = rate_hz, tau_s
        self._waiting = np.empty(0)
        self._running = None if start is None else RunningZscore(rate_hz, tau_s, *start)

    def push(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Z-score of the samples that are due."""
        if self._running is not None:
            return self._running.push(values)
        self._waiting = np.concatenate((self._waiting, values))
        if len(self._waiting) < start_samples(self._rate_hz, self._tau_s):
            return np.empty(0, np.float32)
        return self.finish()

    def finish(self) -> NDArray[np.float32]:
        """Samples still held back; a signal shorter than `tau_s` gives its start values as a whole."""
        waiting, self._waiting = self._waiting, np.empty(0)
        if not len(waiting):
            return np.empty(0, np.float32)
        first = waiting[: start_samples(self._rate_hz, self._tau_s)]
        self._running = RunningZscore(self._rate_hz, self._tau_s, *moments(first))
        return self._running.push(waiting)

    @property
    def moments(self) -> Moments | None:
        """Mean and variance as they stand; ``None`` while they are waited for."""
        return None if self._running is None else self._running.moments


class StreamingPreprocessor:
    """Resampling, causal filters, z-score and compression of one channel, as one stream.

    Parameters
    ----------
    from_hz, to_hz : float
        Native rate and the rate wanted.
    sections : sequence of ndarray, each (n_sections, 6)
        Filters in order of use, for `to_hz`.
    tau_s : float
        Time constant of the z-score.
    start : (mean, variance), optional
        Start values of the z-score, see :class:`StreamingZscore`.
    """

    def __init__(
        self,
        from_hz: float,
        to_hz: float,
        sections: Sequence[NDArray[np.float64]],
        tau_s: float,
        start: Moments | None = None,
    ) -> None:
        self._resampler = StreamingResampler(from_hz, to_hz)
        self._filters = [ForwardFilter(sos) for sos in sections]
        self._zscore = StreamingZscore(to_hz, tau_s, start)

    def push(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give the preprocessed samples that these finite ones complete, at the wanted rate."""
        return compress(self._zscore.push(self._filtered(self._resampler.push(values))))

    def finish(self) -> NDArray[np.float32]:
        """Give the last preprocessed samples at the end of the signal."""
        last = self._zscore.push(self._filtered(self._resampler.finish()))
        return compress(np.concatenate((last, self._zscore.finish())))

    @property
    def moments(self) -> Moments | None:
        """Mean and variance of the filtered signal as the z-score holds them; ``None`` while it waits for its start."""
        return self._zscore.moments

    def _filtered(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        for stage in self._filters:
            values = stage.push(values)
        return values
