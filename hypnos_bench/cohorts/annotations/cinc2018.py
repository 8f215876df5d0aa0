"""Stages and events of the PhysioNet/CinC 2018 training set: ``.arousal`` files in WFDB format.

``W``, ``N1``, ``N2``, ``N3`` and ``R`` start a stage; ``(resp_hypopnea`` and ``resp_hypopnea)`` enclose an event. The
target vector of the challenge (``-arousal.mat``, one value per sample) is not read: it is made from these files.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.rhythm import annotations_of, refuse_outside
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.annotations.words import Words
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

_STAGES = {"w": 0, "n1": 1, "n2": 2, "n3": 3, "r": 4}
# A respiratory-effort-related arousal is a respiratory event (AASM) and scored as long as the effort lasts, so it is
# no arousal here; all others are, whatever they followed.
_EVENTS = {
    "resp_centralapnea": "central-apnea",
    "resp_obstructiveapnea": "obstructive-apnea",
    "resp_mixedapnea": "mixed-apnea",
    "resp_hypopnea": "hypopnea",
    "resp_hypoventilation": "hypoventilation",
    "resp_cheynestokesbreath": "cheyne-stokes-breathing",
    "resp_partialobstructive": "partial-obstruction",
    "arousal_rera": "rera",
    "arousal_spontaneous": "arousal",
    "arousal_plm": "arousal",
    "arousal_snore": "arousal",
    "arousal_bruxism": "arousal",
    "arousal_noise": "arousal",
}


def read_cinc2018_arousal(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of a CinC 2018 record.

    A stage holds until the next one, the last until the end of the record, each for its whole epochs of 30 s; before
    the first nothing is scored. Events of one type are matched by time: an end closes the latest start before it.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the ``.arousal``.
    facts : Facts
    words : mapping of str to str, optional
        Meaning of texts that the format does not know, without their brackets.

    Raises
    ------
    AnnotationError
        When the file is damaged, an annotation lies outside the record, a text is neither a stage nor part of
        an event, or two stages start at one sample.
    """
    annotations, rate_hz, n_samples = annotations_of(files, facts)
    refuse_outside(annotations, n_samples)
    vocabulary = Words(_STAGES, _EVENTS, overrides=words)
    marks: list[tuple[int, int, str]] = []
    starts: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    left_out: Counter[str] = Counter()
    for sample, _, raw in annotations:
        text = raw.strip()
        where = f"sample {sample} ({text!r})"
        if text.startswith("(") and len(text) > 1:
            starts.setdefault(text[1:].strip(), []).append(sample)
        elif text.endswith(")") and len(text) > 1:
            ends.setdefault(text[:-1].strip(), []).append(sample)
        elif text:
            marks.append((sample, vocabulary.stage(text, where), where))
        else:
            left_out["annotations carry no text"] += 1
    events = []
    for name in sorted({*starts, *ends}):
        pairs, loose = _pairs(sorted(starts.get(name, ())), sorted(ends.get(name, ())))
        if loose:
            left_out[f"marks of {name} have no counterpart"] += loose
        for start, end in pairs:
            kind = vocabulary.event(name)
            if kind is not None:
                events.append(Event(kind, start / rate_hz, (end - start) / rate_hz))
    stages, cut = _runs(sorted(marks), rate_hz, n_samples)
    if cut:
        left_out["stages do not last whole epochs of 30 s; their rests are unscored"] += cut
    return Scoring(
        stages=stages,
        events=tuple(sorted(events, key=lambda event: (event.start_s, event.kind, event.duration_s))),
        unknown=dict(vocabulary.unknown),
        notes=tuple(f"{count} {what}" for what, count in left_out.items()),
    )


def _pairs(starts: list[int], ends: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """Each end with the latest free start before it, and how many marks are left over.

    A start on the very sample of an end belongs to the next event, unless no other is free.
    """
    pairs, loose = [], 0
    free = list(starts)
    for end in ends:
        before = bisect_left(free, end)
        if before > 0:
            pairs.append((free.pop(before - 1), end))
        elif before < len(free) and free[before] == end:
            pairs.append((free.pop(before), end))
        else:
            loose += 1
    return pairs, loose + len(free)


def _runs(marks: Sequence[tuple[int, int, str]], rate_hz: float, n_samples: int) -> tuple[tuple[StageRun, ...], int]:
    """Stages in whole epochs, and how many but the last were cut to get there."""
    runs, cut = [], 0
    for i, (sample, code, where) in enumerate(marks):
        last = i + 1 == len(marks)
        stop = n_samples if last else marks[i + 1][0]
        if stop == sample and not last:
            raise AnnotationError(f"{where}: another stage starts at the same sample, {marks[i + 1][2]}")
        epochs = int((stop - sample) / rate_hz / EPOCH_S + 1e-9)
        if epochs:
            runs.append(StageRun(code, sample / rate_hz, epochs * EPOCH_S, where))
        cut += not last and abs((stop - sample) / rate_hz - epochs * EPOCH_S) > 1e-6
    return tuple(runs), cut
