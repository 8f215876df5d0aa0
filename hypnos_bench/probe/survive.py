"""Survival: to whom it happens, and when. One outcome or many, on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.registry import HEADS
from hypnos_bench.heads.rows import RowSource
from hypnos_bench.heads.survival_rows import SurvivalRows
from hypnos_bench.probe.data import Indices, ProbeData, Targets
from hypnos_bench.probe.kind import Job, Scored, in_memory
from hypnos_bench.scoring.survival import SurvivalPredictions, score_survival
from hypnos_bench.store.side import SurvivalSide


@dataclass(frozen=True)
class Predicted:
    """Log relative hazards (n, M) of one fold's test rows, and survival (n, M, H) at the task's horizons."""

    risk: NDArray[np.float64]
    survival: NDArray[np.float32] | None


def fit(job: Job, data: ProbeData, x: RowSource, train: Indices, person: NDArray[np.int64]) -> Any:
    """Fit the cell's head on training rows; `person` are codes of families."""
    time, event, at_risk = _arrays(data.targets)
    rows = SurvivalRows(
        x=in_memory(x),
        time=time[train],
        event=event[train],
        at_risk=at_risk[train],
        names=data.targets.outcomes,
        person=person,
    )
    return HEADS.load(job.head.id)(rows, job.settings)


def predict(job: Job, fitted: Any, x: RowSource) -> Predicted:
    """Risks of test rows, and their predicted survival for calibration."""
    rows = in_memory(x)
    survival = fitted.survival(rows, job.task.horizons).astype(np.float32) if job.task.horizons else None
    return Predicted(fitted.risk(rows), survival)


def score(job: Job, data: ProbeData, tested: Sequence[Indices], pieces: Sequence[Predicted]) -> Scored:
    """Score the test rows of all folds; risks are compared within folds only."""
    rows = np.concatenate(tested)
    order = np.argsort(rows, kind="stable")
    fold = np.repeat(np.arange(len(tested)), [len(index) for index in tested])[order].astype(np.int32)
    rows = rows[order]
    shown = data.recording_of_row[rows]
    times, events, risks = _arrays(data.targets)
    time, event, at_risk = times[rows], events[rows], risks[rows]
    survival = [piece.survival for piece in pieces if piece.survival is not None]
    predictions = SurvivalPredictions(
        recordings=[data.recordings[i] for i in shown],
        persons=[data.persons[i] for i in shown],
        outcomes=data.targets.outcomes,
        fold=fold,
        risk=np.concatenate([piece.risk for piece in pieces])[order],
        time=time,
        event=event,
        at_risk=at_risk,
        survival=np.concatenate(survival)[order] if survival else None,
        horizons=job.task.horizons,
    )
    n_outcomes = len(predictions.outcomes)
    # One outcome's replicates are made again in no time; those of a thousand are kept for paired tests.
    drawn = np.empty((n_outcomes, job.bootstrap), dtype=np.float32) if n_outcomes > 1 else None
    scores, outcomes = score_survival(job.task.metrics, predictions, job.bootstrap, out=drawn)
    side = SurvivalSide(
        predictions.recordings,
        predictions.persons,
        list(predictions.outcomes),
        fold,
        predictions.risk.astype(np.float32),
        np.where(at_risk, time, np.nan).astype(np.float32),
        (event & at_risk).astype(np.int8),
        at_risk.astype(np.int8),
        drawn,
    )
    return Scored(scores, tuple(outcomes), side)


def _arrays(targets: Targets) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    if targets.time is None or targets.event is None or targets.at_risk is None:
        raise ValueError("a survival task needs times, events and who was at risk")
    return targets.time, targets.event, targets.at_risk
