"""Paired tests of one table, and what they show in one line per label budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from hypnos_bench.report.comparison import Comparison, printed
from hypnos_bench.significance import LEVEL, SideFiles, Tested, compare_rows
from hypnos_bench.spec import TaskSpec

SHOWN = 3
"""Pairs that a line names; the rest is counted."""


def tests_of(comparison: Comparison, sides: SideFiles) -> list[Tested]:
    """Paired tests between all rows, at every label budget, on the main metric."""
    columns = {
        shots: {row.name: [c for c in comparison.cells_of(row, shots) if c.status == "ok"] for row in comparison.rows}
        for shots in comparison.shots
    }
    return compare_rows(TaskSpec.of(comparison.spec["task"]), columns, sides)


def done(tested: Sequence[Tested]) -> list[Tested]:
    """Those that gave a p-value."""
    return [t for t in tested if not math.isnan(t.p)]


def head(comparison: Comparison, tested: Sequence[Tested]) -> str:
    """What was tested, and how the p-values were adjusted."""
    n = len(done(tested))
    adjusted = f", p adjusted over {n:,} test{'' if n == 1 else 's'} (Benjamini-Hochberg)" if n else ""
    return f"paired tests on {comparison.metrics[0]}{adjusted}"


def needed(tested: Sequence[Tested]) -> int:
    """How many tests must give their smallest p before any passes the level; 0 where a single one would do."""
    known = done(tested)
    least = min((t.min_p for t in known), default=0.0)
    count = math.ceil(least * len(known) / LEVEL - 1e-9)
    return count if count > 1 else 0


def lines(tested: Sequence[Tested]) -> list[str]:
    """One line per label budget: who is better, or that nothing is shown, or that nothing could be."""
    hard = needed(tested)
    return [f"at {shots}: {_line(list(found), hard)}" for shots, found in groupby(tested, key=lambda t: t.shots)]


def _line(tested: Sequence[Tested], hard: int) -> str:
    known = done(tested)
    if not known:
        return f"not tested: {untested(tested)[0]}"
    if all(t.min_p > LEVEL for t in known):
        persons = max(t.n_persons for t in known)
        least = min(t.min_p for t in known)
        return f"nothing can be shown with {people(persons)}: no p below {p_value(least)} can come out"
    said = _by_outcomes(known) if several(tested) else _by_pair(known)
    if said:
        return said
    missing = len(tested) - len(known)
    counts = f"{len(known):,} tested{f', {missing:,} not' if missing else ''}"
    reach = f"; {hard:,} tests would have to reach the smallest p" if hard else ""
    return f"no pair shown to differ at FDR {LEVEL:g} ({counts}{reach})"


def several(tested: Sequence[Tested]) -> bool:
    """Whether tests are of more than one outcome."""
    return len({t.outcome for t in tested if t.outcome}) > 1


def _by_pair(known: Sequence[Tested]) -> str:
    """What the row that wins most often is better than, then the next; the clearest first."""
    wins = Counter(t.better for t in known)
    better = sorted((t for t in known if t.better), key=lambda t: (-wins[t.better], str(t.better), t.p_bh, t.p))
    said = [_verdict(t) for t in better[:SHOWN]]
    more = len(better) - len(said)
    return "; ".join([*said, *([f"and {more} more pair{'' if more == 1 else 's'}"] if more else [])])


def _verdict(t: Tested) -> str:
    """``hypnos better than features (difference 0.041 [0.020, 0.060], p_BH = 0.003, n = 580 persons)``."""
    value, low, high = (t.difference, t.low, t.high) if t.better == t.a else (-t.difference, -t.high, -t.low)
    other = t.b if t.better == t.a else t.a
    p = p_value(t.p_bh)
    return (
        f"{t.better} better than {other} (difference {printed(value)} [{printed(low)}, {printed(high)}], "
        f"p_BH {'' if p.startswith('<') else '= '}{p}, n = {people(t.n_persons)})"
    )


def _by_outcomes(known: Sequence[Tested]) -> str:
    """Of many outcomes: how often each pair differs."""
    said = []
    for (a, b), found in _by_rows(known).items():
        counts = Counter(t.better for t in found)
        if counts[a] or counts[b]:
            first, second = (a, b) if counts[a] >= counts[b] else (b, a)
            said.append(
                f"{first} better than {second} for {counts[first]:,} of {len(found):,} outcomes, "
                f"worse for {counts[second]:,}"
            )
    return "; ".join(said)


def _by_rows(known: Sequence[Tested]) -> dict[tuple[str, str], list[Tested]]:
    pairs: dict[tuple[str, str], list[Tested]] = {}
    for t in known:
        pairs.setdefault((t.a, t.b), []).append(t)
    return pairs


def untested(tested: Sequence[Tested]) -> list[str]:
    """Reasons why comparisons have no p-value, most frequent first, with counts."""
    reasons = Counter(t.reason for t in tested if math.isnan(t.p))
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [f"{reason} ({count:,} x)" if count > 1 else reason for reason, count in ordered]


def people(count: int) -> str:
    """``1 person``, ``580 persons``."""
    return f"{count:,} person{'' if count == 1 else 's'}"


def p_value(p: float) -> str:
    """Two significant digits, never zero."""
    if math.isnan(p):
        return "–"
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"
