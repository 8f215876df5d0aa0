"""Paired tests of all rows of one table at all its label budgets, on its main metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from hypnos_bench.comparing import PerRecording, compare
from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.metrics.catalogue import Metric
from hypnos_bench.metrics.registry import find_metric
from hypnos_bench.significance.evidence import Drawn, SideFiles, UntestableError
from hypnos_bench.spec import SplitSpec, TaskSpec
from hypnos_bench.stats.bootstrap import paired_difference
from hypnos_bench.stats.family import benjamini_hochberg, bonferroni
from hypnos_bench.store.cells import Cell

Columns = Mapping[str, Mapping[str, Sequence[Cell]]]

LEVEL = 0.05
"""False discovery rate at which a row is called better."""

MIN_BOOTSTRAP_PERSONS = 20
"""With fewer persons bootstrap tests claim too much (``stats/bootstrap.py``): there is no p then."""


@dataclass(frozen=True)
class Tested:
    """One paired comparison, `a` against `b`; the difference is a - b.

    Parameters
    ----------
    shots, outcome : str
        Column of the table; outcome of a survival task, else empty.
    a, b : str
        Rows.
    test : {"signed-rank", "bootstrap", ""}
        Empty where it is not known which it would have been.
    difference, low, high : float
        Hodges-Lehmann shift over persons (signed-rank) or difference of the scores (bootstrap), with 95 % interval.
        Of a metric with a target, such as calibration, it is the difference of the distances to the target.
    effect : float
        Matched-pairs rank-biserial correlation; NaN for the bootstrap.
    n_persons, n_undefined, n_zero : int
        Persons tested; recordings without a score on both sides; persons without a difference.
    p, p_bh, p_bonferroni, min_p : float
        Two-sided; raw, adjusted over the table, and the smallest raw p that the test can give.
    better : str or None
        The row that is better at a false discovery rate of 5 %, if one is.
    reason : str
        Why there is no test.
    """

    shots: str
    outcome: str
    a: str
    b: str
    test: str
    difference: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    effect: float = float("nan")
    n_persons: int = 0
    n_undefined: int = 0
    n_zero: int = 0
    p: float = float("nan")
    p_bh: float = float("nan")
    p_bonferroni: float = float("nan")
    min_p: float = float("nan")
    better: str | None = None
    reason: str = ""


def compare_rows(task: TaskSpec, columns: Columns, sides: SideFiles) -> list[Tested]:
    """Test all pairs of rows at every label budget, on the task's main metric.

    Parameters
    ----------
    task : TaskSpec
    columns : mapping of str to mapping of str to sequence of Cell
        Label budget to row to its finished cells, one per seed.
    sides : SideFiles

    Returns
    -------
    list of Tested
        By budget, pair and outcome. A pair that cannot be tested is there with its reason; so are the pairs of a row
        whose side file is missing or damaged (see ``sides.problems``).
    """
    metric = find_metric(task.metrics[0], task.classes, task.positive, task.kind)
    if metric is None:  # the cell is older or newer than this version
        reason = f"this version does not know the metric {task.metrics[0]}"
        return [Tested(s, "", a, b, "", reason=reason) for s, rows in columns.items() for a, b in combinations(rows, 2)]
    found: list[Tested] = []
    for shots, rows in columns.items():
        column = _Column(metric, shots, rows, sides)
        for a, b in combinations(rows, 2):
            found += column.tested(a, b)
    return _adjusted(metric, found)


class _Column:
    """The rows of a table at one label budget."""

    def __init__(
        self,
        metric: Metric,
        shots: str,
        rows: Mapping[str, Sequence[Cell]],
        sides: SideFiles,
    ) -> None:
        self._metric, self._shots, self._sides = metric, shots, sides
        self._cells = {row: {int(cell.spec["seed"]): cell for cell in cells} for row, cells in rows.items()}
        self._lacking: dict[str, str] = {}
        for row, cells in rows.items():
            for cell in cells:
                try:
                    sides.of(cell)
                except DataError:  # person-level files may be kept apart from results that are passed on
                    self._lacking.setdefault(row, f"side files of {row} are not there")
                except IntegrityError:  # costs this row; `sides.problems` keeps the message
                    self._lacking[row] = f"side file of cell {cell.key[:12]} ({row}) is damaged"
            if not cells:
                self._lacking[row] = f"{row} has no finished cell"
            elif any(SplitSpec(**cell.spec["split"]).leaky for cell in cells):
                self._lacking[row] = "units of one person are on both sides of this split"

    def tested(self, a: str, b: str) -> list[Tested]:
        """One test, or one per outcome."""
        for row in (a, b):
            if row in self._lacking:
                return [self._untested(a, b, self._lacking[row])]
        seeds = sorted(set(self._cells[a]) & set(self._cells[b]))
        if not seeds:
            return [self._untested(a, b, f"{a} and {b} have no seed in common")]
        if all(self._sides.of(self._cells[row][seed]).own is not None for row in (a, b) for seed in seeds):
            return [self._signed_rank(a, b, seeds)]
        return self._bootstrap(a, b, seeds)

    def _untested(self, a: str, b: str, reason: str) -> Tested:
        return Tested(self._shots, "", a, b, "", reason=reason)

    def _signed_rank(self, a: str, b: str, seeds: Sequence[int]) -> Tested:
        scores = {row: self._per_recording(row, seeds) for row in (a, b)}
        c = compare(scores, self._metric.id, self._metric.higher_is_better)[0]
        return Tested(
            self._shots, "", a, b, "signed-rank", c.shift, c.low, c.high, c.effect, c.n_persons,
            c.n_undefined + c.only_a + c.only_b, c.n_zero, c.p, min_p=c.min_p,
            reason="" if c.n_persons else "no recording has a score on both sides",
        )  # fmt: skip

    def _per_recording(self, row: str, seeds: Sequence[int]) -> PerRecording:
        """Scores of a row, a line per seed, of the recordings that all its seeds tested."""
        several = [self._sides.of(self._cells[row][seed]) for seed in seeds]
        shared = set.intersection(*(set(kept.recordings) for kept in several))
        first = several[0]
        names = [(name, person) for name, person in zip(first.recordings, first.persons, strict=True) if name in shared]
        values = []
        for kept in several:
            place = {name: i for i, name in enumerate(kept.recordings)}
            own = kept.own if kept.own is not None else np.empty(0)
            values.append(own[[place[name] for name, _ in names]])
        return PerRecording([name for name, _ in names], [person for _, person in names], np.array(values), seeds)

    def _bootstrap(self, a: str, b: str, seeds: Sequence[int]) -> list[Tested]:
        """Differences on draws that both rows share, outcome by outcome; seeds are averaged first."""
        files = [self._sides.of(self._cells[row][seed]) for row in (a, b) for seed in seeds]
        shared = set.intersection(*(set(kept.recordings) for kept in files))
        persons = {p for kept in files for r, p in zip(kept.recordings, kept.persons, strict=True) if r in shared}
        if len(persons) < MIN_BOOTSTRAP_PERSONS:
            return [self._untested(a, b, _few(len(persons)))]
        common = tuple(sorted(shared))
        try:
            left, right = ([self._sides.drawn(self._cells[row][seed], common) for seed in seeds] for row in (a, b))
        except UntestableError as error:
            return [self._untested(a, b, str(error))]
        lost = max(len(kept.recordings) - len(common) for kept in files)
        if len({drawn.outcomes for drawn in (*left, *right)}) > 1:
            return [self._untested(a, b, "their cells are of different outcomes")]
        return [
            replace(self._paired(a, b, outcome, m, left, right), n_undefined=lost)
            for m, outcome in enumerate(left[0].outcomes)
        ]

    def _paired(self, a: str, b: str, outcome: str, m: int, left: Sequence[Drawn], right: Sequence[Drawn]) -> Tested:
        n_persons = min(int(drawn.persons[m]) for drawn in (*left, *right))
        empty = Tested(self._shots, outcome, a, b, "bootstrap", n_persons=n_persons)
        if n_persons < MIN_BOOTSTRAP_PERSONS:
            return replace(empty, reason=_few(n_persons))
        # A seed counts where both sides are defined: both means are over the same draws of training persons.
        both = [i for i in range(len(left)) if not np.isnan(left[i].points[m]) and not np.isnan(right[i].points[m])]
        if not both:
            return replace(empty, reason="not defined on the test data")
        (point_a, drawn_a), (point_b, drawn_b) = (
            (
                float(np.mean([drawn[i].points[m] for i in both])),
                np.mean([drawn[i].replicates[m] for i in both], axis=0, dtype=np.float64),
            )
            for drawn in (left, right)
        )
        if self._metric.target is not None:
            point_a, point_b = abs(point_a - self._metric.target), abs(point_b - self._metric.target)
            drawn_a, drawn_b = np.abs(drawn_a - self._metric.target), np.abs(drawn_b - self._metric.target)
        d = paired_difference(drawn_a, drawn_b, point_a, point_b)
        reason = "not defined in most bootstrap replicates" if np.isnan(d.p) else ""
        return replace(empty, difference=d.value, low=d.low, high=d.high, p=d.p, min_p=d.min_p, reason=reason)


def _few(persons: int) -> str:
    return f"{persons} persons are too few for a bootstrap test, {MIN_BOOTSTRAP_PERSONS} are needed"


def _adjusted(metric: Metric, tested: Sequence[Tested]) -> list[Tested]:
    """The same with p-values adjusted over all of them; those without one do not count as tests."""
    higher = metric.higher_is_better and metric.target is None
    p = [t.p for t in tested]
    found = []
    for t, p_bh, p_bonferroni in zip(tested, benjamini_hochberg(p).p, bonferroni(p).p, strict=True):
        # The rank sum says which side is better; it is never zero where p is small.
        side = t.difference if np.isnan(t.effect) else t.effect
        better = None
        if p_bh <= LEVEL and side != 0:
            better = t.a if (side > 0) == higher else t.b
        found.append(replace(t, p_bh=float(p_bh), p_bonferroni=float(p_bonferroni), better=better))
    return found
