"""OSF's twelve channels in their fixed order, and where a recording has them.

Eight are canonical channels of the house. Legs, nasal pressure and snore are looked for among the labels of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.signals.base import UNCALIBRATED, Channel, Derivation
from hypnos_bench.signals.kinds import modality_of


@dataclass(frozen=True)
class Slot:
    """One of the twelve channels.

    Parameters
    ----------
    name : str
        Upstream's.
    canonical : str or None
        The house's name, when it has one.
    min_rate_hz : float
        Below it the band that the network looks at is not in the signal.
    storage_hz : float
        Rate of upstream's stored data.
    other_side : str or None
        Slot of the same kind on the other side of the body.
    """

    name: str
    canonical: str | None
    min_rate_hz: float
    storage_hz: float
    other_side: str | None = None

    @property
    def wanted(self) -> str:
        """Name under which its absence is told."""
        return self.canonical or self.name


SLOTS = (
    Slot("ECG", "ECG", 32, 128),
    Slot("EMG_Chin", "Chin", 32, 64),
    Slot("EMG_LLeg", None, 32, 64, "EMG_RLeg"),
    Slot("EMG_RLeg", None, 32, 64, "EMG_LLeg"),
    Slot("ABD", "ABD", 4, 8),
    Slot("THX", "THX", 4, 8),
    Slot("NP", None, 4, 8),
    Slot("SN", None, 4, 32),
    Slot("EOG_E1_A2", "E1", 32, 64, "EOG_E2_A1"),
    Slot("EOG_E2_A1", "E2", 32, 64, "EOG_E1_A2"),
    Slot("EEG_C3_A2", "C3", 32, 64, "EEG_C4_A1"),
    Slot("EEG_C4_A1", "C4", 32, 64, "EEG_C3_A2"),
)
"""In the order of the network: patches hold four neighbours, so that another order is another input."""

MIN_RATES_HZ: Mapping[str, float] = {slot.name: slot.min_rate_hz for slot in SLOTS}
"""Lowest native rate of each slot."""

_LEG_SITES = ("leg", "legs", "tib", "tibialis", "anttib", "plm", "foot", "feet", "at")
_PRESSURE = (
    # A pressure transducer or cannula; thermistors measure something else.
    *("np", "nasalpressure", "nasalpres", "nasalpress", "nasalp", "naspres", "naspress", "npress", "npres"),
    *("nasalcannula", "cannula", "cannulaflow", "nasalcannulaflow", "pnasal", "ptaf", "nasalptaf", "flowptaf"),
    *("pressureflow", "pressflow", "flowpressure", "flowpres", "pflow", "nasaldc", "nasal", "nasalflow", "nasalac"),
    *("pres", "press", "pressure"),
)
_SNORE = (
    # A microphone or vibration sensor; what is filtered out of nasal pressure comes last, a level in dB not at all.
    *(
        "sn",
        "snore",
        "snoring",
        "snor",
        "snore1",
        "snoring1",
        "snoresensor",
        "snoremic",
        "micsnore",
        "mic",
        "microphone",
    ),
    *("trachealmic", "snore2", "snoring2", "pressuresnore", "psnore", "nasalsnore", "nasalsn"),
)


def place(recording: Recording) -> Recording:
    """The recording with every slot that it has in its montage, under the slot's name.

    Raises ``RecordingError`` when the file cannot be trusted.
    """
    made = {slot.name: recording.montage[slot.wanted] for slot in SLOTS if slot.wanted in recording.montage}
    return replace(recording, montage=made | find(recording.signals.channels()))  # a unit does not matter to a z-score


def find(channels: Sequence[Channel]) -> dict[str, Derivation]:
    """Legs, nasal pressure and snore among a file's channels, as far as they are there.

    A leg is a bipolar channel, else a single one, else the difference of two electrodes, else the first of them. One
    channel for both legs, or their difference, counts as the left. A label that tells another modality (``EEG Lat1``)
    is none of these: masking goes by modalities, and must hide what the network would see.

    Parameters
    ----------
    channels : sequence of Channel
        In file order; the first of several with the same name is taken.

    Returns
    -------
    dict of str to Derivation
        By slot, with the file's own labels.
    """
    muscles, breathing = _labels(channels, "emg"), _labels(channels, "resp")
    raw = {channel.label for channel in channels if channel.unit == UNCALIBRATED}
    found = {
        "EMG_LLeg": _leg(muscles, "left", raw),
        "EMG_RLeg": _leg(muscles, "right", raw),
        "NP": _first(breathing, _PRESSURE),
        "SN": _first(breathing, _SNORE),
    }
    if found["EMG_LLeg"] is None and found["EMG_RLeg"] is None:
        found["EMG_LLeg"] = _first(muscles, (*_LEG_SITES, *(f"l{site}r{site}" for site in _LEG_SITES), "leg1leg2"))
    return {slot: derivation for slot, derivation in found.items() if derivation is not None}


def _labels(channels: Iterable[Channel], modality: str) -> dict[str, str]:
    """Labels of a modality by their plain form; the first of several with the same one."""
    labels: dict[str, str] = {}
    for channel in channels:
        if "#" not in channel.label and modality_of(channel.label) == modality:  # "#": a repeated or a nameless one
            labels.setdefault(_plain(channel.label), channel.label)
    return labels


def copy_sides(arrays: dict[str, NDArray[np.float32]], made_from: dict[str, str]) -> None:
    """Fill a missing side from the other one, in place; both missing stay so."""
    original = dict(arrays)
    for slot in SLOTS:
        if slot.name not in original and slot.other_side is not None and slot.other_side in original:
            arrays[slot.name] = original[slot.other_side]
            made_from[slot.name] = f"{made_from[slot.other_side]} copied"


def _leg(labels: Mapping[str, str], side: str, raw: Iterable[str]) -> Derivation | None:
    names = [name for site in _LEG_SITES for s in (side[0], side) for name in (f"{s}{site}", f"{site}{s}")]
    ready = _first(labels, [form for name in names for form in (f"{name}1{name}2", f"{name}12", name)])
    if ready is not None:
        return ready
    for name in names:
        plus, minus = (labels.get(f"{name}{number}") for number in (1, 2))
        if plus is not None and minus is not None and not {plus, minus} & set(raw):
            return Derivation(plus, minus)
    number = 1 if side == "left" else 2
    both = [f"{site}{number}" for site in _LEG_SITES if f"{site}1" in labels and f"{site}2" in labels]
    return _first(labels, [*(f"{name}{i}" for name in names for i in (1, 2)), *both])


def _first(labels: Mapping[str, str], names: Iterable[str]) -> Derivation | None:
    label = next((labels[name] for name in names if name in labels), None)
    return None if label is None else Derivation(label)


def _plain(label: str) -> str:
    """Letters and digits alone; ``+`` and ``-`` at the end count as electrodes 1 and 2; no word for the kind."""
    text = label.strip().casefold()
    if text[-1:] in ("+", "-"):
        text = text[:-1] + ("1" if text[-1] == "+" else "2")
    text = re.sub(r"[^a-z0-9]", "", text)
    for word in ("emg", "eeg", "resp", "airflow"):
        if text.startswith(word) and text != word:
            text = text.removeprefix(word)
            break
    return text.removesuffix("ref").removesuffix("emg") or text
