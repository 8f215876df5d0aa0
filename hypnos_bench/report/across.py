"""One task on several cohorts: which rows rank best, and whether that could be chance (Demšar 2006)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypnos_bench.report.comparison import Comparison, Row, Value, inputs_differ, printed
from hypnos_bench.report.critical_difference import critical_difference_figure
from hypnos_bench.report.notes import MARKS, SIMULATED, letter, short, span
from hypnos_bench.report.sections import bullets, picture
from hypnos_bench.report.tables import Entry, escape, markdown_table
from hypnos_bench.report.verdicts import p_value
from hypnos_bench.spec import Shots, digest
from hypnos_bench.stats.ranks import MIN_DATASETS, CriticalDifference, critical_difference
from hypnos_bench.store.atomic import safe_name

MIN_ROWS = 2
"""Rows that a page across cohorts compares at least."""


@dataclass(frozen=True)
class Across:
    """Complete tables side by side: every one of `cohorts` has a value for every one of `rows` at `shots`.

    `dropped` names cohorts and rows left out, with the reason; `legend` says what tells apart rows of one name.
    """

    first: Comparison
    shots: str
    cohorts: tuple[Comparison, ...]
    rows: Mapping[str, str]  # id across cohorts to name
    dropped: tuple[str, ...]
    legend: tuple[str, ...] = ()

    def value(self, comparison: Comparison, row: str) -> Value:
        """Main metric of a row on a cohort."""
        found = _value(comparison, row, self.shots)
        assert found is not None, "tables are complete"
        return found

    def marked(self) -> dict[tuple[str, tuple[str, ...]], list[str]]:
        """Row and its marks to the cohorts on which it carries them; the cohort's own mark stands beside its name."""
        found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for row in self.rows:
            for table in self.cohorts:
                if marks := _marks(table, row):
                    found.setdefault((row, marks), []).append(table.cohort)
        return found

    def mark_lines(self) -> list[str]:
        """``hypnos on shhs: pre-trained on this cohort``, in the order of :meth:`marked`."""
        return [
            f"{self.rows[row]} on {'all cohorts' if len(on) == len(self.cohorts) > 1 else ', '.join(on)}: "
            f"{', '.join(marks)}"
            for (row, marks), on in self.marked().items()
        ]


def across_pages(tables: Sequence[Comparison], made: dict[str, bytes]) -> dict[str, bytes]:
    """Pages by file name, one per task that has three cohorts and two rows under one head; figures go into `made`."""
    by_task: dict[str, dict[str, list[Comparison]]] = {}
    for table in tables:
        if not table.leaky:  # what a leaky split shows must not be ranked
            by_task.setdefault(table.task, {}).setdefault(_question(table), []).append(table)
    pages = {}
    for task, questions in sorted(by_task.items()):
        found = [summary for several in questions.values() if (summary := _complete(several))]
        found.sort(key=lambda a: (a.first.head, _question(a.first)))
        heads = [summary.first.head for summary in found]
        if found:
            sections = [_section(summary, heads.count(summary.first.head) > 1, made) for summary in found]
            text = "\n\n".join([f"# {escape(task)} across cohorts", *sections]) + "\n"
            pages[f"{safe_name(f'{task}-across-cohorts')}.md"] = text.encode()
    return pages


def _question(table: Comparison) -> str:
    """What cohorts must share: task and head with all settings, and whether exposed persons are left out.

    Splits, and what encoders have in common, are each cohort's own.
    """
    clean_only = bool((table.spec.get("sample") or {}).get("untested"))
    return digest([table.spec["task"], table.spec["head"], clean_only])


def _row_id(comparison: Comparison, row: Row) -> str:
    """A row across cohorts: encoder and pooling; which demographics a cohort knows may differ."""
    spec = comparison.cells_of(row)[0].spec
    inputs: Mapping[str, Any] = spec.get("inputs") or {}
    told = [inputs.get("pooling", "mean"), inputs.get("embedding", True), bool(inputs.get("demographics"))]
    return digest([spec["encoder"], *told, list(inputs.get("tested_on", ()))])[:12]


def _value(comparison: Comparison, row: str, shots: str) -> Value | None:
    for own in comparison.rows:
        if _row_id(comparison, own) == row:
            value = comparison.values.get((own.id, shots, comparison.metrics[0]))
            return None if value is None or math.isnan(value.mean) else value
    return None


def _marks(comparison: Comparison, row: str) -> tuple[str, ...]:
    """What a table of this cohort says of the row beside its name."""
    return tuple(sorted({mark for own in comparison.rows if _row_id(comparison, own) == row for mark in own.marks}))


def _complete(tables: Sequence[Comparison]) -> Across | None:
    """Complete rows and cohorts at the largest of the label budgets that have most of them; or nothing.

    Simulated cohorts count only where there are too few real ones.
    """
    real = [table for table in tables if not table.simulated]
    if 0 < len(real) < len(tables) and (found := _complete(real)):
        names = sorted({table.cohort for table in tables if table.simulated})
        return replace(found, dropped=(*found.dropped, *(f"{name}: simulated, beside real cohorts" for name in names)))
    chosen, dropped = _one_per_cohort(tables)
    labels = sorted({s for table in chosen for s in table.shots}, key=_size)
    best: Across | None = None
    for shots in labels:
        found = _at(chosen, shots, dropped)
        if found and (best is None or _extent(found) >= _extent(best)):
            best = found
    return best


def _extent(found: Across) -> int:
    return len(found.rows) * len(found.cohorts)


def _size(shots: str) -> tuple[bool, float]:
    parsed = Shots.parse(shots)
    return parsed.kind == "percent", parsed.value


def _one_per_cohort(tables: Sequence[Comparison]) -> tuple[list[Comparison], tuple[str, ...]]:
    """The fullest table of each cohort, by rows, cells and persons tested: a data set counts once."""
    by_cohort: dict[str, list[Comparison]] = {}
    for table in tables:
        by_cohort.setdefault(table.cohort, []).append(table)
    chosen, dropped = [], []
    for cohort in sorted(by_cohort):
        ordered = sorted(by_cohort[cohort], key=lambda t: (*(-size for size in _fullness(t)), t.slug))
        chosen.append(ordered[0])
        dropped += [f"{table.title}: {_why_dropped(table, ordered[0])}" for table in ordered[1:]]
    return chosen, tuple(dropped)


def _fullness(table: Comparison) -> tuple[int, int, int]:
    return len(table.rows), len(table.cells), (table.count("persons_test") or (0, 0))[1]


def _why_dropped(table: Comparison, kept: Comparison) -> str:
    pairs = zip(_fullness(table), _fullness(kept), ("rows", "cells", "test persons"), strict=True)
    more = next((word for own, other, word in pairs if own != other), None)
    return f"the cohort has a table with more {more}" if more else f"as full as {kept.title}, which is shown"


def _at(tables: Sequence[Comparison], shots: str, dropped: tuple[str, ...]) -> Across | None:
    names = {_row_id(table, row): row.encoder for table in tables for row in table.rows}
    has = {row: {t.cohort for t in tables if _value(t, row, shots)} for row in names}
    shown, legend = _named(tables, names)
    rows = sorted((row for row in names if len(has[row]) >= MIN_DATASETS), key=lambda row: (names[row], row))
    lost = [row for row in names if row not in rows and has[row]]
    while len(rows) >= MIN_ROWS:
        complete = [t for t in tables if all(t.cohort in has[row] for row in rows)]
        if len(complete) >= MIN_DATASETS:
            gone = [
                *(f"{shown[row]}: it has a value on {len(has[row])} cohorts only" for row in sorted(lost)),
                *(f"{t.cohort}: not every row has a value there" for t in tables if t not in complete),
            ]
            said = tuple(legend[row] for row in (*rows, *sorted(lost)) if row in legend)
            return Across(complete[0], shots, tuple(complete), {r: shown[r] for r in rows}, (*dropped, *gone), said)
        lost.append(min(rows, key=lambda row: (len(has[row]), names[row], row)))
        rows.remove(lost[-1])
    return None


def _named(tables: Sequence[Comparison], names: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Name of each row across cohorts, with a suffix where another is called the same; and what tells those apart."""
    first = {_row_id(table, row): table.cells_of(row)[0] for table in reversed(tables) for row in table.rows}
    shown, legend = {}, {}
    for row, name in names.items():
        twins = [other for other, called in names.items() if called == name]
        shown[row] = name if len(twins) == 1 else f"{name}#{row[:6]}"
        if len(twins) > 1:
            parts = [f"{part} {short(value)}" for part, value in inputs_differ(first[row], [first[t] for t in twins])]
            legend[row] = f"{shown[row]}: {', '.join(parts)}"
    return shown, legend


def _section(found: Across, twins: bool, made: dict[str, bytes]) -> str:
    first, main = found.first, found.first.metrics[0]
    merit = first.directions[main].merit
    scores = [[merit(found.value(table, row).mean) for row in found.rows] for table in found.cohorts]
    result = critical_difference(
        scores, [table.cohort for table in found.cohorts], list(found.rows.values()), higher_is_better=True
    )
    suffix = f"-{_question(first)[:6]}" if twins else ""
    simulated = any(table.simulated for table in found.cohorts)
    title = f"{first.task} · {first.head} head · {main} at {found.shots}"
    files = critical_difference_figure(
        result, title=title, simulated=simulated, notes=[*found.mark_lines(), *found.legend]
    )
    words = sorted({mark for _, marks in found.marked() for mark in marks})
    warnings = [*([SIMULATED] if simulated else []), *(MARKS.get(w, f"{w}: see the encoder's card") for w in words)]
    parts = [
        f"## {escape(title)}",
        *(f"> **{escape(line)}**" for line in warnings),
        _table(found, result),
        _tests(found, result),
        picture(f"{first.task}-{first.head}{suffix}-across-cohorts", "critical-difference figure", files, made),
        _pairs(result),
    ]
    return "\n\n".join(parts)


def _table(found: Across, result: CriticalDifference) -> str:
    place = {name: i for i, name in enumerate(result.encoders)}
    letters = {marked: letter(i) for i, marked in enumerate(found.marked())}
    lines: list[list[str | Entry]] = []
    for table, ranks in zip(found.cohorts, result.ranks, strict=True):
        cohort = escape(table.cohort) + (" *simulated*" if table.simulated else "")
        entries = []
        for row, name in found.rows.items():
            value = found.value(table, row)
            bounds = "" if math.isnan(value.low) else f" [{printed(value.low)}, {printed(value.high)}]"
            best = 1 if ranks[place[name]] == ranks.min() else 0
            entries.append(Entry(printed(value.mean), bounds, best, letters.get((row, _marks(table, row)), "")))
        lines.append([cohort, escape(table.split_words), span(table.count("persons_test", found.shots)), *entries])
    means = [printed(float(result.average_ranks[place[name]]), 2) for name in found.rows.values()]
    lines.append(["*average rank*", "", "", *means])
    return markdown_table(["cohort", "split", "test persons", *map(escape, found.rows.values())], lines, keys=2)


def _tests(found: Across, result: CriticalDifference) -> str:
    test, n = result.friedman, len(result.datasets)
    finer = (
        f"Iman-Davenport F({test.df}, {test.df * (n - 1)}) = {test.iman_davenport:.2f}, "
        f"p = {p_value(test.iman_davenport_p)}"
        if math.isfinite(test.iman_davenport)
        else "all cohorts rank the rows alike, so Iman-Davenport's F is infinite"
    )
    shown = any(pair.nemenyi for pair in result.pairs) and test.iman_davenport_p <= result.level
    lines = [
        f"{n} cohorts and {len(found.rows)} rows at {found.shots}; rank 1 is best, and best is bold",
        f"Friedman chi-squared({test.df}) = {test.statistic:.2f}, p = {p_value(test.p)}; {finer}",
        f"Nemenyi's critical difference of average ranks at {result.level:g}: {result.critical_difference:.2f}"
        + ("" if shown else "; no pair of rows is shown to differ over cohorts"),
        "A cohort counts as one independent observation, whatever its size; cohorts that share persons are not",
        *(f"Left out: {reason}" for reason in found.dropped),
    ]
    marked = [f"<sup>{letter(i)}</sup> {escape(line)}" for i, line in enumerate(found.mark_lines())]
    return bullets([*marked, *(escape(line) for line in (*found.legend, *lines))])


def _pairs(result: CriticalDifference) -> str:
    head = ["better rank", "worse rank", "difference of ranks", "beyond the critical difference", "p (signed-rank)",
            "p (Holm)", "smallest p possible"]  # fmt: skip
    lines = [
        [
            escape(pair.a),
            escape(pair.b),
            printed(pair.rank_difference, 2),
            "yes" if pair.nemenyi else "no",
            *(escape(p_value(p)) for p in (pair.p, pair.p_holm, pair.min_p)),
        ]
        for pair in result.pairs
    ]
    return markdown_table(head, lines, keys=2)
