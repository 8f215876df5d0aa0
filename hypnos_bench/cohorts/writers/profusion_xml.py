"""Profusion XML as the sleep data repository serves it: a legend, events by name, one stage code per epoch."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from hypnos_bench.cohorts.base import Event

_STAGE_CODES = {-1: "9", 0: "0", 1: "1", 2: "2", 3: "3", 4: "5"}

_NAMES = {
    "arousal": ("Arousal ()", "EEG"),
    "obstructive-apnea": ("Obstructive Apnea", "THOR RES"),
    "central-apnea": ("Central Apnea", "THOR RES"),
    "mixed-apnea": ("Mixed Apnea", "THOR RES"),
    "hypopnea": ("Hypopnea", "THOR RES"),
    "rera": ("RERA", "THOR RES"),
    "unsure": ("Unsure", "THOR RES"),
    "desaturation": ("SpO2 desaturation", "SaO2"),
}
_LEGEND = (*_NAMES.values(), ("PLM (Left)", ""), ("Limb Movement (Left)", ""), ("SpO2 artifact", "SaO2"))


def write_profusion_xml(path: Path, stages: Sequence[int], events: Sequence[Event], rk: bool = False) -> None:
    """Write one ``*-profusion.xml``.

    Parameters
    ----------
    path : Path
    stages : sequence of int
        Codes 0..4 and -1 per 30-s epoch from the start of the signals.
    events : sequence of Event
        Written in the order given. The kind ``unsure`` writes that name; kinds the program has no name for are
        written as they are.
    rk : bool
        Score by Rechtschaffen and Kales: every other N3 epoch is written as stage 4.

    Raises
    ------
    ValueError
        For a stage code outside -1..4.
    """
    root = ET.Element("CMPStudyConfig")
    ET.SubElement(root, "EpochLength").text = "30"
    channel = ET.SubElement(ET.SubElement(root, "StepChannels"), "StepChannel")
    ET.SubElement(channel, "Input").text = "POSITION"
    labels = ET.SubElement(channel, "Labels")
    for label in ("RIGHT", "LEFT", "BACK", "FRONT"):
        ET.SubElement(labels, "Label").text = label
    legend = ET.SubElement(root, "ScoredEventSettings")
    for name, signal in _LEGEND:
        _add(ET.SubElement(legend, "ScoredEventSetting"), Name=name, Colour="16117971", TextColour="0", Input=signal)
    scored = ET.SubElement(root, "ScoredEvents")
    for event in events:
        name, signal = _NAMES.get(event.kind, (event.kind, "EEG"))
        element = ET.SubElement(scored, "ScoredEvent")
        if event.kind == "desaturation":
            _add(element, LowestSpO2="95", Desaturation="3")
        _add(element, Name=name, Start=_seconds(event.start_s), Duration=_seconds(event.duration_s), Input=signal)
    epochs = ET.SubElement(root, "SleepStages")
    for i, code in enumerate(int(stage) for stage in stages):
        if code not in _STAGE_CODES:
            raise ValueError(f"stage code {code} at epoch {i}: expected -1..4")
        ET.SubElement(epochs, "SleepStage").text = "4" if rk and code == 3 and i % 2 else _STAGE_CODES[code]
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _add(parent: ET.Element, **texts: str) -> None:
    for tag, text in texts.items():
        if text:
            ET.SubElement(parent, tag).text = text


def _seconds(value: float) -> str:
    """Whole seconds without a point, as the program writes them."""
    return repr(float(value)).removesuffix(".0")
