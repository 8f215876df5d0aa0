"""Approximate inverse Hessians of many models: one that costs next to nothing, and one that is nearly exact.

Both are block-diagonal over classes. `Spectrum` takes the Gram matrix G of standardised rows once for every model and
penalty: the Hessian's block of class k is close to ``c_k G + lam I`` with ``c_k`` the mean of p_k (1 - p_k) (the
scaled form of Boehning's bound, Ann. Inst. Stat. Math. 44, 1992), and in the eigenbasis of G its inverse is a division.
Where classes separate, only the rows between them have curvature, and G says little about those. `Weighted` inverts
``Z' diag(w_k) Z / n + lam I`` of every model at the point where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.batch import Batch
from hypnos_bench.heads.table import F64, Floats, RowSet, Thinned

_GRAM_ROWS = 16_384
_BLOCK_ROWS = 1024
_LEAST_SPREAD = 1e-12
_RANK = 1e-12  # eigenvalues of a kernel below this share of the largest are rounding
_CHEAPER = 0.3  # what a multiplication costs here, relative to one in a pass, whose products are skinny
_MAX_BYTES = 300_000_000  # of all inverses together


def gram_step(n: int, d: int) -> int:
    """Every how many of `n` rows suffice for a preconditioner of `d` columns."""
    return max(1, n // max(_GRAM_ROWS, 8 * d))


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors (columns, (d, r)) and positive eigenvalues (r,) of the Gram matrix of standardised rows.

    With fewer rows than columns r is smaller than d; across these eigenvectors the Hessian is the penalty alone.
    """

    vectors: Floats
    values: Floats

    @classmethod
    def of(cls, rows: Thinned, rowset: RowSet) -> Spectrum:
        """Decompose the mean of z z' over rows of the set, standardised as it says."""
        d = rowset.mean.size
        dtype = rows.of.dtype
        inside = np.isin(np.arange(len(rows.of.bounds) - 1), rowset.parts)
        n = max(int(rows.rows()[inside].sum()), 1)
        wide = n < d
        gram, kept = np.zeros((0 if wide else d,) * 2), []
        for z, part in rows.pieces(_BLOCK_ROWS):
            if inside[part]:
                own = _standard(z, rowset)
                if wide:
                    kept.append(own)
                else:
                    gram += own.T @ own
        if not wide:
            values, vectors = np.linalg.eigh(gram / n)
            return cls(vectors.astype(dtype), np.maximum(values, 0.0).astype(dtype))
        every = np.concatenate([np.zeros((0, d), dtype=dtype), *kept]).astype(np.float64)
        values, left = np.linalg.eigh(every @ every.T / n)
        real = values > _RANK * max(float(values.max(initial=0.0)), 1e-300)
        vectors = every.T @ (left[:, real] / np.sqrt(n * values[real]))
        return cls(vectors.astype(dtype), values[real].astype(dtype))

    def apply(self, batch: Batch, spread: F64, g: F64, models: NDArray[np.intp]) -> F64:
        """Block inverses times `g`, shape (A, K, d + 1), for models of which `spread` (A, K) is the mean p (1 - p)."""
        a, k, d = len(models), batch.k, batch.d
        c = np.maximum(spread, _LEAST_SPREAD)
        lams = batch.lams[models][:, None, None]
        flat = g[:, :, :-1].reshape(a * k, d).astype(self.vectors.dtype)
        rotated = flat @ self.vectors
        bent = c[:, :, None] * self.values
        out = np.empty_like(g)
        if self.values.size == d:
            rotated /= (bent + lams).reshape(a * k, -1)
            out[:, :, :-1] = (rotated @ self.vectors.T).reshape(a, k, d)
        else:
            rotated *= (bent / (bent + lams)).reshape(a * k, -1)
            out[:, :, :-1] = (flat - rotated @ self.vectors.T).reshape(a, k, d) / lams
        out[:, :, -1] = g[:, :, -1] / c
        return out


class Weighted:
    """Inverses of the class blocks of some models' Hessians, where these models stand.

    Rows are weighted ``p_k (1 - p_k) min(2, 1 / (1 - sum_j p_j^2))``: the factor is what the blocks between classes
    add along directions that sum to zero, exactly so where two classes meet or all are alike.

    Models with the same penalty and classes share one set of weights, their mean; sums are made by part, so
    that every model still has its own rows and standardisation. With fewer rows than columns the same inverse is
    had from the rows' kernel (Woodbury's identity).

    Parameters
    ----------
    batch : Batch
    rows : Thinned
    models : ndarray of intp, shape (A,)
    theta : ndarray, shape (A, K, d + 1)
    """

    def __init__(self, batch: Batch, rows: Thinned, models: NDArray[np.intp], theta: F64) -> None:
        self._batch = batch
        self.place = np.full(len(batch), -1, dtype=np.intp)
        self.place[models] = np.arange(len(models))
        shape = (len(models), batch.k)
        self._mean, self._total = np.zeros((*shape, batch.d)), np.ones(shape)
        self._blocks: list[_Dense | _Kernel | None] = [None] * len(models)
        alike: dict[Any, list[int]] = {}
        for i, m in enumerate(models.tolist()):
            s = batch.sets[m]
            alike.setdefault((float(batch.lams[m]), s.family, s.classes.tobytes()), []).append(i)
        for group in alike.values():
            self._add(rows, models, group, theta)

    @staticmethod
    def rounds(batch: Batch, n: int, m: int, models: Sequence[int] | NDArray[np.intp]) -> float:
        """What making it costs, in passes over `n` rows of these models; infinity where it takes too much memory."""
        a, k, d = len(models), batch.k, batch.d
        groups = len({(float(batch.lams[i]), batch.sets[i].family) for i in models})
        if m < d:
            flops, floats = a * (2.0 * m * m * d + 2.5 * k * m**3), a * (m * d + k * m * m)
        else:
            parts = max(len(batch.sets[i].parts) for i in models)
            flops, floats = 2.0 * groups * k * m * d * d + 2.5 * a * k * d**3, (a + parts + 1) * k * d * d
        return np.inf if 8 * floats > _MAX_BYTES else _CHEAPER * flops / (4.0 * a * n * d * max(k - 1, 1))

    def apply(self, g: F64, models: NDArray[np.intp]) -> F64:
        """Block inverses times `g`, shape (A, K, d + 1)."""
        of = self.place[models]
        mean = self._mean[of]
        out = np.empty_like(g)
        right = g[:, :, :-1] - mean * g[:, :, -1:]
        for i, slot in enumerate(of.tolist()):
            block = self._blocks[slot]
            assert block is not None
            out[i, :, :-1] = block.times(right[i])
        out[:, :, :-1] *= self._batch.varies[models][:, None]
        out[:, :, -1] = g[:, :, -1] / self._total[of] - (mean * out[:, :, :-1]).sum(axis=2)
        return out

    def _add(self, rows: Thinned, models: NDArray[np.intp], group: list[int], theta: F64) -> None:
        weights = self._batch.curvature_weights(rows, models[group], theta[group], _BLOCK_ROWS)
        pieces = [
            (z, part, w)
            for (z, part), w in zip(rows.pieces(_BLOCK_ROWS), weights, strict=True)
            if w is not None  # the group uses this part
        ]
        sets = [self._batch.sets[models[i]] for i in group]
        lam = float(self._batch.lams[models[group[0]]])
        if sum(len(z) for z, _, _ in pieces) < self._batch.d:
            for i, s in zip(group, sets, strict=True):
                own = [(z, w) for z, part, w in pieces if part in s.parts]
                self._add_kernel(i, _standard(np.concatenate([z for z, _ in own]), s), [w for _, w in own], lam)
        else:
            self._add_dense(group, sets, pieces, lam)

    def _add_kernel(self, i: int, own: Floats, weights: Sequence[Floats], lam: float) -> None:
        z, w = own.astype(np.float64), np.concatenate(weights, axis=1).astype(np.float64)
        k = len(w)
        self._total[i, :k] = np.maximum(w.mean(axis=1), _LEAST_SPREAD)
        self._mean[i, :k] = w @ z / len(z) / self._total[i, :k, None]
        self._blocks[i] = _Kernel.of(z, w, self._mean[i], lam)

    def _add_dense(
        self, group: Sequence[int], sets: Sequence[RowSet], pieces: Sequence[tuple[Floats, int, Floats]], lam: float
    ) -> None:
        k, d = sets[0].classes.size, self._batch.d
        unit_mean, unit_scale = _common_units(sets)
        grams: dict[int, F64] = {}
        firsts: dict[int, F64] = {}
        totals: dict[int, F64] = {}
        counts: dict[int, int] = {}
        for z, part, w in pieces:
            if part not in grams:
                grams[part], firsts[part], totals[part] = np.zeros((k, d, d)), np.zeros((k, d)), np.zeros(k)
            own = (z - unit_mean.astype(z.dtype)) / unit_scale.astype(z.dtype)
            for j in range(k):
                heavy = own * w[j][:, None].astype(own.dtype)
                grams[part][j] += heavy.T @ own
                firsts[part][j] += heavy.sum(axis=0)
            totals[part] += w.sum(axis=1)
            counts[part] = counts.get(part, 0) + len(z)
        for i, s in zip(group, sets, strict=True):
            there = [part for part in s.parts if part in grams]
            n = sum(counts[p] for p in there)
            total = np.maximum(np.sum([totals[p] for p in there], axis=0) / n, _LEAST_SPREAD)
            mean = np.sum([firsts[p] for p in there], axis=0) / n / total[:, None]
            scale = np.where(s.constant, 0.0, unit_scale / s.scale)
            self._total[i, :k] = total
            self._mean[i, :k] = scale * mean + np.where(s.constant, 0.0, (unit_mean - s.mean) / s.scale)
            inverses = np.zeros((self._batch.k, d, d))
            for j in range(k):
                gram = np.sum([grams[p][j] for p in there], axis=0) / n - total[j] * np.outer(mean[j], mean[j])
                inverses[j] = _inverse(gram * np.outer(scale, scale), lam)
            self._blocks[i] = _Dense(inverses)


@dataclass(frozen=True)
class _Dense:
    """Inverses, shape (K, d, d)."""

    inverses: F64

    def times(self, right: F64) -> F64:
        return np.asarray(np.matmul(self.inverses, right[:, :, None])[:, :, 0])


@dataclass(frozen=True)
class _Kernel:
    """Rows (m, d) whose centred and weighted form is B = root (rows - mean), and (B B' + lam I)^-1 of each class."""

    rows: F64
    mean: F64
    root: F64
    inner: F64
    lam: float

    @classmethod
    def of(cls, z: F64, w: F64, mean: F64, lam: float) -> _Kernel:
        """From standardised rows (m, d), their weights (k, m) and weighted means (K, d), where k classes are real."""
        kernel = z @ z.T
        k, m = w.shape
        root, inner = np.zeros((len(mean), m)), np.zeros((len(mean), m, m))
        for j in range(k):
            root[j] = np.sqrt(w[j] / m)
            along = z @ mean[j]
            centred = kernel - along - along[:, None] + mean[j] @ mean[j]
            inner[j] = _inverse(centred * np.outer(root[j], root[j]), lam)
        return cls(z, mean, root, inner, lam)

    def times(self, right: F64) -> F64:
        scores = self.root * (right @ self.rows.T - (right * self.mean).sum(axis=1, keepdims=True))
        found = self.root * np.matmul(self.inner, scores[:, :, None])[:, :, 0]
        # `found` sums to zero, because B' root is zero: nothing is left of the mean.
        return np.asarray((right - found @ self.rows) / self.lam)


def _standard(z: Floats, s: RowSet) -> Floats:
    """Centred rows in a row set's standard deviations; zero in constant columns."""
    factor = np.where(s.constant, 0.0, 1.0 / s.scale)
    return np.asarray((z - s.mean.astype(z.dtype)) * factor.astype(z.dtype))


def _common_units(sets: Sequence[RowSet]) -> tuple[F64, F64]:
    """Mean and scale of each column where it varies most: a column that is constant in one set may vary in another."""
    scales = np.stack([np.where(s.constant, 0.0, s.scale) for s in sets])
    most, columns = scales.argmax(axis=0), np.arange(scales.shape[1])
    scale = scales[most, columns]
    return np.stack([s.mean for s in sets])[most, columns], np.where(scale > 0.0, scale, 1.0)


def _inverse(gram: F64, lam: float) -> F64:
    """Inverse of ``gram + lam I``, positive definite also where rounding has made `gram` less than semidefinite."""
    whole = gram + lam * np.eye(len(gram))
    try:
        np.linalg.cholesky(whole)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(gram)
        return np.asarray((vectors / (np.maximum(values, 0.0) + lam)) @ vectors.T)
    inverse = np.linalg.inv(whole)
    return np.asarray(0.5 * (inverse + inverse.T))
