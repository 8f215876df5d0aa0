"""Many outcomes of one survival task: the table of a page, and a CSV of all of them."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from hypnos_bench.report.comparison import Comparison, Row, printed
from hypnos_bench.report.tables import escape, markdown_label, markdown_table

MANY, TOP = 30, 20
"""Up to `MANY` outcomes a page shows all, by name; of more, the `TOP` by main metric."""

_COUNTS = ("n", "events", "persons", "excluded", "not_fitted")


@dataclass(frozen=True)
class Outcome:
    """One outcome of a row at a label budget: scores are means over the seeds that have one."""

    name: str
    counts: Mapping[str, int]
    status: str
    scores: Mapping[str, tuple[float, float, float, int]]  # value, low, high, seeds
    reasons: tuple[str, ...]


def outcomes_of(comparison: Comparison, row: Row, shots: str) -> dict[str, Outcome]:
    """Outcomes of a row by name, over its seeds."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for cell in comparison.finished(row, shots):
        for told in cell.outcomes:
            by_name.setdefault(str(told["name"]), []).append(told)
    return {name: _outcome(comparison, name, several) for name, several in sorted(by_name.items())}


def _outcome(comparison: Comparison, name: str, several: Sequence[Mapping[str, Any]]) -> Outcome:
    main = comparison.metrics[0]
    scores, reasons = {}, []
    for metric in comparison.metrics:
        known = [s for told in several if (s := told["scores"].get(metric, {})).get("value") is not None]
        bounds = [[s[side] for s in known if s.get(side) is not None] for side in ("low", "high")]
        low, high = (fmean(side) if known and len(side) == len(known) else math.nan for side in bounds)
        scores[metric] = (fmean(s["value"] for s in known) if known else math.nan, low, high, len(known))
    for told in several:
        reason = told["scores"].get(main, {}).get("reason")
        if reason:
            reasons.append(str(reason))
    statuses = sorted({str(told["status"]) for told in several})
    counts = {count: int(several[0][count]) for count in _COUNTS}
    return Outcome(name, counts, " or ".join(statuses), scores, tuple(reasons))


def outcomes_section(comparison: Comparison, name: str, made: dict[str, bytes]) -> str:
    """Outcomes at the fullest label budget; all budgets and metrics go into the CSV `name` in `made`."""
    shots, main = comparison.fullest, comparison.metrics[0]
    found = {row.id: outcomes_of(comparison, row, shots) for row in comparison.rows}
    names = sorted({outcome for told in found.values() for outcome in told})
    made[name] = _csv(comparison)
    if not names:
        return f"### Outcomes\n\nNo result at {escape(shots)}."
    merit = comparison.directions[main].merit
    best = {o: max((merit(v) for v in _values(found, o, main) if not math.isnan(v)), default=-math.inf) for o in names}
    if len(names) <= MANY:
        shown, order = names, "by name"
    else:
        shown = sorted(names, key=lambda outcome: (-best[outcome], outcome))[:TOP]
        order = f"the {TOP} best of {len(names):,} by the best row's {main}"
    lines = [_line(comparison, found, outcome, main) for outcome in shown]
    lines += _summaries(comparison, found, main)
    head = ["outcome", "events", "at risk", *map(markdown_label, comparison.rows)]
    parts = [
        "### Outcomes",
        f"At {escape(shots)}, {escape(main)} with its 95 % interval, {escape(order)}; events and people at risk among "
        f"the test persons. [All outcomes, metrics and label budgets as CSV]({name})",
        markdown_table(head, lines),
    ]
    lacking = [line for row in comparison.rows if (line := _lacking(row, found[row.id], main))]
    if lacking:
        parts.append("\n".join(f"- {escape(line)}" for line in lacking))
    return "\n\n".join(parts)


def _values(found: Mapping[str, Mapping[str, Outcome]], outcome: str, main: str) -> list[float]:
    return [told[outcome].scores[main][0] for told in found.values() if outcome in told]


def _line(comparison: Comparison, found: Mapping[str, Mapping[str, Outcome]], outcome: str, main: str) -> list[str]:
    told = [found[row.id].get(outcome) for row in comparison.rows]
    known = [o for o in told if o is not None]
    counts = [_range([o.counts[name] for o in known]) for name in ("events", "n")]
    return [escape(outcome), *counts, *(_entry(o.scores[main]) if o else "–" for o in told)]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _entry(score: tuple[float, float, float, int]) -> str:
    value, low, high, _ = score
    if math.isnan(value):
        return "–"
    return printed(value) + ("" if math.isnan(low) else f" [{printed(low)}, {printed(high)}]")


def _summaries(comparison: Comparison, found: Mapping[str, Mapping[str, Outcome]], main: str) -> list[list[str]]:
    """Mean and median over the outcomes in which each row has a value, and over those in which all rows have one."""
    defined = {
        row.id: {o: told.scores[main][0] for o, told in found[row.id].items() if not math.isnan(told.scores[main][0])}
        for row in comparison.rows
    }
    shared = set.intersection(*(set(values) for values in defined.values()))
    lines = []
    for words, over in (("mean", fmean), ("median", median)):
        own = [f"{printed(over(v.values()))} (of {len(v):,})" if v else "–" for v in defined.values()]
        lines.append([f"*{words}*", "", "", *own])
        if any(set(values) != shared for values in defined.values()):
            both = [printed(over(v[o] for o in sorted(shared))) if shared else "–" for v in defined.values()]
            lines.append([f"*{words} over the {len(shared):,} outcomes that all rows have*", "", "", *both])
    return lines


def _lacking(row: Row, told: Mapping[str, Outcome], main: str) -> str:
    """How many outcomes of a row have no value, and why."""
    without = [o for o in told.values() if math.isnan(o.scores[main][0])]
    if not without:
        return ""
    reasons = Counter(o.reasons[0] if o.reasons else o.status for o in without)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    said = "; ".join(f"{count:,} x {reason}" for reason, count in ordered[:5])
    rest = sum(count for _, count in ordered[5:])
    more = f"; {rest:,} for other reasons" if rest else ""
    return f"{row.name}: no {main} of {len(without):,} of {len(told):,} outcomes: {said}{more}"


def _csv(comparison: Comparison) -> bytes:
    """One line per row, label budget and outcome; aggregated numbers only."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("", "_low", "_high", "_seeds")
    head = [metric + part for metric in comparison.metrics for part in parts]
    writer.writerow(["row", "shots", "outcome", *_COUNTS, "status", *head, "reason"])
    for row in comparison.rows:
        for shots in comparison.shots:
            for name, told in outcomes_of(comparison, row, shots).items():
                scores = [value for metric in comparison.metrics for value in told.scores[metric]]
                cells = ["" if isinstance(v, float) and math.isnan(v) else v for v in scores]
                reason = told.reasons[0] if told.reasons else ""
                counts = [told.counts[count] for count in _COUNTS]
                writer.writerow([row.name, shots, name, *counts, told.status, *cells, reason])
    return text.getvalue().encode()
