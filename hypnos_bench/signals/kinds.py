"""What a channel measures, told from its label: the modality it belongs to; and which modalities studies go without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

MODALITIES = ("eeg", "eog", "emg", "ecg", "resp")
"""Modalities a user can keep or mask: brain, eyes, muscles, heart, and breathing with oximetry and pulse."""

OF_CANONICAL: Mapping[str, str] = {
    "C3": "eeg", "C4": "eeg", "E1": "eog", "E2": "eog", "Chin": "emg", "ECG": "ecg", "ABD": "resp", "THX": "resp",
}  # fmt: skip
"""Modality of each canonical channel."""

_SITE = r"(?:fpz|fp\d|fz|cz|pz|oz|[fctpoa]\d{1,2}|m\d|tp\d{1,2})"
_RULES: tuple[tuple[str, str], ...] = (
    # In order: the first that fits decides.
    ("ecg", r"e[ck]g.*|la-?ra"),
    ("eog", r".*(?:eog|loc\b|roc\b).*|[lr]oc.*|e[12](?:[^a-z].*|[am]\d.*)?"),
    (
        "resp",
        r".*(?:abd|tho|thx|chest|effort|rip|flow|nasal|nasor|(?<!temp)oral|therm|pres|snor|mic|spo2|sao2|sa02|o2-?masimo).*",
    ),
    ("resp", r".*(?:ppg|pleth|pulse|heartrate|hrate|co2|newair|newa|cannula|ptaf).*|hr|h\.r\.|pr|(?:resp)?-?(?:np|sn)"),
    (
        "emg",
        r".*(?:emg|chin|leg|arm|foot|feet|extensor|flexor|ext\d|mass[ae]t|mass-|masset|temporalis|scm|scalene|tib|plm).*|(?:l|r|left|right)-?at(?:[^a-z].*)?|at-?(?:l|r|left|right)",
    ),
    ("eeg", rf"eeg.*|{_SITE}(?:[^a-z].*|{_SITE}.*)?"),
)
_COMPILED = tuple((kind, re.compile(rule)) for kind, rule in _RULES)


def modality_of(label: str) -> str | None:
    """Modality of a file's own channel label, one of `MODALITIES`, or ``None`` when the label does not tell."""
    key = re.sub(r"[\s_]+", "", label).casefold()
    return next((kind for kind, rule in _COMPILED if rule.fullmatch(key)), None)


@dataclass(frozen=True)
class Setting:
    """Modalities that a kind of study has: the others are masked.

    Parameters
    ----------
    keep : tuple of str
        In the order of `MODALITIES`.
    note, citation : str
    """

    keep: tuple[str, ...]
    note: str
    citation: str


_OSF = "OSF, table of realistic missing-channel settings (yang-ai-lab.github.io/osf, read in 2026)"
_INFERRED = (
    "Brain is taken as EEG and EOG, Resp as effort, flow and snoring; EMG is kept in all four settings because the "
    "table does not vary it (both inferred: the groups are not printed)."
)
SETTINGS: Mapping[str, Setting] = {
    "head-band": Setting(("eeg", "eog", "emg"), f"Brain without Resp and ECG. {_INFERRED}", _OSF),
    "sleep-disorder": Setting(("emg", "ecg", "resp"), f"Resp and ECG without Brain. {_INFERRED}", _OSF),
    "micro-architecture": Setting(("eeg", "eog", "emg", "ecg"), f"Brain and ECG without Resp. {_INFERRED}", _OSF),
    "in-home": Setting(("emg", "resp"), f"Resp without Brain and ECG. {_INFERRED}", _OSF),
}
"""Named subsets of modalities."""

ALL = "all"
"""Word for a run in which nothing is masked."""


def parse_modalities(text: str) -> tuple[str, ...] | None:
    """Read ``"eeg,eog"`` or the name of a setting, in the order of `MODALITIES`; ``None`` stands for ``"all"``.

    Raises
    ------
    UsageError
        For an unknown word, with the nearest known one.
    """
    word = text.strip().casefold()
    if word == ALL:
        return None
    if word in SETTINGS:
        return SETTINGS[word].keep
    names = [name.strip() for name in word.split(",")]
    for name in names:
        if name not in MODALITIES:
            known = [*MODALITIES, *SETTINGS, ALL]
            raise UsageError(
                f"--modalities {text}: {name!r} is no modality.{did_you_mean(name, known)} "
                f"Known: {', '.join(MODALITIES)} (joined by commas), {', '.join([*SETTINGS, ALL])}"
            )
    return tuple(name for name in MODALITIES if name in names)
