"""NSRR annotation XML (``PSGAnnotation``): run-length stages and typed events.

Every ``ScoredEvent`` has ``EventType``, ``EventConcept``, ``Start`` and ``Duration``; the first two
read ``words|code``, and only the words are used. Stages are run-length coded: 450 s are 15 epochs.
Format: National Sleep Research Resource, sleepdata.org.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeET
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.runs import AnnotationError, StageRun, hypnogram
from hypnos_bench.cohorts.annotations.words import event_kind
from hypnos_bench.cohorts.base import Event
from hypnos_bench.registry import did_you_mean

MAX_XML_BYTES = 64 * 1024 * 1024
"""A night's annotation is well under 1 MiB; anything above this is refused before it is parsed."""

Unsure = Literal["hypopnea", "mixed-apnea"]
"""What a cohort's scorers marked with the respiratory concept ``Unsure``."""

_STAGE_CONCEPTS = {
    "wake": 0,
    "stage 1 sleep": 1,
    "stage 2 sleep": 2,
    "stage 3 sleep": 3,
    "stage 4 sleep": 3,  # Rechtschaffen and Kales: 3 and 4 together are N3
    "rem sleep": 4,
    "movement": -1,
    "unscored": -1,
    "artifact": -1,
}
_CLOCK = re.compile(r"(\d{1,2})[.:](\d{2})[.:](\d{2})")
_START_CONCEPT = "recording start time"


@dataclass(frozen=True)
class RecordingStart:
    """First entry of a file: length of the recording, and time of day (h, min, s) when it began."""

    duration_s: float
    clock: tuple[int, int, int] | None


@dataclass(frozen=True)
class _Scored:
    """One ``ScoredEvent``: words of type and concept, and where it stands."""

    type: str
    concept: str
    element: Element
    where: str

    def seconds(self, tag: str) -> float:
        """Read a time of this event."""
        text = (self.element.findtext(tag) or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise AnnotationError(f"{self.where}: <{tag}> is {text!r}, expected seconds of at least 0")
        return value


def read_nsrr_stages(data: bytes, duration_s: float) -> NDArray[np.int8]:
    """Hypnogram of one file.

    Parameters
    ----------
    data : bytes
        The whole file.
    duration_s : float
        Length of the signals in seconds.

    Returns
    -------
    ndarray of int8, shape (n_epochs,)
        Codes 0..4; stages 3 and 4 are both N3; movement, unscored and gaps are -1.

    Raises
    ------
    AnnotationError
        For anything that cannot be read as stages on a 30-s grid within the signals.
    """
    runs = []
    for scored in _scored_events(data):
        if scored.type != "stages":
            continue
        if scored.concept not in _STAGE_CONCEPTS:
            near = did_you_mean(scored.concept, _STAGE_CONCEPTS)
            raise AnnotationError(f"{scored.where}: unknown sleep stage.{near}")
        runs.append(
            StageRun(_STAGE_CONCEPTS[scored.concept], scored.seconds("Start"), scored.seconds("Duration"), scored.where)
        )
    return hypnogram(runs, duration_s)


def read_nsrr_events(data: bytes, unsure: Unsure = "hypopnea") -> tuple[Event, ...]:
    """Scored events of one file in time order, stages left out.

    Parameters
    ----------
    data : bytes
        The whole file.
    unsure : {"hypopnea", "mixed-apnea"}
        What the concept ``Unsure`` stands for in this cohort.

    Raises
    ------
    AnnotationError
        When the file is malformed, or a time is missing or negative.
    """
    events = [
        Event(_kind(scored, unsure), scored.seconds("Start"), scored.seconds("Duration"))
        for scored in _scored_events(data)
        if scored.type != "stages" and scored.concept != _START_CONCEPT
    ]
    return tuple(sorted(events, key=lambda event: event.start_s))


def read_nsrr_start(data: bytes) -> RecordingStart | None:
    """Length and time of day as the file's ``Recording Start Time`` states them, or ``None`` without one."""
    for scored in _scored_events(data):
        if scored.concept == _START_CONCEPT:
            match = _CLOCK.fullmatch((scored.element.findtext("ClockTime") or "").split(" ")[-1])
            clock = (int(match[1]), int(match[2]), int(match[3])) if match else None
            return RecordingStart(scored.seconds("Duration"), clock)
    return None


def _kind(scored: _Scored, unsure: Unsure) -> str:
    if scored.type.startswith("arousals"):
        return "arousal"
    if scored.type == "respiratory" and scored.concept == "unsure":
        return unsure
    kind = event_kind(scored.concept or scored.type)
    if not kind:
        raise AnnotationError(f"{scored.where}: neither <EventType> nor <EventConcept> says what it is")
    return kind


def _scored_events(data: bytes) -> Iterator[_Scored]:
    for number, element in enumerate(_parse(data).iterfind("./ScoredEvents/ScoredEvent"), start=1):
        event_type = (element.findtext("EventType") or "").partition("|")[0].strip()
        concept = (element.findtext("EventConcept") or "").partition("|")[0].strip()
        yield _Scored(event_type.casefold(), concept.casefold(), element, f"ScoredEvent {number} ({concept!r})")


def _parse(data: bytes) -> Element:
    if len(data) > MAX_XML_BYTES:
        raise AnnotationError(f"{len(data)} bytes of XML, above the limit of {MAX_XML_BYTES}")
    try:
        root: Element = SafeET.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise AnnotationError(f"refused XML with a document type or entities ({type(error).__name__})") from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: an encoding that is unknown or a lie
        raise AnnotationError(f"malformed XML: {error}") from error
    if root.tag != "PSGAnnotation":
        profusion = ", a Profusion export" if root.tag == "CMPStudyConfig" else ""
        raise AnnotationError(f"the root element is <{root.tag}>{profusion}, expected <PSGAnnotation>")
    epoch_length = (root.findtext("EpochLength") or "30").strip()
    if epoch_length not in ("30", "30.0"):
        raise AnnotationError(f"<EpochLength> is {epoch_length!r}: only 30-s epochs are read")
    return root
