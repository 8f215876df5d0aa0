"""Penalised multinomial logistic regression to a certified optimum, by preconditioned Newton-CG.

The objective is the mean cross-entropy plus ``lam / 2 * ||W||^2``; the intercepts are not penalised.
Every class has its own weight vector, also when there are two.

One Gram matrix G = Z'Z/n of the standardised rows makes a preconditioner that fits every `lam`:
the Hessian's block of class k is close to ``c_k G + lam I`` with ``c_k`` the mean of p_k (1 - p_k)
(the scaled form of Boehning's bound, Ann. Inst. Stat. Math. 44, 1992), and in the eigenbasis of G
its inverse is a division. Truncated Newton with a forcing term: Nocedal & Wright, Numerical
Optimization, 2nd ed., ch. 7. Adding one vector to all classes changes no probability; without the
penalty on intercepts that direction has no curvature, so gradients and steps are kept at zero sum
over classes.

Rows are stored in float32. Losses and gradients are float64; Hessian products and the preconditioner
are float32, because an inexact step costs an iteration at most and never the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError
from hypnos_bench.heads.base import Certificate

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

CHUNK_ROWS = 1024  # a chunk of 768 float64 columns stays within a core's cache
_ARMIJO = 1e-4
_MAX_HALVINGS = 40
_MAX_CG = 500
_CG_RESIDUAL = 0.1  # residual left by conjugate gradients, relative, in the preconditioner's norm


@dataclass(frozen=True)
class Affine:
    """Standardisation ``(z - mean) / scale`` applied on the fly; both of shape (d,)."""

    mean: F64
    scale: F64


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors (columns, (d, d)) and non-negative eigenvalues (d,) of Z'Z/n."""

    vectors: F32
    values: F32

    @classmethod
    def of(cls, gram: F64) -> Spectrum:
        """Decompose a symmetric matrix."""
        values, vectors = np.linalg.eigh(gram)
        return cls(vectors.astype(np.float32), np.maximum(values, 0.0).astype(np.float32))


@dataclass(frozen=True)
class Solution:
    """Parameters (K, d + 1), intercept last, in standardised coordinates; objective there; certificate."""

    theta: F64
    objective: float
    certificate: Certificate


class Rows:
    """Rows to learn from: stretches of a stored array, seen through an affine map.

    Nothing is copied but one chunk at a time, so that cross-validation folds share one array.

    Parameters
    ----------
    z : ndarray of float32, shape (n_all, d)
    y : ndarray of intp, shape (n_all,)
        Codes 0..n_classes-1 within `spans`; each occurs there. Not read elsewhere.
    spans : sequence of (start, stop)
    n_classes : int
    affine : Affine
    spectrum : Spectrum
        Of the rows in `spans` after `affine`; it only shapes the preconditioner.
    """

    def __init__(
        self,
        z: F32,
        y: NDArray[np.intp],
        spans: Sequence[tuple[int, int]],
        n_classes: int,
        affine: Affine,
        spectrum: Spectrum,
    ) -> None:
        self.z, self.y, self.spans = z, y, [(a, b) for a, b in spans if b > a]
        self.n_classes = n_classes
        self.affine, self.spectrum = affine, spectrum
        self.n = sum(b - a for a, b in self.spans)
        self._p = np.zeros((n_classes, z.shape[0]), dtype=np.float32)

    def start(self) -> F64:
        """The constant model: zero weights, intercepts at the log class shares."""
        counts = sum(np.bincount(self.y[a:b], minlength=self.n_classes) for a, b in self.spans)
        theta = np.zeros((self.n_classes, self.z.shape[1] + 1))
        theta[:, -1] = np.log(np.asarray(counts) / self.n)
        return _zero_sum(theta)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        for start, stop in self.spans:
            for low in range(start, stop, CHUNK_ROWS):
                yield low, min(low + CHUNK_ROWS, stop)

    def _raw(self, theta: F64) -> tuple[F64, F64]:
        """Weights and intercepts that act on stored rows as `theta` does on standardised ones."""
        w = theta[:, :-1] / self.affine.scale
        return w, theta[:, -1] - w @ self.affine.mean

    def _standard(self, g: F64, r: F64) -> F64:
        """Transpose of `_raw`, divided by the number of rows."""
        g_w = (g - np.outer(r, self.affine.mean)) / self.affine.scale
        return np.column_stack([g_w, r]) / self.n

    def evaluate(self, theta: F64, lam: float) -> tuple[float, F64, F64]:
        """Objective, gradient (K, d + 1) and mean p_k (1 - p_k) per class; keeps p for `curvature`."""
        w, b = self._raw(theta)
        loss, g, r = 0.0, np.zeros_like(w), np.zeros(self.n_classes)
        spread = np.zeros(self.n_classes)
        for low, high in self._chunks():
            z = self.z[low:high].astype(np.float64)
            a = w @ z.T + b[:, None]
            a -= a.max(axis=0)
            p = np.exp(a)
            total = p.sum(axis=0)
            p /= total
            own = (self.y[low:high], np.arange(high - low))
            loss += float(np.log(total).sum() - a[own].sum())
            self._p[:, low:high] = p
            spread += p.sum(axis=1) - np.einsum("kc,kc->k", p, p)
            p[own] -= 1.0
            g += p @ z
            r += p.sum(axis=1)
        weights = theta[:, :-1]
        gradient = self._standard(g, r)
        gradient[:, :-1] += lam * weights
        objective = loss / self.n + 0.5 * lam * float(np.vdot(weights, weights))
        return objective, _zero_sum(gradient), spread / self.n

    def curvature(self, v: F64, lam: float) -> F64:
        """Hessian at the last evaluated point times `v`, shape (K, d + 1)."""
        w64, b64 = self._raw(v)
        w, b = w64.astype(np.float32), b64.astype(np.float32)
        g, r = np.zeros_like(w64), np.zeros(self.n_classes)
        for low, high in self._chunks():
            z = self.z[low:high]
            a = (z @ w.T).T + b[:, None]
            p = self._p[:, low:high]
            q = p * a
            q -= p * q.sum(axis=0)
            g += q @ z
            r += q.sum(axis=1, dtype=np.float64)
        product = self._standard(g, r)
        product[:, :-1] += lam * v[:, :-1]
        return _zero_sum(product)

    def losses(self, theta: F64, index: NDArray[np.intp], truth: NDArray[np.intp]) -> F64:
        """Cross-entropy of stored rows `index` (any, not only those of `spans`) whose codes are `truth`."""
        w, b = self._raw(theta)
        out = np.empty(len(index))
        for low in range(0, len(index), CHUNK_ROWS):
            part = index[low : low + CHUNK_ROWS]
            a = w @ self.z[part].astype(np.float64).T + b[:, None]
            a -= a.max(axis=0)
            own = a[truth[low : low + CHUNK_ROWS], np.arange(len(part))]
            out[low : low + CHUNK_ROWS] = np.log(np.exp(a).sum(axis=0)) - own
        return out

    def precondition(self, g: F64, spread: F64, lam: float) -> F64:
        """Approximate inverse Hessian times `g`; symmetric and positive on zero-sum directions."""
        c = np.maximum(spread, 1e-12)[:, None]
        out = np.empty_like(g)
        rotated = g[:, :-1].astype(np.float32) @ self.spectrum.vectors
        rotated /= (c * self.spectrum.values + lam).astype(np.float32)
        out[:, :-1] = rotated @ self.spectrum.vectors.T
        out[:, -1:] = g[:, -1:] / c
        return _zero_sum(out)


def solve(
    rows: Rows,
    lam: float,
    start: F64,
    *,
    tolerance: float,
    gradient_tolerance: float = 1e-5,
    max_iterations: int = 100,
) -> Solution:
    """Minimise the objective from `start` until a certificate holds.

    The point returned is the one that was certified: half the Newton decrement, from a conjugate
    gradient solve at that very point, is at most `tolerance` times the objective, and no gradient
    entry exceeds `gradient_tolerance`.

    Raises
    ------
    FitError
        When `max_iterations` Newton steps do not get there, or no step lowers the objective.
    """
    theta = _zero_sum(start)
    value, gradient, spread = rows.evaluate(theta, lam)
    for iteration in range(max_iterations + 1):
        step, decrement, solved = _newton_step(rows, gradient, spread, lam)
        norm = float(np.abs(gradient).max())
        limit = tolerance * value
        if solved and decrement <= limit and norm <= gradient_tolerance:
            criterion = f"newton_decrement <= {tolerance:g} * objective and gradient_norm <= {gradient_tolerance:g}"
            return Solution(theta, value, Certificate(True, decrement, norm, limit, criterion, iteration))
        if iteration == max_iterations:
            break
        slope = -2.0 * decrement
        size = 1.0
        for _ in range(_MAX_HALVINGS):
            trial = theta + size * step
            new = rows.evaluate(trial, lam)
            # Near the optimum the gain drowns in rounding; a few ulps of slack let the step pass.
            if new[0] <= value + _ARMIJO * size * slope + 4 * np.finfo(float).eps * max(1.0, value):
                break
            size *= 0.5
        else:
            raise FitError(_unconverged(lam, iteration, decrement, norm, "no step lowers the objective"))
        theta, (value, gradient, spread) = trial, new
    raise FitError(_unconverged(lam, max_iterations, decrement, norm, "the iteration limit was reached"))


def _newton_step(rows: Rows, gradient: F64, spread: F64, lam: float) -> tuple[F64, float, bool]:
    """Solve H p = -gradient by preconditioned conjugate gradients.

    Returns p, half the Newton decrement, and whether the system was solved: without that the
    decrement is too small and proves nothing, though p still leads downhill.
    """
    p = np.zeros_like(gradient)
    residual = -gradient
    z = rows.precondition(residual, spread, lam)
    rz = float(np.vdot(residual, z))
    if rz <= 0.0:  # the gradient is exactly zero
        return p, 0.0, True
    target = _CG_RESIDUAL**2 * rz
    direction, solved = z, False
    for _ in range(_MAX_CG):
        product = rows.curvature(direction, lam)
        bend = float(np.vdot(direction, product))
        if bend <= 0.0:  # rounding noise: the direction has no curvature left to use
            break
        alpha = rz / bend
        p = p + alpha * direction
        residual = residual - alpha * product
        z = rows.precondition(residual, spread, lam)
        rz, previous = float(np.vdot(residual, z)), rz
        if rz <= target:
            solved = True
            break
        direction = z + (rz / previous) * direction
    if not p.any():
        p = direction
    return _zero_sum(p), -0.5 * float(np.vdot(gradient, p)), solved


def _zero_sum(values: F64) -> F64:
    return np.asarray(values - values.mean(axis=0), dtype=np.float64)


def _unconverged(lam: float, iterations: int, decrement: float, norm: float, why: str) -> str:
    return (
        f"linear head did not converge at lambda={lam:g}: {why} (Newton step {iterations}, decrement {decrement:.3g}, "
        f"gradient {norm:.3g}); check the embeddings for extreme values or use a larger lambda"
    )
