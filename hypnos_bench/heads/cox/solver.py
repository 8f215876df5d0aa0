"""Ridge-penalised Cox models of many outcomes, folds and penalties over one feature matrix, solved side by side.

What is minimised for each problem, with D events among its rows::

    negative log partial likelihood / D + lambda / 2 * ||theta||^2

At theta = 0 the Hessian of the first term is close to Z'Z/n, whatever the outcome, so one eigendecomposition makes a
good starting metric for all problems: quasi-Newton directions (L-BFGS, Nocedal & Wright, Numerical Optimization, 2nd
ed., ch. 7) with ``(Z'Z/n + lambda I)^-1`` in place of the usual multiple of the identity. One evaluation costs two
matrix products for all problems together and one scan per problem. A problem that is done leaves the batch.

Precision: products are float32 until the gradient nears their rounding error; from there on, and for the last
evaluation of every problem that has to be certified, they are float64. Scans are float64 always.

Proof of convergence: the objective is strongly convex with modulus lambda, so a gradient g of it, with g evaluated in
float64, puts every coefficient within ``||g|| / lambda`` of the optimum, and the objective within ``||g||^2 / (2
lambda)``. No estimate of the curvature enters. Where the optimum itself is small, under strong penalties, a bound on
the distance alone would accept theta = 0: with `relative` the distance has to be small beside ``||theta||`` too, so
that also the direction is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.cox.likelihood import RiskSets, residuals, scan

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Index = NDArray[np.intp]

_MEMORY = 8  # pairs of L-BFGS
_CHUNK_ROWS = 2048  # of the float32 features are widened at a time
_ARMIJO = 1e-4
_CURVATURE = 0.8
_MAX_HALVINGS = 25
_NOISE = 2.0**-22  # error of a float32 gradient entry, relative to the sum of the products' magnitudes
_NOISE_FLOAT64 = 2.0**-44  # of a float64 one, generously: a smaller gradient is none


@dataclass(frozen=True)
class Features:
    """Standardised features that all problems share, and the metric their second moments make.

    Parameters
    ----------
    z : ndarray of float32, shape (n, d)
    vectors : ndarray, shape (d, d)
        Eigenvectors (columns) of Z'Z/n.
    values : ndarray, shape (d,)
        Eigenvalues, not negative.
    """

    z: F32
    vectors: F64
    values: F64

    @classmethod
    def of(cls, z: F32) -> Features:
        """Decompose the second moments of `z`."""
        gram = (z.T @ z).astype(np.float64) / len(z)
        values, vectors = np.linalg.eigh(gram)
        return cls(z, vectors, np.maximum(values, 0.0))


@dataclass(frozen=True)
class Problem:
    """One outcome, on some of the rows, at one penalty.

    Parameters
    ----------
    sets : RiskSets
    lam : float
        Per event, positive.
    scale : ndarray, shape (d,)
        Standard deviations of the features among the rows that standardisation may see, in units of `Features.z`:
        coefficients are those of ``z / scale``. Ones when that is every row.
    start : ndarray, shape (d,)
    """

    sets: RiskSets
    lam: float
    scale: F64
    start: F64


@dataclass(frozen=True)
class Solved:
    """Where the problems ended, each row or entry for one problem.

    Parameters
    ----------
    theta : ndarray, shape (B, d)
        Coefficients of ``z / scale``.
    loss : ndarray, shape (B,)
        Negative log partial likelihood per event.
    gap : ndarray, shape (B,)
        Bound on how far the objective is above its minimum: ``||g||^2 / (2 lambda)``.
    gradient_norm : ndarray, shape (B,)
        Largest absolute gradient entry.
    limit : ndarray, shape (B,)
        What `gap` had to fall to.
    converged : ndarray of bool, shape (B,)
    evaluations : ndarray of int64, shape (B,)
    """

    theta: F64
    loss: F64
    gap: F64
    gradient_norm: F64
    limit: F64
    converged: NDArray[np.bool_]
    evaluations: NDArray[np.int64]


def minimise(
    features: Features,
    problems: Sequence[Problem],
    limits: F64,
    *,
    max_evaluations: int,
    certify: bool,
    relative: float | None = None,
) -> Solved:
    """Minimise every problem until the bound on its gap is at most its entry of `limits`.

    Parameters
    ----------
    features : Features
    problems : sequence of Problem
        Solved at once; the memory for linear predictors is that of two to four (B, n) float64 arrays.
    limits : ndarray, shape (B,)
    max_evaluations : int
        Of each problem, beside the last one in float64; one that has used them up is not converged.
    certify : bool
        Whether the bound has to hold for a float64 gradient. Without it a float32 one will do where it can tell.
    relative : float, optional
        Beside `limits`, the distance to the optimum may be no more than this share of ``||theta||`` (unless the
        gradient is no more than rounding).
    """
    batch = _Batch(features, problems, limits, relative)
    batch.descend(np.float32, max_evaluations)
    rest = np.arange(len(problems)) if certify else np.flatnonzero(~batch.done)
    if rest.size:
        batch.reopen(rest)
        batch.descend(np.float64, max_evaluations)
    norm = np.abs(batch.gradient).max(axis=1)
    limit = batch.limit_at(np.arange(len(problems)))
    return Solved(batch.theta, batch.loss, batch.gap, norm, limit, batch.done, batch.evaluations)


class _Batch:
    """State of all problems; arrays have one row (or entry) per problem."""

    def __init__(
        self, features: Features, problems: Sequence[Problem], limits: F64, relative: float | None = None
    ) -> None:
        self.features, self.problems, self.limits, self.relative = features, problems, limits, relative
        count, d = len(problems), features.z.shape[1]
        self.lam = np.array([p.lam for p in problems])
        self.scale = np.stack([p.scale for p in problems])
        self.events = np.array([p.sets.n_events for p in problems], dtype=np.float64)
        self.theta = np.stack([p.start for p in problems]).astype(np.float64)
        self.loss = np.full(count, np.inf)
        self.value = np.full(count, np.inf)
        self.gradient = np.full((count, d), np.inf)
        self.gap = np.full(count, np.inf)
        self.floor = np.zeros(count)  # gap that float32 cannot tell from zero
        self.done = np.zeros(count, dtype=bool)
        self.evaluations = np.zeros(count, dtype=np.int64)
        # Pair i of L-BFGS; a slot not in use has rho = 0 and acts on nothing.
        self._s = np.zeros((_MEMORY, count, d))
        self._y = np.zeros((_MEMORY, count, d))
        self._rho = np.zeros((_MEMORY, count))
        self._next = 0

    def reopen(self, which: Index) -> None:
        self.done[which] = False

    def descend(self, dtype: type[np.float32] | type[np.float64], max_evaluations: int) -> None:
        """Go on with all problems that are not done until they are, or until `dtype` or the budget ends it."""
        short = dtype is np.float32
        live = np.flatnonzero(~self.done)
        self._move(live, self.theta[live], *self._evaluate(live, self.theta[live], dtype))
        live = self._unfinished(live, short)
        live = live[self.evaluations[live] < max_evaluations]
        step, size, slope, halvings = self._start_steps(live)
        while live.size:
            trial = self.theta[live] + size[:, None] * step
            loss, value, gradient = self._evaluate(live, trial, dtype)
            new_slope = np.einsum("bd,bd->b", gradient, step)
            noise = (2e-7 if short else 1e-14) * np.maximum(1.0, np.abs(self.value[live]))
            armijo = value <= self.value[live] + _ARMIJO * size * slope
            # Near the optimum a gain drowns in rounding, but the slope still tells whether the step went too far.
            flat = (value <= self.value[live] + noise) & (np.abs(new_slope) <= _CURVATURE * np.abs(slope))
            taken = armijo | flat
            moved = live[taken]
            self._remember(moved, trial[taken], gradient[taken])
            self._move(moved, trial[taken], loss[taken], value[taken], gradient[taken])
            halvings = np.where(taken, 0, halvings + 1)
            size = np.where(taken, 1.0, _shorter(size, slope, value - self.value[live]))
            keep = np.isin(live, self._unfinished(moved, short)) | (~taken & (halvings < _MAX_HALVINGS))
            keep &= self.evaluations[live] < max_evaluations
            live, step, size, slope, halvings, taken = (a[keep] for a in (live, step, size, slope, halvings, taken))
            if taken.any():
                step[taken], _, slope[taken], _ = self._start_steps(live[taken])

    def _start_steps(self, which: Index) -> tuple[F64, F64, F64, NDArray[np.int64]]:
        step = self._direction(which)
        slope = np.einsum("bd,bd->b", self.gradient[which], step)
        return step, np.ones(which.size), slope, np.zeros(which.size, dtype=np.int64)

    def _unfinished(self, which: Index, short: bool) -> Index:
        """Mark problems that have reached their limit; of the others, those that `dtype` can still improve."""
        self.done[which] = self.gap[which] <= self.limit_at(which)
        hopeless = self.gap[which] <= self.floor[which] if short else np.zeros(which.size, dtype=bool)
        return which[~self.done[which] & ~hopeless]

    def limit_at(self, which: Index) -> F64:
        """What the gap has to fall to where `which` stand."""
        limits = self.limits[which]
        if self.relative is None:
            return limits
        theta = self.theta[which]
        squared = self.relative**2 * np.einsum("bd,bd->b", theta, theta)
        rounding = theta.shape[1] * _NOISE_FLOAT64**2 / (2 * self.lam[which])
        return np.asarray(np.minimum(limits, np.maximum(0.5 * self.lam[which] * squared, rounding)))

    def _move(self, which: Index, theta: F64, loss: F64, value: F64, gradient: F64) -> None:
        self.theta[which], self.loss[which] = theta, loss
        self.value[which], self.gradient[which] = value, gradient
        self.gap[which] = np.einsum("bd,bd->b", gradient, gradient) / (2 * self.lam[which])

    def _remember(self, which: Index, theta: F64, gradient: F64) -> None:
        """Keep the pair of the step from where `which` stand to `theta`; all others get an empty slot."""
        s, y = theta - self.theta[which], gradient - self.gradient[which]
        bend = np.einsum("bd,bd->b", s, y)
        usable = bend > 1e-10 * np.sqrt(np.einsum("bd,bd->b", s, s) * np.einsum("bd,bd->b", y, y))
        slot = self._next
        self._rho[slot] = 0.0
        self._s[slot, which], self._y[slot, which] = s, y
        self._rho[slot, which] = np.where(usable, 1.0 / np.where(usable, bend, 1.0), 0.0)
        self._next = (slot + 1) % _MEMORY

    def _direction(self, which: Index) -> F64:
        """Minus the L-BFGS approximation of the inverse Hessian times the gradient."""
        newest_first = [(self._next - 1 - i) % _MEMORY for i in range(_MEMORY)]
        used = [i for i in newest_first if self._rho[i, which].any()]
        q: F64 = self.gradient[which]
        alphas = {}
        for i in used:
            alphas[i] = self._rho[i, which] * np.einsum("bd,bd->b", self._s[i, which], q)
            q -= alphas[i][:, None] * self._y[i, which]
        q = (q @ self.features.vectors) / (self.features.values + self.lam[which, None])
        q = q @ self.features.vectors.T
        for i in reversed(used):
            beta = self._rho[i, which] * np.einsum("bd,bd->b", self._y[i, which], q)
            q += (alphas[i] - beta)[:, None] * self._s[i, which]
        return np.negative(q)

    def _evaluate(self, which: Index, theta: F64, dtype: type[np.float32] | type[np.float64]) -> tuple[F64, F64, F64]:
        """Loss per event, objective and gradient of problems `which` at `theta`."""
        weights = (theta / self.scale[which]).astype(dtype)
        eta = np.empty((which.size, len(self.features.z)), dtype=dtype)
        for low, high, z in self._chunks(dtype):
            np.matmul(weights, z.T, out=eta[:, low:high])
        loss = np.empty(which.size)
        for row, i in enumerate(which):
            sets = self.problems[i].sets
            found = scan(sets, eta[row])
            loss[row] = found.loss / sets.n_events
            if np.isfinite(loss[row]):
                residuals(sets, found, eta[row])  # the predictor is not needed any more
            else:
                eta[row] = 0.0
        raw = np.zeros(theta.shape)
        for low, high, z in self._chunks(dtype):
            raw -= eta[:, low:high] @ z
        self.evaluations[which] += 1
        gradient = raw / (self.events[which, None] * self.scale[which]) + self.lam[which, None] * theta
        # A gradient entry sums about two units of residual per event times features of unit variance.
        self.floor[which] = theta.shape[1] * _NOISE**2 / (2 * self.lam[which])
        value = np.asarray(loss + 0.5 * self.lam[which] * np.einsum("bd,bd->b", theta, theta))
        return loss, value, gradient

    def _chunks(self, dtype: type[np.float32] | type[np.float64]) -> Iterator[tuple[int, int, F32 | F64]]:
        z = self.features.z
        if dtype is np.float32:
            yield 0, len(z), z
            return
        for low in range(0, len(z), _CHUNK_ROWS):
            high = min(low + _CHUNK_ROWS, len(z))
            yield low, high, z[low:high].astype(np.float64)


def _shorter(size: F64, slope: F64, rise: F64) -> F64:
    """Minimum of the parabola through what is known of a step that was too long, within a tenth and a half of it."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        best = -slope * size**2 / (2 * (rise - slope * size))
    return np.asarray(np.clip(np.where(np.isfinite(best), best, 0.1 * size), 0.1 * size, 0.5 * size))
