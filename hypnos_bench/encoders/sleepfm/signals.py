"""From a recording's channels to what SleepFM takes: who belongs to which modality, and 128 Hz, z-scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Recording
from hypnos_bench.encoders.channels import read_usable
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals import filters
from hypnos_bench.signals.base import Signal, SignalFile
from hypnos_bench.signals.gaps import fill_gaps, missing_steps
from hypnos_bench.signals.kinds import OF_CANONICAL, modality_of
from hypnos_bench.signals.resample import polyphase
from hypnos_bench.signals.some import whole_file

RATE_HZ = 128
TOKEN_S = 5.0
PATCH = 640
"""Samples per token."""

MODALITIES = ("BAS", "RESP", "EKG", "EMG")
"""Brain and eyes, breathing with oximetry and pulse, heart, muscles; in the order of the columns."""

PAPER_LIMIT: Mapping[str, int] = {"BAS": 10, "RESP": 7, "EKG": 2, "EMG": 4}
"""Most channels per modality according to the paper; the released embedding code takes all."""

MIN_RATE_HZ: Mapping[str, float] = {"BAS": 32.0, "RESP": 1.0, "EKG": 32.0, "EMG": 32.0}
"""Lowest rate at which a channel is worth embedding. Oximeters often give one value per second."""

CUTOFF_HZ = 64.0
FILTER_ORDER = 4

MAX_OWN_GAPS = 0.1
"""Share of tokens that a channel may lack although others have them; with more it is left out."""

_COMMON_RATE_CAP_HZ = 512.0
_EDGE = 15  # samples mirrored at both ends: three times the taps of the filter
_BLOCK = 2**18
_OF_KIND = {"eeg": "BAS", "eog": "BAS", "resp": "RESP", "ecg": "EKG", "emg": "EMG"}
_MAX_GROUPS_BYTES = 2**20

Groups = Mapping[str, frozenset[str]]


class Source(NamedTuple):
    """A channel that can be asked for: its modality and its name, the file's own or the canonical one."""

    modality: str
    name: str


@dataclass(frozen=True)
class Track:
    """A channel as the network takes it.

    Parameters
    ----------
    values : ndarray of float32, shape (n_samples,)
        At 128 Hz, mean 0 and standard deviation 1 over what was recorded; gaps bridged by a line.
    missing : ndarray of bool, shape (n_tokens,)
        Tokens of 5 s of which more than a tenth was not recorded.
    source : str
        In the file's own labels.
    """

    values: NDArray[np.float32]
    missing: NDArray[np.bool_]
    source: str


def read_groups(path: Path) -> Groups:
    """Read a ``channel_groups.json``: modality to the labels that belong to it, compared exactly.

    Raises
    ------
    DataError
        When it cannot be read, is no such table, or has a label in two modalities.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_GROUPS_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error})") from error
    if len(content) > _MAX_GROUPS_BYTES:
        raise DataError(f"{path}: larger than {_MAX_GROUPS_BYTES} bytes; it should be SleepFM's channel_groups.json")
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON ({error})") from error
    if not isinstance(table, dict) or not set(table) or set(table) - set(MODALITIES):
        raise DataError(f"{path}: wanted an object with lists of labels under {', '.join(MODALITIES)}")
    owner: dict[str, str] = {}
    for modality, labels in table.items():
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise DataError(f"{path}: {modality} is not a list of labels")
        for label in labels:
            if owner.setdefault(label, modality) != modality:
                raise DataError(f"{path}: {label!r} is both in {owner[label]} and in {modality}; remove one of them")
    return {name: frozenset(label for label, of in owner.items() if of == name) for name in MODALITIES}


def find_sources(recording: Recording, groups: Groups | None) -> tuple[list[Source], dict[str, str]]:
    """Channels of the file by modality, in file order, and the others with the reason why not.

    Parameters
    ----------
    recording : Recording
    groups : mapping of str to set of str, optional
        Which labels belong to a modality; without it the label itself has to tell (``signals.kinds``).
    """
    found: list[Source] = []
    skipped: dict[str, str] = {}
    for channel in recording.signals.channels():
        modality = _modality(channel.label, groups)
        if modality is None:
            skipped[channel.label] = "its label tells no modality" if groups is None else "in none of the groups"
        else:
            found.append(Source(modality, channel.label))
    return found, skipped


def canonical_sources() -> list[Source]:
    """The eight canonical channels by modality."""
    return [Source(_OF_KIND[OF_CANONICAL[name]], name) for name in CANONICAL_CHANNELS]


def _modality(label: str, groups: Groups | None) -> str | None:
    if groups is not None:
        return next((name for name, labels in groups.items() if label in labels), None)
    kind = modality_of(label)
    return None if kind is None else _OF_KIND[kind]


def read_source(recording: Recording, source: Source, *, canonical: bool) -> Signal | str:
    """Read a channel, or say in one line why it cannot be used.

    Raises
    ------
    RecordingError
        When the file cannot be trusted.
    """
    from hypnos_bench.hypnos.preprocess import check_channel

    lowest = MIN_RATE_HZ[source.modality]
    if canonical:
        signals, skipped = read_usable(recording, [source.name], gaps=True, min_rate_hz=lambda channel: lowest)
        return signals.get(source.name) or skipped[source.name]
    reason = recording.signals.unreadable().get(source.name)
    if reason is not None:
        return reason
    try:
        signal = recording.signals.read(source.name)
    except RecordingError:
        raise
    except DataError as error:  # a damaged header entry
        return str(error)
    finite = np.isfinite(signal.values)
    known = signal.values if finite.all() or not finite.any() else signal.values[finite]
    return check_channel(replace(signal, values=known), lowest) or signal


def common_rate_hz(signals: SignalFile) -> float:
    """Rate to which slower channels are brought first: the highest of the whole file, 512 Hz at most.

    A published embedding was made from a file whose channels had been brought to its highest rate. What is above
    512 Hz hardly makes a difference: the low-pass is at 64 Hz. Channels that are masked count, so that masking does
    not change those that are kept.
    """
    rates = (channel.rate_hz for channel in whole_file(signals).channels())
    return min(_COMMON_RATE_CAP_HZ, max(rates, default=0.0))


def prepare(signal: Signal, duration_s: float, common_hz: float) -> Track | str:
    """Bring a channel to 128 Hz and z-score it over the recording, or say in one line why this cannot be done.

    In the order of the published preprocessing: band-limited to the file's common rate where the channel is slower,
    4th-order Butterworth low-pass at 64 Hz forward and backward where the rate is above 128 Hz, linear interpolation
    at i / 128 s, one mean and standard deviation.

    Parameters
    ----------
    signal : Signal
        NaN where nothing was recorded; at least one sample is finite.
    duration_s : float
        Length of the recording. A channel that ends before has a gap there.
    common_hz : float
        `common_rate_hz`.
    """
    n_samples = samples_in(duration_s)
    values, gaps = fill_gaps(signal.values)
    missing = _missing_tokens(gaps, signal.rate_hz, n_samples // PATCH)
    rate_hz = signal.rate_hz
    if rate_hz < common_hz:
        values, rate_hz = _band_limited(values, rate_hz, common_hz), common_hz
    if rate_hz > RATE_HZ:
        values = _low_pass(values, rate_hz)
    values = _at_128_hz(values, rate_hz, n_samples)
    known = values if not missing.any() else values[: len(missing) * PATCH].reshape(-1, PATCH)[~missing]
    if known.size == 0:
        return f"{signal.source}: gaps in every stretch of {TOKEN_S:g} s"
    mean, sd = float(known.mean()), float(known.std())
    if not sd > 0:
        return f"{signal.source}: constant below {CUTOFF_HZ:g} Hz"
    return Track(((values - mean) / sd).astype(np.float32), missing, signal.source)


def samples_in(duration_s: float) -> int:
    """Samples at 128 Hz in a recording."""
    return int(duration_s * RATE_HZ + 1e-6)


def lopsided(missing: Mapping[Source, NDArray[np.bool_]]) -> dict[Source, str]:
    """Channels with too many gaps of their own, and the reason in words.

    A pause of the whole recording is nobody's own gap.
    """
    if not missing:
        return {}
    somewhere = ~np.logical_and.reduce(list(missing.values()))
    most = MAX_OWN_GAPS * np.count_nonzero(somewhere)
    lacking = {source: int(np.count_nonzero(row & somewhere)) for source, row in missing.items()}
    return {
        source: f"{n * TOKEN_S:g} s are missing in it that other channels have"
        for source, n in lacking.items()
        if n > most
    }


def _missing_tokens(gaps: NDArray[np.bool_], rate_hz: float, n_tokens: int) -> NDArray[np.bool_]:
    wanted = round(n_tokens * TOKEN_S * rate_hz)
    if len(gaps) < wanted:
        gaps = np.concatenate([gaps, np.ones(wanted - len(gaps), bool)])
    return missing_steps(gaps, rate_hz, TOKEN_S)[:n_tokens]


def _band_limited(values: NDArray[np.float64], rate_hz: float, to_hz: float) -> NDArray[np.float64]:
    """Bring a channel to a higher rate.

    The line from its first value to its last is taken off meanwhile: the filter sees zeros before and after, and an
    oximeter's step from there to 95 % would outweigh the whole night.
    """
    last = len(values) - 1
    slope = (values[last] - values[0]) / max(last, 1)
    faster = polyphase(values - values[0] - slope * np.arange(len(values)), rate_hz, to_hz)
    line = np.arange(len(faster), dtype=np.float64)  # in place: these arrays are the largest of all
    line *= slope * rate_hz / to_hz
    line += values[0]
    line += faster
    return line


def _low_pass(values: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Filter forward and backward, as SciPy's ``sosfiltfilt`` does, with one copy of the night instead of four."""
    from scipy.signal import butter

    sos = np.asarray(butter(FILTER_ORDER, CUTOFF_HZ, btype="lowpass", fs=rate_hz, output="sos"))
    before = 2 * values[0] - values[_EDGE:0:-1]
    after = 2 * values[-1] - values[-2 : -_EDGE - 2 : -1]
    filtered = np.concatenate([before, values, after])
    for samples in (filtered, filtered[::-1]):
        along = filters.ForwardFilter(sos)
        for low in range(0, len(samples), _BLOCK):
            samples[low : low + _BLOCK] = along.push(samples[low : low + _BLOCK])
    return filtered[_EDGE:-_EDGE]


def _at_128_hz(values: NDArray[np.float64], rate_hz: float, n_samples: int) -> NDArray[np.float64]:
    """Linear interpolation at i / 128 s, shape (n_samples,); the last value goes on where the channel ends before."""
    step = rate_hz / RATE_HZ
    if step == int(step):
        every = values[:: int(step)][:n_samples]
        return np.concatenate([every, np.full(n_samples - len(every), every[-1])])
    return np.asarray(np.interp(np.arange(n_samples) * step, np.arange(len(values)), values))
