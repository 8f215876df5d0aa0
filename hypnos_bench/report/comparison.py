"""What one table shows: encoders side by side on one task, cohort, head and split, ranked where that is fair."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from hypnos_bench.metrics.catalogue import Metric
from hypnos_bench.report.frame import (
    VARIED,
    cells_frame,
    context_id,
    marks_of,
    metrics_of,
    row_name,
    shots_label,
    summarise,
    unique_cells,
    variant_id,
)
from hypnos_bench.spec import SplitSpec, digest
from hypnos_bench.store.cells import Cell

DIGITS = 3
"""Decimals of a printed score; what prints equal ranks equal."""

FEW_PERSONS = 10
"""Below this many persons a table says that it is no result."""

Count = tuple[int, int] | None
"""Least and most over cells (or folds); ``None`` when no cell knows."""


@dataclass(frozen=True)
class Row:
    """One encoder with its inputs: `id` is the digest of all settings, `suffix` tells apart rows of one name."""

    id: str
    encoder: str
    suffix: str
    marks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Encoder and inputs, with a suffix where another row is called the same."""
        return f"{self.encoder}#{self.suffix}" if self.suffix else self.encoder


@dataclass(frozen=True)
class Value:
    """One entry: mean, sd and seeds over draws, and the bootstrap interval; NaN where there is none.

    `rank` is 1 for the best, 2 for the second, 0 otherwise. `ranked` is False when other seeds (or fewer) stand
    behind the mean than behind the fullest row of its column: such means are not compared.
    """

    mean: float
    sd: float
    low: float
    high: float
    seeds: tuple[int, ...]
    n_planned: int
    undefined: int
    failures: tuple[tuple[str, int], ...]
    reasons: tuple[str, ...] = ()
    rank: int = 0
    ranked: bool = True

    @property
    def n_failed(self) -> int:
        """Seeds whose cell failed."""
        return sum(count for _, count in self.failures)

    @property
    def n_missing(self) -> int:
        """Seeds that other encoders have and this one has not."""
        return self.n_planned - len(self.seeds) - self.undefined - self.n_failed


@dataclass(frozen=True)
class Comparison:
    """One table. `values` is keyed by (row id, shots label, metric); `counts` by (row id, shots label).

    `directions` says which way each metric is better, as the cells themselves state it.
    """

    task: str
    cohort: str
    head: str
    split: str
    suffix: str
    differs: tuple[str, ...]
    simulated: bool
    rows: tuple[Row, ...]
    shots: tuple[str, ...]
    metrics: tuple[str, ...]
    directions: Mapping[str, Metric]
    values: Mapping[tuple[str, str, str], Value]
    counts: Mapping[tuple[str, str], Mapping[str, Count]]
    cells: tuple[Cell, ...]

    @property
    def spec(self) -> Mapping[str, Any]:
        """Spec of the first cell; everything but encoder, shots and seed holds for all of them."""
        return self.cells[0].spec

    @property
    def kind(self) -> str:
        """``classification``, ``regression`` or ``survival``."""
        return str(self.spec["task"].get("kind", "classification"))

    @property
    def by_person(self) -> bool:
        """Whether a row of features is a whole recording, and not a stretch of one."""
        return self.spec["task"].get("unit") in ("recording", "person")

    @property
    def unit(self) -> str:
        """What is scored, in the plural."""
        return f"{self.spec['task'].get('unit', 'unit')}s"

    @property
    def column(self) -> str:
        """Column of the cohort's tables that the labels come from, or what else cells say of it; may be empty."""
        return next((str(cell.n["column"]) for cell in self.cells if cell.n.get("column")), "")

    @property
    def title(self) -> str:
        """Task, cohort, head and split in one line."""
        cohort = f"{self.cohort} (simulated)" if self.simulated else self.cohort
        parts = [self.task, cohort, f"{self.head} head", self.split_words]
        return " · ".join([*parts, *([f"#{self.suffix}"] if self.suffix else [])])

    @property
    def folded(self) -> bool:
        """Whether there are several folds."""
        return self.split != "holdout" and SplitSpec(**self.spec["split"]).listed is None

    @property
    def leaky(self) -> bool:
        """Whether persons are on both sides of the split."""
        return SplitSpec(**self.spec["split"]).leaky

    @property
    def split_words(self) -> str:
        """How persons are divided. Folds are counted: with fewer persons than folds there are fewer than asked for."""
        split = self.spec["split"]
        if source := SplitSpec(**split).listed:
            names = f"{source.upper() if source == 'osf' else source}'s published lists of recordings"
            return f"LEAKY split, {names}" if self.leaky else f"{names}, without test recordings of training persons"
        if self.leaky:
            what = f"single {self.unit}" if split["kind"] == "epoch" else "recordings"
            return f"LEAKY {split.get('folds', 5)}-fold split over {what}"
        if split["kind"] == "holdout":
            return f"hold-out of {100 * split.get('test_fraction', 0.2):g} % of persons"
        made = {len(cell.n["folds"]) for cell in self.cells if cell.status == "ok" and cell.n.get("folds")}
        folds = "–".join(map(str, sorted({min(made), max(made)}))) if made else str(split.get("folds", 5))
        return f"grouped {folds}-fold cross-validation over persons"

    @property
    def slug(self) -> str:
        """File-name stem that no other comparison has."""
        parts = [self.task, self.cohort, self.head, self.split, self.suffix]
        return "-".join(part for part in parts if part)

    @property
    def hash(self) -> str:
        """Digest of the cells' keys: equal hashes, equal questions."""
        return digest(sorted(cell.key for cell in self.cells))[:12]

    def count(self, name: str, shots: str | None = None) -> Count:
        """Range of a count over the rows (of one label budget)."""
        known = [c for (_, s), n in self.counts.items() if shots in (None, s) and (c := n[name]) is not None]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else None

    def cells_of(self, row: Row, shots: str | None = None) -> list[Cell]:
        """Cells behind a row (at one label budget), by seed."""
        chosen = [c for c in self.cells if variant_id(c) == row.id and shots in (None, shots_label(c))]
        return sorted(chosen, key=lambda c: (c.spec["seed"], c.key))

    def finished(self, row: Row, shots: str | None = None) -> list[Cell]:
        """Those of `cells_of` that have a result."""
        return [cell for cell in self.cells_of(row, shots) if cell.status == "ok"]

    @property
    def fullest(self) -> str:
        """The largest of the label budgets at which most rows have results: what pictures of rows show."""

        def worth(shots: str) -> tuple[int, tuple[int, int]]:
            there = sum(bool(self.finished(row, shots)) for row in self.rows)
            return there, self.count("persons_train", shots) or (0, 0)

        return max(self.shots, key=worth)


def comparisons(cells: Iterable[Cell]) -> list[Comparison]:
    """Sort cells into tables, in an order that does not depend on the order of `cells`.

    Cells that differ in anything but encoder, label budget and seed (another cohort fingerprint, another task
    definition) are never put side by side: each context is a table of its own, told apart by a suffix.
    """
    kept = unique_cells(cells)
    summary = summarise(cells_frame(kept))
    by_context: dict[str, list[Cell]] = {}
    for cell in kept:
        by_context.setdefault(context_id(cell), []).append(cell)
    found = []
    for context, members in by_context.items():
        twins = [c[0] for other, c in by_context.items() if other != context and _place(c[0]) == _place(members[0])]
        found.append(_comparison(context, members, twins, summary[summary["context"] == context]))
    return sorted(found, key=lambda c: (c.task, c.cohort, c.head, c.split, c.suffix))


def printed(value: float, digits: int = DIGITS) -> str:
    """Fixed decimals, without a minus sign before zeros."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def rank(values: Sequence[float], merit: Callable[[float], float]) -> list[int]:
    """1 for the printed value of most merit, 2 for the second, 0 for the rest; ties share a place.

    Two firsts leave no second; fewer than two values leave nothing to rank.
    """
    if len(values) < 2:
        return [0] * len(values)
    # Distances to a target are rounded again: 0.95 and 1.05 are equally far from 1.
    keys = [round(merit(float(printed(v))), DIGITS) for v in values]
    places = [1 + sum(other > key for other in keys) for key in keys]
    return [place if place <= 2 else 0 for place in places]


def _place(cell: Cell) -> tuple[str, ...]:
    return tuple(
        str(cell.spec[part]["kind" if part == "split" else "id"]) for part in ("task", "cohort", "head", "split")
    )


def _comparison(context: str, cells: list[Cell], twins: list[Cell], summary: pd.DataFrame) -> Comparison:
    task, cohort, head, split = _place(cells[0])
    rows = _make_rows(cells)
    shots = tuple(dict.fromkeys(summary.sort_values(["shots_order", "shots"])["shots"]))
    metrics = tuple(metrics_of(cells))
    records = summary.to_dict("records")
    values = {(r["variant"], r["shots"], r["metric"]): _value(r) for r in records}
    directions = _directions(records)
    for label in shots:
        for metric in metrics:
            _rank_column(values, [row.id for row in rows], label, metric, directions.get(metric))
    names = ("persons_train", "persons_available", "persons_test", "recordings_test", "units_test", "persons_total")
    return Comparison(
        task, cohort, head, split,
        suffix=context[:6] if twins else "",
        differs=_differs([cells[0], *twins], cells[0].spec, VARIED),
        simulated=any("simulated" in marks_of(cell) for cell in cells),
        rows=rows,
        shots=shots,
        metrics=metrics,
        directions=directions,
        values=values,
        counts={(r["variant"], r["shots"]): {name: r[name] for name in names} for r in records},
        cells=tuple(cells),
    )  # fmt: skip


def _make_rows(cells: Sequence[Cell]) -> tuple[Row, ...]:
    members: dict[str, list[Cell]] = {}
    for cell in cells:
        members.setdefault(variant_id(cell), []).append(cell)
    ids = [row_name(group[0]) for group in members.values()]
    rows = []
    for (variant, group), encoder in zip(members.items(), ids, strict=True):
        marks = {mark for cell in group for mark in marks_of(cell)} - {"simulated"}
        rows.append(Row(variant, encoder, variant[:6] if ids.count(encoder) > 1 else "", tuple(sorted(marks))))
    return tuple(sorted(rows, key=lambda row: (row.encoder, row.suffix)))


def _value(record: Mapping[str, Any]) -> Value:
    return Value(
        mean=float(record["mean"]),
        sd=float(record["sd"]),
        low=float(record["low"]),
        high=float(record["high"]),
        seeds=record["seeds"],
        n_planned=record["n_planned"],
        undefined=record["undefined"],
        failures=record["failures"],
        reasons=record["reasons"],
    )


def _directions(records: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """A cell may hold a metric that this version does not know: its own statement counts."""
    stated: dict[str, tuple[bool, float | None]] = {}
    for r in records:
        if r["higher_is_better"] is not None:
            target = None if pd.isna(r["target"]) else float(r["target"])
            stated[r["metric"]] = (bool(r["higher_is_better"]), target)
    return {
        name: Metric(name, name, "", higher_is_better=higher, target=target)
        for name, (higher, target) in stated.items()
    }


def _rank_column(
    values: dict[tuple[str, str, str], Value], rows: Sequence[str], shots: str, metric: str, way: Metric | None
) -> None:
    known = [(r, shots, metric) for r in rows if (v := values.get((r, shots, metric))) and not math.isnan(v.mean)]
    if way is None or not known:
        return
    fullest = max((values[key].seeds for key in known), key=lambda seeds: (len(seeds), seeds))
    fair = [key for key in known if values[key].seeds == fullest]
    for key in known:
        values[key] = replace(values[key], ranked=key in fair)
    for key, place in zip(fair, rank([values[key].mean for key in fair], way.merit), strict=True):
        values[key] = replace(values[key], rank=place)


def _differs(cells: Sequence[Cell], spec: Mapping[str, Any], skip: Sequence[str]) -> tuple[str, ...]:
    """Parts of the spec, one level deep, in which the cells differ."""
    found = []
    for part in sorted(set(spec) - set(skip)):
        values = [cell.spec.get(part) for cell in cells]
        if all(value == values[0] for value in values):
            continue
        if not all(isinstance(value, Mapping) for value in values):
            found.append(part)
            continue
        names = sorted({name for value in values for name in value})  # type: ignore[union-attr]
        found += [f"{part} {n}" for n in names if any(v.get(n) != values[0].get(n) for v in values)]  # type: ignore[union-attr]
    return tuple(found)


def row_differs(comparison: Comparison, row: Row) -> tuple[tuple[str, Any], ...]:
    """Settings of a row, by name, in which the rows of its name differ: of the encoder, or of what the head saw."""
    twins = [comparison.cells_of(other)[0] for other in comparison.rows if other.encoder == row.encoder]
    return inputs_differ(comparison.cells_of(row)[0], twins)


def inputs_differ(cell: Cell, twins: Sequence[Cell]) -> tuple[tuple[str, Any], ...]:
    """Settings of a cell, by name, in which `twins` differ: of the encoder, or of what the head saw."""
    spec, found = cell.spec, []
    for part in _differs(twins, {"encoder": None, "inputs": None}, ()):
        block, _, name = part.partition(" ")
        found.append((name or block, spec[block].get(name) if name else spec.get(block)))
    return tuple(found)
