"""Sleep stages and apneas of SLPDB: ``.st`` files in WFDB format, one annotation per 30 s, such as ``2 HA``."""

from __future__ import annotations

from collections.abc import Mapping

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.rhythm import annotations_of
from hypnos_bench.cohorts.annotations.runs import AnnotationError, merged
from hypnos_bench.cohorts.annotations.words import Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

# The stage is an annotation's first word. Record slp45 has M where the others have MT.
_STAGES = {"w": 0, "1": 1, "2": 2, "3": 3, "4": 3, "r": 4, "mt": -1, "m": -1}
_EVENTS = {
    "h": "hypopnea",
    "oa": "obstructive-apnea",
    "ca": "central-apnea",
    "a": "arousal",
    "l": "leg-movement",
}
# One word for an event and the arousal that it led to.
_WITH_AROUSAL = {"ha": ("h", "a"), "x": ("oa", "a"), "caa": ("ca", "a"), "la": ("l", "a")}

# What some programs write for an annotation without a text.
_NO_TEXT = ("", "None")


def read_slpdb_st(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of an SLPDB record.

    An epoch is where its annotation lies, never which one it is: some epochs have none and stay unscored. The file
    does not say where in an epoch an event lies, so every event lasts from its start to its end: their number per
    epoch is at most one of a kind, and their times must not be taken for onsets.

    Records slp41 and slp45 were not scored for apnea at all, which the file does not show.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the ``.st``.
    facts : Facts
    words : mapping of str to str, optional
        Meaning of words that the format does not know.

    Raises
    ------
    AnnotationError
        When the file is damaged, or a text does not begin with a stage.
    """
    annotations, rate_hz, _ = annotations_of(files, facts)
    vocabulary = Words(_STAGES, _EVENTS, overrides=words)
    own = {plain(text) for text in words or {}}
    scored: dict[int, set[int]] = {}
    places: dict[int, str] = {}
    events: set[tuple[int, str]] = set()
    empty = 0
    for sample, _, text in annotations:
        if text.strip() in _NO_TEXT:
            empty += 1
            continue
        stage, *marks = text.split()
        # An annotation at the first sample is stored at sample 1: the epoch that it lies in counts, not its number.
        epoch = int((sample / rate_hz + 1e-6) // EPOCH_S)
        places.setdefault(epoch, f"sample {sample} ({text!r})")
        if epoch < 0:
            raise AnnotationError(f"{places[epoch]}: lies before the record")
        scored.setdefault(epoch, set()).add(vocabulary.stage(stage, places[epoch]))
        events |= {(epoch, kind) for mark in marks for kind in _kinds(mark, vocabulary, own)}
    if not scored:
        raise AnnotationError("holds no sleep stage")
    notes = [f"{empty} annotations carry no text"] if empty else []
    doubtful = sorted(epoch for epoch, codes in scored.items() if len(codes) > 1)
    if doubtful:
        first = places[doubtful[0]]
        notes.append(f"{len(doubtful)} epochs have two stages and count as unscored, the first at {first}")
    codes = {epoch: codes.pop() if len(codes) == 1 else -1 for epoch, codes in scored.items()}
    return Scoring(
        stages=merged(StageRun(code, epoch * EPOCH_S, EPOCH_S, places[epoch]) for epoch, code in codes.items()),
        events=tuple(Event(kind, epoch * EPOCH_S, EPOCH_S) for epoch, kind in sorted(events)),
        unknown=dict(vocabulary.unknown),
        notes=tuple(notes),
    )


def _kinds(mark: str, vocabulary: Words, own: set[str]) -> list[str]:
    """Kinds of events that one word stands for; what the user says about the word wins."""
    word = plain(mark)
    parts = (word,) if word in own else _WITH_AROUSAL.get(word, (word,))
    kinds = (vocabulary.event(part) for part in parts)
    return [kind for kind in kinds if kind is not None]
