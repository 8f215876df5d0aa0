"""What becomes of the codes of a residual quantiser: the vectors they stand for, groups of like codes, their shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.signals.gaps import MAX_BRIDGED

Book = NDArray[np.float32]
"""Codebook of one level, shape (codes, width)."""


def code_vectors(books: Sequence[Book], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sum over levels of the vectors that codes stand for: what residual quantisation makes of a latent vector.

    Parameters
    ----------
    books : sequence of ndarray, each of shape (codes, width)
    codes : ndarray of int, shape (rows, levels)

    Returns
    -------
    ndarray, shape (rows, width)
    """
    total = np.zeros((len(codes), books[0].shape[1]), np.float32)
    for book, level in zip(books, codes.T, strict=True):
        total += book[level]
    return total


def code_groups(book: Book, n_groups: int) -> NDArray[np.int64]:
    """Group codes by the neighbourhood of their vectors: a k-d tree of median cuts along the widest coordinate.

    Groups are as large as each other, to one code per cut, and the same on every machine; no seed is drawn.

    Parameters
    ----------
    book : ndarray, shape (codes, width)
    n_groups : int
        A power of two of at most the number of codes.

    Returns
    -------
    ndarray of int, shape (codes,)
        Group of each code, 0 to n_groups - 1. Source: Bentley 1975, Commun. ACM 18:509.
    """
    members = [np.arange(len(book))]
    while len(members) < n_groups:
        halves = []
        for codes in members:
            vectors = book[codes].astype(np.float64)
            order = codes[np.argsort(vectors[:, np.argmax(vectors.var(axis=0))], kind="stable")]
            halves += [order[: len(order) // 2], order[len(order) // 2 :]]
        members = halves
    groups = np.empty(len(book), np.int64)
    for group, codes in enumerate(members):
        groups[codes] = group
    return groups


def shares(groups: NDArray[np.int64], per_epoch: int, n_bins: int) -> NDArray[np.float32]:
    """Shares of each group among the tokens of an epoch.

    Parameters
    ----------
    groups : ndarray of int, shape (rows,)
        Group of each token, -1 where there is none.
    per_epoch, n_bins : int

    Returns
    -------
    ndarray, shape (rows // per_epoch, n_bins)
        Each row sums to 1; NaN where more than a tenth of an epoch's tokens are missing.
    """
    n = len(groups) // per_epoch
    epochs = groups[: n * per_epoch].reshape(n, per_epoch)
    there = epochs >= 0
    cells = (np.arange(n)[:, None] * n_bins + epochs)[there]
    counts = np.bincount(cells, minlength=n * n_bins).reshape(n, n_bins)
    total = there.sum(axis=1, keepdims=True)
    out: NDArray[np.float32] = (counts / np.maximum(total, 1)).astype(np.float32)
    out[total[:, 0] < (1 - MAX_BRIDGED) * per_epoch - 1e-9] = np.nan
    return out
