"""MLP regression: a small network on frozen embeddings that predicts a number.

What is minimised is the mean squared error of the target in units of its standard deviation among the rows trained
on; `network` tells how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.moments import F64, Features
from hypnos_bench.heads.network import NETWORK_SETTINGS, Network, network_settings, train
from hypnos_bench.heads.persons import HoldOut, hold_out, person_weights
from hypnos_bench.heads.regression_rows import RegressionRows, target_moments
from hypnos_bench.heads.rows import as_rows

if TYPE_CHECKING:
    import torch

MLP_REGRESSION_SETTINGS: Mapping[str, Any] = {**NETWORK_SETTINGS}
"""Every setting that can change a number, with its default."""


@dataclass(frozen=True)
class MLPRegressionHead:
    """A trained MLP regression.

    Parameters
    ----------
    network : Network
    centre, spread : float
        Mean and standard deviation of the targets trained on: predictions are ``centre + spread * output``.
    selected : mapping
        What `network.Trained` tells, and ``n_rows``, ``n_recordings``, ``n_persons``, ``training_mean``,
        ``training_sd``.
    certificate : Certificate
    """

    network: Network
    centre: float
    spread: float
    selected: Mapping[str, Any]
    certificate: Certificate

    def predict(self, x: Features) -> F64:
        """Predicted targets, shape (n,).

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        found: F64 = self.centre + self.spread * self.network.outputs(x, "MLP regression")[:, 0]
        return found


def fit_mlp_regression(rows: RegressionRows, settings: Mapping[str, Any], device: str = "cpu") -> MLPRegressionHead:
    """Train an MLP regression.

    Held-out persons count equally in the loss that says when to stop. Where nothing but equal targets would be left
    to train on, nobody is held out.

    Parameters
    ----------
    rows : RegressionRows
        `x` may also be a ``RowSource``.
    settings : mapping
        Overrides of `MLP_REGRESSION_SETTINGS`.
    device : str
        Where to train; no setting, though bits differ between kinds of device.

    Raises
    ------
    FitError
        No rows, NaN or infinity, a constant target, or a loss that is not finite.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = network_settings("mlp-regression", MLP_REGRESSION_SETTINGS, settings)
    source = as_rows(rows.x)
    overall = target_moments(rows.y, source.shape, rows.person)
    part = hold_out(
        rows.person, seed=chosen["seed"], share=chosen["validation_share"], min_persons=chosen["min_persons"]
    )
    if np.ptp(rows.y[part.training]) == 0:
        reason = "the targets left to train on would all be equal"
        part = HoldOut(np.arange(rows.y.size), np.empty(0, dtype=np.intp), reason)
    centre, spread = target_moments(rows.y[part.training], (part.training.size, source.shape[1]), rows.person)
    y = (rows.y - centre) / spread
    trained = train(
        source,
        part,
        _SquaredError(y[part.training], np.ones(part.training.size), device),
        _SquaredError(y[part.validation], person_weights(rows.person[part.validation]), device),
        [0.0],
        chosen,
        device,
    )
    selected = {
        **trained.selected,
        "n_rows": rows.y.size,
        "n_recordings": int(np.unique(rows.recording).size),
        "n_persons": int(np.unique(rows.person).size),
        "training_mean": overall[0],
        "training_sd": overall[1],
    }
    return MLPRegressionHead(trained.network, centre, spread, selected, trained.certificate)


class _SquaredError:
    """Mean of weighted squared errors."""

    def __init__(self, y: F64, weights: F64, device: str) -> None:
        import torch

        self._y = torch.as_tensor(y.astype(np.float32), device=device)
        self._weights = torch.as_tensor(weights.astype(np.float32), device=device)

    def __call__(self, outputs: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        errors = (outputs[:, 0] - self._y[positions]) ** 2
        return (errors * self._weights[positions]).mean()
