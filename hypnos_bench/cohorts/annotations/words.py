"""Words of sleep scoring that several formats share."""

from __future__ import annotations

import re

EVENT_KINDS = {
    "obstructive apnea": "obstructive-apnea",
    "central apnea": "central-apnea",
    "mixed apnea": "mixed-apnea",
    "hypopnea": "hypopnea",
    "obstructive hypopnea": "hypopnea",
    "central hypopnea": "hypopnea",
    "mixed hypopnea": "hypopnea",
    "spo2 desaturation": "desaturation",
    "oxygen desaturation": "desaturation",
    "desaturation": "desaturation",
    "arousal": "arousal",
    "eeg arousal": "arousal",
}
"""What a scorer's word, in lower case, is called here."""

STAGE_WORDS = {
    "w": 0,
    "wake": 0,
    "n1": 1,
    "s1": 1,
    "n2": 2,
    "s2": 2,
    "n3": 3,
    "s3": 3,
    "n4": 3,
    "s4": 3,
    "r": 4,
    "rem": 4,
    "?": -1,
    "unscored": -1,
    "unknown": -1,
    "mt": -1,
    "movement": -1,
    "movement time": -1,
}
"""Stage names, in lower case, to codes. Bare numbers are not among them: exports disagree on what 4 and 5 mean."""


def event_kind(words: str) -> str:
    """Kind of an event from a scorer's words; unknown words are kept, in lower-case kebab."""
    plain = " ".join(words.split()).casefold()
    return EVENT_KINDS.get(plain) or re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
