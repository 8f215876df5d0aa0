"""NSRR annotation XML as the sleep data repository serves it: run-length stages and typed events."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.text import stretches
from hypnos_bench.spec import EPOCH_S

_STAGE_CONCEPTS = {
    -1: "Unscored|9",
    0: "Wake|0",
    1: "Stage 1 sleep|1",
    2: "Stage 2 sleep|2",
    3: "Stage 3 sleep|3",
    4: "REM sleep|5",
}
_STAGE_4_CONCEPT = "Stage 4 sleep|4"

_EVENT_WORDS = {
    "arousal": ("Arousals|Arousals", "Arousal|Arousal ()"),
    "obstructive-apnea": ("Respiratory|Respiratory", "Obstructive apnea|Obstructive Apnea"),
    "central-apnea": ("Respiratory|Respiratory", "Central apnea|Central Apnea"),
    "mixed-apnea": ("Respiratory|Respiratory", "Mixed apnea|Mixed Apnea"),
    "hypopnea": ("Respiratory|Respiratory", "Hypopnea|Hypopnea"),
    "rera": ("Respiratory|Respiratory", "Respiratory effort related arousal|RERA"),
    "unsure": ("Respiratory|Respiratory", "Unsure|Unsure"),
    "desaturation": ("Respiratory|Respiratory", "SpO2 desaturation|SpO2 desaturation"),
}


def write_nsrr_xml(
    path: Path,
    stages: Sequence[int],
    events: Sequence[Event],
    duration_s: float,
    start: str = "22.00.00",
    rk: bool = False,
) -> None:
    """Write one ``*-nsrr.xml``.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from the start of the signals.
    events : sequence of Event
        The kind ``unsure`` writes the respiratory concept of that name; kinds the format has no
        word for are written as they are.
    duration_s : float
        Length of the signals, as the first event states it.
    start : str
        Time of day at the start, ``HH.MM.SS``.
    rk : bool
        Score by Rechtschaffen and Kales: the second half of every N3 run is written as stage 4.

    Raises
    ------
    ValueError
        For a stage code outside -1..4.
    """
    root = ET.Element("PSGAnnotation")
    ET.SubElement(root, "SoftwareVersion").text = "Compumedics"
    ET.SubElement(root, "EpochLength").text = "30"
    scored = ET.SubElement(root, "ScoredEvents")
    first = _add(scored, "", "Recording Start Time", 0.0, duration_s)
    ET.SubElement(first, "ClockTime").text = f"00.00.00 {start}"
    for event in sorted(events, key=lambda e: e.start_s):
        event_type, concept = _EVENT_WORDS.get(event.kind, ("Respiratory|Respiratory", f"{event.kind}|{event.kind}"))
        element = _add(scored, event_type, concept, event.start_s, event.duration_s)
        if event.kind == "desaturation":
            ET.SubElement(element, "SpO2Nadir").text = "88.0"
            ET.SubElement(element, "SpO2Baseline").text = "95.0"
    for concept, epoch, count in _runs(stages, rk):
        _add(scored, "Stages|Stages", concept, epoch * EPOCH_S, count * EPOCH_S)
    ET.indent(root, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


def _add(parent: ET.Element, event_type: str, concept: str, start_s: float, duration_s: float) -> ET.Element:
    element = ET.SubElement(parent, "ScoredEvent")
    ET.SubElement(element, "EventType").text = event_type or None
    ET.SubElement(element, "EventConcept").text = concept
    ET.SubElement(element, "Start").text = repr(float(start_s))
    ET.SubElement(element, "Duration").text = repr(float(duration_s))
    return element


def _runs(stages: Sequence[int], rk: bool) -> Iterator[tuple[str, int, int]]:
    """Yield (concept, first epoch, number of epochs) per run of one stage."""
    for code, epoch, count in stretches(stages):
        if code not in _STAGE_CONCEPTS:
            raise ValueError(f"stage code {code} at epoch {epoch}: expected -1..4")
        as_4 = count // 2 if rk and code == 3 else 0
        if count > as_4:
            yield _STAGE_CONCEPTS[code], epoch, count - as_4
        if as_4:
            yield _STAGE_4_CONCEPT, epoch + count - as_4, as_4
