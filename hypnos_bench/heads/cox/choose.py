"""Which penalty an outcome deserves, by cross-validated partial likelihood, for many outcomes at once.

The held-out loss of a fold is that of Verweij and van Houwelingen (Stat. Med. 12, 1993): the log partial likelihood of
all rows less that of the training rows, both at the coefficients of the training rows. Held-out persons are compared
with everybody at risk, not only with each other, which matters when a fold holds a handful of events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.cox.likelihood import RiskSets, loss_at
from hypnos_bench.heads.cox.solver import Features, Problem, minimise
from hypnos_bench.heads.rule import RULES, pick
from hypnos_bench.heads.survival_rows import SurvivalRows

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Folds:
    """Folds of rows, the same for all outcomes.

    Parameters
    ----------
    of_row : ndarray of intp, shape (n,)
    count : int
    scales : ndarray, shape (count, d)
        Standard deviations of the standardised features among the rows outside each fold.
    """

    of_row: NDArray[np.intp]
    count: int
    scales: F64


def fold_events(rows: SurvivalRows, index: int, folds: Folds) -> NDArray[np.intp]:
    """Events of outcome `index` in each fold."""
    happened = rows.event[:, index] & rows.at_risk[:, index]
    return np.bincount(folds.of_row[happened], minlength=folds.count)


def choose(
    features: Features, rows: SurvivalRows, outcomes: Sequence[int], folds: Folds, settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Choose a penalty for each of `outcomes`, which share every batch.

    It is the one of the least mean held-out loss per event, or under ``rule = "one-se"`` the largest within one
    standard error of it. Folds count by their held-out events; the standard error is that of the folds' paired
    differences to the best penalty, since how hard a fold is says nothing about the penalty. The path runs from strong
    to weak and ends for an outcome once its loss has risen twice in a row by more than a standard error.
    """
    races = [_Race(rows, index, folds, settings["ties"]) for index in outcomes]
    path: list[float] = sorted(settings["penalties"], reverse=True)
    starts = {race: [np.zeros(features.z.shape[1])] * folds.count for race in races}
    for lam in path:
        running = [race for race in races if not race.over]
        if not running:
            break
        problems = [
            Problem(race.training[k], lam, folds.scales[k], starts[race][k])
            for race in running
            for k in range(folds.count)
        ]
        limits = np.full(len(problems), settings["cv_tolerance"])
        solved = minimise(features, problems, limits, max_evaluations=settings["max_iterations"], certify=False)
        scales = np.tile(folds.scales, (len(running), 1))
        eta = (solved.theta / scales).astype(np.float32) @ features.z.T
        for i, race in enumerate(running):
            mine = slice(i * folds.count, (i + 1) * folds.count)
            starts[race] = list(solved.theta[mine])
            race.score(eta[mine], bool(solved.converged[mine].all()))
    return [race.choice(path, settings["rule"]) for race in races]


class _Race:
    """One outcome on its way along the path."""

    def __init__(self, rows: SurvivalRows, index: int, folds: Folds, ties: str) -> None:
        time, event, use = rows.time[:, index], rows.event[:, index], rows.at_risk[:, index]
        self.everybody = RiskSets.of(time, event, use, ties)
        self.training = [RiskSets.of(time, event, use & (folds.of_row != k), ties) for k in range(folds.count)]
        self.events = fold_events(rows, index, folds)
        self.losses: list[F64] = []
        self.over = False
        self.unconverged = 0
        self._worse = 0
        self._null = self._held_out(np.zeros((folds.count, len(use)), dtype=np.float32))

    def _held_out(self, eta: NDArray[np.float32]) -> F64:
        """Loss per held-out event of each fold at its own linear predictor of all rows."""
        losses = [loss_at(self.everybody, e) - loss_at(s, e) for s, e in zip(self.training, eta, strict=True)]
        return np.asarray(losses / self.events, dtype=np.float64)

    def score(self, eta: NDArray[np.float32], converged: bool) -> None:
        """Take the next penalty's linear predictors, shape (folds, n)."""
        self.losses.append(self._held_out(eta))
        self.unconverged += not converged
        mean, error, best = self._excess()
        self._worse = self._worse + 1 if mean[-1] - mean[best] > error[-1] else 0
        self.over = self._worse == 2

    def _excess(self) -> tuple[F64, F64, int]:
        """Mean loss per penalty, standard error of its excess over the best one, and which is best."""
        losses, weight = np.stack(self.losses), self.events / self.events.sum()
        mean = losses @ weight
        best = int(mean.argmin())
        excess = losses - losses[best]
        spread = ((excess - (mean - mean[best])[:, None]) ** 2) @ weight
        return mean, np.sqrt(spread / (len(weight) - 1)), best

    def choice(self, path: Sequence[float], rule: str) -> dict[str, Any]:
        mean, error, best = self._excess()
        taken = pick(mean, error, rule)
        return {
            "penalty": path[taken],
            "rule": RULES[rule],
            "sweep": [
                {"penalty": lam, "held_out_loss": float(m), "excess_se": float(e)}
                for lam, m, e in zip(path[: len(mean)], mean, error, strict=True)
            ],
            "best_penalty": path[best],
            "null_loss": float(self._null @ self.events / self.events.sum()),
            "at_edge": bool({best, taken} & {0, len(path) - 1}),
            "cv_unconverged": self.unconverged,
        }
