"""Many penalised softmax regressions evaluated in one pass over shared rows.

A model's objective over its n rows, standardised by themselves, is::

    mean cross-entropy + lam / 2 * ||W||^2      (intercepts are not penalised)

Every class has its own weight vector, also when there are two, and vectors sum to zero over classes:
adding one vector to all changes no probability. So the last class is minus the sum of the others,
and only K - 1 of K classes enter a matrix product. Labels enter through the class sums of the rows
alone (``mean log-sum-exp - <W, class sums>``), so models with different labels share a pass too.

Columns of one product are classes x models: skinny products wait for memory, wide ones compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.table import F64, Codes, Floats, Passes, Resident, RowSet, Thinned

_WIDE_ROWS = 512  # rows per product when it has many columns
_NARROW_ROWS = 256
_SMALL_PRODUCT = 1_000_000  # multiplications below which OpenBLAS packs nothing: twice as fast for few columns


@dataclass(frozen=True)
class Evaluation:
    """Objective (A,), gradient (A, K, d + 1) and mean p_k (1 - p_k) per class (A, K) of A models."""

    value: F64
    gradient: F64
    spread: F64


class _Team:
    """The models that use one part: their stacked weights, one row per class but the last, and running sums."""

    def __init__(self, members: Sequence[int], n_classes: Codes, w: Floats, b: Floats) -> None:
        order = sorted(members, key=lambda m: int(n_classes[m]))
        self.groups: list[tuple[slice, NDArray[np.intp], int]] = []  # rows of the product, models, classes
        rows: list[tuple[int, int]] = []
        for k in sorted({int(n_classes[m]) for m in order}):
            chosen = np.array([m for m in order if n_classes[m] == k], dtype=np.intp)
            self.groups.append((slice(len(rows), len(rows) + chosen.size * (k - 1)), chosen, k))
            rows += [(int(m), j) for m in chosen for j in range(k - 1)]
        self.model, self.slot = np.array(rows, dtype=np.intp).T
        self.w, self.b = w[self.model, self.slot], b[self.model, self.slot][:, None]
        self.g, self.r = np.zeros(self.w.shape), np.zeros(len(rows))

    def logits(self, z: Floats) -> Floats:
        """Logits of all classes but the last, shape (rows of the product, len(z))."""
        # OpenBLAS can raise the flag for finite numbers too (numpy issue 24067). Nothing hides behind this:
        # rows are checked when a table is made, and an objective that is not finite is never accepted.
        with np.errstate(invalid="ignore"):
            a: Floats = self.w @ z.T
            a += self.b
        return a

    def collect(self, p: Floats, z: Floats) -> None:
        """Add what the rows `z` give to the gradient (or to a product with the Hessian)."""
        with np.errstate(invalid="ignore"):
            self.g += p @ z
        self.r += p.sum(axis=1)


def softmax(a: Floats, k: int) -> tuple[Floats, Floats]:
    """Turn logits of all classes but the last into probabilities, in place.

    Parameters
    ----------
    a : ndarray, shape (models * (k - 1), c)
    k : int
        Classes.

    Returns
    -------
    view : ndarray, shape (models, k - 1, c)
        Probabilities, in the memory of `a`.
    log_sum_exp : ndarray, shape (models, c)
        Of all k logits.
    """
    view = a.reshape(-1, k - 1, a.shape[1])
    last = -view.sum(axis=1)
    top = np.maximum(view.max(axis=1), last)
    view -= top[:, None]
    last -= top
    np.exp(view, out=view)
    total = view.sum(axis=1)
    total += np.exp(last)
    view /= total[:, None]
    np.log(total, out=total)
    total += top
    return view, total


class Batch:
    """Models that are evaluated together.

    Parameters
    ----------
    sets : sequence of RowSet
        Rows of each model; models on the same rows may share one.
    lams : sequence of float
        Penalty of each model, per sample.
    """

    def __init__(self, sets: Sequence[RowSet], lams: Sequence[float]) -> None:
        self.sets, self.lams = list(sets), np.asarray(lams, dtype=np.float64)
        self.n_classes: Codes = np.array([s.classes.size for s in sets], dtype=np.int64)
        self.k, self.d = int(self.n_classes.max()), sets[0].mean.size
        unique = list({id(s): s for s in sets}.values())
        place = {id(s): i for i, s in enumerate(unique)}
        self._set = np.array([place[id(s)] for s in sets], dtype=np.intp)
        self._mean = np.stack([s.mean for s in unique])
        # A constant column gets no weight: its logits, gradients and steps are all multiplied by zero.
        self._factor = np.stack([np.where(s.constant, 0.0, 1.0 / s.scale) for s in unique])
        self.varies = np.stack([~s.constant for s in unique])[self._set]
        self.real = np.arange(self.k) < self.n_classes[:, None]  # (M, K): classes that this model has

    def __len__(self) -> int:
        return len(self.sets)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Models, classes of the model that has most, columns and intercept."""
        return len(self), self.k, self.d + 1

    def start(self, sums: Any) -> F64:
        """The constant models: zero weights, intercepts at the log class shares."""
        theta = np.zeros(self.shape)
        for m, s in enumerate(self.sets):
            counts = sums.counts[s.family][list(s.parts)].sum(axis=0)[s.classes]
            theta[m, : s.classes.size, -1] = np.log(np.maximum(counts, 0.5) / counts.sum())
        return self.zero_sum(theta, np.arange(len(self)))

    def zero_sum(self, values: F64, models: NDArray[np.intp]) -> F64:
        """Project (A, K, anything) onto zero sum over the classes that each model has."""
        real = self.real[models][:, :, None]
        mean = (values * real).sum(axis=1, keepdims=True) / self.n_classes[models][:, None, None]
        return np.asarray((values - mean) * real)

    def raw(self, theta: F64, models: NDArray[np.intp], dtype: np.dtype[Any]) -> tuple[Floats, Floats]:
        """Weights (A, K - 1, d) and intercepts (A, K - 1) that act on centred rows as `theta` does on its own."""
        of = self._set[models]
        w = theta[:, :-1, :-1] * self._factor[of][:, None]
        b = theta[:, :-1, -1] - np.einsum("akd,ad->ak", w, self._mean[of])
        return w.astype(dtype), b.astype(dtype)

    def _standard(self, g: F64, r: F64, models: NDArray[np.intp]) -> F64:
        """Gradient in standardised coordinates from sums over centred rows; the last class makes them sum to zero."""
        of = self._set[models]
        out = np.zeros((len(models), self.k, self.d + 1))
        out[:, :-1, :-1] = (g - r[:, :, None] * self._mean[of][:, None]) * self._factor[of][:, None]
        out[:, :-1, -1] = r
        last = self.n_classes[models] - 1
        out[np.arange(len(models)), last] = -out.sum(axis=1)
        return out

    def _teams(self, models: NDArray[np.intp], w: Floats, b: Floats) -> dict[int, _Team]:
        members: dict[int, list[int]] = {}
        for i, m in enumerate(models):
            for part in self.sets[m].parts:
                members.setdefault(part, []).append(i)
        return {part: _Team(team, self.n_classes[models], w, b) for part, team in members.items()}

    def _gathered(self, teams: dict[int, _Team], n_models: int) -> tuple[F64, F64]:
        g, r = np.zeros((n_models, self.k - 1, self.d)), np.zeros((n_models, self.k - 1))
        for part in sorted(teams):
            team = teams[part]
            g[team.model, team.slot] += team.g
            r[team.model, team.slot] += team.r
        return g, r

    def chunk(self, n_models: int) -> int:
        """Rows per matrix product."""
        narrow = _SMALL_PRODUCT // (n_models * (self.k - 1) * self.d)
        return min(_NARROW_ROWS, narrow) if narrow >= _NARROW_ROWS // 4 else _WIDE_ROWS

    def evaluate(self, rows: Passes, models: NDArray[np.intp], theta: F64) -> Evaluation:
        """Objective, gradient and spread of `models` at `theta`, shape (A, K, d + 1), in one pass over `rows`."""
        w, b = self.raw(theta, models, rows.dtype)
        teams = self._teams(models, w, b)
        lse, spread = np.zeros(len(models)), np.zeros((len(models), self.k))
        for z, part in rows.pieces(self.chunk(len(models))):
            if part not in teams:
                continue
            team = teams[part]
            p = team.logits(z)
            for columns, members, k in team.groups:
                view, total = softmax(p[columns], k)
                lse[members] += total.sum(axis=1, dtype=np.float64)
                last = 1.0 - view.sum(axis=1)
                spread[members, : k - 1] -= np.einsum("mkc,mkc->mk", view, view)
                spread[members, k - 1] += (last * (1.0 - last)).sum(axis=1)
            team.collect(p, z)
        g, r = self._gathered(teams, len(models))
        spread[:, :-1] += r  # sum of p - p^2
        return self._finish(rows, models, theta, (w, b), (lse, g, r, spread))

    def curvature_weights(
        self, rows: Thinned, models: NDArray[np.intp], theta: F64, size: int
    ) -> list[NDArray[np.floating[Any]] | None]:
        """How much each row bends the objective by each class, (classes, rows) for every block of `size` rows.

        ``p_k (1 - p_k) min(2, 1 / (1 - sum_j p_j^2))``, the mean over those of `models` that use the block's part, and
        ``None`` where none does. All `models` have the same classes.
        """
        w, b = self.raw(theta, models, rows.of.dtype)
        teams = self._teams(models, w, b)
        out: list[NDArray[np.floating[Any]] | None] = []
        for z, part in rows.pieces(size):
            if part not in teams:
                out.append(None)
                continue
            p = teams[part].logits(z)
            ((columns, _, k),) = teams[part].groups
            view, _ = softmax(p[columns], k)
            every = np.concatenate([view, 1.0 - view.sum(axis=1, keepdims=True)], axis=1)
            bent = np.maximum(every * (1.0 - every), 0.0)  # a probability may be rounded to less than nothing
            bent *= np.minimum(2.0, 1.0 / np.maximum(bent.sum(axis=1, keepdims=True), 1e-30))
            out.append(bent.mean(axis=0))
        return out

    def _finish(
        self,
        rows: Passes,
        models: NDArray[np.intp],
        theta: F64,
        raw: tuple[Floats, Floats],
        found: tuple[F64, F64, F64, F64],
    ) -> Evaluation:
        """Bring in the labels and the penalty, and divide by the number of rows."""
        (w, b), (lse, g, r, spread) = raw, found
        n = np.zeros(len(models))
        for i, m in enumerate(models):
            s = self.sets[m]
            parts, k = list(s.parts), s.classes.size
            counts = rows.sums.counts[s.family][parts].sum(axis=0)[s.classes]
            classes = rows.sums.classes[s.family][parts].sum(axis=0)[s.classes]
            n[i] = counts.sum()
            own = w[i, : k - 1].astype(np.float64)
            lse[i] -= np.vdot(own, classes[:-1] - classes[-1]) + np.vdot(b[i, : k - 1], counts[:-1] - counts[-1])
            g[i, : k - 1] -= classes[:-1]
            r[i, : k - 1] -= counts[:-1]
        gradient = self._standard(g, r, models) / n[:, None, None]
        weights, lam = theta[:, :, :-1], self.lams[models]
        gradient[:, :, :-1] += lam[:, None, None] * weights
        value = lse / n + 0.5 * lam * np.einsum("akd,akd->a", weights, weights)
        return Evaluation(value, gradient, spread / n[:, None])


class Curvature:
    """Hessians of some models at one point, from a thinned sample of their rows.

    Parameters
    ----------
    batch : Batch
    rows : Thinned
    models : ndarray of intp, shape (A,)
    theta : ndarray, shape (A, K, d + 1)
    """

    def __init__(self, batch: Batch, rows: Thinned, models: NDArray[np.intp], theta: F64) -> None:
        self._batch, self._rows, self.models = batch, rows, models
        self._chunk = batch.chunk(len(models))
        by_part = rows.rows()
        self.n = np.array([by_part[list(batch.sets[m].parts)].sum() for m in models], dtype=np.float64)
        w, b = batch.raw(theta, models, rows.of.dtype)
        teams = batch._teams(models, w, b)
        self._p: list[Floats | None] = []
        for z, part in rows.pieces(self._chunk):
            if part not in teams:
                self._p.append(None)
                continue
            p = teams[part].logits(z)
            for columns, _, k in teams[part].groups:
                softmax(p[columns], k)
            self._p.append(p)

    def times(self, v: F64) -> F64:
        """Hessians times `v`, both of shape (A, K, d + 1)."""
        batch, models = self._batch, self.models
        w, b = batch.raw(v, models, self._rows.of.dtype)
        teams = batch._teams(models, w, b)
        for (z, part), p in zip(self._rows.pieces(self._chunk), self._p, strict=True):
            if p is None:
                continue
            team = teams[part]
            q = team.logits(z)
            for columns, _, k in team.groups:
                u, own = q[columns].reshape(-1, k - 1, len(z)), p[columns].reshape(-1, k - 1, len(z))
                last = -u.sum(axis=1)
                mean = last * (1.0 - own.sum(axis=1)) + np.einsum("mkc,mkc->mc", own, u)
                u -= mean[:, None]
                u *= own
            team.collect(q, z)
        g, r = batch._gathered(teams, len(models))
        product = batch._standard(g, r, models) / self.n[:, None, None]
        product[:, :, :-1] += batch.lams[models][:, None, None] * v[:, :, :-1]
        return product


def held_out(batch: Batch, rows: Resident, theta: F64, models: Sequence[int], part: int, y: Codes) -> F64:
    """Cross-entropy of the rows of one part under models that did not see it.

    Parameters
    ----------
    batch : Batch
    rows : Resident
    theta : ndarray, shape (M, K, d + 1)
        Of all models of the batch.
    models : sequence of int
        Which to score; they have the same classes.
    part : int
    y : ndarray of int64
        Class of each row of the part, counted within the models' classes.

    Returns
    -------
    ndarray, shape (len(models), rows of the part)
    """
    chosen = np.asarray(models, dtype=np.intp)
    k = int(batch.n_classes[chosen[0]])
    w, b = batch.raw(theta[chosen], chosen, rows.dtype)
    team = _Team(range(len(chosen)), batch.n_classes[chosen], w, b)
    start, stop = int(rows.bounds[part]), int(rows.bounds[part + 1])
    out = np.empty((len(chosen), stop - start))
    for low in range(start, stop, _WIDE_ROWS):
        high = min(low + _WIDE_ROWS, stop)
        a = team.logits(rows.z[low:high])
        view = a.reshape(-1, k - 1, high - low)
        every = np.concatenate([view, -view.sum(axis=1, keepdims=True)], axis=1)
        own = every[:, y[low - start : high - start], np.arange(high - low)]
        out[:, low - start : high - start] = softmax(a, k)[1] - own
    return out
