"""Many penalised softmax regressions on shared rows, solved together, each with a proof of its optimum.

A table larger than its sample is solved on the sample first, then on all rows, where every quasi-Newton step
starts from a Newton step on the sample: passes over all rows are dear. The proof is a Newton decrement from
conjugate gradients at the returned point, whose Hessian comes from 32,768 or more evenly spaced rows (all,
where there are fewer); a fit that fails it goes on with the Newton step that showed the failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.batch import Batch, held_out
from hypnos_bench.heads.descent import Descent, Goal
from hypnos_bench.heads.precondition import Spectrum, Weighted, gram_step
from hypnos_bench.heads.table import F64, Codes, Passes, RowSet, Sums, Table, Thinned

_LEAST_OBJECTIVE = 0.1  # nats: what separable rows are measured against when a share of their objective is out of reach
_HESSIAN_ROWS = 32_768
_BURST = 80  # rounds of L-BFGS before a Newton step is asked for
_LEAST_ROUNDS = 8  # of L-BFGS before a better preconditioner
_REFINED_ROUNDS = 20  # with it at least, before it is made anew
_NEWTON_STEPS = 12
_CG_OF_A_STEP = 50  # products with the Hessian for a step that proves nothing
_MODELS_AT_ONCE = 64  # bounds what L-BFGS remembers
_PROOFS_AT_ONCE = 16  # and the probabilities that a Hessian is made from
_MARGIN = 3.0  # L-BFGS underestimates the decrement; aim below what has to be proven
_SAMPLE_GOAL = 30.0  # decrement worth having on n sampled rows, times n: the sample's own error is larger


@dataclass(frozen=True)
class Problem:
    """One fit.

    Parameters
    ----------
    lam : float
        Penalty per sample.
    family : int
        Which labels of the table.
    parts : tuple of int, optional
        Parts of the table to learn from; all when not given.
    start : ndarray, shape (classes that occur, d + 1), optional
        Where to begin, in standardised coordinates with the intercept last.
    """

    lam: float
    family: int = 0
    parts: tuple[int, ...] | None = None
    start: F64 | None = None


@dataclass(frozen=True)
class Precision:
    """What fits have to reach.

    Parameters
    ----------
    decrement : float
        Newton decrement, relative to the objective.
    gradient : float
        Largest gradient entry.
    max_passes : int
        Evaluations of one fit before it is given up.
    proven : bool
        Whether the decrement is computed with the Hessian, or L-BFGS's own estimate will do.
    """

    decrement: float = 1e-7
    gradient: float = 1e-5
    max_passes: int = 500
    proven: bool = True


@dataclass(frozen=True)
class Solution:
    """Parameters at the optimum of one problem.

    Parameters
    ----------
    theta : ndarray, shape (K, d + 1)
        On rows standardised by `rowset`, intercept last; zero sum over the K classes.
    rowset : RowSet
        In centred units; see ``Table.shift``.
    lam, objective : float
    certificate : Certificate
    """

    theta: F64
    rowset: RowSet
    lam: float
    objective: float
    certificate: Certificate


def solve_many(
    table: Table,
    problems: Sequence[Problem],
    precision: Precision | None = None,
    *,
    on_sample: bool = False,
    spectrum: Spectrum | None = None,
) -> list[Solution]:
    """Solve problems that share the rows of a table: all are evaluated in the same passes.

    A problem gives the same result alone and among others, up to rounding.

    Parameters
    ----------
    table : Table
    problems : sequence of Problem
        Each needs at least two classes among its rows.
    precision : Precision, optional
    on_sample : bool
        Learn from the table's sample only, where that is not all rows anyway.
    spectrum : Spectrum, optional
        ``spectrum_of(table)``, where the caller has it.

    Raises
    ------
    FitError
        When a problem has a single class, or does not converge.
    """
    wanted = precision or Precision()
    rows: Passes = table.sample if on_sample else table.everything
    sets = _row_sets(table, problems, rows.sums)
    shape = spectrum or spectrum_of(table)
    solutions: list[Solution] = []
    for low in range(0, len(problems), _MODELS_AT_ONCE):
        chosen = slice(low, low + _MODELS_AT_ONCE)
        fit = _Fit(table, rows, shape, problems[chosen], sets[chosen], wanted)
        found = fit.run()
        for m, solution in enumerate(found):
            if not solution.certificate.converged:
                raise FitError(fit.unconverged(m))
        solutions += found
    return solutions


def spectrum_of(table: Table) -> Spectrum:
    """What shapes the steps of every fit to rows of the table: one decomposition serves all problems."""
    whole = table.row_set(table.everything.sums)
    return Spectrum.of(table.sample.every(gram_step(len(table.sample.z), whole.mean.size)), whole)


def solve_path(
    table: Table,
    lambdas: Sequence[float],
    parts: Sequence[tuple[int, ...]],
    precision: Precision,
    spectrum: Spectrum | None = None,
) -> list[list[Solution]]:
    """Fits to several selections of a table's sample along falling penalties, each starting from those before.

    The path ends with the first penalty at which a fit does not converge within its passes: weaker ones are harder.

    Parameters
    ----------
    table : Table
    lambdas : sequence of float
        Falling.
    parts : sequence of tuple of int
        Selections of parts of the table, with two classes at least.
    precision : Precision
        Not `proven`.
    spectrum : Spectrum, optional
        ``spectrum_of(table)``, where the caller has it.

    Returns
    -------
    list of list of Solution
        For every penalty that was tried one solution per selection; in the last list, certificates may tell that a
        fit has not converged.
    """
    shape = spectrum or spectrum_of(table)
    starts: list[F64 | None] = [None] * len(parts)
    found: list[list[Solution]] = []
    hard = False
    for lam in lambdas:
        problems = [Problem(lam, parts=own, start=start) for own, start in zip(parts, starts, strict=True)]
        sets = _row_sets(table, problems, table.sample.sums)
        solutions: list[Solution] = []
        for low in range(0, len(problems), _MODELS_AT_ONCE):
            chosen = slice(low, low + _MODELS_AT_ONCE)
            fit = _Fit(table, table.sample, shape, problems[chosen], sets[chosen], precision, hard=hard)
            solutions += fit.run()
            hard |= fit.hard
        found.append(solutions)
        if not all(s.certificate.converged for s in solutions):
            break
        starts = _onwards(lambdas[: len(found) + 1], found)
    return found


def _onwards(lambdas: Sequence[float], found: Sequence[Sequence[Solution]]) -> list[F64 | None]:
    """Where to look for the next optima: the last ones, moved on as far as they moved per log penalty before."""
    ahead = 0.0
    if 1 < len(found) < len(lambdas):
        before, last, now = np.log(lambdas[-3:])
        ahead = min((last - now) / (before - last), 1.0)
    back = found[-2] if ahead else found[-1]
    return [s.theta + ahead * (s.theta - other.theta) for s, other in zip(found[-1], back, strict=True)]


def _row_sets(table: Table, problems: Sequence[Problem], sums: Sums) -> list[RowSet]:
    found: dict[tuple[int, tuple[int, ...] | None], RowSet] = {}
    sets = []
    for problem in problems:
        key = (problem.family, problem.parts)
        if key not in found:
            found[key] = table.row_set(sums, problem.family, problem.parts)
            if found[key].classes.size < 2:
                raise FitError("the training rows have fewer than two classes: nothing to learn; use more shots")
        sets.append(found[key])
    return sets


class _Fit:
    """Problems on their way to the optimum."""

    def __init__(
        self,
        table: Table,
        rows: Passes,
        spectrum: Spectrum,
        problems: Sequence[Problem],
        sets: Sequence[RowSet],
        wanted: Precision,
        hard: bool = False,
    ) -> None:
        self.table, self.rows, self.wanted = table, rows, wanted
        self.batch = Batch(sets, [problem.lam for problem in problems])
        theta = self.batch.start(rows.sums)
        for m, problem in enumerate(problems):
            if problem.start is not None:
                theta[m, : len(problem.start)] = problem.start
        self.all: NDArray[np.intp] = np.arange(len(problems))
        self.descent = Descent(self.batch, spectrum, self.batch.zero_sum(theta, self.all))
        step = max(1, len(table.sample.z) // _HESSIAN_ROWS)
        self.hessian_rows: Thinned = table.sample.every(step)
        self.failed: dict[int, float] = {}  # decrements of proofs that failed
        self.nearly: dict[int, tuple[Certificate, F64, float]] = {}  # models as near as rounding allows, and where
        self.hard = hard  # whether the preconditioner that costs next to nothing was (or is known to be) too little

    def run(self) -> list[Solution]:
        descent, wanted = self.descent, self.wanted
        if self.rows is not self.table.sample:
            # As precise as the sample is representative; falling short of that costs a full pass and nothing else.
            descent.look(self.table.sample, self.all)
            rough = Goal(max(_SAMPLE_GOAL / len(self.table.sample.z), wanted.decrement), np.inf)
            self._descend(self.table.sample, self.all, rough, _BURST)
            # From here a pass costs more than a Newton step on the sample.
            descent.forget()
            descent.hessian_rows = self.table.sample.every(1)
        descent.look(self.rows, self.all)
        goal = Goal(wanted.decrement / (_MARGIN if wanted.proven else 1.0), wanted.gradient)
        open_ = self.all
        proofs: dict[int, Certificate] = {}
        first: F64 | None = None
        for attempt in range(_NEWTON_STEPS + 1):
            room = max(0, wanted.max_passes - int(descent.passes[open_].min()))
            reached = self._descend(self.rows, open_, goal, min(_BURST, room), first)
            if not wanted.proven:
                proofs |= {int(m): self._estimated(int(m), goal) for m in open_[reached[open_]]}
                open_ = open_[~reached[open_]]
            last = (
                attempt == _NEWTON_STEPS
                or int(descent.passes[open_].min(initial=wanted.max_passes)) >= wanted.max_passes
            )
            if wanted.proven or not last:
                open_, first = self._prove(open_, proofs)
                if attempt > 0 and first is not None:  # a second proof says whether more can be had
                    far = np.array([m not in self.nearly for m in open_.tolist()], dtype=bool)
                    open_, first = open_[far], first[far]
            if open_.size == 0 or last:
                break
        for m in [m for m in self.all.tolist() if m not in proofs]:
            if m in self.nearly:
                proofs[m], self.descent.theta[m], self.descent.value[m] = self.nearly[m]
                continue
            proofs[m] = self._certificate(m, self.failed.get(m, np.inf), wanted.decrement, "not met", converged=False)
        return [self._solution(m, proofs[m]) for m in self.all.tolist()]

    def _descend(
        self, rows: Passes, models: NDArray[np.intp], goal: Goal, limit: int, first: F64 | None = None
    ) -> NDArray[np.bool_]:
        """L-BFGS, with a better preconditioner as soon as its price has been spent on passes without one."""
        descent, sample = self.descent, self.table.sample
        if rows is not sample:
            return descent.descend(rows, models, goal, limit, first)
        thin = sample.every(gram_step(len(sample.z), self.batch.d))
        price = Weighted.rounds(self.batch, len(sample.z), len(sample.z) // thin.step, models)
        rent = int(np.clip(price, min(_LEAST_ROUNDS, limit), limit))
        spent = 0 if self.hard and np.isfinite(price) else rent
        reached = descent.descend(rows, models, goal, spent, first)
        left = models[~reached[models]]
        while left.size and spent < limit:
            self.hard = True
            descent.refine(thin, left)
            stretch = min(max(rent, _REFINED_ROUNDS), limit - spent)
            reached |= descent.descend(rows, left, goal, stretch)
            left, spent = left[~reached[left]], spent + stretch
        return reached

    def _prove(self, models: NDArray[np.intp], proofs: dict[int, Certificate]) -> tuple[NDArray[np.intp], F64 | None]:
        """Certify what can be; returns the models that cannot, and their Newton steps."""
        wanted, left, steps = self.wanted, [], []
        limit = None if wanted.proven else _CG_OF_A_STEP
        for low in range(0, models.size, _PROOFS_AT_ONCE):
            chosen = models[low : low + _PROOFS_AT_ONCE]
            step, decrement, solved, n = self.descent.newton(self.hessian_rows, chosen, limit)
            for i, m in enumerate(chosen.tolist()):
                norm = float(np.abs(self.descent.gradient[m]).max())
                if (
                    solved[i]
                    and decrement[i] <= wanted.decrement * float(self.descent.value[m])
                    and norm <= wanted.gradient
                ):
                    of = f"Hessian from {int(n[i])} of {self._n(m)} rows"
                    proofs[m] = self._certificate(m, float(decrement[i]), wanted.decrement, of)
                else:
                    self.failed[m] = float(decrement[i])
                    if solved[i] and norm <= wanted.gradient:
                        self._remember(m, float(decrement[i]), int(n[i]))
                    left.append(m)
                    steps.append(step[i])
        return np.array(left, dtype=np.intp), np.stack(steps) if steps else None

    def _n(self, m: int) -> int:
        s = self.batch.sets[m]
        return int(self.rows.sums.counts[s.family][list(s.parts)].sum())

    def _estimated(self, m: int, goal: Goal) -> Certificate:
        estimate = goal.decrement * float(self.descent.value[m])
        return self._certificate(m, estimate, goal.decrement, f"estimated by L-BFGS on {self._n(m)} rows")

    def _certificate(self, m: int, decrement: float, relative: float, of: str, converged: bool = True) -> Certificate:
        criterion = f"newton_decrement <= {relative:g} * objective ({of}) and gradient_norm <= {self.wanted.gradient:g}"
        return Certificate(
            converged=converged,
            newton_decrement=decrement,
            gradient_norm=float(np.abs(self.descent.gradient[m]).max()),
            tolerance=relative * float(self.descent.value[m]),
            criterion=criterion,
            iterations=int(self.descent.passes[m]),
        )

    def _remember(self, m: int, decrement: float, n: int) -> None:
        """Keep the best point of a model whose objective is so near zero that what is relative to it is rounding."""
        limit = self.wanted.decrement * _LEAST_OBJECTIVE
        if decrement > limit or (m in self.nearly and decrement >= self.nearly[m][0].newton_decrement):
            return
        of = f"Hessian from {n} of {self._n(m)} rows; objective below {_LEAST_OBJECTIVE:g}"
        criterion = f"newton_decrement <= {limit:g} ({of}) and gradient_norm <= {self.wanted.gradient:g}"
        certificate = replace(
            self._certificate(m, decrement, self.wanted.decrement, of), criterion=criterion, tolerance=limit
        )
        self.nearly[m] = certificate, self.descent.theta[m].copy(), float(self.descent.value[m])

    def _solution(self, m: int, certificate: Certificate) -> Solution:
        s = self.batch.sets[m]
        theta = self.descent.theta[m, : s.classes.size].copy()
        return Solution(theta, s, float(self.batch.lams[m]), float(self.descent.value[m]), certificate)

    def unconverged(self, m: int) -> str:
        """What to say of a model that has not converged."""
        norm = float(np.abs(self.descent.gradient[m]).max())
        return (
            f"linear head did not converge at lambda={self.batch.lams[m]:g}: {int(self.descent.passes[m])} passes "
            f"were not enough (decrement {self.failed[m]:.3g}, gradient {norm:.3g}); check the embeddings for extreme "
            "values or use a larger lambda"
        )


def losses_of_part(
    table: Table, solutions: Sequence[Solution], part: int, family: int = 0
) -> tuple[F64, NDArray[Any], NDArray[np.bool_]]:
    """Cross-entropy of the sampled rows of one of the caller's parts under models that did not see it.

    Parameters
    ----------
    table : Table
    solutions : sequence of Solution
        With the same row set.
    part : int
    family : int

    Returns
    -------
    losses : ndarray, shape (len(solutions), rows that can be scored)
    index : ndarray of int64
        Where these rows stand in the source.
    known : ndarray of bool
        Of all labelled sample rows of the part: whether their class is one the models know.
    """
    rowset = solutions[0].rowset
    batch = Batch([rowset] * len(solutions), [s.lam for s in solutions])
    theta = np.stack([s.theta for s in solutions])
    code: Codes = np.full(int(rowset.classes.max()) + 2, -1, dtype=np.int64)
    code[rowset.classes] = np.arange(rowset.classes.size)
    losses, index, known = [], [], []
    rows = table.sample
    for p in np.flatnonzero(table.part_of == part).tolist():
        stretch = slice(int(rows.bounds[p]), int(rows.bounds[p + 1]))
        y = rows.y[family][stretch]
        if y.size == 0 or y[0] < 0:
            continue
        local = code[np.minimum(y, code.size - 1)]
        # Rows of unknown classes get some class here, and are dropped.
        found = held_out(batch, rows, theta, range(len(solutions)), p, np.maximum(local, 0))
        losses.append(found[:, local >= 0])
        index.append(rows.index[stretch][local >= 0])
        known.append(local >= 0)
    none = np.zeros((len(solutions), 0))
    return (
        np.concatenate([none, *losses], axis=1),
        np.concatenate([np.zeros(0, dtype=np.int64), *index]),
        np.concatenate([np.zeros(0, dtype=bool), *known]),
    )
