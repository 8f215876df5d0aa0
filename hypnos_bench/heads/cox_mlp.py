"""Cox MLP: one network whose outputs are the log relative hazards of M outcomes.

What is minimised is the mean over outcomes of the negative log partial likelihood per event; `network` tells how, and
`cox.likelihood` what it is. All outcomes share the hidden layers. Risk sets are those of all persons trained on, or
of a batch where there are more rows than ``batch_rows``; the loss of held-out persons takes risk sets among
themselves. An outcome that cannot be trained is left out, gets NaN and a status that says why.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.cox.degenerate import Triage, check_rows, none_fitted, triage
from hypnos_bench.heads.cox.head import Baseline
from hypnos_bench.heads.cox.likelihood import TIES, RiskSets, baseline_hazard, residuals, scan
from hypnos_bench.heads.moments import F64, Features
from hypnos_bench.heads.network import NETWORK_SETTINGS, Network, network_settings, train
from hypnos_bench.heads.persons import HoldOut, hold_out
from hypnos_bench.heads.rows import as_rows
from hypnos_bench.heads.survival_rows import SurvivalRows

if TYPE_CHECKING:
    import torch

COX_MLP_SETTINGS: Mapping[str, Any] = {
    **NETWORK_SETTINGS,
    "batch_rows": 4096,  # risk sets are complete up to this many rows
    "min_persons": 20,  # fewer make no risk sets to stop by
    "ties": "efron",  # or "breslow"
}
"""Every setting that can change a number, with its default."""


@dataclass(frozen=True)
class CoxMLPHead:
    """A trained Cox MLP of M outcomes.

    Parameters
    ----------
    names : tuple of str, length M
    network : Network
        One output per trained outcome, in the order of `names`.
    centre : ndarray, shape (trained outcomes,)
        Mean output of the rows shown, which risks are relative to.
    baselines : tuple of Baseline or None, length M
        Cumulative hazard at risk 0, from all rows shown; None for an outcome that was not trained.
    selected : mapping
        What `network.Trained` tells, ``ties``, ``n_rows``, ``n_persons``, ``statuses`` (how often each), and
        ``outcomes``, a list with a mapping for each: ``name``, ``n`` at risk, ``events``, ``excluded``, ``status``
        (as for the Cox head; ``held-out``: persons held out take all that could be learnt with them), ``fitted``,
        ``message``.
    certificate : Certificate
    """

    names: tuple[str, ...]
    network: Network
    centre: F64
    baselines: tuple[Baseline | None, ...]
    selected: Mapping[str, Any]
    certificate: Certificate

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which outcomes were trained, shape (M,)."""
        return np.array([baseline is not None for baseline in self.baselines])

    def risk(self, x: Features) -> F64:
        """Log hazard relative to the mean of the rows shown, shape (n, M); NaN for outcomes that were not trained.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        outputs = self.network.outputs(x, "Cox MLP")
        risk = np.full((len(outputs), len(self.names)), np.nan)
        risk[:, self.fitted] = outputs - self.centre
        return risk

    def survival(self, x: Features, years: ArrayLike) -> F64:
        """Predicted probability of being free of each outcome at each of T times after the recording.

        ``exp(-H0(t) * exp(risk))``: what would be seen if nothing else (death, say) ended follow-up.

        Parameters
        ----------
        x : ndarray, shape (n, d)
        years : array_like, shape (T,)

        Returns
        -------
        ndarray, shape (n, M, T)
            NaN for an outcome that was not trained, and beyond an outcome's longest follow-up.

        Raises
        ------
        DataError
            As `risk`, and for times that are negative or not finite.
        """
        times = np.atleast_1d(np.asarray(years, dtype=np.float64))
        if times.ndim != 1 or not (np.isfinite(times) & (times >= 0)).all():
            raise DataError("survival is predicted at a list of finite times that are not negative")
        hazard = np.stack([np.full(times.size, np.nan) if b is None else b.at(times) for b in self.baselines])
        return np.asarray(np.exp(-np.exp(self.risk(x))[:, :, None] * hazard), dtype=np.float64)


def fit_cox_mlp(rows: SurvivalRows, settings: Mapping[str, Any], device: str = "cpu") -> CoxMLPHead:
    """Train a Cox MLP.

    Parameters
    ----------
    rows : SurvivalRows
    settings : mapping
        Overrides of `COX_MLP_SETTINGS`.
    device : str
        Where to train; no setting, though bits differ between kinds of device. Partial likelihoods are computed on
        the CPU.

    Raises
    ------
    FitError
        Rows that do not fit together, features that are not finite, no outcome that can be trained, or a loss that is
        not finite.
    UsageError
        A setting that does not exist or makes no sense.
    """
    chosen = network_settings("cox-mlp", COX_MLP_SETTINGS, settings)
    if chosen["ties"] not in TIES:
        raise UsageError(f"cox-mlp head: ties is one of {', '.join(TIES)}, not {chosen['ties']!r}")
    check_rows(rows)
    part = hold_out(
        rows.person, seed=chosen["seed"], share=chosen["validation_share"], min_persons=chosen["min_persons"]
    )
    if part.validation.size and not any(found.fits for found in _triage(rows, part.validation)):
        reason = "no outcome has an event among the persons to hold out that could be told from others"
        part = HoldOut(np.arange(len(rows.person)), np.empty(0, dtype=np.intp), reason)
    sorted_out = [
        found if found.fits or not whole.fits else dataclasses.replace(whole, status="held-out", message=_HELD_OUT)
        for found, whole in zip(_triage(rows, part.training), _triage(rows, np.arange(len(rows.person))), strict=True)
    ]
    use = [i for i, found in enumerate(sorted_out) if found.fits]
    if not use:
        raise none_fitted(
            [
                {"name": name, "status": found.status, "message": found.message}
                for name, found in zip(rows.names, sorted_out, strict=True)
            ]
        )
    trained = train(
        as_rows(rows.x),
        part,
        PartialLikelihood.of(rows, part.training, use, chosen["ties"]),
        PartialLikelihood.of(rows, part.validation, use, chosen["ties"]),
        np.zeros(len(use)),
        chosen,
        device,
    )
    outputs = trained.network.outputs(rows.x, "Cox MLP")
    centre = outputs.mean(axis=0)
    baselines: list[Baseline | None] = [None] * len(rows.names)
    for column, i in enumerate(use):
        baselines[i] = _baseline(rows, i, outputs[:, column] - centre[column], chosen["ties"])
    selected = {
        **trained.selected,
        "ties": chosen["ties"],
        "n_rows": len(rows.x),
        "n_persons": int(np.unique(rows.person).size),
        "statuses": dict(sorted(Counter(found.status for found in sorted_out).items())),
        "outcomes": [
            {**_counts(rows, i), "status": found.status, "fitted": found.fits, "message": found.message}
            for i, found in enumerate(sorted_out)
        ],
    }
    return CoxMLPHead(rows.names, trained.network, centre, tuple(baselines), selected, trained.certificate)


_HELD_OUT = "persons held out for early stopping take all events, or all who outlive them; use another seed"


def _triage(rows: SurvivalRows, kept: NDArray[np.intp]) -> list[Triage]:
    """What every outcome has to offer among the rows `kept`."""
    some = dataclasses.replace(
        rows, x=rows.x[:0], time=rows.time[kept], event=rows.event[kept], at_risk=rows.at_risk[kept]
    )
    return [triage(some, i, min_events=0, penalised=True) for i in range(len(rows.names))]


def _counts(rows: SurvivalRows, index: int) -> dict[str, Any]:
    at_risk = rows.at_risk[:, index]
    events = int((rows.event[:, index] & at_risk).sum())
    return {
        "name": rows.names[index],
        "n": int(at_risk.sum()),
        "events": events,
        "excluded": int((~at_risk).sum()),
    }


def _baseline(rows: SurvivalRows, index: int, eta: F64, ties: str) -> Baseline:
    at_risk = rows.at_risk[:, index]
    sets = RiskSets.of(rows.time[:, index], rows.event[:, index], at_risk, ties)
    return Baseline(sets.times, baseline_hazard(sets, eta), float(rows.time[at_risk, index].max()))


class PartialLikelihood:
    """Mean over outcomes of the negative log partial likelihood per event; a `network.Objective`.

    In a batch, an outcome counts by its events there, so that the batches of a pass average to the mean over all
    its events. Outcomes without an event among all rows do not count. Float64, on the CPU.

    Parameters
    ----------
    time, event, at_risk : ndarray, shape (rows, outcomes)
    ties : {"efron", "breslow"}
    """

    def __init__(self, time: F64, event: NDArray[np.bool_], at_risk: NDArray[np.bool_], ties: str) -> None:
        self._time, self._event, self._at_risk, self._ties = time, event & at_risk, at_risk, ties
        events = self._event.sum(axis=0)
        self._worth = np.where(events > 0, 1.0 / (max((events > 0).sum(), 1) * np.maximum(events, 1)), 0.0)
        self._everybody: list[RiskSets | None] | None = None

    @classmethod
    def of(cls, rows: SurvivalRows, kept: NDArray[np.intp], use: Sequence[int], ties: str) -> PartialLikelihood:
        """Of some rows and outcomes."""
        cells = np.ix_(kept, np.asarray(use))
        return cls(rows.time[cells], rows.event[cells], rows.at_risk[cells], ties)

    def __call__(self, outputs: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Loss of rows from their outputs (rows, outcomes); its gradient flows into `outputs`."""
        import torch

        rows = positions.cpu().numpy()
        eta = outputs.detach().cpu().numpy().T.astype(np.float64)
        value, slopes = 0.0, np.zeros(eta.shape)
        if rows.size == len(self._time):  # a batch of everybody: risk sets are kept, whatever the order of rows
            order = np.argsort(rows)
            if self._everybody is None:
                self._everybody = self._risk_sets(np.arange(rows.size))
            sets = self._everybody
        else:
            order = np.arange(rows.size)
            sets = self._risk_sets(rows)
        scale = self._worth * len(self._time) / rows.size
        for outcome, risk_sets in enumerate(sets):
            if risk_sets is None:
                continue
            predictor = eta[outcome, order]
            found = scan(risk_sets, predictor)
            if not np.isfinite(found.loss):
                return outputs.sum() * np.inf
            residuals(risk_sets, found, predictor)
            value += scale[outcome] * found.loss
            slopes[outcome, order] = -scale[outcome] * predictor
        # Zero, with the gradient wanted.
        slope = (outputs.double() * torch.from_numpy(slopes.T).to(outputs.device)).sum()
        return value + (slope - slope.detach())

    def _risk_sets(self, rows: NDArray[np.int64]) -> list[RiskSets | None]:
        """Of every outcome that has an event among `rows`."""
        return [
            RiskSets.of(self._time[rows, m], self._event[rows, m], self._at_risk[rows, m], self._ties)
            if self._event[rows, m].any()
            else None
            for m in range(self._time.shape[1])
        ]
