"""What an encoder does with recordings that lack something: embed what is left, or refuse it in words; never crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hypnos_bench.conformance.recordings import CANONICAL, ODD_HZ, Floats, changed, empty, synthetic, without
from hypnos_bench.conformance.trial import SEED, Trial
from hypnos_bench.conformance.trying import (
    Check,
    Tried,
    difference,
    differences,
    fault,
    limit_of,
    lost_rows,
    rows_of,
    width_of,
)
from hypnos_bench.encoders.base import Embedding

GAP_S = (100.0, 120.0)
OTHER_LENGTHS_S = (45.3, 100.7, 333.3)


def check_missing(trial: Trial) -> Check:
    """Each canonical channel left out in turn."""
    embedded: list[str] = []
    refused: dict[str, str] = {}
    for channel in CANONICAL:
        tried = trial.again(without(trial.nights[0], channel))
        if tried.refused:
            refused[channel] = tried.refused
            continue
        problem = _against_whole(trial, tried, channel)
        if problem:
            return Check("missing channel", "fail", f"without {channel}: {problem}")
        embedded.append(channel)
    words = f"embedded with one left out: {', '.join(embedded)}" if embedded else "embedded with none left out"
    words += "".join(f"; without {channel} refused: {reason}" for channel, reason in refused.items())
    return Check("missing channel", "pass", words, {"embedded": embedded, "refused": refused})


def check_nothing(trial: Trial) -> Check:
    """A recording without any channel is refused."""
    return _must_refuse("no channel at all", trial.again(empty(trial.nights[0])))


def check_gap(trial: Trial) -> Check:
    """Twenty seconds that were not recorded in one channel."""
    channel = trial.probe_channel
    tried = trial.again(changed(trial.nights[0], _gap, [channel]))
    name, what = "gap", f"{GAP_S[1] - GAP_S[0]:g} s of NaN in {channel}"
    if tried.embedding is None:
        return Check(name, "fail" if tried.bad else "pass", f"{what}: {tried.words}")
    problem = _against_whole(trial, tried, channel)
    if problem:
        return Check(name, "fail", f"{what}: {problem}")
    apart = differences(tried.embedding, trial.first)
    other = 0 if apart is None else int((apart > limit_of(trial.first)).sum())
    lost, rows = lost_rows(tried.embedding), rows_of(tried.embedding)
    words = f"{what}: embedded; {other} of {rows} rows are others, {lost} of them NaN"
    return Check(name, "pass", words, {"rows": rows, "rows_changed": other, "rows_nan": lost})


def check_all_nan(trial: Trial) -> Check:
    """One channel that is NaN throughout, which counts as missing; then all of them."""
    night, channel = trial.nights[0], trial.probe_channel
    one = trial.again(changed(night, _nan, [channel]))
    every = _must_refuse("NaN", trial.again(changed(night, _nan)))
    if every.outcome == "fail":
        return replace(every, words=f"every channel NaN: {every.words}")
    if one.bad:
        return Check("NaN", "fail", f"{channel} NaN throughout: {one.words}")
    problem = _against_whole(trial, one, channel) if one.embedding is not None else None
    if problem:
        return Check("NaN", "fail", f"{channel} NaN throughout: {problem}")
    return Check("NaN", "pass", f"{channel} NaN throughout: {_like_missing(trial, one)}; all NaN: {every.words}")


def check_constant(trial: Trial) -> Check:
    """A channel that is not connected."""
    channel = trial.probe_channel
    tried = trial.again(changed(trial.nights[0], lambda x, rate_hz: np.zeros_like(x), [channel]))
    problem = fault(tried.embedding, trial.card, trial.nights[0].duration_s()) if tried.embedding is not None else None
    if tried.bad or problem:
        return Check("constant channel", "fail", f"{channel} is 0 throughout: {problem or tried.words}")
    return Check("constant channel", "pass", f"{channel} is 0 throughout: {_like_missing(trial, tried)}")


def check_gain(trial: Trial) -> Check:
    """All channels twice as large: how much of the embedding is amplitude."""
    tried = trial.again(changed(trial.nights[0], lambda x, rate_hz: 2 * x))
    if tried.embedding is None:
        return Check("gain", "fail" if tried.bad else "note", f"all samples doubled: {tried.words}")
    apart = difference(tried.embedding, trial.first)
    words = "all samples doubled: " + (
        "nothing changes" if apart == 0 else f"rows change by up to {apart:.2g} of a column's largest value"
    )
    return Check("gain", "note", words, {"largest_relative_difference": None if np.isinf(apart) else apart})


def check_short(trial: Trial) -> Check:
    """A recording of half a row, and one of half a window where that is another."""
    words = []
    for seconds in dict.fromkeys((0.5 * trial.first.step_s, 0.5 * trial.span_s)):
        tried = trial.again(synthetic("synthetic-short", seconds, SEED))
        problem = fault(tried.embedding, trial.card, seconds) if tried.embedding is not None else None
        if tried.crashed or problem:
            return Check("short recording", "fail", f"{seconds:g} s: {problem or tried.words}")
        words.append(f"{seconds:g} s: " + (f"the store refuses {tried.unfit}" if tried.unfit else tried.words))
    return Check("short recording", "pass", "; ".join(words))


def check_rates(trial: Trial) -> Check:
    """Sampling rates that no model was made for."""
    tried = trial.again(synthetic("synthetic-odd", trial.lengths_s[1], SEED, ODD_HZ))
    rates = ", ".join(f"{kind} {rate:g} Hz" for kind, rate in ODD_HZ.items())
    problem = fault(tried.embedding, trial.card, trial.lengths_s[1]) if tried.embedding is not None else None
    if tried.refused:
        return Check("odd rates", "note", f"{rates}: {tried.words}")
    return Check("odd rates", "fail" if tried.bad or problem else "pass", f"{rates}: {problem or tried.words}")


def check_lengths(trial: Trial) -> Check:
    """Recordings of other lengths, none a whole number of rows."""
    rows: dict[str, int] = {}
    for seconds in OTHER_LENGTHS_S:
        tried = trial.again(synthetic("synthetic-length", seconds, SEED))
        problem = fault(tried.embedding, trial.card, seconds) if tried.embedding is not None else None
        if tried.bad or problem:
            return Check("lengths", "fail", f"{seconds:g} s: {problem or tried.words}", rows)
        rows[f"{seconds:g} s"] = 0 if tried.embedding is None else rows_of(tried.embedding)
    words = ", ".join(f"{seconds}: {n} rows" if n else f"{seconds}: refused" for seconds, n in rows.items())
    return Check("lengths", "pass" if all(rows.values()) else "note", words, rows)


def _against_whole(trial: Trial, tried: Tried, channel: str) -> str | None:
    """Say what is wrong with an embedding of a recording whose channel lacks something, or ``None``."""
    if tried.embedding is None:
        return tried.words if tried.bad else None
    problem = fault(tried.embedding, trial.card, trial.nights[0].duration_s())
    if problem:
        return problem
    shape, whole = _shape(tried.embedding), _shape(trial.first)
    if (set(shape) != set(whole) and len(whole) == 1) or set(shape.values()) != set(whole.values()):
        return f"gives arrays of shape {shape}, with all channels it is {whole}"
    same = difference(tried.embedding, trial.first) == 0
    if same and channel in trial.used:
        return "the very rows that the whole gives, although its card says that the channel is used"
    if not same and trial.card.channels and channel not in trial.card.channels:
        return "other rows, although its card does not name the channel"
    return None


def _shape(embedding: Embedding) -> Mapping[str, tuple[int, int]]:
    return {name: (rows_of(embedding), width_of(embedding)) for name in embedding.arrays}


def _like_missing(trial: Trial, tried: Tried) -> str:
    """How it went, and whether that is how a missing channel goes."""
    if tried.embedding is None:
        return tried.words
    missing = trial.again(without(trial.nights[0], trial.probe_channel))
    if missing.embedding is not None and difference(tried.embedding, missing.embedding) <= limit_of(trial.first):
        return "embedded as if it were missing"
    return "embedded, not as if it were missing"


def _must_refuse(name: str, tried: Tried) -> Check:
    if tried.unfit:
        return Check(name, "pass", f"refused by the store: {tried.unfit}")
    if tried.embedding is None:
        return Check(name, "fail" if tried.crashed else "pass", tried.words)
    return Check(name, "fail", "embedded, although nothing was recorded; raise RecordingError")


def _gap(values: Floats, rate_hz: float) -> Floats:
    first, stop = (round(seconds * rate_hz) for seconds in GAP_S)
    values[first:stop] = np.nan
    return values


def _nan(values: Floats, rate_hz: float) -> Floats:
    return np.full_like(values, np.nan)
