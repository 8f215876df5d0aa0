"""Encoders with one thing wrong each. Read by the tests as a user's file, ``toys.py:Name``."""

from dataclasses import replace

import numpy as np

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.encoders.base import Embedding, EncoderCard, Prepared
from hypnos_bench.errors import RecordingError

STEP_S = 10.0


def powers(signal):
    """Spread per step of 10 s, and of the first difference; shape (rows, 2)."""
    n = round(STEP_S * signal.rate_hz)
    steps = signal.values[: len(signal.values) // n * n].reshape(-1, n)
    with np.errstate(invalid="ignore"):
        return np.stack([steps.std(axis=1), np.diff(steps).std(axis=1)], axis=1)


class Good:
    """Two columns per channel, zeros for a missing one; NaN rows where nothing was recorded."""

    card = EncoderCard(
        id="toy", title="Toy", version="1", step_s=STEP_S, window_s=STEP_S, causal=True, lag_rows=0,
        channels=CANONICAL_CHANNELS, missing="zeros", licence="MIT", dim=16,
    )  # fmt: skip

    def signals(self, recording):
        found = {name: recording.signal(name) for name in CANONICAL_CHANNELS}
        usable = {
            n: s for n, s in found.items() if s is not None and np.isfinite(s.values).any() and np.ptp(s.values) != 0
        }
        if not usable:
            raise RecordingError(recording.id, "no usable channel")
        return usable

    def encode(self, recording):
        usable = self.signals(recording)
        n = int(recording.duration_s() // STEP_S)
        blocks = [powers(usable[name])[:n] if name in usable else np.zeros((n, 2)) for name in CANONICAL_CHANNELS]
        rows = np.concatenate(blocks, axis=1).astype(np.float32)
        rows[np.isnan(rows).any(axis=1)] = np.nan
        return Embedding({"toy": rows}, 0.0, STEP_S, {})


class Staged(Good):
    """The same in two stages."""

    def prepare(self, recording):
        embedding = self.encode(recording)
        return Prepared(recording.id, {"toy": embedding.arrays["toy"].ravel()}, {}, {})

    def encode_prepared(self, several):
        return [Embedding({"toy": p.arrays["toy"].reshape(-1, 16)}, 0.0, STEP_S, {}) for p in several]

    def batch_size(self):
        return 2


def with_rows(embedding, rows):
    return replace(embedding, arrays={"toy": np.asarray(rows)})


class Random(Good):
    def encode(self, recording):
        whole = super().encode(recording)
        return with_rows(whole, whole.arrays["toy"] + np.random.default_rng().normal(size=16).astype(np.float32))


class BatchDependent(Staged):
    def encode_prepared(self, several):
        return [with_rows(e, e.arrays["toy"] * np.float32(len(several))) for e in super().encode_prepared(several)]


class Leaky(Good):
    """Carries a running mean from one recording to the next."""

    mean = 0.0

    def __init__(self):
        self.mean = 0.0

    def encode(self, recording):
        whole = super().encode(recording)
        rows = whole.arrays["toy"] - np.float32(self.mean)
        self.mean = 0.5 * self.mean + 0.5 * float(np.nansum(whole.arrays["toy"]))
        return with_rows(whole, rows)


class CrashesOnMissing(Good):
    def encode(self, recording):
        recording.signal("ECG").values.mean()
        return super().encode(recording)


class IgnoresChannel(Good):
    def signals(self, recording):
        return {name: signal for name, signal in super().signals(recording).items() if name != "THX"}


class UnnamedChannel(Good):
    card = replace(Good.card, channels=tuple(c for c in CANONICAL_CHANNELS if c != "THX"))


class WrongDim(Good):
    card = replace(Good.card, dim=12)


class WrongStep(Good):
    card = replace(Good.card, step_s=5.0)


class TooShort(Good):
    def encode(self, recording):
        whole = super().encode(recording)
        rows = whole.arrays["toy"]
        return with_rows(whole, rows[: max(1, len(rows) - 3)])


class TooLong(Good):
    def encode(self, recording):
        whole = super().encode(recording)
        rows = whole.arrays["toy"]
        return with_rows(whole, np.concatenate([rows, rows[:2]]))


class LooksAhead(Good):
    def encode(self, recording):
        whole = super().encode(recording)
        rows = whole.arrays["toy"]
        return with_rows(whole, rows - (np.nanmean(rows, axis=0) if len(rows) else 0.0))


class LooksAheadAndSaysSo(LooksAhead):
    card = replace(Good.card, causal=False, window_s=None)


class MakesUp(Good):
    """Rows although nothing was recorded."""

    def encode(self, recording):
        try:
            return super().encode(recording)
        except RecordingError:
            return Embedding(
                {"toy": np.zeros((int(recording.duration_s() // STEP_S), 16), np.float32)}, 0.0, STEP_S, {}
            )


class PartlyNaN(Good):
    def encode(self, recording):
        usable = self.signals(recording)
        n = int(recording.duration_s() // STEP_S)
        blocks = [powers(usable[name])[:n] if name in usable else np.zeros((n, 2)) for name in CANONICAL_CHANNELS]
        return Embedding({"toy": np.concatenate(blocks, axis=1).astype(np.float32)}, 0.0, STEP_S, {})


class OneRate(Good):
    def encode(self, recording):
        if recording.signal("C3") is not None and recording.signal("C3").rate_hz != 256:
            raise ValueError("cannot reshape")
        return super().encode(recording)


class OneLength(Good):
    def encode(self, recording):
        if 300 < recording.duration_s() < 340:
            raise IndexError("out of bounds")
        return super().encode(recording)


class CrashesWhenShort(Good):
    def encode(self, recording):
        if recording.duration_s() < STEP_S:
            raise IndexError("no rows")
        return super().encode(recording)


class CrashesOnConstant(Good):
    def signals(self, recording):
        if any(np.ptp(recording.signals.read(channel.label).values) == 0 for channel in recording.signals.channels()):
            raise ZeroDivisionError("constant")
        return super().signals(recording)


class NoLicence(Good):
    card = replace(Good.card, licence="", channels=("C3", "Fpz"), lag_rows=0.5)


class Refuses(Good):
    def encode(self, recording):
        raise RecordingError(recording.id, "I never do")


class Reversed(Good):
    def encode(self, recording):
        whole = super().encode(recording)
        return with_rows(whole, whole.arrays["toy"][::-1].copy())


class Rolled(Good):
    """Rows of 30 s, each one the row before it, and a card that says nothing of a lag."""

    card = replace(Good.card, step_s=30.0, window_s=30.0)
    shift = 1

    def encode(self, recording):
        whole = super().encode(recording)
        n = len(whole.arrays["toy"]) // 3
        if n == 0:
            raise RecordingError(recording.id, "no epoch")
        means = whole.arrays["toy"][: 3 * n].reshape(n, 3, 16).mean(axis=1)
        return Embedding({"toy": np.roll(means, self.shift, axis=0)}, 0.0, 30.0, {})


class Early(Rolled):
    card = replace(Rolled.card, causal=False)
    shift = -1


class InStep(Rolled):
    shift = 0


class Lagging(Rolled):
    """The same row late, and its card says so."""

    card = replace(Rolled.card, lag_rows=1)


class Constant(Good):
    """One vector for the whole night."""

    card = replace(Good.card, causal=False, window_s=None)

    def encode(self, recording):
        whole = super().encode(recording)
        rows = whole.arrays["toy"]
        return with_rows(whole, np.broadcast_to(np.nanmean(rows, axis=0), rows.shape).copy() if len(rows) else rows)
