"""A measured process of ``probes.py``: one job as JSON on stdin, its measurements as the last line of stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Meter
from _probe_data import Nights
from numpy.typing import NDArray

from hypnos_bench.heads.base import TrainingRows
from hypnos_bench.heads.linear import LinearHead, fit_linear
from hypnos_bench.heads.rows import RowSource, Spans
from hypnos_bench.threads import one_thread

Job = Mapping[str, Any]
BUDGETS = (0.01, 0.05, 0.1)
_TEST_NIGHTS = 100
_TIGHTER = 1e-9


def objective(proba: Any, y: NDArray[np.int64], weights: NDArray[np.float64], lam: float) -> float:
    """What both sides minimise, from their own probabilities and weights."""
    own = proba[np.arange(len(y)), y].astype(np.float64)
    return float(-np.log(own).mean() + lam / 2 * np.square(weights).sum())


def ours(job: Job, meter: Meter) -> dict[str, Any]:
    """This package on rows in memory."""
    x, y, person = _saved(job)
    with meter.stage("fit"):
        head = fit_linear(TrainingRows(x, y, person, person, 5), {"lambdas": [job["lam"]]})
    return {"loss": objective(head.predict_proba(x), y, head.weights, job["lam"]), **_proof(head)}


def sklearn(job: Job, meter: Meter) -> dict[str, Any]:
    """The usual tool, run to convergence."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y, _ = _saved(job)
    with meter.stage("fit"):
        z = StandardScaler().fit_transform(x)
        model = LogisticRegression(
            C=1 / (len(y) * job["lam"]), solver=job["solver"], tol=job["tol"], max_iter=20_000
        ).fit(z, y)
    proba = model.predict_proba(z.astype(np.float64))
    return {"loss": objective(proba, y, model.coef_, job["lam"]), "passes": int(model.n_iter_[0])}


def disk(job: Job, meter: Meter) -> dict[str, Any]:
    """A cohort on disk: one fit to all of it, and a sweep over seeds and budgets."""
    nights, epochs = job["nights"], job["epochs"]
    with meter.stage("write"):
        pool, y = Nights(job["width"]).pooled(Path(job["folder"]), nights, epochs)
    found: dict[str, Any] = {"rows": pool.shape[0], "file_gb": pool.nbytes / 1e9}
    person = np.repeat(np.arange(nights), epochs)
    with pool:
        if job["large"]:
            found["large"] = _large(meter, pool, TrainingRows(pool, y, person, person, 5), job["lam"])
        if job["sweep"]:
            found["sweep"] = _sweep(meter, pool, y, job)
    return found


def _large(meter: Meter, pool: RowSource, rows: TrainingRows, lam: float) -> dict[str, Any]:
    with meter.stage("fit"):
        head = fit_linear(rows, {"lambdas": [lam]})
    with meter.stage("predict"):
        proba = head.predict_proba(pool)
    loss = objective(proba, rows.y, head.weights, lam)
    with meter.stage("reference"):
        best = fit_linear(rows, {"lambdas": [lam], "tolerance": _TIGHTER})
    reference = objective(best.predict_proba(pool), rows.y, best.weights, lam)
    return {"loss": loss, "reference_loss": reference, "excess": loss / reference - 1, **_proof(head)}


def _sweep(meter: Meter, pool: RowSource, y: NDArray[np.int64], job: Job) -> dict[str, Any]:
    nights, epochs = job["nights"], job["epochs"]
    tested = min(_TEST_NIGHTS, nights // 5)
    unseen = Spans(pool, [((nights - tested) * epochs, nights * epochs)])
    fits = []
    for seed in range(job["seeds"]):
        order = np.random.default_rng(seed).permutation(nights - tested)
        for budget in BUDGETS:
            chosen = np.sort(order[: max(5, round(budget * nights))])
            index = (chosen[:, None] * epochs + np.arange(epochs)).ravel()
            x = Spans(pool, [(i * epochs, (i + 1) * epochs) for i in chosen.tolist()])
            person = np.repeat(np.arange(len(chosen)), epochs)
            with meter.stage(f"seed {seed} {budget:g}"):
                started = time.process_time()
                head = fit_linear(TrainingRows(x, y[index], person, person, 5), {})
                cpu_s = time.process_time() - started
            accuracy = float((head.predict_proba(unseen).argmax(axis=1) == y[-tested * epochs :]).mean())
            one = {"budget": budget, "nights": len(chosen), "cpu_s": cpu_s, "accuracy": accuracy}
            fits.append({**one, "lambda": head.selected["lambda"], "at_edge": head.selected["at_edge"]})
    return {"cpu_s": sum(fit["cpu_s"] for fit in fits), "fits": fits, "lambdas": len(head.selected["sweep"])}


def growth(job: Job, meter: Meter) -> dict[str, Any]:
    """One fit at several sizes, rows on disk."""
    epochs, points = job["epochs"], []
    pool, y = Nights(job["width"]).pooled(Path(job["folder"]), max(job["sizes"]), epochs)
    with pool:
        for nights in job["sizes"]:
            n = nights * epochs
            person = np.repeat(np.arange(nights), epochs)
            with meter.stage(str(nights)):
                head = fit_linear(
                    TrainingRows(Spans(pool, [(0, n)]), y[:n], person, person, 5), {"lambdas": [job["lam"]]}
                )
            stage = meter.stages[str(nights)]
            points.append({"rows": n, "cpu_s": stage["cpu_s"], "us_per_row": stage["cpu_s"] / n * 1e6, **_proof(head)})
    return {"points": points}


def _proof(head: LinearHead) -> dict[str, Any]:
    certificate = head.certificate
    return {"passes": certificate.iterations, "decrement": certificate.newton_decrement}


def _saved(job: Job) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    folder = Path(job["folder"])
    x, y, person = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("x", "y", "person"))
    return x, y, person


def main() -> None:
    one_thread()
    job = json.load(sys.stdin)
    meter = Meter()
    tasks = {"ours": ours, "sklearn": sklearn, "disk": disk, "growth": growth}
    result = tasks[job["task"]](job, meter)
    print(json.dumps({**result, "stages": meter.stages, "peaks_by_stage": meter.resets}))


if __name__ == "__main__":
    main()
