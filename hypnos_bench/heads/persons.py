"""Who is held out: folds over persons, and validation persons inside the label budget.

A person's rows always stay together. Persons are taken in hash order, because neighbouring codes often share
a site; the order depends on the codes alone (and on the seed where there is one), never on their number of rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fold_of_rows(person: NDArray[np.int64], n_folds: int) -> NDArray[np.intp]:
    """Fold of each row; a person's rows stay together and folds differ by one person at most."""
    codes, inverse = np.unique(person, return_inverse=True)
    fold_of_code = np.empty(len(codes), dtype=np.intp)
    fold_of_code[_hash_order(codes, "")] = np.arange(len(codes)) % n_folds
    return fold_of_code[inverse]


@dataclass(frozen=True)
class HoldOut:
    """Which rows are trained on and which only tell when to stop.

    Parameters
    ----------
    training, validation : ndarray of intp
        Row numbers, ascending; `validation` is empty when nobody is held out.
    reason : str
        Why nobody is held out, else empty.
    """

    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    reason: str = ""


def hold_out(
    person: NDArray[np.int64],
    *,
    seed: int,
    share: float,
    min_persons: int,
    classes: NDArray[np.integer[Any]] | None = None,
) -> HoldOut:
    """Set persons of the label budget aside for early stopping.

    ``round(share * persons)`` persons, at least one and never all, are held out; with fewer than `min_persons`
    nobody is. A person without whom a class would have no training row is not held out: few labels are worth
    more than one check. If nobody can be spared for that reason, nobody is held out.

    Parameters
    ----------
    person : ndarray of int64, shape (n,)
    seed : int
        Other seeds hold out other persons.
    share : float
        Share of persons, between 0 and 1.
    min_persons : int
    classes : ndarray of int, shape (n,), optional
        Class codes that must all stay among the training rows.
    """
    codes, inverse = np.unique(person, return_inverse=True)
    everyone = np.arange(person.size)
    nobody = np.empty(0, dtype=np.intp)
    if codes.size < min_persons:
        return HoldOut(everyone, nobody, f"{codes.size} person(s), fewer than the {min_persons} for early stopping")
    wanted = min(max(round(share * codes.size), 1), codes.size - 1)
    held = np.zeros(codes.size, dtype=bool)
    has = _incidence(inverse, codes.size, classes)
    left = has.sum(axis=0)
    for i in _hash_order(codes, f"{seed}:"):
        if held.sum() == wanted:
            break
        if (left[has[i]] > 1).all():
            held[i] = True
            left = left - has[i]
    if not held.any():
        return HoldOut(everyone, nobody, "no person can be spared without losing a class")
    return HoldOut(np.flatnonzero(~held[inverse]), np.flatnonzero(held[inverse]))


def person_weights(person: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of rows, 1 on average, under which every person counts the same."""
    _, inverse, counts = np.unique(person, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = person.size / (counts.size * counts[inverse]) if person.size else np.empty(0)
    return weights


def _incidence(
    inverse: NDArray[np.intp], n_persons: int, classes: NDArray[np.integer[Any]] | None
) -> NDArray[np.bool_]:
    """Which person has which class, shape (persons, classes)."""
    if classes is None:
        return np.zeros((n_persons, 0), dtype=bool)
    has = np.zeros((n_persons, int(classes.max()) + 1), dtype=bool)
    has[inverse, classes] = True
    return has


def _hash_order(codes: NDArray[np.int64], salt: str) -> list[int]:
    return sorted(range(codes.size), key=lambda i: hashlib.sha256(f"{salt}{int(codes[i])}".encode()).digest())
