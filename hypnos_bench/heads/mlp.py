"""MLP probe: a small network on frozen embeddings, trained within the label budget.

What is minimised is the mean cross-entropy of the rows; `network` tells how. ``class_weights`` says what a rare class
is worth: ``none`` (every row counts the same, so that probabilities stay those of the training rows, as with the
linear probe) or ``balanced`` (every class present counts the same: rows of class c weigh n / (classes * n_c), and
probabilities are those of a world in which all classes are equally frequent).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import Certificate, TrainingRows
from hypnos_bench.heads.moments import F64, Features
from hypnos_bench.heads.network import NETWORK_SETTINGS, Network, network_settings, train
from hypnos_bench.heads.persons import hold_out, person_weights
from hypnos_bench.heads.rows import as_rows

if TYPE_CHECKING:
    import torch

MLP_SETTINGS: Mapping[str, Any] = {
    **NETWORK_SETTINGS,
    "class_weights": "none",  # none | balanced
}
"""Every setting that can change a number, with its default."""


@dataclass(frozen=True)
class MLPHead:
    """A trained MLP probe over the full class list; implements ``heads.base.FittedHead``.

    Parameters
    ----------
    network : Network
    classes : ndarray of int64, shape (n_present,)
        Class codes seen in training.
    n_classes : int
    selected : mapping
        What `network.Trained` tells, and ``classes_missing``, ``class_weights``, ``n_rows``, ``n_recordings``,
        ``n_persons``.
    certificate : Certificate
    """

    network: Network
    classes: NDArray[np.int64]
    n_classes: int
    selected: Mapping[str, Any]
    certificate: Certificate

    def predict_proba(self, x: Features) -> F64:
        """Class probabilities, shape (n, n_classes); a class missing from training gets 0.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        outputs = self.network.outputs(x, "MLP head")
        p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        proba = np.zeros((len(outputs), self.n_classes))
        proba[:, self.classes] = p / p.sum(axis=1, keepdims=True)
        return proba


def fit_mlp(rows: TrainingRows, settings: Mapping[str, Any], device: str = "cpu") -> MLPHead:
    """Train an MLP probe.

    Held-out persons count equally in the loss that says when to stop. No person is held out without whom a class
    would be missing from training.

    Parameters
    ----------
    rows : TrainingRows
        `x` may also be a ``RowSource``.
    settings : mapping
        Overrides of `MLP_SETTINGS`.
    device : str
        Where to train; no setting, though bits differ between kinds of device.

    Raises
    ------
    FitError
        No rows, non-finite features, a single class, or a loss that is not finite.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = network_settings("mlp", MLP_SETTINGS, settings)
    if chosen["class_weights"] not in ("none", "balanced"):
        raise UsageError(f"mlp head: class_weights is none or balanced, not {chosen['class_weights']!r}")
    source = as_rows(rows.x)
    n, d = source.shape
    if n == 0 or n != len(rows.y) or d == 0:
        raise FitError(f"an MLP needs rows with features and labels, got x {(n, d)} and {len(rows.y)} labels")
    if rows.y.min() < 0 or rows.y.max() >= rows.n_classes:
        raise FitError(f"training labels run from {rows.y.min()} to {rows.y.max()}, outside 0..{rows.n_classes - 1}")
    present, codes = np.unique(rows.y, return_inverse=True)
    n_persons = int(np.unique(rows.person).size)
    if present.size == 1:
        raise FitError(
            f"all {n} training rows of {n_persons} person(s) have the same class (code {present[0]}): "
            "nothing to learn; use more shots or another seed"
        )
    part = hold_out(
        rows.person,
        seed=chosen["seed"],
        share=chosen["validation_share"],
        min_persons=chosen["min_persons"],
        classes=codes,
    )
    counts = np.bincount(codes[part.training])
    balanced = chosen["class_weights"] == "balanced"
    worth = counts.sum() / (present.size * counts) if balanced else np.ones(present.size)
    weights = worth[codes]
    shares = worth * counts / (worth * counts).sum()
    trained = train(
        source,
        part,
        _CrossEntropy(codes[part.training], weights[part.training], device),
        _CrossEntropy(
            codes[part.validation], weights[part.validation] * person_weights(rows.person[part.validation]), device
        ),
        np.log(shares),
        chosen,
        device,
    )
    selected = {
        **trained.selected,
        "classes_missing": [c for c in range(rows.n_classes) if c not in present],
        "class_weights": {str(c): float(w) for c, w in zip(present, worth, strict=True)},
        "n_rows": n,
        "n_recordings": int(np.unique(rows.recording).size),
        "n_persons": n_persons,
    }
    return MLPHead(trained.network, present.astype(np.int64), rows.n_classes, selected, trained.certificate)


class _CrossEntropy:
    """Mean of weighted cross-entropies."""

    def __init__(self, codes: NDArray[np.integer[Any]], weights: F64, device: str) -> None:
        import torch

        self._codes = torch.as_tensor(codes.astype(np.int64), device=device)
        self._weights = torch.as_tensor(weights.astype(np.float32), device=device)

    def __call__(self, outputs: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        import torch

        losses = torch.nn.functional.cross_entropy(outputs, self._codes[positions], reduction="none")
        return (losses * self._weights[positions]).mean()
