"""A fitted Cox head: relative hazards, baseline hazards, predicted survival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.moments import F64, Moments
from hypnos_bench.registry import did_you_mean


@dataclass(frozen=True)
class Baseline:
    """Cumulative hazard of a person with the features' training means.

    Breslow's estimator, or under Efron's rule for ties the one consistent with it.

    Parameters
    ----------
    times : ndarray, shape (K,)
        Event times in years, ascending.
    cumulative_hazard : ndarray, shape (K,)
        From each event time on.
    followed_until : float
        Longest follow-up among those at risk; later on nothing is known.
    """

    times: F64
    cumulative_hazard: F64
    followed_until: float

    def at(self, years: F64) -> F64:
        """Cumulative hazard at `years`, NaN beyond `followed_until`; same shape as `years`."""
        steps = np.concatenate([[0.0], self.cumulative_hazard])
        hazard = steps[np.searchsorted(self.times, years, side="right")]
        return np.where(years <= self.followed_until, hazard, np.nan)


@dataclass(frozen=True)
class CoxHead:
    """Cox models of M outcomes over the same d features.

    Parameters
    ----------
    names : tuple of str, length M
    moments : Moments
        Standardisation by the training rows.
    coefficients : ndarray, shape (M, d)
        Log hazard ratio per standard deviation; NaN for an outcome without a model, zero for constant features.
    baselines : tuple of Baseline or None, length M
        None for an outcome without a model.
    certificates : tuple of Certificate, length M
        That of an outcome without a model says so in its criterion and is not converged.
    selected : mapping
        Shared: ``ties``, ``penalty_scale``, ``n_rows``, ``n_persons``, ``n_features``, ``constant_features``,
        ``statuses`` (how often each). ``outcomes``, a list with a mapping for each: ``name``, ``n`` at risk,
        ``events``, ``excluded``, ``status`` (see `hypnos_bench.heads.cox.degenerate.STATUSES`), ``fitted``,
        ``message``, ``penalty``, ``rule`` (fixed | cv-min | cv-1se | prior), ``sweep`` (held-out loss per event),
        ``best_penalty``, ``null_loss`` (held-out loss of no model), ``at_edge``, ``cv_unconverged``, ``loss``
        (negative log partial likelihood per event), ``solver`` (batched | newton).
    """

    names: tuple[str, ...]
    moments: Moments
    coefficients: F64
    baselines: tuple[Baseline | None, ...]
    certificates: tuple[Certificate, ...]
    selected: Mapping[str, Any]

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which outcomes could be fitted, shape (M,)."""
        return np.array([baseline is not None for baseline in self.baselines])

    @property
    def raw_coefficients(self) -> F64:
        """Log hazard ratio per unit of each feature, shape (M, d)."""
        return np.asarray(self.coefficients / self.moments.scale, dtype=np.float64)

    @property
    def certificate(self) -> Certificate:
        """Of the fitted outcome that came nearest to its tolerance; one without a model proves or disproves nothing.

        There is always one: `fit_cox` gives no head without a fitted outcome.
        """
        fitted = [c for c, ok in zip(self.certificates, self.fitted, strict=True) if ok]
        return max(fitted, key=lambda c: (not c.converged, c.newton_decrement / c.tolerance))

    def risk(self, x: NDArray[np.floating[Any]]) -> F64:
        """Log hazard relative to the features' training means, shape (n, M); NaN for outcomes without a model.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        fitted = self.fitted
        risk = np.full((len(x), len(self.names)), np.nan)
        for low, z in self.moments.standardise_checked(x, "Cox head"):
            risk[low : low + len(z), fitted] = z @ self.coefficients[fitted].T
        return risk

    def baseline(self, name: str) -> Baseline | None:
        """Baseline hazard of an outcome, None if it could not be fitted.

        Raises
        ------
        UsageError
            When the head has no such outcome.
        """
        if name not in self.names:
            raise UsageError(f"the Cox head has no outcome {name!r}.{did_you_mean(name, self.names)}")
        return self.baselines[self.names.index(name)]

    def survival(self, x: NDArray[np.floating[Any]], years: ArrayLike) -> F64:
        """Predicted probability of being free of each outcome at each of T times after the recording.

        ``exp(-H0(t) * exp(risk))``: what would be seen if nothing else (death, say) ended follow-up.

        Parameters
        ----------
        x : ndarray, shape (n, d)
        years : array_like, shape (T,)

        Returns
        -------
        ndarray, shape (n, M, T)
            NaN for an outcome without a model, and beyond an outcome's longest follow-up.

        Raises
        ------
        DataError
            As `risk`, and for times that are negative or not finite.
        """
        times = np.atleast_1d(np.asarray(years, dtype=np.float64))
        if times.ndim != 1 or not (np.isfinite(times) & (times >= 0)).all():
            raise DataError("survival is predicted at a list of finite times that are not negative")
        relative = np.exp(self.risk(x))
        hazard = np.stack([np.full(times.size, np.nan) if b is None else b.at(times) for b in self.baselines])
        return np.asarray(np.exp(-relative[:, :, None] * hazard), dtype=np.float64)
