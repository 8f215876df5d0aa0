"""Which canonical channels of a recording can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.base import Signal
from hypnos_bench.signals.some import whole_file


def read_usable(
    recording: Recording,
    channels: Iterable[str],
    *,
    gaps: bool = False,
    min_rate_hz: Callable[[str], float] = lambda channel: 1.0,
) -> tuple[dict[str, Signal], dict[str, str]]:
    """Read the channels that can be used.

    Parameters
    ----------
    recording : Recording
    channels : iterable of str
        Canonical names, in the order wanted.
    gaps : bool
        Whether the encoder can deal with samples that are not finite; otherwise one makes a channel unusable.
    min_rate_hz : callable
        Channel to the lowest native rate that the encoder takes.

    Returns
    -------
    signals : dict of str to Signal
    skipped : dict of str to str
        Every other channel, with the reason.

    Raises
    ------
    RecordingError
        When a channel that is there cannot be read whole: such a file is not to be trusted.
    """
    from hypnos_bench.hypnos.preprocess import check_channel, check_difference

    signals: dict[str, Signal] = {}
    skipped: dict[str, str] = {}
    for channel in channels:
        derivation = recording.montage.get(channel)
        if derivation is not None and derivation.minus is not None:
            reason = check_difference(derivation, whole_file(recording.signals).channels())
            if reason is not None:
                skipped[channel] = reason
                continue
        try:
            signal = recording.signal(channel)
        except RecordingError:
            raise
        except DataError as error:  # a damaged header entry, or electrodes whose difference cannot be taken
            skipped[channel] = str(error)
            continue
        if signal is None:
            skipped[channel] = "absent"
            continue
        finite = np.isfinite(signal.values)
        known = signal.values[finite] if gaps and finite.any() else signal.values
        reason = check_channel(replace(signal, values=known), min_rate_hz(channel))
        if reason is None:
            signals[channel] = signal
        else:
            skipped[channel] = reason
    return signals, skipped


def nothing_usable(recording: Recording, skipped: dict[str, str]) -> RecordingError:
    """Build the error of a recording without a usable channel, with every reason."""
    reasons = "; ".join(f"{channel}: {reason}" for channel, reason in skipped.items()) or "all epochs are flat"
    return RecordingError(recording.id, f"no usable channel ({reasons})")
