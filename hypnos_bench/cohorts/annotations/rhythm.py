"""Heart rhythm from the rhythm changes among a record's beat annotations (WFDB).

A rhythm change carries ``(CODE`` as its text, whatever its symbol, and holds until the next one. What the codes mean
differs between sets: ``(N`` is sinus rhythm in MITDB, all that is not atrial fibrillation or flutter in AFDB, the end
of an episode in CPSC2021, and not annotated at all in SHDB-AF.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.annotations.words import IGNORE, UNSCORED
from hypnos_bench.cohorts.base import Scoring, Span
from hypnos_bench.errors import DataError
from hypnos_bench.signals.wfdb_annotations import WfdbAnnotation, decode_annotations, time_resolution_hz

CPSC2021_CODES = ("N", "AFIB", "AFL")
CPSC2021_AF = ("AFIB", "AFL")
CPSC2021_TAIL_S = 3.0
"""Beats stop short of a record's end by up to one long interval; a longer silence is unlabelled."""

CPSC2021_EDGE_S = 1.0
"""Slack at either end of a record that counts as AF throughout: episode edges lie on R peaks."""

_AF_TYPE = re.compile(r"\s*(non|paroxysmal|persistent)\s+atrial fibrillation", re.IGNORECASE)

# LTAFDB ends every file with this comment, at a sample that says nothing: of record 30, hours past the end.
_END_OF_FILE = "\x01 Aux"
# What some programs write for an annotation without a text.
_NO_TEXT = ("", "None")
# Stretches without a rhythm that are shorter than this are beats that stop short of an edge: not worth a note.
_WORTH_A_NOTE_S = 5.0


def read_rhythm(
    files: Mapping[str, bytes],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    before_first: str | None = None,
    tail_s: float = 0.0,
    not_annotated: Sequence[str] = (),
    codes: Sequence[str] = (),
) -> Scoring:
    r"""Rhythm spans of one record; neighbours of one code are one span.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: annotations with the rhythm changes. ``beats``, optional: another annotator's file, which tells how
        far the record was annotated where the first holds nothing but changes (AFDB: its ``.qrs``).
    facts : Facts
    words : mapping of str to str, optional
        Code to the code it means, ``unscored`` (unlabelled) or ``ignore`` (no change at all).
    before_first : str, optional
        Code of the stretch before the first change, for sets that mark episodes only. Otherwise it is unlabelled.
    tail_s : float
        A record whose last annotation lies within this of its end counts as annotated to the end: beats stop
        short of the edge. Otherwise time after the last annotation is unlabelled.
    not_annotated : sequence of str
        Codes that mean that nobody looked (SHDB-AF: N); their stretches are unlabelled.
    codes : sequence of str
        Codes that the set documents. Others are kept, and counted as unknown; without a list all are known.

    Raises
    ------
    AnnotationError
        When a file is damaged or empty, an annotation lies outside the record, or a change names no rhythm.
    """
    annotations, rate_hz, n_samples = annotations_of(files, facts)
    annotations = [a for a in annotations if a[2] != _END_OF_FILE]
    refuse_outside(annotations, n_samples)
    if not annotations:
        raise AnnotationError("holds no annotation at all")
    ordered = sorted(annotations, key=lambda annotation: annotation[0])
    meanings = {code.casefold(): meaning for code, meaning in (words or {}).items()}
    changes = [(sample, _code(text, sample, meanings)) for sample, _, text in ordered if text.startswith("(")]
    changes = [(sample, code) for sample, code in changes if code != IGNORE]
    known = {*codes, *not_annotated, UNSCORED}
    unknown = Counter(code for _, code in changes if codes and code not in known)
    other = Counter(text for _, _, text in ordered if text not in _NO_TEXT and not text.startswith("("))
    if before_first is not None:
        changes.insert(0, (0, before_first))
    last = max(ordered[-1][0], _last_beat(files, facts, rate_hz))
    stop = n_samples if n_samples - last <= tail_s * rate_hz else last
    unlabelled = {*not_annotated, UNSCORED}
    spans = tuple(span for span in _spans(changes, stop, rate_hz) if span.code not in unlabelled)
    notes = _notes(changes, stop, rate_hz, n_samples, other)
    return Scoring(rhythm=spans, unknown=dict(unknown), notes=notes)


def read_cpsc2021(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Rhythm spans of a CPSC2021 record, and its class as the record's code: non, paroxysmal or persistent.

    The header comment classes the whole record, so time outside episodes counts as N, and a record of a person
    without fibrillation is N although it holds no rhythm change.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the ``.atr``.
    facts : Facts
        With the header's comments.
    words : mapping of str to str, optional
        As `read_rhythm`.

    Raises
    ------
    AnnotationError
        As `read_rhythm`; and when the comment is missing or contradicts the episodes.
    """
    af_type = af_type_of(facts.comments)
    if af_type is None:
        raise AnnotationError("the header has no comment that says non, paroxysmal or persistent atrial fibrillation")
    scoring = read_rhythm(files, facts, words, before_first="N", tail_s=CPSC2021_TAIL_S, codes=CPSC2021_CODES)
    rate_hz, n_samples = facts.sampling()
    af_s, whole_s = seconds_of(scoring.rhythm, CPSC2021_AF), n_samples / rate_hz
    fits = {
        "non": af_s == 0,
        "paroxysmal": 0 < af_s < whole_s - 2 * CPSC2021_EDGE_S,
        "persistent": af_s >= whole_s - 2 * CPSC2021_EDGE_S,
    }
    if not fits[af_type]:
        raise AnnotationError(
            f"the header says '{af_type}' atrial fibrillation, but {af_s:.1f} s of {whole_s:.1f} s "
            "are marked as AFIB or AFL"
        )
    return replace(scoring, record=(af_type,))


def af_type_of(comments: Iterable[str]) -> str | None:
    """Class that a header's comments state: ``non``, ``paroxysmal`` or ``persistent``; ``None`` without one."""
    matches = (_AF_TYPE.match(comment) for comment in comments)
    return next((match[1].lower() for match in matches if match is not None), None)


def annotations_of(
    files: Mapping[str, bytes], facts: Facts, name: str = "main"
) -> tuple[list[WfdbAnnotation], float, int]:
    """Annotations of one file, and rate and length of the record in the ticks that they count in.

    Raises
    ------
    AnnotationError
        When the file is damaged, or the header gives no rate.
    """
    rate_hz, n_samples = facts.sampling()
    try:
        annotations, own_hz = decode_annotations(files[name]), time_resolution_hz(files[name])
    except DataError as error:
        raise AnnotationError(str(error) if name == "main" else f"companion {name!r}: {error}") from error
    if own_hz is not None and own_hz != rate_hz:
        return annotations, own_hz, round(n_samples * own_hz / rate_hz)
    return annotations, rate_hz, n_samples


def refuse_outside(annotations: Iterable[WfdbAnnotation], n_samples: int) -> None:
    """Refuse annotations before the first sample or after the last; some sets end an episode one past it.

    Raises
    ------
    AnnotationError
    """
    for sample, symbol, _ in annotations:
        if not 0 <= sample <= n_samples:
            raise AnnotationError(f"annotation {symbol!r} at sample {sample}: the record has {n_samples} samples")


def seconds_of(spans: Sequence[Span], codes: Sequence[str]) -> float:
    """Seconds that spans of these codes cover."""
    return sum(span.stop_s - span.start_s for span in spans if span.code in codes)


def _code(text: str, sample: int, meanings: Mapping[str, str]) -> str:
    code = text[1:].strip()
    if not code:
        raise AnnotationError(f"rhythm change at sample {sample} names no rhythm ({text!r})")
    return meanings.get(code.casefold(), code)


def _last_beat(files: Mapping[str, bytes], facts: Facts, rate_hz: float) -> int:
    """Last annotation of the companion in ticks of the main file; 0 without one."""
    if "beats" not in files:
        return 0
    beats, beats_hz, _ = annotations_of(files, facts, "beats")
    # A detector may run on past the record's end: that says no more than that it got there.
    return round(max((a[0] for a in beats), default=0) * rate_hz / beats_hz)


def _spans(changes: Sequence[tuple[int, str]], stop: int, rate_hz: float) -> list[Span]:
    """One span per stretch of one code; changes on one sample: the last of the file counts."""
    edges = [sample for sample, _ in changes[1:]] + [stop] * bool(changes)
    spans: list[Span] = []
    for (start, code), end in zip(changes, edges, strict=True):
        if end <= start:
            continue
        if spans and spans[-1].code == code:
            spans[-1] = replace(spans[-1], stop_s=end / rate_hz)
        else:
            spans.append(Span(code, start / rate_hz, end / rate_hz))
    return spans


def _notes(
    changes: Sequence[tuple[int, str]], stop: int, rate_hz: float, n_samples: int, other: Mapping[str, int]
) -> tuple[str, ...]:
    notes = []
    first_s, stop_s, whole_s = (changes[0][0] if changes else 0) / rate_hz, stop / rate_hz, n_samples / rate_hz
    if first_s > _WORTH_A_NOTE_S:
        notes.append(f"no rhythm is given before {first_s:.1f} s")
    if changes and whole_s - stop_s > _WORTH_A_NOTE_S:
        notes.append(f"nothing is annotated after {stop_s:.1f} s of {whole_s:.1f} s")
    if other:
        texts = ", ".join(f"{text!r} ({count})" for text, count in sorted(other.items())[:8])
        notes.append(f"{sum(other.values())} texts name no rhythm: {texts}")
    return tuple(notes)
