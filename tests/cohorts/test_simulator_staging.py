"""Simulated persons differ enough that a split by epoch cheats, and agree enough that staging can be learned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import welch

from hypnos_bench.cohorts.simulator.build import Settings, plans
from hypnos_bench.cohorts.simulator.night import Plan, simulate

BANDS_HZ = ((0.5, 2), (2, 4), (4, 8), (8, 11), (11, 16), (16, 30), (30, 45))
SETTINGS = Settings(n_persons=10, n_second_visits=0, seed=0, n_cycles=1, cycle_min=75.0)


def band_powers(plan: Plan) -> NDArray[np.float64]:
    """Log band power of EEG and both EOG, and the strength of chin and eyes, per epoch."""
    values = {c.label: c.values for c in simulate(SETTINGS.seed, plan, {})}
    n = len(plan.hypnogram.scored)

    def epochs(plus: str, minus: str) -> NDArray[np.float32]:
        difference: NDArray[np.float32] = values[plus] - values[minus]
        return difference[: n * 30 * 128].reshape(n, 30 * 128)

    columns = []
    for plus, minus in (("C3", "A2"), ("LOC", "A2"), ("ROC", "A1")):
        f, power = welch(epochs(plus, minus), 128, nperseg=256, axis=-1)
        columns += [np.log(power[:, (f >= low) & (f < high)].mean(axis=1)) for low, high in BANDS_HZ]
    columns += [np.log(epochs(*pair).std(axis=1)) for pair in (("L Chin", "R Chin"), ("LOC", "ROC"))]
    return np.stack(columns, axis=1).astype(np.float64)


@pytest.fixture(scope="module")
def rows() -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.int64]]:
    nights = plans(SETTINGS)
    x = np.concatenate([band_powers(plan) for plan in nights])
    y = np.concatenate([plan.hypnogram.scored for plan in nights])
    person = np.concatenate([np.full(len(plan.hypnogram.scored), plan.person.number) for plan in nights])
    return x, y, person


def test_a_split_by_epoch_cheats(rows: tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.int64]]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, cohen_kappa_score
    from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, person = rows
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    by_person = cross_val_predict(model, x, y, groups=person, cv=GroupKFold(5))
    by_epoch = cross_val_predict(model, x, y, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    assert accuracy_score(y, by_epoch) > accuracy_score(y, by_person) + 0.03
    assert cohen_kappa_score(y, by_person) > 0.4
    assert cohen_kappa_score(y, by_epoch) < 0.9  # not trivially separable either


def test_a_person_is_recognised_by_the_spectrum(
    rows: tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.int64]],
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, _, person = rows
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    assert cross_val_score(model, x, person, cv=folds).mean() > 0.6
