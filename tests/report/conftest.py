"""Hand-made cells: real specs and keys, numbers chosen by the test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hypnos_bench.scoring.entries import draws
from hypnos_bench.scoring.regression import RegressionPredictions, score_regression
from hypnos_bench.scoring.survival import SurvivalPredictions, score_survival, survival_replicates
from hypnos_bench.spec import CellSpec, HeadSpec, InputSpec, SampleSpec, Shots, SplitSpec, TaskSpec
from hypnos_bench.store.cells import Cell, CellStore
from hypnos_bench.store.side import ClassificationSide, RegressionSide, SurvivalSide

CLASSES = ["W", "N1", "N2", "N3", "R"]


@dataclass
class CellMaker:
    """Builds cells; keyword arguments override one setting each."""

    defaults: dict[str, Any] = field(default_factory=dict)

    def __call__(self, encoder: str = "features", shots: str = "1%", seed: int = 0, **given: Any) -> Cell:
        o = {
            "kappa": 0.7, "half": 0.05, "status": "ok", "message": None, "cohort": "demo", "simulated": False,
            "fingerprint": "a" * 64, "weights": None, "settings": {}, "version": "1", "marks": (), "task": {},
            "split": SplitSpec(), "train": {"1%": 1, "10%": 3, "100%": 29}.get(shots, 2), "train_max": None,
            "available": 29, "test": 12, "total": 41, "excluded": (), "scores": None, "selected": None, "dropped": {},
            "higher": True, "n": {}, "split_hash": "5" * 64, "metrics": ["kappa", "macro-f1"],
            "bootstrap": 1000, "head": HeadSpec("linear", {"penalty": "l2"}), "inputs": InputSpec(), "outcomes": (),
            "sample": SampleSpec(),
        }  # fmt: skip
        o.update(self.defaults)
        assert set(given) <= set(o), set(given) - set(o)
        o.update(given)
        spec = CellSpec(
            task={"id": "staging", "label": "stage", "unit": "epoch", "unit_s": 30.0, "classes": CLASSES,
                  "metrics": o["metrics"], "positive": None, "alignment": "reference", **o["task"]},
            cohort={"id": o["cohort"], "fingerprint": o["fingerprint"], "simulated": o["simulated"]},
            encoder={"id": encoder, "version": o["version"], "weights": o["weights"], "settings": o["settings"],
                     "lag_rows": 0},
            head=o["head"], split=o["split"], shots=Shots.parse(shots), seed=seed, inputs=o["inputs"],
            bootstrap=o["bootstrap"], sample=o["sample"],
        )  # fmt: skip
        n = {
            "persons_total": o["total"], "recordings_total": o["total"], "units_dropped": o["dropped"],
            "excluded": [{"recording": r, "reason": w} for r, w in o["excluded"]],
            "marks": [*(["simulated"] if o["simulated"] else []), *o["marks"]], "folds": [],
        }  # fmt: skip
        if o["status"] == "failed":
            return Cell.of(
                spec, status="failed", message=o["message"] or "no", n={**n, **o["n"]}, provenance=_origin(o)
            )
        train, top = o["train"], o["train_max"] or o["train"]
        n |= {
            "persons_train": train, "persons_train_max": top, "persons_available": o["available"],
            "persons_available_max": o["available"], "persons_test": o["test"], "recordings_test": o["test"],
            "units_test": 1000 * o["test"], **o["n"],
        }  # fmt: skip
        kappa = o["kappa"]
        scores = o["scores"] or {
            "kappa": _score(kappa, o["half"], o["higher"]),
            "macro-f1": _score(None if kappa is None else kappa - 0.1, o["half"], True),
        }
        chosen = {"lambda": 10.0 ** -(2 + seed % 3), "at_edge": seed == 0, "certificate": {
            "converged": True, "newton_decrement": 1e-12 * (seed + 1), "gradient_norm": 1e-9, "tolerance": 1e-8,
            "criterion": "newton_decrement", "iterations": 7}}  # fmt: skip
        selected = o["selected"] if o["selected"] is not None else (chosen,)
        return Cell.of(
            spec, n=n, scores=scores, selected=selected, outcomes=o["outcomes"], timing={"fit_s": 0.1},
            provenance=_origin(o),
        )  # fmt: skip

    def few_shot(self, encoders=("features", "hypnos"), shots=("1%", "10%", "100%"), seeds=3, **given) -> list[Cell]:
        """Grid of cells whose kappa grows with the budget and differs by encoder and seed."""
        return [
            self(e, s, seed, kappa=0.4 + 0.1 * i - 0.15 * k + 0.02 * seed, **given)
            for k, e in enumerate(encoders)
            for i, s in enumerate(shots)
            for seed in range(1 if s == "100%" else seeds)
        ]


def _score(value, half, higher):
    bounds = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": bounds[0], "high": bounds[1], "higher_is_better": higher}


def _origin(o):
    return {
        "versions": {"python": "3.11.2", "hypnos-bench": "0.1.0"}, "git": {"commit": "c" * 40, "dirty": False},
        "command": f"hypnos-bench run staging --cohort {o['cohort']}", "utc": "2026-01-02T03:04:05+00:00",
        "platform": "Linux", "weights": o["weights"], "cohort_fingerprint": o["fingerprint"],
        "split_hash": o["split_hash"],
    }  # fmt: skip


@pytest.fixture
def make() -> CellMaker:
    return CellMaker()


DEMOGRAPHICS = ("age", "sex")
INPUTS = {
    "demographics": InputSpec("mean", DEMOGRAPHICS, embedding=False),
    "+": InputSpec("mean", DEMOGRAPHICS),
    "": InputSpec(),
}


@dataclass
class PeopleMaker:
    """Cells of tasks with one row per person, scored from simulated answers, with their side files.

    Rows are told by name: ``demographics``, ``hypnos+`` (with demographics beside it) or ``hypnos``; `noise` is that
    of the row's answers. Truth depends on `persons` alone, so that rows test the same people.
    """

    make: CellMaker
    sides: dict[str, Any] = field(default_factory=dict)

    def _settings(self, row: str, task: dict[str, Any], head: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        kind = "demographics" if row == "demographics" else "+" if row.endswith("+") else ""
        o = {
            "task": {"label": "covariate", "unit": "person", "unit_s": 0.0, "classes": [], **task},
            "metrics": task["metrics"], "head": HeadSpec(head, {"penalty": "l2"}), "inputs": INPUTS[kind],
            "bootstrap": 100, **given,
        }  # fmt: skip
        if kind:
            o["selected"] = [{**fit, "demographics_filled": 3} for fit in o["selected"]]
        return row.removesuffix("+"), o

    def regression(
        self, row="hypnos", shots="100%", seed=0, *, noise=5.0, persons=60, metrics=("mae", "r2", "bias"),
        people=None, **given,
    ) -> Cell:  # fmt: skip
        rng = np.random.default_rng(0)
        truth = np.round(rng.uniform(40, 90, persons), 1)
        own = np.random.default_rng([int.from_bytes(row.encode(), "little") % 2**31, seed])
        kept = np.arange(persons) if people is None else np.asarray(people)
        y = 0.6 * (truth - 65) + 65 + own.normal(0, noise, persons)
        names = [f"r{i:03d}" for i in kept], [f"p{i:03d}" for i in kept]
        side = RegressionSide(*names, np.zeros(len(kept), np.int32), truth[kept], y[kept])
        task = {"id": "age", "kind": "regression", "metrics": list(metrics), "columns": ["age"],
                "demographics": ["sex", "bmi"]}  # fmt: skip
        fit = {"lambda": 0.1, "rule": "cv-1se", "sweep": [], "at_edge": False, "training_mean": 65.0, "n_rows": 99,
               "certificate": {"converged": True, "newton_decrement": 1e-12, "gradient_norm": 1e-12, "tolerance": 1e-8,
                               "criterion": "gradient_norm", "iterations": 1}}  # fmt: skip
        given = {"n": {"column": "age"}, "test": len(kept), "selected": [fit], **given}
        encoder, settings = self._settings(row, task, "ridge", given)
        spec = TaskSpec.of(task | {"label": "covariate", "unit": "person"})
        predictions = RegressionPredictions(*names, side.fold, side.y_true, side.y_pred)
        scores = score_regression(spec, predictions, settings["bootstrap"])
        return self._keep(self.make(encoder, shots, seed, scores=scores, **settings), side)

    def survival(
        self, row="hypnos", shots="100%", seed=0, *, noise=1.0, persons=90, outcomes=("death",), horizons=(2.0, 5.0),
        metrics=("c-index", "auroc-5y", "calibration-5y"), stored=False, rate=0.08, people=None, **given,
    ) -> Cell:  # fmt: skip
        rng = np.random.default_rng(0)
        m = len(outcomes)
        hazard = rng.normal(0, 0.9, (persons, m))
        rates = rate * np.linspace(1, 0.02, m) if m > 1 else np.array([rate])
        happens = rng.exponential(1 / (rates * np.exp(hazard)))
        ends = rng.uniform(3, 12, (persons, m))
        at_risk = rng.random((persons, m)) > 0.05
        own = np.random.default_rng([int.from_bytes(row.encode(), "little") % 2**31, seed])
        kept = np.arange(persons) if people is None else np.asarray(people)
        risk = ((hazard + own.normal(0, noise, (persons, m))) / (1 + noise**2))[kept]
        time, event = np.minimum(happens, ends)[kept], (happens <= ends)[kept]
        survival = np.exp(-rates[:, None] * np.exp(risk)[:, :, None] * np.array(horizons)).astype(np.float32)
        names = [f"r{i:03d}" for i in kept], [f"p{i:03d}" for i in kept]
        fold = np.zeros(len(kept), np.int32)
        predictions = SurvivalPredictions(
            *names, tuple(outcomes), fold, risk, time, event, at_risk[kept], survival if horizons else None, horizons
        )
        scores, told = score_survival(metrics, predictions, given.get("bootstrap", 100))
        task = {"id": "mortality" if m == 1 else "phecodes", "kind": "survival", "metrics": list(metrics),
                "columns": list(outcomes) if m == 1 else ["*"], "horizons": list(horizons), "label": "outcome",
                "demographics": ["age", "sex"]}  # fmt: skip
        proof = {"converged": True, "newton_decrement": 1e-9, "gradient_norm": 1e-6, "tolerance": 1e-8,
                 "criterion": "bound", "iterations": 40}  # fmt: skip
        models = [
            {"name": name, "n": 200, "events": 20, "excluded": 3, "status": "fitted", "fitted": True, "message": "",
             "penalty": 0.1 * (k + 1), "rule": "cv-1se", "sweep": [{"penalty": 1.0}], "best_penalty": 0.1,
             "null_loss": 4.0, "at_edge": k == 0, "cv_unconverged": 0, "loss": 3.0, "solver": "batched"}
            for k, name in enumerate(outcomes)
        ]  # fmt: skip
        if m > 1:
            models[-1] |= {"status": "no-events", "fitted": False, "message": "none of 200 rows at risk has the event",
                           "penalty": None, "rule": None}  # fmt: skip
        fit = {"ties": "efron", "penalty_scale": "per event", "n_rows": 200, "n_features": 8,
               "statuses": {"fitted": m}, "outcomes": models, "certificate": proof}  # fmt: skip
        n = {"column": outcomes[0] if m == 1 else f"{m} outcomes"}
        n |= {"events": int(event.sum()), "at_risk": int(at_risk.sum())} if m == 1 else {}
        given = {"n": n, "test": len(kept), "selected": [fit], "outcomes": told, **given}
        encoder, settings = self._settings(row, task, "cox", given)
        told_risk = at_risk[kept]
        weights = draws(len(kept), settings["bootstrap"])
        drawn = (
            survival_replicates(metrics[:1], predictions, weights)[metrics[0]].astype(np.float32) if stored else None
        )
        side = SurvivalSide(
            *names, list(outcomes), fold, risk.astype(np.float32), np.where(told_risk, time, np.nan).astype(np.float32),
            (event & told_risk).astype(np.int8), told_risk.astype(np.int8), drawn,
        )  # fmt: skip
        return self._keep(self.make(encoder, shots, seed, scores=scores, **settings), side)

    def _keep(self, cell: Cell, side: Any) -> Cell:
        self.sides[cell.key] = side
        return cell

    def store(self, folder, cells) -> CellStore:
        target = CellStore(folder)
        for cell in cells:
            target.save(cell, None if cell.status == "failed" else self.sides[cell.key])
        return target


@pytest.fixture
def people(make) -> PeopleMaker:
    return PeopleMaker(make)


@pytest.fixture
def stored(tmp_path):
    """Save cells with side files in which every recording has the given confusion matrix; return the store."""

    def store(cells, confusion=None, recordings=3) -> CellStore:
        target = CellStore(tmp_path / "results")
        matrix = np.asarray(confusion if confusion is not None else np.eye(5) * 8 + 1, dtype=np.int64)
        n = len(matrix)
        true, pred = (a.ravel() for a in np.indices(matrix.shape))
        y_true, y_pred = (np.tile(np.repeat(a, matrix.ravel()), recordings).astype(np.int8) for a in (true, pred))
        side = ClassificationSide(
            [f"r{i}" for i in range(recordings)], [f"p{i}" for i in range(recordings)],
            np.stack([matrix] * recordings), np.repeat(np.arange(recordings), matrix.sum()).astype(np.int32),
            y_true, y_pred, proba=np.eye(n, dtype=np.float16)[y_pred],
        )  # fmt: skip
        for cell in cells:
            target.save(cell, None if cell.status == "failed" else side)
        return target

    return store
