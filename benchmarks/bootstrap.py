"""What bootstrap intervals over persons cost, from codes and probabilities to replicates.

Two parts, each with 1,000 bootstraps over persons and one thread:

- ``staging``: kappa and macro-F1 of two encoders over the epochs of 2,900 recordings (1,000 each), confusion matrices
  included, the interval of each and that of their difference;
- ``ranking``: AUROC and average precision of five classes over 580 persons of 1,000 epochs each, from probabilities.

Predictions are random draws and say nothing about any encoder. The last line printed is JSON.

    python benchmarks/bootstrap.py
    python benchmarks/bootstrap.py --quick              a tenth of the recordings and bootstraps
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
from _measure import Meter, Neighbours, machine

from hypnos_bench.metrics.classification import confusion_matrices
from hypnos_bench.metrics.ranking import Ranking
from hypnos_bench.metrics.registry import metrics_for
from hypnos_bench.scoring.classification import Predictions, point_scores, replicates
from hypnos_bench.scoring.entries import draws, person_codes
from hypnos_bench.stats.bootstrap import percentile_interval
from hypnos_bench.taskfiles import load_task
from hypnos_bench.threads import one_thread

EPOCHS = 1000  # of a recording
CLASSES = 5
SEEN = 8  # replicates of the ranking that are also computed exactly
_SHARES = (0.3, 0.05, 0.4, 0.1, 0.15)  # of stages in a night


def codes(n_recordings: int, accuracy: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and how hard a person is (the same for every `seed`), predictions, and the recording of every epoch."""
    shared, rng = np.random.default_rng(0), np.random.default_rng(seed)
    truth = shared.choice(CLASSES, n_recordings * EPOCHS, p=_SHARES).astype(np.int8)
    recording = np.repeat(np.arange(n_recordings, dtype=np.int32), EPOCHS)
    right = rng.random(truth.size) < accuracy + 0.1 * shared.standard_normal(n_recordings)[recording]
    called = np.where(right, truth, rng.integers(0, CLASSES, truth.size)).astype(np.int8)
    return truth, called, recording


def staging(n_recordings: int, n_boot: int) -> dict[str, Any]:
    """Kappa and macro-F1 of two encoders, and their differences."""
    task = replace(load_task("staging"), metrics=("kappa", "macro-f1"))
    recordings = [f"r{i:05d}" for i in range(n_recordings)]
    inputs = [codes(n_recordings, accuracy, seed) for seed, accuracy in ((1, 0.70), (2, 0.71))]
    meter = Meter()
    found, points = [], []
    with meter.stage("staging"):
        weights = draws(n_recordings, n_boot)
        for truth, called, recording in inputs:
            confusion = confusion_matrices(truth, called, recording, n_recordings, CLASSES)
            proba = np.empty((0, CLASSES))  # nothing is ranked
            predictions = Predictions(recordings, recordings, confusion, recording, truth, called, proba)
            points.append(point_scores(task, predictions))
            found.append(replicates(task, predictions, weights))
        intervals = {m: [percentile_interval(one[m]) for one in found] for m in task.metrics}
        differences = {m: percentile_interval(found[1][m] - found[0][m]) for m in task.metrics}
    return {
        **_rounded(meter.stages["staging"]),
        "recordings": n_recordings,
        "kappa": [round(point["kappa"], 5) for point in points],
        "kappa_width": round(intervals["kappa"][0].high - intervals["kappa"][0].low, 5),
        "kappa_difference_width": round(differences["kappa"].high - differences["kappa"].low, 5),
    }


def ranking(n_persons: int, n_boot: int) -> dict[str, Any]:
    """AUROC and average precision of every class; a few replicates are compared with exact ones."""
    task = load_task("staging")
    asked = [
        m for m, metric in metrics_for(task.classes).items() if metric.needs == "proba" and metric.mode == "standard"
    ]
    task = replace(task, metrics=tuple(asked))
    truth, _, recording = codes(n_persons, 0.7, 1)
    proba = np.random.default_rng(3).standard_normal((truth.size, CLASSES))
    proba[np.arange(truth.size), truth] += 2
    np.exp(proba, out=proba)
    proba /= proba.sum(axis=1, keepdims=True)
    called = proba.argmax(axis=1).astype(np.int8)
    persons = [f"p{i:05d}" for i in range(n_persons)]
    confusion = confusion_matrices(truth, called, recording, n_persons, CLASSES)
    predictions = Predictions(persons, persons, confusion, recording, truth, called, proba)
    meter = Meter()
    with meter.stage("ranking"):
        weights = draws(n_persons, n_boot)
        found = replicates(task, predictions, weights)
    error = {"auroc": 0.0, "auprc": 0.0}
    person = person_codes(persons)[0][recording]
    for k, name in enumerate(task.classes):
        exact = Ranking(truth == k, predictions.score(k), person).score(weights[:SEEN])
        for metric, values in zip(error, exact, strict=True):
            off = np.abs(found[f"{metric}-{name.lower()}"][:SEEN] - values).max()
            error[metric] = max(error[metric], float(off))
    return {
        **_rounded(meter.stages["ranking"]),
        "persons": n_persons,
        "epochs": int(truth.size),
        "auroc_error": float(f"{error['auroc']:.1e}"),
        "auprc_error": float(f"{error['auprc']:.1e}"),
    }


def _rounded(stage: dict[str, float]) -> dict[str, float]:
    return {"wall_s": round(stage["wall_s"], 2), "cpu_s": round(stage["cpu_s"], 2), "peak_mb": round(stage["peak_mb"])}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the recordings and bootstraps")
    options = parser.parse_args()
    n_recordings, n_persons, n_boot = (290, 58, 100) if options.quick else (2900, 580, 1000)
    neighbours = Neighbours()
    one_thread()
    staged, ranked = staging(n_recordings, n_boot), ranking(n_persons, n_boot)
    others = neighbours.share()
    print(
        f"staging: 2 encoders x {n_recordings} recordings x {EPOCHS} epochs, {n_boot} bootstraps: "
        f"{staged['cpu_s']} CPU s; "
        f"kappa {staged['kappa']}, interval {staged['kappa_width']} wide, of the difference "
        f"{staged['kappa_difference_width']}"
    )
    print(
        f"ranking: {ranked['epochs']} epochs of {n_persons} persons, {CLASSES} classes, {n_boot} bootstraps: "
        f"{ranked['cpu_s']} CPU s, {ranked['peak_mb']} MB; at most {ranked['auroc_error']} (AUROC) and "
        f"{ranked['auprc_error']} (average precision) off the exact replicates"
    )
    result = {"benchmark": "bootstrap", "n_boot": n_boot, "staging": staged, "ranking": ranked}
    shared = None if others is None else round(others, 3)
    print(json.dumps({**result, "others_share": shared, "machine": machine(1)}))


if __name__ == "__main__":
    main()
