"""Sleep stages and events written as EDF+ annotations: ``Sleep stage W``, ``Sleep stage 4``, ``Sleep stage N2``.

Texts follow the EDF+ standard (edfplus.info) and its use in Sleep-EDF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.runs import AnnotationError, StageRun, hypnogram
from hypnos_bench.cohorts.annotations.words import STAGE_WORDS, event_kind
from hypnos_bench.cohorts.base import Event
from hypnos_bench.registry import did_you_mean

EdfAnnotation = tuple[float, float, str]
"""Start in seconds from the start of the file, duration in seconds, text."""

_PREFIX = "sleep stage "
# After "Sleep stage", a number is the Rechtschaffen and Kales stage: nothing else was ever meant by it.
_STAGES = {**STAGE_WORDS, "1": 1, "2": 2, "3": 3, "4": 3}
_MOVEMENT = "movement time"


def read_edf_stages(annotations: Sequence[EdfAnnotation], duration_s: float) -> NDArray[np.int8]:
    """Hypnogram from the annotations of one EDF+ file; texts that are no stage are passed over.

    Parameters
    ----------
    annotations : sequence of (start_s, duration_s, text)
    duration_s : float
        Length of the signals in seconds.

    Returns
    -------
    ndarray of int8, shape (n_epochs,)

    Raises
    ------
    AnnotationError
        For an unknown stage, a stage without a duration, or stages off the 30-s grid of the signals.
    """
    runs = []
    for number, (start_s, length_s, text) in enumerate(annotations, start=1):
        word = _stage_word(text)
        if word is None:
            continue
        where = f"annotation {number} ({text.strip()!r})"
        if word not in _STAGES:
            raise AnnotationError(f"{where}: unknown sleep stage.{did_you_mean(word, _STAGES)}")
        if not math.isfinite(start_s) or start_s < 0:
            raise AnnotationError(f"{where}: starts at {start_s:g} s, expected at least 0")
        runs.append(StageRun(_STAGES[word], start_s, length_s, where))
    return hypnogram(runs, duration_s)


def read_edf_events(annotations: Sequence[EdfAnnotation]) -> tuple[Event, ...]:
    """Everything that is not a sleep stage, in time order; a missing duration is 0 s."""
    events = [
        Event(event_kind(text), start_s, max(0.0, length_s))
        for start_s, length_s, text in annotations
        if _stage_word(text) is None and text.strip()
    ]
    return tuple(sorted(events, key=lambda event: event.start_s))


def _stage_word(text: str) -> str | None:
    plain = " ".join(text.split()).casefold()
    if plain == _MOVEMENT:
        return plain
    return plain.removeprefix(_PREFIX) if plain.startswith(_PREFIX) else None
