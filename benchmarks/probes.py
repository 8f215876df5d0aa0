"""What a converged linear probe costs, beside scikit-learn, and on cohorts larger than memory.

All data are simulated embeddings (see ``_probe_data.py``): nothing here says how good any encoder is. Seconds are CPU
seconds of one thread; every measured run is a process of its own. The last line printed is JSON.

    python benchmarks/probes.py                three rounds of 50,000 x 768, five classes, against lbfgs at tol=1e-6
    python benchmarks/probes.py --quick        one round, under five minutes
    python benchmarks/probes.py --newton       also against newton-cholesky, for the exact optimum
    python benchmarks/probes.py --large        2,900 nights of 1,000 epochs from a float16 file of 4.5 GB
    python benchmarks/probes.py --sweep        ten seeds x 1, 5, 10 % of the nights x seven penalties, five folds
    python benchmarks/probes.py --linear       cost by number of rows
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Neighbours, machine
from _probe_data import Nights
from _table import columns

from hypnos_bench.errors import BenchError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_EPOCHS = 1000


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job in a process of its own, on one thread."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("_probe_child.py"))],
        input=json.dumps(job),
        env={**os.environ, **dict.fromkeys(_THREADS, "1")},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{job['task']}: ended with code {done.returncode}; see its message above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def against_sklearn(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both sides in turn on the same rows in memory."""
    epochs = min(_EPOCHS, options.rows // 5)
    persons = options.rows // epochs
    arrays = Nights(options.width).many(range(persons), epochs)
    for name, array in zip(("x", "y", "person"), arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
    lam = 1.0 / len(arrays[1])  # scikit-learn's C=1
    common = {"folder": str(folder), "lam": lam}
    sides = {
        "sklearn": {"task": "sklearn", "solver": "lbfgs", "tol": 1e-6, **common},
        "ours": {"task": "ours", **common},
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(1 if options.quick else 3):
        for name, job in sides.items():
            runs[name].append(run(job))
    if options.newton:
        runs["newton"] = [run({"task": "sklearn", "solver": "newton-cholesky", "tol": 1e-8, **common})]
    cpu = {name: [one["stages"]["fit"]["cpu_s"] for one in found] for name, found in runs.items()}
    pairs = zip(cpu["sklearn"], cpu["ours"], strict=True)
    return {
        "rows": len(arrays[1]),
        "width": options.width,
        "rounds": len(cpu["ours"]),
        "cpu_ratio": statistics.median(theirs / mine for theirs, mine in pairs),
        "cpu_s": {name: statistics.median(seconds) for name, seconds in cpu.items()},
        "loss": {name: found[0]["loss"] for name, found in runs.items()},
        "passes": {name: found[0]["passes"] for name, found in runs.items()},
        "peak_mb": {name: max(one["stages"]["fit"]["peak_mb"] for one in found) for name, found in runs.items()},
        "rows_mb": arrays[0].nbytes / 1e6,
    }


def from_disk(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A cohort that does not fit into memory."""
    job = {
        "task": "disk",
        "folder": str(folder),
        "nights": options.nights,
        "epochs": options.epochs,
        "width": options.width,
        "seeds": options.seeds,
        "lam": 0.02 / options.nights,
        "large": options.large,
        "sweep": options.sweep,
    }
    return run(job)


def report(result: Mapping[str, Any]) -> str:
    """Results as text."""
    lines = ["simulated embeddings; CPU seconds of one thread"]
    if "sklearn" in result:
        found = result["sklearn"]
        rows = [["", "cpu s", "loss", "passes", "peak MB"]]
        for name, seconds in found["cpu_s"].items():
            loss, peak = found["loss"][name], found["peak_mb"][name]
            rows.append([name, f"{seconds:.2f}", f"{loss:.8f}", str(found["passes"][name]), f"{peak:.0f}"])
        lines += [f"{found['rows']} x {found['width']} ({found['rows_mb']:.0f} MB), {found['rounds']} round(s)"]
        lines += [columns(rows), f"scikit-learn over ours: {found['cpu_ratio']:.1f} x"]
    if "large" in result.get("disk", {}):
        found, stages = result["disk"]["large"], result["disk"]["stages"]
        lines += [
            f"{result['disk']['rows']} rows from a file of {result['disk']['file_gb']:.2f} GB: "
            f"fit {stages['fit']['cpu_s']:.1f} s, peak {stages['fit']['peak_mb']:.0f} MB, {found['passes']} passes; "
            f"predict {stages['predict']['cpu_s']:.1f} s",
            f"loss {found['loss']:.8f}, {found['excess']:.1e} above a tighter fit, relative",
        ]
    if "sweep" in result.get("disk", {}):
        found = result["disk"]["sweep"]
        lines.append(f"sweep of {len(found['fits'])} fits: {found['cpu_s'] / 60:.2f} CPU minutes")
        rows = [["nights", "cpu s per fit", "accuracy", "lambdas chosen"]]
        for nights in sorted({fit["nights"] for fit in found["fits"]}):
            own = [fit for fit in found["fits"] if fit["nights"] == nights]
            chosen = sorted({f"{fit['lambda']:g}" for fit in own})
            means = [statistics.mean(fit[key] for fit in own) for key in ("cpu_s", "accuracy")]
            rows.append([str(nights), f"{means[0]:.2f}", f"{means[1]:.4f}", " ".join(chosen)])
        lines.append(columns(rows))
    if "linear" in result:
        rows = [["rows", "cpu s", "us per row", "passes"]]
        for one in result["linear"]["points"]:
            rows.append([str(one["rows"]), f"{one['cpu_s']:.2f}", f"{one['us_per_row']:.1f}", str(one["passes"])])
        lines.append(columns(rows))
    return "\n".join(lines)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--newton", action="store_true", help="also scikit-learn's newton-cholesky")
    parser.add_argument("--large", action="store_true", help="a fit to rows on disk")
    parser.add_argument("--sweep", action="store_true", help="budgets x seeds x penalties from rows on disk")
    parser.add_argument("--linear", action="store_true", help="cost by number of rows")
    parser.add_argument("--rows", type=positive, default=50_000, help="of the comparison")
    parser.add_argument("--width", type=positive, default=768)
    parser.add_argument("--nights", type=positive, default=2900, help="of --large and --sweep")
    parser.add_argument("--epochs", type=positive, default=_EPOCHS, help="per night")
    parser.add_argument("--seeds", type=positive, default=10, help="of --sweep")
    parser.add_argument("--folder", type=Path, default=None, help="for files (default: the temporary folder)")
    return parser.parse_args(words)


def main() -> None:
    options = parse()
    neighbours = Neighbours()
    result: dict[str, Any] = {"benchmark": "probes", "simulated": True}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if not (options.large or options.sweep or options.linear):
            result["sklearn"] = against_sklearn(options, folder)
            result["cpu_ratio"] = result["sklearn"]["cpu_ratio"]
        if options.large or options.sweep:
            result["disk"] = from_disk(options, folder)
        if options.linear:
            sizes = [max(1, options.nights // k) for k in (116, 58, 29, 14, 7)]
            job = {"task": "growth", "folder": str(folder), "sizes": sizes, "epochs": options.epochs}
            result["linear"] = run({**job, "width": options.width, "lam": 1e-5})
    result |= {"others_share": neighbours.share(), "machine": machine(1)}
    print(report(result))
    print(json.dumps(result))


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"probes: {error}")
