"""From the runs of a round to numbers: totals, ratios, equality of results, memory that grows with a recording."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypnos_bench.errors import BenchError

STAGES = ("load", "preprocess", "tokenize", "embed")
Stages = Mapping[str, Mapping[str, float]]


def with_total(stages: Stages) -> dict[str, dict[str, float]]:
    """Two more rows: ``total``, the work on a bundle and a recording, and ``cold``, with imports and first use."""
    peak_mb = max(stage["peak_mb"] for stage in stages.values())
    rows = {name: dict(stage) for name, stage in stages.items()}
    for name, parts in (("total", STAGES), ("cold", tuple(stages))):
        rows[name] = {key: sum(stages[part][key] for part in parts) for key in ("wall_s", "cpu_s")}
        rows[name]["peak_mb"] = peak_mb
    return rows


def median_stages(runs: Sequence[Stages]) -> dict[str, dict[str, float]]:
    """Median of every measurement over the rounds."""
    return {name: {key: statistics.median(run[name][key] for run in runs) for key in runs[0][name]} for name in runs[0]}


def ratios(reference: Sequence[Stages], ours: Sequence[Stages]) -> dict[str, dict[str, float]]:
    """Reference over ours: median over the rounds of the ratio within a round."""
    pairs = list(zip(reference, ours, strict=True))
    keys = {"wall_ratio": "wall_s", "cpu_ratio": "cpu_s", "rss_ratio": "peak_mb"}
    return {
        stage: {
            ratio: statistics.median(theirs[stage][key] / mine[stage][key] for theirs, mine in pairs)
            for ratio, key in keys.items()
        }
        for stage in reference[0]
    }


def equality(reference: Path, ours: Path, levels: Sequence[int]) -> dict[str, Any]:
    """How far the results of two runs over the same recording differ.

    Parameters
    ----------
    reference, ours : Path
        Folders with what each run saved.
    levels : sequence of int
        Token columns per modality.

    Returns
    -------
    dict
        ``token_vectors`` and how many of them differ (one per second and modality); the same for float16
        embeddings of the timed runs, for the seconds up to the first differing token, which has not been seen there;
        largest difference and least cosine of float32 frames computed by both from the reference's tokens.

    Raises
    ------
    BenchError
        When the runs do not even agree in shape.
    """
    loaded = {
        name: [np.load(folder / f"{name}.npy", allow_pickle=False) for folder in (reference, ours)]
        for name in ("tokens", "embeddings", "frames")
    }
    for name, (theirs, mine) in loaded.items():
        if theirs.shape != mine.shape:
            raise BenchError(f"{name}: the reference made {list(theirs.shape)}, this package {list(mine.shape)}")
    theirs, mine = loaded["tokens"]
    starts = np.cumsum([0, *levels])[:-1]
    differing = np.add.reduceat((theirs != mine)[0], starts, axis=1) > 0  # (T, modalities)
    seconds = np.flatnonzero(differing.any(1))
    same = int(seconds[0]) + 1 if len(seconds) else differing.shape[0]
    rounded_theirs, rounded_mine = (array[:, :same] for array in loaded["embeddings"])
    exact_theirs, exact_mine = (array.astype(np.float64) for array in loaded["frames"])
    norms = np.linalg.norm(exact_theirs, axis=-1) * np.linalg.norm(exact_mine, axis=-1)
    return {
        "token_vectors": differing.size,
        "token_vectors_differing": int(differing.sum()),
        "embeddings_compared_s": same,
        "float16_differing_share": float((rounded_theirs != rounded_mine).mean()),
        "float16_max_difference": float(np.abs(rounded_theirs.astype(np.float32) - rounded_mine).max()),
        "frames_compared_s": exact_theirs.shape[1],
        "frames_max_difference": float(np.abs(exact_theirs - exact_mine).max()),
        "frames_least_cosine": float(((exact_theirs * exact_mine).sum(-1) / norms).min()),
    }


def own_memory(run: Mapping[str, Any]) -> dict[str, float]:
    """Peak of each stage apart from what it is given and what it returns, in MB."""
    signals, output = run["signals_mb"], run["output_mb"]
    given = {"load": 0.0, "preprocess": signals, "tokenize": signals, "embed": signals + output}
    return {name: run["stages"][name]["peak_mb"] - given[name] for name in STAGES}


def presence_gain(run: Mapping[str, Any]) -> dict[str, Any]:
    """How much cheaper some modalities are than all: medians over repeats that ran in turn."""
    stages: Stages = run["stages"]
    repeats = [name.split()[1] for name in stages if name.startswith("all ")]
    gains = {
        f"{kind}_ratio": statistics.median(stages[f"all {i}"][key] / stages[f"some {i}"][key] for i in repeats)
        for kind, key in (("wall", "wall_s"), ("cpu", "cpu_s"))
    }
    seconds = {
        f"{label}_cpu_s": statistics.median(stages[f"{label} {i}"]["cpu_s"] for i in repeats)
        for label in ("all", "some")
    }
    return {**run["present"], **seconds, **gains}
