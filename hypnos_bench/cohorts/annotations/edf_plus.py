"""Sleep stages and events written as EDF+ annotations: ``Sleep stage W``, ``Sleep stage 4``, ``Sleep stage N2``.

Texts follow the EDF+ standard (edfplus.info) and its use in Sleep-EDF, HMC and MASS. A text may name its channel
after ``@@``. MASS writes events as a small XML element in the place of a text; its attribute ``name`` is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import GRID_SLACK_S, AnnotationError
from hypnos_bench.cohorts.annotations.text import in_time_order
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, STAGE_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, StageRun
from hypnos_bench.spec import EPOCH_S

EdfAnnotation = tuple[float, float, str]
"""Start in seconds from the start of the file, duration in seconds, text."""

SNAP_S = 1.0
"""A stage whose length is off whole pages by less than this is taken as whole pages."""

_PREFIX = "sleep stage "
# After "Sleep stage", a number is the Rechtschaffen and Kales stage: nothing else was ever meant by it.
_STAGES = {
    **{_PREFIX + word: code for word, code in {**STAGE_WORDS, "1": 1, "2": 2, "3": 3, "4": 3}.items()},
    "movement time": -1,
}
_EVENTS = {**EVENT_WORDS, "microarousal": "arousal", "micro-arousal": "arousal"}
_IGNORED = frozenset(
    {"lights off", "lights out", "lights on", "limb movement", "plms", "periodic breathing"}
    | {"recording starts", "recording ends", "start recording", "end recording"}
)
_XML_NAME = re.compile(r"""<[^<>]*\bname\s*=\s*["']([^"'<>]*)["']""")


def read_edf_plus(
    files: Mapping[str, Sequence[EdfAnnotation]],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    page_s: float = EPOCH_S,
    pad_s: float = 0.0,
) -> Scoring:
    """Stages and events from the annotations of one EDF+ file.

    Texts that begin with ``Sleep stage`` are stages; all others are events, of 0 s when they have no duration.
    Onsets are trusted: the first page need not begin with the signals, and a stage that is off whole pages by
    less than `SNAP_S` becomes whole pages. An unscored stage that runs past the end of the signals is dropped.

    Parameters
    ----------
    files : mapping of str to sequence of (start_s, duration_s, text)
        ``main``: not bytes, but the annotations in any order.
    facts : Facts
    words : mapping of str to str, optional
        A user's meanings of whole texts (without ``@@`` and channel).
    page_s, pad_s : float
        Length of a scored page, and what each side of it is given to make 30 s (MASS SS2, SS4, SS5: 20 and 5).

    Raises
    ------
    AnnotationError
        For an unknown stage, a stage that starts before the file, or an annotation without a time.
    """
    vocabulary = Words(_STAGES, _EVENTS, _IGNORED, words)
    runs: list[StageRun] = []
    events: list[Event] = []
    for number, (start_s, length_s, text) in enumerate(files["main"], start=1):
        word = _word(text)
        where = f"annotation {number} ({text.strip()[:60]!r})"
        if not (math.isfinite(start_s) and math.isfinite(length_s)):
            raise AnnotationError(f"{where}: its start is {start_s:g} s and its duration {length_s:g} s")
        if vocabulary.is_stage(word) or (plain(word).startswith(_PREFIX) and not vocabulary.is_ignored(word)):
            if start_s < 0:
                raise AnnotationError(f"{where}: starts at {start_s:g} s, expected at least 0")
            runs.append(StageRun(vocabulary.stage(word, where), start_s, length_s, where))
        elif word and (kind := vocabulary.event(word)):
            events.append(Event(kind, start_s, max(0.0, length_s)))
    runs = [run for run in runs if run.code >= 0 or run.start_s + run.duration_s <= facts.duration_s + GRID_SLACK_S]
    stages, narrowed_s, notes = _snapped(runs, page_s, facts.duration_s)
    return Scoring(
        tuple(stages),
        in_time_order(events) or None,  # a file of stages alone does not say that there were no events
        unknown=dict(vocabulary.unknown),
        notes=notes,
        page_s=page_s - narrowed_s,
        pad_s=pad_s + narrowed_s / 2,
    )


def _word(text: str) -> str:
    """What an annotation says, without the channel it is about."""
    match = _XML_NAME.match(text.strip())
    return (match[1] if match else text.partition("@@")[0]).strip()


def _snapped(
    runs: Sequence[StageRun], page_s: float, duration_s: float
) -> tuple[Sequence[StageRun], float, tuple[str, ...]]:
    """Runs as whole pages, what pages were narrowed by so that none overlaps the next, and notes.

    Pages that are a little short of their length would overlap when they are made whole. All are narrowed by the
    most that any needs, and start later by half of it: widened to 30 s again, an epoch begins at its onset.
    """
    off = sum(_off_s(run, page_s) > GRID_SLACK_S for run in runs if _fits(run, page_s, duration_s))
    pages = _single_pages(runs, page_s, duration_s)
    starts = sorted(page.start_s for page in pages)
    steps = [later - start for start, later in pairwise(starts)]
    narrowed_s = max((page_s - step for step in steps if GRID_SLACK_S < page_s - step < SNAP_S), default=0.0)
    if not off and not narrowed_s:
        return runs, 0.0, ()
    notes = [f"{off} stages are off whole pages of {page_s:g} s by less than {SNAP_S:g} s: made whole"] if off else []
    if narrowed_s:
        notes.append(f"pages of {page_s:g} s overlap by up to {narrowed_s:.3g} s: taken from their onsets")
    moved = [
        replace(page, start_s=page.start_s + narrowed_s / 2, duration_s=page.duration_s - narrowed_s) for page in pages
    ]
    return moved, narrowed_s, tuple(notes)


def _single_pages(runs: Sequence[StageRun], page_s: float, duration_s: float) -> list[StageRun]:
    """One run per page, spread evenly over each run; a run that is no whole number of pages stays as it is."""
    pages = []
    for run in runs:
        if not _fits(run, page_s, duration_s):
            pages.append(run)
            continue
        n = round(run.duration_s / page_s)
        step_s = run.duration_s / n
        pages += [replace(run, start_s=run.start_s + i * step_s, duration_s=page_s) for i in range(n)]
    return pages


def _fits(run: StageRun, page_s: float, duration_s: float) -> bool:
    """Whether a run can be made whole pages; one that ends long after the signals is left to be refused."""
    return (
        run.duration_s >= page_s - SNAP_S
        and _off_s(run, page_s) < SNAP_S
        and run.start_s + run.duration_s <= duration_s + 2 * page_s
    )


def _off_s(run: StageRun, page_s: float) -> float:
    return abs(run.duration_s - round(run.duration_s / page_s) * page_s)
