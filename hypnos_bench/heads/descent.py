"""Preconditioned L-BFGS and Newton steps for a batch of models; each round is one pass for all that are not done.

Steps start from the approximate inverse Hessians of ``heads.precondition``.
L-BFGS and the conjugate gradients of a truncated Newton step: Nocedal & Wright, Numerical Optimization, 2nd ed.,
ch. 7. Near the optimum a gain drowns in the rounding of the objective; there a step is judged by its slope
(the approximate Wolfe condition of Hager & Zhang, SIAM J. Optim. 16, 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.batch import Batch, Curvature
from hypnos_bench.heads.precondition import Spectrum, Weighted
from hypnos_bench.heads.table import F64, Passes, Thinned

_MEMORY = 10
_ARMIJO = 1e-4
_OVERSHOOT = 0.8
_SMALLEST_STEP = 1e-9
_ROUNDING = 16  # units in the last place by which an objective may rise unnoticed
_CG_RESIDUAL = 0.1  # left by conjugate gradients, relative, in the preconditioner's norm
_MAX_CG = 500


@dataclass(frozen=True)
class Goal:
    """When a fit is done: Newton decrement relative to the objective, and largest gradient entry."""

    decrement: float
    gradient: float


class Descent:
    """Where each model of a batch stands.

    Attributes
    ----------
    theta : ndarray, shape (M, K, d + 1)
        In each model's standardised coordinates, intercept last.
    value : ndarray, shape (M,)
    gradient : ndarray, shape (M, K, d + 1)
    passes : ndarray of int64, shape (M,)
        Evaluations so far.
    hessian_rows : Thinned, optional
        Rows that Hessians are made from when passes are dear: quasi-Newton steps then start from a Newton step on
        these, instead of the preconditioner.
    """

    def __init__(self, batch: Batch, spectrum: Spectrum, theta: F64) -> None:
        self.batch, self.spectrum = batch, spectrum
        self.theta = theta
        m = len(batch)
        self.value, self.gradient = np.full(m, np.inf), np.zeros(batch.shape)
        self.spread = np.ones(batch.shape[:2])
        self.passes = np.zeros(m, dtype=np.int64)
        memory = (m, _MEMORY, batch.k * (batch.d + 1))
        self._s, self._y = np.zeros(memory, spectrum.vectors.dtype), np.zeros(memory, spectrum.vectors.dtype)
        self._rho = np.zeros((m, _MEMORY))  # 1 / s'y, and zero where nothing is remembered
        self.hessian_rows: Thinned | None = None
        self._next = np.zeros(m, dtype=np.intp)
        self._weighted: Weighted | None = None

    def forget(self) -> None:
        """Drop what is remembered of the curvature."""
        self._rho[:] = 0.0

    def look(self, rows: Passes, models: NDArray[np.intp]) -> None:
        """Evaluate models where they stand, on rows they may not have seen yet."""
        found = self.batch.evaluate(rows, models, self.theta[models])
        self.value[models], self.gradient[models], self.spread[models] = found.value, found.gradient, found.spread
        self.passes[models] += 1

    def precondition(self, g: F64, models: NDArray[np.intp]) -> F64:
        """Approximate inverse Hessians times `g`; symmetric, and positive on zero-sum directions."""
        if self._weighted is not None and (self._weighted.place[models] >= 0).all():
            out = self._weighted.apply(g, models)
        else:
            out = self.spectrum.apply(self.batch, self.spread[models], g, models)
            out[:, :, :-1] *= self.batch.varies[models][:, None]
        return self.batch.zero_sum(out, models)

    def refine(self, rows: Thinned, models: NDArray[np.intp]) -> None:
        """Make the preconditioner of these models anew from their Hessians where they stand."""
        self._weighted = Weighted(self.batch, rows, models, self.theta[models])

    def descend(
        self, rows: Passes, models: NDArray[np.intp], goal: Goal, limit: int, first: F64 | None = None
    ) -> NDArray[np.bool_]:
        """Take steps until every model's own estimate meets the goal, it is stuck, or `limit` rounds are over.

        Parameters
        ----------
        rows : Passes
        models : ndarray of intp
            Evaluated on these rows already.
        goal : Goal
        limit : int
        first : ndarray, shape (A, K, d + 1), optional
            First steps to try, instead of the quasi-Newton ones.

        Returns
        -------
        ndarray of bool, shape (M,)
            Which of all models meet the goal by their own estimate.
        """
        step, slope = np.zeros(self.batch.shape), np.zeros(len(self.batch))
        size, reached = np.ones(len(self.batch)), np.zeros(len(self.batch), dtype=bool)
        self._aim(models, step, slope)
        if first is None:
            reached[models] = self._meets(goal, models, slope[models])
        else:
            step[models], slope[models] = first, _dots(first, self.gradient[models])
        walking = models[~reached[models]]
        for _ in range(limit):
            if walking.size == 0:
                break
            size_here = size[walking]
            found = self.batch.evaluate(rows, walking, self.theta[walking] + size_here[:, None, None] * step[walking])
            self.passes[walking] += 1
            new_slope = _dots(found.gradient, step[walking])
            good = self._acceptable(walking, found.value, size_here * slope[walking], new_slope / slope[walking])
            moved = walking[good]
            self._remember(moved, size_here[good][:, None, None] * step[moved], found.gradient[good])
            self.theta[moved] += size_here[good][:, None, None] * step[moved]
            self.value[moved], self.gradient[moved] = found.value[good], found.gradient[good]
            self.spread[moved], size[moved] = found.spread[good], 1.0
            self._aim(moved, step, slope)
            reached[moved] = self._meets(goal, moved, slope[moved])
            bad = walking[~good]
            size[bad] *= _shrink(found.value[~good] - self.value[bad], size[bad] * slope[bad])
            walking = walking[~reached[walking] & (size[walking] > _SMALLEST_STEP)]
        return reached

    def _acceptable(self, models: NDArray[np.intp], value: F64, gain: F64, turn: F64) -> NDArray[np.bool_]:
        """Whether steps lower their objectives enough, or by less than rounding shows but do not overshoot."""
        old = self.value[models]
        noise = _ROUNDING * float(np.finfo(self.spectrum.vectors.dtype).eps) * np.maximum(1.0, np.abs(old))
        return np.asarray((value <= old + _ARMIJO * gain) | ((value <= old + noise) & (turn >= -_OVERSHOOT)))

    def _meets(self, goal: Goal, models: NDArray[np.intp], slope: F64) -> NDArray[np.bool_]:
        small = -0.5 * slope <= goal.decrement * self.value[models]
        return np.asarray(small & (np.abs(self.gradient[models]).max(axis=(1, 2)) <= goal.gradient))

    def _aim(self, models: NDArray[np.intp], step: F64, slope: F64) -> None:
        """Quasi-Newton steps from where models stand: the two-loop recursion, for all of them at once."""
        if models.size == 0:
            return
        q = self.gradient[models].reshape(len(models), -1).astype(self._s.dtype)
        places = [(self._next[models] - 1 - j) % _MEMORY for j in range(_MEMORY)]
        alphas = []
        for place in places:
            alpha = self._rho[models, place] * _dots(self._s[models, place], q)
            q -= alpha[:, None].astype(q.dtype) * self._y[models, place]
            alphas.append(alpha)
        right = q.reshape(self.gradient[models].shape).astype(np.float64)
        if self.hessian_rows is None:
            first = self.precondition(right, models)
        else:
            curvature = Curvature(self.batch, self.hessian_rows, models, self.theta[models])
            first, _ = self._conjugate(curvature, right, _MAX_CG)
        p = first.reshape(len(models), -1)
        for place, alpha in zip(reversed(places), reversed(alphas), strict=True):
            beta = self._rho[models, place] * _dots(self._y[models, place], p)
            p += (alpha - beta)[:, None] * self._s[models, place]
        step[models] = -p.reshape(self.gradient[models].shape)
        slope[models] = _dots(step[models], self.gradient[models])
        uphill = models[slope[models] > 0.0]  # rounding has spoilt the memory
        if uphill.size:
            self._rho[uphill] = 0.0
            step[uphill] = -self.precondition(self.gradient[uphill], uphill)
            slope[uphill] = _dots(step[uphill], self.gradient[uphill])

    def _remember(self, models: NDArray[np.intp], s: F64, gradient: F64) -> None:
        if models.size == 0:
            return
        y = gradient - self.gradient[models]
        bend = _dots(s, y)
        useful = bend > 1e-12 * np.sqrt(_dots(s, s) * _dots(y, y))
        kept = models[useful]
        place = self._next[kept]
        self._s[kept, place] = s[useful].reshape(len(kept), -1)
        self._y[kept, place] = y[useful].reshape(len(kept), -1)
        self._rho[kept, place] = 1.0 / bend[useful]
        self._next[kept] = (place + 1) % _MEMORY

    def newton(
        self, rows: Thinned, models: NDArray[np.intp], limit: int | None = None
    ) -> tuple[F64, F64, NDArray[np.bool_], F64]:
        """Solve H p = -gradient where models stand, by preconditioned conjugate gradients.

        Parameters
        ----------
        rows : Thinned
            What the Hessians are made from; gradients are those of the last evaluation.
        models : ndarray of intp, shape (A,)
        limit : int, optional
            Products with the Hessian at most; a system that is not solved by then still gives a descent direction.

        Returns
        -------
        step : ndarray, shape (A, K, d + 1)
        decrement : ndarray, shape (A,)
            Half the Newton decrement, g' H^-1 g / 2.
        solved : ndarray of bool, shape (A,)
            Whether the system was solved: without that the decrement is too small and proves nothing.
        n : ndarray, shape (A,)
            Rows that the Hessians are made from.
        """
        curvature = Curvature(self.batch, rows, models, self.theta[models])
        g = self.gradient[models]
        step, solved = self._conjugate(curvature, -g, _MAX_CG if limit is None else limit)
        return step, -0.5 * _dots(g, step), solved, curvature.n

    def _conjugate(self, curvature: Curvature, right: F64, limit: int) -> tuple[F64, NDArray[np.bool_]]:
        """Solve H p = right for all models at once; p, and whether the residual became small."""
        models = curvature.models
        step, residual = np.zeros_like(right), right.copy()
        z = self.precondition(residual, models)
        rz = _dots(residual, z)
        target, direction = _CG_RESIDUAL**2 * rz, z
        solved = rz <= 0.0  # nothing to solve
        stuck = np.zeros_like(solved)
        for _ in range(limit):
            going = ~(solved | stuck)
            if not going.any():
                break
            product = curvature.times(direction)
            bend = _dots(direction, product)
            stuck |= going & (bend <= 0.0)  # rounding: no curvature left to use
            going &= ~stuck
            alpha = np.where(going, rz / np.where(going, bend, 1.0), 0.0)[:, None, None]
            step += alpha * direction
            residual -= alpha * product
            z = self.precondition(residual, models)
            new = _dots(residual, z)
            solved |= going & (new <= target)
            beta = np.where(going, new / np.where(rz > 0, rz, 1.0), 0.0)
            rz = np.where(going, new, rz)
            direction = np.where(going[:, None, None], z + beta[:, None, None] * direction, direction)
        idle = ~step.any(axis=(1, 2)) & ~solved
        step[idle] = direction[idle]
        return self.batch.zero_sum(step, models), solved


def _dots(a: Any, b: Any) -> F64:
    """Inner product of each model's arrays."""
    return np.asarray(np.einsum("ap,ap->a", a.reshape(len(a), -1), b.reshape(len(b), -1), dtype=np.float64))


def _shrink(rise: F64, gain: F64) -> F64:
    """By how much to shorten steps that rose: the minimum of the parabola through both ends, within limits."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        best = -gain / (2.0 * (rise - gain))
    return np.clip(np.where(np.isfinite(best), best, 0.1), 0.1, 0.5)
