"""What a leaky split adds to a score: its table beside the honest one of the same question.

The two splits test other recordings (a published list without the persons who are learned from is shorter), so the
difference is no paired one and has no test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hypnos_bench.report.comparison import Comparison, Row, Value, printed
from hypnos_bench.spec import SplitSpec


@dataclass(frozen=True)
class Leak:
    """A leaky table, its honest counterpart, and the main metric of what both hold: row, shots, leaky, honest."""

    leaky: Comparison
    honest: Comparison
    pairs: tuple[tuple[Row, str, Value, Value], ...]

    @property
    def words(self) -> str:
        """How many recordings are tested under each."""
        counts = [table.count("recordings_test") for table in (self.leaky, self.honest)]
        a, b = ("?" if count is None else f"{count[1]:,}" for count in counts)
        first, second = (
            f"{table.split}{f' #{table.suffix}' if table.suffix else ''}" for table in (self.leaky, self.honest)
        )
        return (
            f"{self.leaky.metrics[0]}, {self.leaky.head} head: {a} recordings are tested under {first}, {b} under "
            f"{second}; the difference is not a paired one"
        )


def leaks(tables: Sequence[Comparison]) -> list[Leak]:
    """Leaky tables beside their honest counterparts, where both hold a row."""
    found = [
        Leak(leaky, honest, tuple(pairs))
        for leaky in tables
        for honest in tables
        if leaky.leaky and _counterpart(leaky, honest) and (pairs := _pairs(leaky, honest))
    ]
    return sorted(found, key=lambda leak: (leak.leaky.slug, leak.honest.slug))


def leak_lines(tables: Sequence[Comparison]) -> list[str]:
    """For a terminal: a line per pair of tables, and one per row and label budget."""
    found = []
    for leak in leaks(tables):
        found.append(f"what the leak adds: {leak.words}")
        found += [
            f"- {row.name} at {shots}: {printed(a.mean)} - {printed(b.mean)} = {printed(a.mean - b.mean)}"
            for row, shots, a, b in leak.pairs
        ]
    return found


def _counterpart(leaky: Comparison, honest: Comparison) -> bool:
    """Whether a table asks the same with persons kept apart: of the same lists, or of no lists at all.

    Both on what the same encoders have in common, and on exposed persons or none alike.
    """
    same = ("task", "cohort", "head", "sample")
    if honest.leaky or any(leaky.spec[part] != honest.spec[part] for part in same):
        return False
    a, b = SplitSpec(**leaky.spec["split"]), SplitSpec(**honest.spec["split"])
    return a.listed == b.listed and a.lists == b.lists


def _pairs(leaky: Comparison, honest: Comparison) -> list[tuple[Row, str, Value, Value]]:
    main, ids = leaky.metrics[0], {row.id for row in honest.rows}
    keys = [(row, shots) for row in leaky.rows if row.id in ids for shots in leaky.shots if shots in honest.shots]
    found = []
    for row, shots in keys:
        a, b = (table.values.get((row.id, shots, main)) for table in (leaky, honest))
        if a and b and not math.isnan(a.mean) and not math.isnan(b.mean):
            found.append((row, shots, a, b))
    return found
