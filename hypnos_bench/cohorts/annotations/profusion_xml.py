"""Profusion XML (``CMPStudyConfig``): one stage code per 30 s, and events by the scoring program's names.

``ScoredEventSettings`` is a legend of the names that the program offers: nothing in it was scored.
Format: Compumedics Profusion, as the sleep data repository serves it beside its own XML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.nsrr_xml import COURSE, IGNORED, Desaturations, Unsure, kept_events
from hypnos_bench.cohorts.annotations.runs import AnnotationError, runs_of
from hypnos_bench.cohorts.annotations.safe_xml import parse_xml, scored_events
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, Words, plain
from hypnos_bench.cohorts.base import Event, Scoring, n_epochs

# 3 and 4 are both N3; 6 is movement, 9 unscored, 10 artifact.
_STAGE_CODES = {"0": 0, "1": 1, "2": 2, "3": 3, "4": 3, "5": 4, "6": -1, "9": -1, "10": -1}

# Both names that the repository's own XML has of an arousal, whatever follows them ("Arousal (ARO SPONT)", "Arousal
# resulting from Chin EMG"). Not every name that ends so: "respiratory effort related arousal" is a RERA.
_AROUSAL = re.compile(r"(?:(?:asda|external|spontaneous) )?arousal")


def read_profusion_xml(
    files: Mapping[str, bytes],
    facts: Facts,
    words: Mapping[str, str] | None = None,
    *,
    unsure: Unsure = "hypopnea",
    desaturations: Desaturations = "keep",
) -> Scoring:
    """Stages and events of one ``*-profusion.xml``.

    Every name that starts with ``Arousal``, ``ASDA arousal``, ``External arousal`` or ``Spontaneous arousal`` is an
    arousal, whatever stands after it. The last epoch may lack its code; more than that is told.

    A file that holds stage codes and nothing else does not say that there were no events: they are ``None``. Any
    ``ScoredEvent`` shows that events were scored, unless it is of the course of the night (`COURSE`).

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the XML.
    facts : Facts
    words : mapping of str to str, optional
        A user's meanings of event names and stage codes.
    unsure : {"hypopnea", "mixed-apnea"}
    desaturations : {"keep", "drop"}
        As for the repository's own XML.

    Raises
    ------
    AnnotationError
        With the element, when the file is malformed, a stage code is unknown, or a time is missing or negative.
    """
    root = parse_xml(files["main"], "CMPStudyConfig")
    vocabulary = Words(_STAGE_CODES, {**EVENT_WORDS, "unsure": unsure}, IGNORED, words)
    own = frozenset(plain(text) for text in words or ())
    events: list[Event] = []
    shown = 0
    for scored in scored_events(root, "Name"):
        word = plain(scored.name)
        if not word:
            raise AnnotationError(f"{scored.where}: <Name> does not say what it is")
        shown += word not in COURSE
        kind = "arousal" if _AROUSAL.match(word) and word not in own else vocabulary.event(word)
        if kind is not None:
            events.append(Event(kind, scored.seconds("Start"), scored.seconds("Duration")))
    codes = [
        vocabulary.stage(element.text or "", f"SleepStage {number}")
        for number, element in enumerate(root.iterfind("./SleepStages/SleepStage"), start=1)
    ]
    short = n_epochs(facts.duration_s) - len(codes)
    notes = [f"no stage codes for the last {short} epochs of the signals"] if codes and short > 1 else []
    kept, told = kept_events(events, desaturations, shown, codes)
    return Scoring(runs_of(codes, where="SleepStage"), kept, unknown=dict(vocabulary.unknown), notes=(*notes, *told))
