"""Whether the same recording gives the same rows: again, in other company, in other order, and when it is cut short."""

from __future__ import annotations

import numpy as np

from hypnos_bench.conformance.recordings import beginning
from hypnos_bench.conformance.trial import Trial
from hypnos_bench.conformance.trying import (
    Check,
    Tried,
    attempt,
    difference,
    differences,
    equality,
    fault,
    judged,
    limit_of,
    rows_of,
    width_of,
)
from hypnos_bench.encoders.base import Embedding, is_staged
from hypnos_bench.encoders.plugin import PluginError
from hypnos_bench.encoders.reference import told
from hypnos_bench.errors import RecordingError

UNSTEADY = "not judged: two runs of one recording differ already"

CUT = 0.6
"""Share of the recording that is left when it is cut short."""

EDGE_S = 1.0
"""Rows of a causal encoder that end within so many seconds of the cut are not compared: resampling ends there."""


def check_rows(trial: Trial) -> Check:
    """Shape, type, finite values, step and width as the card says, and how far rows reach."""
    embedding, seconds = trial.first, trial.nights[0].duration_s()
    problem = fault(embedding, trial.card, seconds)
    if problem:
        return Check("rows", "fail", problem)
    end_s = embedding.start_s + rows_of(embedding) * embedding.step_s
    kinds = sorted({array.dtype.name for array in embedding.arrays.values()})
    numbers = {
        "rows": rows_of(embedding), "dim": width_of(embedding), "step_s": embedding.step_s, "types": kinds,
        "seconds": seconds, "uncovered_s": max(0.0, seconds - end_s),
    }  # fmt: skip
    words = (
        f"{len(embedding.arrays)} x ({rows_of(embedding)}, {width_of(embedding)}) {'/'.join(kinds)}, one row per "
        f"{embedding.step_s:g} s; the last {numbers['uncovered_s']:g} s of {seconds:g} s are not covered"
    )
    return Check("rows", "pass", words, numbers)


def check_determinism(trial: Trial) -> Check:
    """Two encoders, made one after the other, give the same bits."""
    found = attempt(trial.make(), trial.nights[0])
    if found.embedding is None:
        return Check("determinism", "fail", f"embedded at first, then {found.words}")
    apart = difference(found.embedding, trial.first)
    numbers = {"largest_relative_difference": None if np.isinf(apart) else apart}
    trial.steady = apart == 0
    if trial.steady:
        return Check("determinism", "pass", "two runs are bit-equal", numbers)
    return Check(
        "determinism", "fail", f"two runs of one recording differ (by {apart:.1e} of a column's largest value)", numbers
    )


def check_order(trial: Trial) -> Check:
    """A, B, C; C, B, A; and each by an encoder that has seen no other: one recording tells nothing to the next."""
    if not trial.steady:
        return Check("order", "note", UNSTEADY)
    a, b, c = trial.nights
    runs = {"A": {"alone": trial.plain, "again": trial.again(a)}, "B": {}, "C": {}}
    runs["B"]["after A"], runs["C"]["after A and B"] = trial.again(b), trial.again(c)
    other = trial.make()
    runs["C"]["alone"], runs["B"]["after C"] = attempt(other, c), attempt(other, b)
    runs["A"]["after C and B"] = attempt(other, a)
    runs["B"]["alone"] = attempt(trial.make(), b)
    found = {}
    for name, several in runs.items():
        alone = several.pop("alone")
        for when, tried in several.items():
            if (alone.embedding is None) != (tried.embedding is None):
                return Check("order", "fail", f"{name} {when} is {tried.words}, alone it is {alone.words}")
            if alone.embedding is not None and tried.embedding is not None:
                found[f"{name} {when} against alone"] = difference(tried.embedding, alone.embedding)
    return equality("order", found, limit_of(trial.first))


def check_batch(trial: Trial) -> Check:
    """Three recordings together, each by itself, and in one stage."""
    encoder = trial.make()
    if not is_staged(encoder):
        return Check("batch", "note", "has no two stages: recordings are embedded one by one")
    if not trial.steady:
        return Check("batch", "note", UNSTEADY)
    try:
        ready = [encoder.prepare(recording) for recording in trial.nights]
        together = encoder.encode_prepared(ready)
        alone = [encoder.encode_prepared([one])[0] for one in ready]
    except Exception as error:  # the encoder under test may raise anything
        return Check("batch", "fail", f"its stages: {told(error)}")
    if len(together) != len(ready):
        return Check("batch", "fail", f"encode_prepared gave {len(together)} outcomes for {len(ready)} recordings")
    found = {}
    for name, one, other in zip("ABC", together, alone, strict=True):
        pair = {"in a batch": _staged(trial, one), "in two stages": _staged(trial, other)}
        for way, tried in pair.items():
            if tried.embedding is None:
                return Check("batch", "fail", f"{name} {way} is {tried.words}")
        a, b = (tried.embedding for tried in pair.values() if tried.embedding is not None)
        found[f"{name} in a batch"] = difference(a, b)
        if name == "A":
            found["A in two stages"] = difference(b, trial.first)
    return equality("batch", found, limit_of(trial.first))


def _staged(trial: Trial, outcome: Embedding | RecordingError) -> Tried:
    if isinstance(outcome, RecordingError):
        return Tried(crashed=outcome.reason) if isinstance(outcome, PluginError) else Tried(refused=outcome.reason)
    return judged(outcome, trial.card)


def check_cut(trial: Trial) -> Check:
    """The first part of a recording gives the rows that the whole gives for it, as far as the card promises."""
    name = "causality" if trial.card.causal else "reach"
    if not trial.steady:
        return Check(name, "note", UNSTEADY)
    night = trial.nights[0]
    cut_s = np.ceil(CUT * night.duration_s())
    tried = trial.again(beginning(night, float(cut_s)))
    if tried.embedding is None:
        return Check(name, "fail" if tried.bad else "note", f"the first {cut_s:g} s are {tried.words}")
    part, whole = tried.embedding, trial.first
    ends_s = part.start_s + part.step_s * np.arange(1, rows_of(part) + 1)
    inside = int(np.sum(ends_s <= cut_s - (EDGE_S if trial.card.causal else 0.0) + 1e-6))
    apart = differences(part, whole, min(inside, rows_of(whole)))
    if apart is None or inside == 0:
        return Check(name, "fail" if apart is None else "note", "its rows cannot be compared with those of the whole")
    worst, limit = float(apart.max()), limit_of(whole)
    numbers = {"rows": inside, "cut_s": float(cut_s), "largest_relative_difference": worst, "limit": limit}
    if worst <= limit:
        same = "bit-equal to" if worst == 0 else f"within {worst:.1e} of"
        return Check(name, "pass", f"{inside} rows of the first {cut_s:g} s are {same} those of the whole", numbers)
    reach_s = float(cut_s - (ends_s[int(np.argmax(apart > limit))] - part.step_s))
    numbers["reach_s"] = reach_s
    if trial.card.causal:
        words = f"its card says causal, yet rows change {reach_s:g} s before the cut ({worst:.1e}, limit {limit:g})"
        return Check(name, "fail", words, numbers)
    all_of_it = " (as far as there is signal)" if apart[0] > limit else ""
    wide = "; its card says a window of less" if trial.card.window_s and reach_s > trial.card.window_s else ""
    words = f"not causal, as its card says: what comes later changes rows up to {reach_s:g} s before{all_of_it}{wide}"
    return Check(name, "note", words, numbers)
