"""Building blocks of all signals: coloured noise, slow fluctuations, envelopes, bursts.

Slow quantities live on a control grid of 4 Hz and are interpolated to a channel's rate when used.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

CONTROL_HZ = 4
"""Rate of the control grid."""


def stream(seed: int, person: int, visit: int, purpose: str) -> np.random.Generator:
    """Return the random stream of one purpose, so that a change in one signal moves no other."""
    return np.random.default_rng([seed, person, visit, zlib.crc32(purpose.encode())])


def coloured_noise(rng: np.random.Generator, n: int, rate_hz: float, shape: Callable[[Array], ArrayLike]) -> Array:
    """Gaussian noise of unit variance whose amplitude spectrum is `shape` (frequencies in Hz -> amplitude).

    Bins more than 60 dB below the peak are left out, which makes narrow bands cheap.
    """
    from scipy.fft import irfft, next_fast_len

    m = int(next_fast_len(n, real=True))
    frequency = np.arange(m // 2 + 1, dtype=np.float32) * np.float32(rate_hz / m)
    amplitude = np.asarray(shape(frequency), np.float32).copy()
    amplitude[0] = 0.0
    kept = np.flatnonzero(amplitude > 1e-3 * amplitude.max())
    low, high = int(kept[0]), int(kept[-1]) + 1
    amplitude = amplitude[low:high]
    spectrum = np.zeros(high, np.complex64)
    spectrum[low:high] = rng.standard_normal(2 * (high - low), np.float32).view(np.complex64) * amplitude
    # Variance of the inverse transform: 2 sum |S|^2 / m^2 with E|S|^2 = 2 amplitude^2.
    scale = m / (2.0 * np.sqrt(np.sum(amplitude.astype(np.float64) ** 2)))
    return np.asarray(irfft(spectrum * np.float32(scale), m)[:n], np.float32)


def band(centre_hz: float, width_hz: float) -> Callable[[Array], Array]:
    """Gaussian band around `centre_hz` with standard deviation `width_hz`, for ``coloured_noise``."""
    return lambda f: np.exp(-0.5 * ((f - np.float32(centre_hz)) / np.float32(width_hz)) ** 2)


def power_law(exponent: float, low_hz: float, high_hz: float) -> Callable[[Array], Array]:
    """Power falling as 1/f^`exponent` above `low_hz`, rolled off above `high_hz`, for ``coloured_noise``."""

    def shape(f: Array) -> Array:
        f = np.maximum(f, np.float32(1e-3))
        amplitude = (f / low_hz) ** (-exponent / 2) / np.sqrt(1 + (low_hz / f) ** 6)
        return np.asarray(amplitude / np.sqrt(1 + (f / high_hz) ** 8), np.float32)

    return shape


def slow_fluctuation(rng: np.random.Generator, n: int, tau_s: float, rate_hz: float = CONTROL_HZ) -> Array:
    """Stationary first-order autoregression of unit variance with correlation time `tau_s`, shape (n,)."""
    from scipy.signal import lfilter

    keep = np.exp(-1.0 / (tau_s * rate_hz))
    noise = rng.standard_normal(n) * np.sqrt(1 - keep**2)
    noise[0] /= np.sqrt(1 - keep**2)  # start in the stationary state, not at zero
    return np.asarray(lfilter([1.0], [1.0, -keep], noise), np.float32)


def smooth(values: NDArray[np.floating], window_s: float, rate_hz: float = CONTROL_HZ) -> Array:
    """Centred moving average over `window_s` along the first axis; the ends average what there is."""
    from scipy.ndimage import uniform_filter1d

    size = max(1, round(window_s * rate_hz))
    return np.asarray(uniform_filter1d(np.asarray(values, np.float32), size, axis=0, mode="nearest"))


def to_rate(control: ArrayLike, rate_hz: int) -> Array:
    """Interpolate a control series linearly to `rate_hz`, a multiple of 4 Hz; shape (n * rate_hz / 4,)."""
    control = np.asarray(control, np.float32)
    factor, rest = divmod(rate_hz, CONTROL_HZ)
    if rest:
        raise ValueError(f"rate {rate_hz} Hz is no multiple of {CONTROL_HZ} Hz")
    following = np.append(control[1:], control[-1])
    ramp = np.arange(factor, dtype=np.float32) / np.float32(factor)
    values: Array = (control[:, None] + (following - control)[:, None] * ramp).ravel()
    return values


def event_times(
    rng: np.random.Generator, rate_per_s: NDArray[np.floating], rate_hz: float = CONTROL_HZ
) -> NDArray[np.float64]:
    """Times in seconds of a Poisson process with a rate given on the control grid."""
    hits = np.flatnonzero(rng.random(len(rate_per_s)) < np.asarray(rate_per_s) / rate_hz)
    return np.asarray((hits + rng.random(len(hits))) / rate_hz)


def add_bursts(signal: Array, rate_hz: float, times_s: NDArray[np.float64], bursts: Sequence[Array]) -> None:
    """Add `bursts` to `signal` in place, each starting at its time; what sticks out at the end is cut."""
    for time_s, burst in zip(times_s, bursts, strict=True):
        start = round(float(time_s) * rate_hz)
        stop = min(start + len(burst), len(signal))
        if start < stop:
            signal[start:stop] += burst[: stop - start]


def boxes(spans: Sequence[tuple[float, float]], n: int, ramp_s: float = 1.0) -> Array:
    """Control series that is 1 within the (start_s, stop_s) spans, with soft edges of `ramp_s`, shape (n,)."""
    level = np.zeros(n, np.float32)
    for start_s, stop_s in spans:
        level[max(0, round(start_s * CONTROL_HZ)) : max(0, round(stop_s * CONTROL_HZ))] = 1.0
    return smooth(level, ramp_s)
