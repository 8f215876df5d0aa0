"""Whether a row stands for the stretch of signal that its card says: asked by changing one known stretch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.conformance.recordings import Floats, changed
from hypnos_bench.conformance.same import UNSTEADY
from hypnos_bench.conformance.trial import SEED, Trial
from hypnos_bench.conformance.trying import Check, attempt, rows_of
from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.spec import EPOCH_S

STRETCH_S = (60.0, 150.0)
"""What is changed: three epochs, not in the middle of the recording, so that rows in reverse are found out."""

MARGIN = 0.1
"""Share by which another place may explain the change better: with a stretch of 90 s it is 5 to 10 s."""

_SMALL = 1e-3

NAME = "alignment"


def check_alignment(trial: Trial) -> Check:
    """Rows of a stretch in which every channel is replaced by noise change most, and not those beside it.

    Rows of other stretches may change too: by normalisation over the recording, by attention, by memory. How far the
    change may trail is what the card says of lag, window and causality, and less than an epoch where the past is
    unbounded.
    """
    if not trial.steady:
        return Check(NAME, "note", UNSTEADY)
    tried = attempt(trial.make(), changed(trial.nights[0], _noise_in(*STRETCH_S)))
    if tried.embedding is None:
        return Check(NAME, "fail" if tried.bad else "note", f"with {_stretch()} replaced by noise it is {tried.words}")
    by_row = change_by_row(trial.first, tried.embedding)
    if by_row is None:
        return Check(NAME, "fail", f"with {_stretch()} replaced by noise there are other rows, times or columns")
    return judge(by_row, trial.first, trial.card)


def judge(by_row: NDArray[np.float64], embedding: Embedding, card: EncoderCard) -> Check:
    """Compare how much rows of the stretch change with how much as many neighbours elsewhere do.

    Parameters
    ----------
    by_row : ndarray, shape (n_rows,)
        Of `change_by_row`.
    embedding : Embedding
    card : EncoderCard
    """
    rows, step_s = np.arange(rows_of(embedding)), embedding.step_s
    from_s = embedding.start_s + (rows - card.lag_rows) * step_s
    first_s, stop_s = STRETCH_S
    inside = np.flatnonzero((from_s >= first_s - 1e-6) & (from_s + step_s <= stop_s + 1e-6))
    if inside.size == 0 or rows.size < 3 * inside.size:
        return Check(NAME, "note", f"not asked: {rows.size} rows of {step_s:g} s are too few")
    places = range(-int(inside[0]), rows.size - int(inside[-1]))
    contrast = {shift: _contrast(by_row, inside + shift) for shift in places}
    best = max(contrast, key=lambda shift: (contrast[shift], -abs(shift)))
    within, others = float(by_row[inside].mean()), float(np.delete(by_row, inside).mean())
    numbers = {"rows": inside.size, "change": within, "change_elsewhere": others, "shift_rows": best}
    what = f"{_stretch()} replaced by noise"
    if max(contrast.values()) <= MARGIN * others or not by_row.any():
        words = f"{what}: rows change alike wherever they are ({others:.2g} of a column's spread): they tell no time"
        return Check(NAME, "fail", words, numbers)
    early, late = _allowed_rows(card, step_s)
    if max(value for shift, value in contrast.items() if early <= shift <= late) < (1 - MARGIN) * contrast[best]:
        way = "later" if best > 0 else "earlier"
        words = f"{what}: rows change most {abs(best)} row(s), {abs(best) * step_s:g} s, {way} than its card says"
        return Check(NAME, "fail", words, numbers)
    words = f"{what}: its {inside.size} rows change by {within:.2g} of a column's spread, others by {others:.2g}"
    return Check(NAME, "pass", words, numbers)


def change_by_row(one: Embedding, other: Embedding) -> NDArray[np.float64] | None:
    """By row, the mean change in relation to the spread of its column, shape (n_rows,); ``None``: not comparable.

    A column that hardly varies is left out: it is rounding. A row that is NaN in one of both changes as much as any.
    """
    if set(one.arrays) != set(other.arrays) or (one.start_s, one.step_s) != (other.start_s, other.step_s):
        return None
    found = []
    for name, array in one.arrays.items():
        a, b = (np.asarray(x, np.float64) for x in (array, other.arrays[name]))
        if a.shape != b.shape:
            return None
        there = np.isfinite(a).all(axis=1), np.isfinite(b).all(axis=1)
        spread = np.concatenate([a[there[0]], b[there[1]]]).std(axis=0)
        varies = spread > _SMALL * spread.max(initial=0.0)
        change = np.zeros(len(a))
        both = there[0] & there[1]
        if varies.any():
            change[both] = (np.abs(a - b)[np.ix_(both, varies)] / spread[varies]).mean(axis=1)
        change[there[0] != there[1]] = change.max(initial=0.0) or 1.0
        found.append(change)
    return np.asarray(np.mean(found, axis=0))


def _contrast(by_row: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
    return float(by_row[rows].mean() - np.delete(by_row, rows).mean())


def _allowed_rows(card: EncoderCard, step_s: float) -> tuple[int, int]:
    """How many rows the change may come before and after the stretch, beyond the lag that the card states."""
    short_of_an_epoch = max(0, int(np.ceil(EPOCH_S / step_s)) - 1)
    window = short_of_an_epoch if card.window_s is None else int((card.window_s - step_s) / step_s + 1e-6)
    if card.causal:
        return 0, max(0, window)
    near = max(0, min(window, short_of_an_epoch))
    return -near, near


def _stretch() -> str:
    return f"{STRETCH_S[0]:g} to {STRETCH_S[1]:g} s"


def _noise_in(first_s: float, stop_s: float) -> Callable[[Floats, float], Floats]:
    """Put noise of the channel's own mean and deviation into a stretch, another in each channel.

    Deviation is kept so that normalisation over the recording moves the other rows as little as can be.
    """
    rng = np.random.default_rng([SEED, 17])

    def change(values: Floats, rate_hz: float) -> Floats:
        first, stop = (min(len(values), round(seconds * rate_hz)) for seconds in (first_s, stop_s))
        values[first:stop] = values.mean() + values.std() * rng.standard_normal(stop - first)
        return values

    return change
