"""Luna annotations: ``.annot`` (one tab-separated row per stage or event) and ``.eannot`` (one label per epoch).

Classes are the harmonised names of the sleep data repository: ``N2``, ``apnea_obstructive``, ``arousal/spontaneous``;
underscore, slash and colon between their parts mean the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hypnos_bench.cohorts.annotations.clock import DAY_S, Clock, clock_seconds
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, merged, runs_of, span_notes
from hypnos_bench.cohorts.annotations.text import decoded, events_or_none, text_lines
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, STAGE_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun, n_epochs
from hypnos_bench.spec import EPOCH_S

Coding = Literal["words", "mnc", "mnc-dhc"]
"""Labels of an ``.eannot``: stage names, the numbers of MNC's SSC and CNC, or those of its DHC."""

_NREM = {f"nrem{gap}{n}": min(n, 3) for n in (1, 2, 3, 4) for gap in ("", " ")}
_CODINGS: Mapping[Coding, Mapping[str, int]] = {
    "words": {**STAGE_WORDS, **_NREM},
    "mnc": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 3, "5": 4, "7": -1},
    "mnc-dhc": {"1": 0, "0": 4, "-1": 1, "-2": 2, "-3": 3},
}

# Movement stands in the place of a stage in some files and beside one in others: what it leaves unscored, it leaves.
_STAGES = {word: code for word, code in _CODINGS["words"].items() if "movement" not in word} | {"u": -1}
_STAGE_LIKE = re.compile(r"(?:n|s|nrem|(?:sleep )?stage) ?\d+")
_EVENTS = {
    **EVENT_WORDS,
    **{f"apnea {kind}": f"{kind}-apnea" for kind in ("obstructive", "central", "mixed")},
    **{f"hypopnea {kind}": "hypopnea" for kind in ("obstructive", "central", "mixed")},
    "hypopnea30": "hypopnea",
    "hypopnea50": "hypopnea",
    "desat": "desaturation",
    **{f"{leg} arousal": "arousal" for leg in ("lml", "lmr", "lmb")},
}
_SCORED = frozenset(
    {"periodic breathing", "respiratory paradox", "snoring", "cheynestokes breathing", "bradycardia", "tachycardia"}
    | {"tachycardia narrowcomplex"}
)
_IGNORED = _SCORED | {"movement", "m", "l", "notes", "paused", "startrecording"}
_SCORED_GROUPS = frozenset({"artifact", "arrhythmia", "plm", "lm"})
_IGNORED_GROUPS = _SCORED_GROUPS | {"position", "lights"}


@dataclass(frozen=True)
class _Row:
    word: str
    start: str
    stop: str
    where: str


def read_luna_annot(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """Stages and events of one ``.annot``.

    Times are seconds from the start of the signals, times of day (``HH:MM:SS``), or elapsed (``0+HH:MM:SS``); a
    stop may also be a length (``+30``), ``.`` for none, or ``...`` for the start of the next row, and a stop before
    its start in times of day is after midnight. Every class that starts with ``arousal`` is an arousal. Artifacts,
    limb movements, positions, arrhythmias, lights and movement are known and left out unread.

    A file that holds stages and nothing else does not say that there were no events: they are ``None``. Any other
    class, unknown ones and those left out included, shows that events were scored; positions, lights, movement,
    notes and the recorder's starts and pauses do not.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the file.
    facts : Facts
    words : mapping of str to str, optional
        A user's meanings of classes.

    Raises
    ------
    AnnotationError
        With the line, for a row with too few columns, an unknown stage, or a time that is none.
    """
    vocabulary = Words(_STAGES, _EVENTS, _IGNORED, {_class_word(text): kind for text, kind in (words or {}).items()})
    own = frozenset(_class_word(text) for text in words or ())
    times = _Times(facts)
    runs: list[StageRun] = []
    events: list[Event] = []
    passed_over = 0
    rows = _rows(decoded(files["main"]))
    for i, row in enumerate(rows):
        following = rows[i + 1] if i + 1 < len(rows) else None
        if vocabulary.is_stage(row.word) or (row.word not in own and _STAGE_LIKE.fullmatch(row.word)):
            code = vocabulary.stage(row.word, row.where)
            start_s, length_s = times.interval(row, following)
            if row.stop == "..." and following is None:
                length_s -= length_s % EPOCH_S
            if length_s:
                runs.append(StageRun(code, start_s, length_s, row.where))
        elif kind := _kind(row.word, vocabulary, own):
            events.append(Event(kind, *times.interval(row, following)))
        else:
            passed_over += _is_scored(row.word)
    stages = merged(runs)
    kept, told = events_or_none(events, passed_over, stages)
    notes = (*told, *(span_notes(stages, facts.duration_s) if times.by_clock else ()))
    return Scoring(stages, kept, unknown=dict(vocabulary.unknown), notes=notes)


def read_luna_eannot(
    files: Mapping[str, bytes],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    coding: Coding = "words",
) -> Scoring:
    """Stages of one ``.eannot``: a label per line, a line per epoch of 30 s from the start of the signals.

    One label more or fewer than the signals have whole epochs is forgiven and told; more than that is refused,
    since nothing but their number says which epoch a label belongs to.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the file.
    facts : Facts
    words : mapping of str to str, optional
        A user's meanings of labels.
    coding : {"words", "mnc", "mnc-dhc"}
        ``words``: wake, N1, N2, N3, REM, ?. ``mnc``: 0 W, 1, 2, 3 and 4 N3, 5 REM, 7 unscored. ``mnc-dhc``: 1 W,
        0 REM, -1 N1, -2 N2, -3 N3.

    Raises
    ------
    AnnotationError
        With the line, for an unknown label, or with both counts.
    """
    vocabulary = Words(_CODINGS[coding], events={}, overrides=words)
    labels = text_lines(decoded(files["main"]).rstrip())
    whole = n_epochs(facts.duration_s)
    if abs(len(labels) - whole) > 1:
        raise AnnotationError(
            f"{len(labels)} labels, but the signals hold {whole} epochs of 30 s: "
            "the annotation belongs to another file, or the signals are cut"
        )
    codes = [vocabulary.stage(label, f"line {number}") for number, label in enumerate(labels, start=1)]
    notes = []
    if len(labels) > whole:
        notes.append("the last label is past the end of the signals and left out")
    elif len(labels) < whole:
        notes.append("the last epoch of the signals has no label")
    return Scoring(runs_of(codes[:whole], where="line"), notes=tuple(notes))


def _rows(text: str) -> list[_Row]:
    rows = []
    for number, line in enumerate(text_lines(text), start=1):
        cells = [cell.strip() for cell in line.split("\t")]
        header = cells[0].casefold() == "class" and "start" in (cell.casefold() for cell in cells)
        if not line.strip() or line.startswith("#") or header:
            continue
        if len(cells) < 3:
            raise AnnotationError(
                f"line {number}: {len(cells)} columns, expected class, instance, channel, start, stop and meta, "
                "separated by tabs"
            )
        at = {3: 1, 4: 2}.get(len(cells), 3)  # the short forms leave out the channel, and the instance too
        rows.append(_Row(_class_word(cells[0]), cells[at], cells[at + 1], f"line {number} ({cells[0][:60]!r})"))
    return rows


def _kind(word: str, vocabulary: Words, own: frozenset[str]) -> str | None:
    """Kind of an event class, ``None`` for one that is known and of no interest."""
    if word not in own:
        group = word.partition(" ")[0]
        if group == "arousal":
            return vocabulary.event(group)  # one setting for "arousal" holds for all of them
        if group in _IGNORED_GROUPS and word not in _EVENTS:
            return None
    return vocabulary.event(word)


def _is_scored(word: str) -> bool:
    """Whether a class that is passed over shows that events were scored."""
    return word in _EVENTS or word in _SCORED or word.partition(" ")[0] in {*_SCORED_GROUPS, "arousal"}


class _Times:
    """Times of one file on the axis of the signals."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._clock: Clock | None = None

    @property
    def by_clock(self) -> bool:
        """Whether any time so far was a time of day."""
        return self._clock is not None

    def interval(self, row: _Row, following: _Row | None) -> tuple[float, float]:
        """Start and length of a row, in seconds."""
        start_s = self._seconds(row.start, row.where)
        if row.stop == ".":
            return start_s, 0.0
        if row.stop == "...":
            stop_s = self._facts.duration_s if following is None else self._seconds(following.start, following.where)
            length_s = stop_s - start_s
        elif row.stop.startswith("+"):
            length_s = _number(row.stop, row.where)
        elif _is_clock(row.start) and _is_clock(row.stop):
            return start_s, (clock_seconds(row.stop, row.where) - clock_seconds(row.start, row.where)) % DAY_S
        else:
            length_s = self._seconds(row.stop, row.where) - start_s
        if length_s < 0:
            raise AnnotationError(f"{row.where}: from {row.start} to {row.stop}, it stops before it starts")
        return start_s, length_s

    def _seconds(self, cell: str, where: str) -> float:
        if cell.startswith("0+"):
            return clock_seconds(cell[2:], where)
        if not _is_clock(cell):
            return _number(cell, where)
        if self._clock is None:
            self._clock = Clock(self._facts.start, self._facts.duration_s)
        return self._clock.seconds(cell, where)


def _is_clock(cell: str) -> bool:
    return not cell.startswith("0+") and (":" in cell or cell.count(".") > 1)


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(f"{where}: {cell[:60]!r} is neither seconds nor a time of day (hh:mm:ss)")
    return value


def _class_word(text: str) -> str:
    return plain(re.sub(r"[_/:]", " ", text))
