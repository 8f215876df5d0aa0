"""What the writers of plain text annotations share: lines, times of day, and runs of one stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import time
from itertools import groupby
from pathlib import Path

from hypnos_bench.cohorts.annotations.clock import DAY_S, seconds_of_day


def write_lines(
    path: Path, lines: Iterable[str], encoding: str = "utf-8", *, end: str = "\r\n", closing: str = ""
) -> None:
    """Write text lines, making the folder.

    Parameters
    ----------
    path : Path
    lines : iterable of str
    encoding : str
    end : str
        What ends each line: on Windows, where most scoring programs run, CR and LF.
    closing : str
        What stands after the last line's end, such as the end-of-file mark of DOS.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("".join(f"{line}{end}" for line in lines) + closing).encode(encoding))


def clock_text(start: time | str, after_s: float, decimals: int = 0, separator: str = ":") -> str:
    """Time of day some seconds after `start` (``HH:MM:SS`` as text), over midnight."""
    first = time.fromisoformat(start) if isinstance(start, str) else start
    units = round((seconds_of_day(first) + after_s) * 10**decimals) % (round(DAY_S) * 10**decimals)
    whole_s, fraction = divmod(units, 10**decimals)
    text = separator.join(f"{part:02d}" for part in (whole_s // 3600, whole_s // 60 % 60, whole_s % 60))
    return f"{text}.{fraction:0{decimals}d}" if decimals else text


def stretches(stages: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (code, first epoch, number of epochs) per run of one stage."""
    epoch = 0
    for code, group in groupby(int(stage) for stage in stages):
        count = len(list(group))
        yield code, epoch, count
        epoch += count
