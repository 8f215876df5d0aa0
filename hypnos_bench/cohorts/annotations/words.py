"""Words of sleep scoring that several formats share, and how a user's settings add to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import STAGES
from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

EVENT_WORDS: Mapping[str, str] = {
    "obstructive apnea": "obstructive-apnea",
    "central apnea": "central-apnea",
    "mixed apnea": "mixed-apnea",
    "apnea": "apnea",
    "hypopnea": "hypopnea",
    "obstructive hypopnea": "hypopnea",
    "central hypopnea": "hypopnea",
    "mixed hypopnea": "hypopnea",
    "rera": "rera",
    "respiratory effort related arousal": "rera",
    "spo2 desaturation": "desaturation",
    "oxygen desaturation": "desaturation",
    "desaturation": "desaturation",
    "arousal": "arousal",
    "eeg arousal": "arousal",
}
"""What a scorer's words, in lower case, are called here."""

STAGE_WORDS: Mapping[str, int] = {
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

IGNORE = "ignore"
"""What a user's settings call a text that is neither a stage nor an event."""

UNSCORED = "unscored"

_KINDS = tuple(dict.fromkeys(EVENT_WORDS.values()))

_USER_STAGES = {**{name: code for code, name in enumerate(STAGES)}, UNSCORED: -1}


class Words:
    """Vocabulary of one format, for the reading of one file.

    Parameters
    ----------
    stages : mapping of str to int
        Texts of stages, as `plain` writes them.
    events : mapping of str to str
        Texts of events to kinds.
    ignored : collection of str
        Texts that say nothing about sleep.
    overrides : mapping of str to str
        A user's settings, which win: text to ``W``, ``N1``, ``N2``, ``N3``, ``R``, ``unscored``, an event kind, or
        ``ignore``.

    Attributes
    ----------
    unknown : Counter
        Event texts that were met and are in no table.
    """

    def __init__(
        self,
        stages: Mapping[str, int] = STAGE_WORDS,
        events: Mapping[str, str] = EVENT_WORDS,
        ignored: Collection[str] = (),
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self._stages = dict(stages)
        self._events = dict(events)
        self._ignored = set(ignored)
        self.unknown: Counter[str] = Counter()
        for text, meaning in (overrides or {}).items():
            self._override(plain(text), meaning)

    def _override(self, text: str, meaning: str) -> None:
        self._stages.pop(text, None)
        self._events.pop(text, None)
        self._ignored.discard(text)
        if meaning in _USER_STAGES:
            self._stages[text] = _USER_STAGES[meaning]
        elif meaning == IGNORE:
            self._ignored.add(text)
        elif meaning in _KINDS:
            self._events[text] = meaning
        else:
            known = (*_USER_STAGES, *_KINDS, IGNORE)
            raise UsageError(
                f"words: {text!r} = {meaning!r} is no meaning.{did_you_mean(meaning, known)} Known: {', '.join(known)}"
            )

    def is_stage(self, text: str) -> bool:
        """Whether a text names a stage, unscored included."""
        return plain(text) in self._stages

    def is_ignored(self, text: str) -> bool:
        """Whether a text is known to say nothing about sleep."""
        return plain(text) in self._ignored

    def stage(self, text: str, where: str) -> int:
        """Stage code of a text that must be a stage.

        Raises
        ------
        AnnotationError
            With the place, the nearest known word, and the setting that tells what the text means.
        """
        word = plain(text)
        if word not in self._stages:
            shown, key = (part if len(part) <= 60 else f"{part[:57]}..." for part in (text.strip(), word))
            raise AnnotationError(
                f"{where}: unknown sleep stage {shown!r}.{did_you_mean(key, self._stages)} If it is right, say "
                f'what it means in the cohort settings: words = {{ "{key}" = "N2" }}'
            )
        return self._stages[word]

    def event(self, text: str) -> str | None:
        """Kind of an event, ``None`` to ignore it. An unknown text is counted and kept in its own words.

        Its own words never make it one of the kinds that count: ``hypopnea?`` is no hypopnea until a setting says so.
        """
        word = plain(text)
        if word in self._ignored:
            return None
        kind = self._events.get(word)
        if kind is None:
            self.unknown[word] += 1
            kind = re.sub(r"[^a-z0-9]+", "-", word).strip("-")
            kind = word if not kind or kind in _KINDS else kind
        return kind or None


def plain(text: str) -> str:
    """A text as the tables have it: case folded, blanks single."""
    return " ".join(text.split()).casefold()
