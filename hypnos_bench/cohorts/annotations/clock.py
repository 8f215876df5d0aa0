"""Times of day in annotations, as seconds from the start of the signals."""

from __future__ import annotations

import re
from datetime import time

from hypnos_bench.cohorts.annotations.runs import AnnotationError

DAY_S = 86_400.0
_CLOCK = re.compile(r"(\d{1,2})[:.](\d{2})[:.](\d{2})(?:[.,](\d{1,9}))?(?:\s*([AaPp])\.?[Mm]\.?)?")


class Clock:
    """Times of day on the axis of one recording, across midnight.

    A time is put where it lies nearest to the recording, whatever the order of the lines: at most
    half of what the recording leaves of 24 hours before its start or after its end.

    Parameters
    ----------
    start : time or None
        Time of day of the first sample.
    duration_s : float
        Length of the signals.

    Raises
    ------
    AnnotationError
        When the signals do not say when they began, or last so long that a time of day is ambiguous.
    """

    def __init__(self, start: time | None, duration_s: float) -> None:
        if start is None:
            raise AnnotationError("its times are times of day, but the signals do not say at what time they began")
        if duration_s > DAY_S:
            raise AnnotationError(f"its times are times of day, which are ambiguous in {duration_s / 3600:.1f} hours")
        self._start_s = seconds_of_day(start)
        self._latest_s = (duration_s + DAY_S) / 2

    def seconds(self, text: str, where: str) -> float:
        """Seconds from the start of the signals of ``HH:MM:SS``, with a fraction or AM and PM if it has them.

        Raises
        ------
        AnnotationError
            When the text is no time of day.
        """
        return self.place(clock_seconds(text, where))

    def place(self, day_s: float) -> float:
        """Seconds from the start of the signals of a time given in seconds after midnight."""
        after_s = (day_s - self._start_s) % DAY_S
        return after_s if after_s <= self._latest_s else after_s - DAY_S


def clock_seconds(text: str, where: str) -> float:
    """Seconds after midnight of a time of day.

    Raises
    ------
    AnnotationError
        When the text is no time of day.
    """
    match = _CLOCK.fullmatch(text.strip())
    hour = int(match[1]) if match else 99
    if match is not None and match[5]:
        hour = hour % 12 + (12 if match[5] in "Pp" else 0) if 1 <= hour <= 12 else 99
    if match is None or hour > 23 or int(match[2]) > 59 or int(match[3]) > 59:
        raise AnnotationError(f"{where}: {text.strip()!r} is not a time of day (hh:mm:ss)")
    return hour * 3600.0 + int(match[2]) * 60 + int(match[3]) + float(f"0.{match[4] or 0}")


def seconds_of_day(clock: time) -> float:
    """Seconds after midnight."""
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6
