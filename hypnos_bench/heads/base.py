"""What every head gives back: predictions, the hyper-parameters chosen, and proof of convergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.rows import RowSource


@dataclass(frozen=True)
class Certificate:
    """Proof that an optimum was reached.

    Parameters
    ----------
    converged : bool
    newton_decrement : float
        g' H^-1 g / 2 at the returned point: an estimate of the distance to the optimum in loss.
    gradient_norm : float
        Largest absolute entry of the gradient of the mean penalised loss.
    tolerance : float
        What `newton_decrement` (or `gradient_norm`, see `criterion`) had to fall below.
    criterion : str
        Which of the two was tested.
    iterations : int
    """

    converged: bool
    newton_decrement: float
    gradient_norm: float
    tolerance: float
    criterion: str
    iterations: int


class FittedHead(Protocol):
    """A fitted classifier over the task's full class list."""

    @property
    def selected(self) -> Mapping[str, Any]:
        """Chosen hyper-parameters, sweep, ``at_edge`` flag, ``classes_missing``, ``constant_features``."""
        ...

    @property
    def certificate(self) -> Certificate:
        """Proof of convergence."""
        ...

    def predict_proba(self, x: NDArray[np.floating[Any]] | RowSource) -> NDArray[np.float64]:
        """Class probabilities, shape (n, n_classes); a class missing from training gets 0."""
        ...


@dataclass(frozen=True)
class TrainingRows:
    """Rows a head may learn from; nothing else is shown to it.

    Parameters
    ----------
    x : ndarray of float32, or rows to be read block by block, shape (n, dim)
    y : ndarray of int64, shape (n,), codes 0..n_classes-1
    person, recording : ndarray of int64, shape (n,)
        Group codes.
    n_classes : int
    """

    x: NDArray[np.float32] | RowSource
    y: NDArray[np.int64]
    person: NDArray[np.int64]
    recording: NDArray[np.int64]
    n_classes: int
