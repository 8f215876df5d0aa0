"""Which row is better, and how sure that is: the section of a page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from hypnos_bench.report import verdicts
from hypnos_bench.report.comparison import Comparison, printed
from hypnos_bench.report.tables import escape, markdown_table
from hypnos_bench.report.verdicts import p_value
from hypnos_bench.significance import LEVEL, SideFiles, Tested
from hypnos_bench.store.atomic import safe_name

_FIXED = "Training draws and fitted models are taken as fixed: tests are over test persons, not over new training sets"

MANY = 40
"""Beyond so many tests a page shows the clearest of them; all are in a CSV beside it."""

_TESTS = {
    "signed-rank": (
        "Wilcoxon signed-rank test over persons (scores of a person's recordings and of the seeds that both rows have "
        "are averaged first; exact up to 500 persons that differ, with ties; zero differences by Pratt's rule); "
        "a − b: Hodges-Lehmann shift with the 95 % interval that inverts the test; effect: matched-pairs rank-biserial "
        "correlation"
    ),
    "bootstrap": (
        "Difference of the scores in bootstrap replicates over persons, on draws and recordings that both rows share, "
        "averaged over the seeds that both have; two-sided p, 95 % percentile interval"
    ),
}
_FIELDS = (
    "shots", "outcome", "a", "b", "test", "difference", "low", "high", "effect", "n_persons", "n_undefined", "n_zero",
    "p", "p_bh", "p_bonferroni", "min_p", "better", "reason",
)  # fmt: skip


def differences(comparison: Comparison, sides: SideFiles | None, made: dict[str, bytes]) -> str:
    """The section of a page, and its CSV in `made` where tests are many; empty where there is one row only."""
    if len(comparison.rows) < 2:
        return ""
    head = f"### Which is better, by {escape(comparison.metrics[0])}"
    if sides is None:
        return f"{head}\n\nNot tested: side files, which hold the scores per recording, were not given."
    tested = verdicts.tests_of(comparison, sides)
    known = verdicts.done(tested)
    shown = sorted(known, key=lambda t: (t.p, -abs(t.difference)))[:MANY] if len(known) > MANY else known
    parts = [head, _bullets([escape(line) for line in verdicts.lines(tested)])]
    if shown:
        parts.append(_table(shown, verdicts.several(tested)))
    notes = [
        _family(comparison, known, tested, shown),
        *(_TESTS[name] for name in sorted({t.test for t in known})),
        _FIXED if known else "",
        _target(comparison),
        *_reach(known),
        *_lost(known),
        *(f"Not tested: {reason}" for reason in verdicts.untested(tested)[:5]),
    ]
    parts.append(_bullets([escape(note) for note in notes if note]))
    if len(known) > MANY:
        name = f"{safe_name(f'{comparison.slug}-tests')}.csv"
        made[name] = _csv(tested)
        parts.append(f"[All {len(tested):,} tests as CSV]({name})")
    return "\n\n".join(parts)


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(tested: Sequence[Tested], several: bool) -> str:
    head = [
        "shots", *(["outcome"] if several else []), "a", "b", "a − b", "effect", "persons", "p", "p (BH)",
        "p (Bonferroni)", f"better at FDR {LEVEL:g}",
    ]  # fmt: skip
    lines = [
        [
            escape(t.shots),
            *([escape(t.outcome)] if several else []),
            escape(t.a),
            escape(t.b),
            f"{printed(t.difference)} [{_bound(t.low)}, {_bound(t.high)}]",
            "–" if math.isnan(t.effect) else printed(t.effect, 2),
            f"{t.n_persons:,}",
            *(escape(p_value(p)) for p in (t.p, t.p_bh, t.p_bonferroni)),
            escape(t.better or "not shown"),
        ]
        for t in tested
    ]
    return markdown_table(head, lines, keys=4 if several else 3)


def _bound(value: float) -> str:
    """A bound of an interval; with very few persons there is none."""
    return printed(value) if math.isfinite(value) else "–" if math.isnan(value) else f"{'-' if value < 0 else ''}∞"


def _family(comparison: Comparison, known: Sequence[Tested], tested: Sequence[Tested], shown: Sequence[Tested]) -> str:
    better = sum(t.better is not None for t in known)
    hidden = f"; the {len(shown)} smallest p are shown" if len(shown) < len(known) else ""
    return (
        f"One family: all {len(tested):,} comparisons of this table by {comparison.metrics[0]} (pairs of rows, label "
        f"budgets, outcomes); {len(known):,} could be tested and {better:,} differ at a false discovery rate of "
        f"{LEVEL:g} (Benjamini-Hochberg){hidden}. What is not shown to differ is not shown to be equal"
    )


def _target(comparison: Comparison) -> str:
    found = comparison.directions.get(comparison.metrics[0])
    if found is None or found.target is None:
        return ""
    return f"{found.id} is best at {found.target:g}: a − b is the difference of the distances to it, smaller is better"


def _reach(known: Sequence[Tested]) -> list[str]:
    """The smallest p that can come out, and which tests cannot reach the level however large the difference is."""
    if not known:
        return []
    least = min(t.min_p for t in known)
    said = [
        f"The smallest p that could come out of these tests: {least:.2g}, after Bonferroni "
        f"{min(1.0, least * len(known)):.2g}"
    ]
    if needed := verdicts.needed(known):
        said.append(
            f"p cannot fall below {least:.2g} in so many replicates: {needed:,} of the {len(known):,} tests have to be "
            f"that small before any can pass a false discovery rate of {LEVEL:g}"
        )
    blind = [t for t in known if t.min_p > LEVEL]
    if blind:
        said.append(f"{len(blind):,} of the tests cannot reach {LEVEL:g}, as persons are too few: they say nothing")
    return said


def _lost(known: Sequence[Tested]) -> list[str]:
    undefined = max((t.n_undefined for t in known), default=0)
    zero = max((t.n_zero for t in known), default=0)
    return [
        *([f"Up to {undefined:,} recordings per pair lack a score on one side and are left out"] if undefined else []),
        *([f"Up to {zero:,} persons per pair do not differ"] if zero else []),
    ]


def _csv(tested: Sequence[Tested]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FIELDS)
    for t in tested:
        values = [getattr(t, name) for name in _FIELDS]
        writer.writerow(["" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in values])
    return text.getvalue().encode()
