"""Hand-made cells: real specs and keys, numbers chosen by the test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hypnos_bench.spec import CellSpec, HeadSpec, Shots, SplitSpec
from hypnos_bench.store.cells import Cell, CellStore, SideFile

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
            "bootstrap": 1000,
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
            head=HeadSpec("linear", {"penalty": "l2"}),
            split=o["split"], shots=Shots.parse(shots), seed=seed, bootstrap=o["bootstrap"],
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
        return Cell.of(spec, n=n, scores=scores, selected=selected, timing={"fit_s": 0.1}, provenance=_origin(o))

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


@pytest.fixture
def stored(tmp_path):
    """Save cells with side files in which every recording has the given confusion matrix; return the store."""

    def store(cells, confusion=None, recordings=3) -> CellStore:
        target = CellStore(tmp_path / "results")
        matrix = np.asarray(confusion if confusion is not None else np.eye(5) * 8 + 1, dtype=np.int64)
        n = len(matrix)
        true, pred = (a.ravel() for a in np.indices(matrix.shape))
        y_true, y_pred = (np.tile(np.repeat(a, matrix.ravel()), recordings).astype(np.int8) for a in (true, pred))
        side = SideFile(
            [f"r{i}" for i in range(recordings)], [f"p{i}" for i in range(recordings)],
            np.stack([matrix] * recordings), np.repeat(np.arange(recordings), matrix.sum()).astype(np.int32),
            y_true, y_pred, proba=np.eye(n, dtype=np.float16)[y_pred],
        )  # fmt: skip
        for cell in cells:
            target.save(cell, None if cell.status == "failed" else side)
        return target

    return store
