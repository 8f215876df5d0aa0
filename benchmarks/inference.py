"""What the inference core costs, beside the published package: time and memory from an EDF file to embeddings.

A bundle with random weights (the sizes reproduce the released file's 1.9 GB) and a synthetic eight-channel recording
go through both packages in turn, each run in a process of its own. The last line printed is JSON.

    python benchmarks/inference.py                     three rounds of 2100 s
    python benchmarks/inference.py --quick             one round of 2048 s, under five minutes on two quiet cores
    python benchmarks/inference.py --full              this package alone: one hour and a night of eight
    python benchmarks/inference.py --stage generate    a 300-step roll-out; the published package takes many minutes
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import _compare
import _inputs
import _table
import torch
from _floor import Work, floor_s, gemm_rates, work_per_second
from _measure import Neighbours, machine, run_child, warm

from hypnos_bench.errors import BenchError, DataError, UsageError
from hypnos_bench.hypnos.bundle import Bundle
from hypnos_bench.hypnos.random_bundle import write_random_bundle
from hypnos_bench.threads import usable_cores

REFERENCE_VERSION = "0.1.0"
DTYPES = ("float32", "bfloat16")
TASKS = ("pipeline", "presence", "generate")
_NIGHT_S = 8 * 3600
_WARM_UP_S = 20


class Bench:
    """One invocation: its files, its options, and the machine's speed as last measured.

    Parameters
    ----------
    options : argparse.Namespace
    folder : Path
        For everything written.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.dtypes: list[str] = options.dtype
        torch.set_num_threads(options.threads)
        self.bundle: Path = options.bundle or folder / "hypnos.safetensors"
        if options.bundle is None:
            _say(f"writing a random bundle ({options.config} sizes)")
            write_random_bundle(self.bundle, config=_inputs.CONFIGS[options.config])
        with Bundle(self.bundle) as bundle:
            self.metadata = bundle.metadata
        warm(self.bundle)
        self.work: Work = work_per_second(self.metadata)
        self.levels = [m.num_quantizers for m in self.metadata.modalities]
        self.gemm: list[dict[str, dict[str, float]]] = []

    def measure_gemm(self) -> None:
        """Measure the machine's rate now; runs are compared with the rate measured just before them."""
        self.gemm.append({dtype: gemm_rates(dtype) for dtype in dict.fromkeys(("float32", *self.dtypes))})

    def recording(self, seconds: int) -> Path:
        """A synthetic recording, in the page cache."""
        path = self.folder / f"synthetic-{seconds}s.edf"
        if not path.exists():
            _inputs.write_synthetic_psg(path, seconds)
        warm(path)
        return path

    def run(self, side: str, task: str, dtype: str = "float32", **more: Any) -> dict[str, Any]:
        """One measured process."""
        _say(f"{side}: {task} in {dtype}")
        job = {"side": side, "task": task, "dtype": dtype, "bundle": str(self.bundle), **more}
        return run_child(job, self.options.threads)

    def distance(self, stages: _compare.Stages, seconds: int, dtype: str) -> dict[str, dict[str, float]]:
        """Wall seconds over the floor at the rate measured last."""
        floors = floor_s(self.work, seconds, self.gemm[-1], dtype)
        return {name: {"floor_s": floor, "distance": stages[name]["wall_s"] / floor} for name, floor in floors.items()}

    def results_folder(self, name: str) -> Path:
        """Where a run leaves its results."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path


def compare_pipelines(bench: Bench) -> dict[str, Any]:
    """Both sides in turn, round by round; results are compared in the first round."""
    edf, warm_up = bench.recording(bench.options.seconds), bench.recording(_WARM_UP_S)
    sides = [("reference", "float32"), *(("ours", dtype) for dtype in bench.dtypes)]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {side: [] for side in sides}
    floors: dict[str, list[dict[str, dict[str, float]]]] = {dtype: [] for dtype in bench.dtypes}
    reference = bench.results_folder("reference-float32")
    for i in range(bench.options.rounds):
        bench.measure_gemm()
        for side, dtype in sides:
            save_to = None if i else str(bench.results_folder(f"{side}-{dtype}"))
            files = {"edf": str(edf), "warm_up_edf": str(warm_up), "save_to": save_to, "tokens_from": str(reference)}
            run = bench.run(side, "pipeline", dtype, **files)
            run["stages"] = _compare.with_total(run["stages"])
            runs[side, dtype].append(run)
            if side == "ours":
                floors[dtype].append(bench.distance(run["stages"], run["seconds"], dtype))
    theirs = [run["stages"] for run in runs["reference", "float32"]]
    result: dict[str, Any] = {
        "seconds": runs["reference", "float32"][0]["seconds"],
        "rounds": bench.options.rounds,
        "chunk_tokens": "default (2048)",
        "peak_is_per_stage": all(run["peak_is_per_stage"] for several in runs.values() for run in several),
        "reference": {"stages": _compare.median_stages(theirs)},
        "ours": {},
    }
    for dtype in bench.dtypes:
        mine = [run["stages"] for run in runs["ours", dtype]]
        result["ours"][dtype] = {
            "stages": _compare.median_stages(mine),
            "ratios": _compare.ratios(theirs, mine),
            "floor": _compare.median_stages(floors[dtype]),
            "equality": _compare.equality(reference, bench.results_folder(f"ours-{dtype}"), bench.levels),
        }
    return result


def compare_presence(bench: Bench) -> dict[str, Any]:
    """Three modalities against all, this package."""
    seconds = min(bench.options.seconds, 256 if bench.options.quick else 512)
    run = bench.run("ours", "presence", seconds=seconds, repeats=1 if bench.options.quick else 3)
    return {"presence": {"seconds": seconds, **_compare.presence_gain(run)}}


def compare_generation(bench: Bench) -> dict[str, Any]:
    """A greedy roll-out of all modalities by both sides."""
    import numpy as np

    results = {}
    for side in ("reference", "ours"):
        folder = bench.results_folder(f"{side}-generate")
        run = bench.run(side, "generate", steps=bench.options.steps, save_to=str(folder))
        results[side] = run["stages"]["generate"], np.load(folder / "rollout.npy", allow_pickle=False)
    (theirs, their_tokens), (mine, my_tokens) = results["reference"], results["ours"]
    if their_tokens.shape != my_tokens.shape:
        raise BenchError(f"roll-outs: {list(their_tokens.shape)} by the reference, {list(my_tokens.shape)} by us")
    return {
        "generate": {
            "steps": bench.options.steps,
            "reference": theirs,
            "ours": mine,
            "wall_ratio": theirs["wall_s"] / mine["wall_s"],
            "cpu_ratio": theirs["cpu_s"] / mine["cpu_s"],
            "tokens": int(their_tokens.size),
            "tokens_differing": int((their_tokens != my_tokens).sum()),
        }
    }


def run_nights(bench: Bench) -> dict[str, Any]:
    """This package alone over a night and an eighth of it: what memory does as recordings grow."""
    found = []
    for dtype in bench.dtypes:
        for seconds in (bench.options.seconds // 8, bench.options.seconds):
            bench.measure_gemm()
            # No warm-up: over a night it hardly counts, and memory is that of a single embed_edf.
            files = {"edf": str(bench.recording(seconds)), "warm_up_edf": None, "save_to": None, "tokens_from": None}
            run = bench.run("ours", "pipeline", dtype, **files)
            run |= {"dtype": dtype, "own_mb": _compare.own_memory(run), "stages": _compare.with_total(run["stages"])}
            found.append({**run, "floor": bench.distance(run["stages"], run["seconds"], dtype)})
    growth = {
        short["dtype"]: {name: long["own_mb"][name] - short["own_mb"][name] for name in short["own_mb"]}
        for short, long in zip(found[::2], found[1::2], strict=True)
    }
    return {"seconds": bench.options.seconds, "nights": found, "own_growth_mb": growth}


def summary(bench: Bench, found: Mapping[str, Any]) -> dict[str, Any]:
    """The one line: the three ratios first, then everything else."""
    total = found.get("ours", {}).get("float32", {}).get("ratios", {}).get("total", {})
    gemm = {
        dtype: _compare.median_stages([{"rate": rates[dtype]} for rates in bench.gemm])["rate"]
        for dtype in (bench.gemm[0] if bench.gemm else ())
    }
    return {
        "benchmark": "inference",
        **{key: total.get(key) for key in ("cpu_ratio", "wall_ratio", "rss_ratio")},
        "weights": "random (untrained)" if bench.metadata.untrained else str(bench.bundle.name),
        "signals": "synthetic",
        "tflop_per_hour": bench.work.total * 3600 / 1e12,
        "gemm_gflops": gemm,
        **found,
    }


def main() -> int:
    options = _options()
    try:
        if not options.full and set(options.stage) & {"pipeline", "generate"}:
            _require_reference()
        if options.bundle is not None and not options.bundle.is_file():
            raise DataError(f"{options.bundle}: no such file; leave --bundle out to have one written")
        neighbours = Neighbours()
        with tempfile.TemporaryDirectory(prefix="hypnos-bench-") as folder:
            bench = Bench(options, Path(folder))
            found: dict[str, Any] = {"machine": machine(options.threads)}
            for task in (run_nights,) if options.full else [_TASKS[name] for name in options.stage]:
                found |= task(bench)
        found["machine"]["used_by_others"] = neighbours.share()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    result = summary(bench, found)
    print("\n".join(_table.lines(result)))
    print(json.dumps(_rounded(result)))
    return 0


_TASKS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {
    "pipeline": compare_pipelines,
    "presence": compare_presence,
    "generate": compare_generation,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="one round of 2048 s in float32")
    size.add_argument("--full", action="store_true", help="this package alone, a night and an eighth of it")
    parser.add_argument("--stage", action="append", choices=TASKS, help="may be repeated; default: pipeline, presence")
    parser.add_argument(
        "--dtype",
        action="append",
        choices=DTYPES,
        help="of our side; may be repeated; default both, float32 with --quick",
    )
    parser.add_argument("--seconds", type=int, help="length of the recording; default 2100, 2048 with --quick")
    parser.add_argument("--rounds", type=int, help="default 3, 1 with --quick")
    parser.add_argument("--steps", type=int, default=300, help="seconds to generate; default 300")
    parser.add_argument("--threads", type=int, default=min(2, usable_cores()), help="default 2, or the cores there are")
    parser.add_argument("--bundle", type=Path, help="use this file instead of writing one")
    parser.add_argument("--config", choices=sorted(_inputs.CONFIGS), default="assumed", help="sizes of what is written")
    options = parser.parse_args()
    if options.full and options.stage:
        parser.error("--full runs nights of this package alone; leave --stage out")
    if options.seconds is None:
        options.seconds = _NIGHT_S if options.full else 2048 if options.quick else 2100
    options.dtype = options.dtype or ["float32", *([] if options.quick else ["bfloat16"])]
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.stage = options.stage or ["pipeline", "presence"]
    least = 8 * 30 if options.full else 30
    if options.seconds < least or min(options.rounds, options.threads, options.steps) < 1:
        parser.error(f"--seconds must be at least {least}; --rounds, --threads and --steps at least 1")
    return options


def _require_reference() -> None:
    try:
        version = importlib.metadata.version("hypnos")
    except importlib.metadata.PackageNotFoundError as error:
        message = "the published package is not installed; pip install hypnos==0.1.0, or use --full, which needs none"
        raise UsageError(message) from error
    if version != REFERENCE_VERSION:
        raise UsageError(
            f"hypnos {version} is installed; the comparison is with pip install hypnos=={REFERENCE_VERSION}"
        )


def _rounded(value: Any) -> Any:
    """Numbers to five significant digits: what follows is noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
