"""Time and peak memory of tokenising and embedding one synthetic eight-channel night on the CPU.

The bundle has random weights in the sizes that reproduce the released file's 1.9 GB. It is written by a
child process, so that the peak reported here is that of reading and running it. The last line printed is JSON.

    python benchmarks/night_memory.py --hours 8
    python benchmarks/night_memory.py --quick
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypnos_bench.hypnos.infer import embed, load_model, tokenize
from hypnos_bench.hypnos.random_bundle import ASSUMED_RELEASED_CONFIG, SMALL_CONFIG, write_random_bundle
from hypnos_bench.threads import one_thread

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB; from the kernel's VmHWM where there is one."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def synthetic_night(rates: dict[str, int], seconds: int) -> dict[str, np.ndarray]:
    """Noise around slow rhythms, in the scale of preprocessed signals."""
    rng = np.random.default_rng(0)
    night = {}
    for name, rate in rates.items():
        t = np.arange(seconds * rate, dtype=np.float32) / rate
        rhythm = np.sin(2 * np.pi * (0.2 + 9 * rng.random()) * t, dtype=np.float32)
        night[name] = rhythm + rng.standard_normal(len(t), dtype=np.float32)
    return night


def measure(path: Path, hours: float, options: argparse.Namespace) -> dict[str, Any]:
    """Load, tokenise and embed; seconds and peak after each."""
    if options.threads == 1:
        one_thread()
    else:
        torch.set_num_threads(options.threads)
    result: dict[str, Any] = {"hours": hours, "threads": options.threads, "dtype": options.dtype}
    result |= {"context": options.context, "bundle_mb": path.stat().st_size / 1e6, "start_peak_mb": peak_mb()}

    def stage(name: str, start: float, cpu: float) -> None:
        result[f"{name}_s"] = round(time.perf_counter() - start, 2)
        result[f"{name}_cpu_s"] = round(time.process_time() - cpu, 2)
        result[f"{name}_peak_mb"] = round(peak_mb())
        print(name, result[f"{name}_s"], "s, peak", result[f"{name}_peak_mb"], "MB", flush=True)

    start, cpu = time.perf_counter(), time.process_time()
    model, tokenizers, metadata = load_model(path, dtype=_DTYPES[options.dtype])
    stage("load", start, cpu)
    signals = synthetic_night({m.name: m.sample_rate for m in metadata.modalities}, int(hours * 3600))
    start, cpu = time.perf_counter(), time.process_time()
    tokens, mask, channel_ids = tokenize(tokenizers, metadata, signals)
    stage("tokenize", start, cpu)
    tokenizers.release()
    del signals
    start, cpu = time.perf_counter(), time.process_time()
    embeddings = embed(model, tokens, mask, channel_ids, metadata, context=options.context)
    stage("embed", start, cpu)
    result["output_mb"] = sum(array.nbytes for array in embeddings.values()) / 1e6
    result["seconds_of_signal"] = tokens.shape[1]
    result["peak_mb"] = round(peak_mb())
    return result


def main() -> None:
    """Parse the command line, make the bundle, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=sorted(_DTYPES), default="float32")
    parser.add_argument("--context", choices=("chunked", "continuous"), default="chunked")
    parser.add_argument("--bundle", type=Path, help="use this file instead of writing one")
    parser.add_argument("--quick", action="store_true", help="0.1 h with the small configuration")
    options = parser.parse_args()
    config = SMALL_CONFIG if options.quick else ASSUMED_RELEASED_CONFIG
    hours = 0.1 if options.quick else options.hours
    with tempfile.TemporaryDirectory() as folder:
        path = options.bundle or Path(folder) / "hypnos.safetensors"
        if not path.exists():
            writer = multiprocessing.get_context("spawn").Process(
                target=write_random_bundle, args=(path,), kwargs={"seed": 0, "config": config}
            )
            writer.start()
            writer.join()
            if writer.exitcode:
                sys.exit(f"writing {path} failed")
        print(json.dumps(measure(path, hours, options)))


if __name__ == "__main__":
    main()
