"""A measured process: one job as JSON on stdin, its measurements as the last line of stdout.

Started by ``inference.py``. What is timed are the calls a user makes; saving and checking come after.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Meter
from _sides import Side, Tokens, make_side, random_tokens

Job = dict[str, Any]

CHECKED_S = 320
"""Seconds of which float32 frames are compared: more than the widest window of the assumed model."""
PROMPT_S = 8


def pipeline(side: Side, meter: Meter, job: Job) -> dict[str, Any]:
    """From an EDF file to embeddings."""
    with meter.stage("load"):
        side.load(job["bundle"])
    if job["warm_up_edf"] is not None:  # late imports, tracing, rearranged weights: once per process
        with meter.stage("warm-up"):
            for _ in range(2):
                side.embed(side.tokenize(side.preprocess(job["warm_up_edf"])))
    with meter.stage("preprocess"):
        signals = side.preprocess(job["edf"])
    with meter.stage("tokenize"):
        made = side.tokenize(signals)
    with meter.stage("embed"):
        embeddings = side.embed(made)
    if job["save_to"] is not None:
        _save(side, made, np.stack(list(embeddings.values())), Path(job["save_to"]), Path(job["tokens_from"]))
    return {
        "seconds": made.tokens.shape[1],
        "modalities": list(embeddings),
        "signals_mb": sum(signal.nbytes for signal in signals.values()) / 1e6,
        "output_mb": sum(rows.nbytes for rows in embeddings.values()) / 1e6,
    }


def _save(side: Side, made: Tokens, embeddings: Any, folder: Path, tokens_from: Path) -> None:
    """Keep what the comparison looks at: tokens, embeddings, and float32 frames of one side's first tokens."""
    import torch

    np.save(folder / "tokens.npy", made.tokens.numpy())
    np.save(folder / "embeddings.npy", embeddings)
    shared = torch.from_numpy(np.load(tokens_from / "tokens.npy", allow_pickle=False))
    np.save(folder / "frames.npy", side.frames(made._replace(tokens=shared[:, :CHECKED_S])))


def presence(side: Side, meter: Meter, job: Job) -> dict[str, Any]:
    """The cost of embedding all modalities, and three of them, in turn."""
    side.load(job["bundle"])
    names = [m.name for m in side.metadata.modalities]
    sets = {"all": names, "some": names[::2][:3]}
    for which in sets.values():
        side.embed(random_tokens(side.metadata, 64, which))  # first use arranges weights
    for i in range(job["repeats"]):
        for label, which in sets.items():
            given = random_tokens(side.metadata, job["seconds"], which)
            with meter.stage(f"{label} {i}"):
                side.embed(given)
    return {"present": {label: len(which) for label, which in sets.items()}}


def generate(side: Side, meter: Meter, job: Job) -> dict[str, Any]:
    """A greedy roll-out of all modalities after a short prompt, first use included."""
    with meter.stage("load"):
        side.load(job["bundle"])
    prompt = random_tokens(side.metadata, PROMPT_S, [m.name for m in side.metadata.modalities])
    with meter.stage("generate"):
        rollout = side.generate(prompt, job["steps"])
    np.save(Path(job["save_to"]) / "rollout.npy", rollout)
    return {"steps": job["steps"]}


def main() -> None:
    job = json.load(sys.stdin)
    meter = Meter()
    with meter.stage("import"):
        side = make_side(job["side"], job["dtype"])
    import torch

    torch.set_num_threads(job["threads"])
    result = {"pipeline": pipeline, "presence": presence, "generate": generate}[job["task"]](side, meter, job)
    result |= {"stages": meter.stages, "peak_is_per_stage": meter.resets}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
