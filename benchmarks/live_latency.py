"""How long a live second takes: from its samples to the row of that second, on the CPU.

A bundle with random weights (the sizes reproduce the released file's 1.9 GB) is fed with synthetic signals one
second at a time, by one, three and eight channels. Given start values spare the wait for the first minute, and a
first push of some minutes fills the context. The last line printed is JSON.

    python benchmarks/live_latency.py
    python benchmarks/live_latency.py --quick             the small configuration, a few seconds
    python benchmarks/live_latency.py --bundle FILE --seconds 60
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _inputs import CONFIGS
from _measure import machine, warm
from numpy.typing import NDArray

from hypnos_bench.errors import BenchError
from hypnos_bench.hypnos.infer import load_model
from hypnos_bench.hypnos.live import StreamingEmbedder
from hypnos_bench.hypnos.random_bundle import write_random_bundle

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MONTAGES = (("C3",), ("C3", "E1", "Chin"), ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX"))
_RATES_HZ = {"ABD": 32.0, "THX": 32.0}  # belts; everything else is resampled from 256 Hz

Signals = Mapping[str, NDArray[np.float64]]


def synthetic(channels: tuple[str, ...], seconds: int) -> tuple[dict[str, float], Signals]:
    """Rates, and noise around a slow rhythm per channel."""
    rates = {channel: _RATES_HZ.get(channel, 256.0) for channel in channels}
    signals = {}
    for i, (channel, rate_hz) in enumerate(rates.items()):
        t = np.arange(round(seconds * rate_hz)) / rate_hz
        noise = np.random.default_rng([0, i]).standard_normal(len(t))
        signals[channel] = 30 * np.sin(2 * np.pi * (0.3 + i) * t) + 10 * noise
    return rates, signals


def between(signals: Signals, rates: Mapping[str, float], start_s: int, stop_s: int) -> Signals:
    """Stretch of all signals."""
    return {name: x[round(start_s * rates[name]) : round(stop_s * rates[name])] for name, x in signals.items()}


def measure(path: Path, channels: tuple[str, ...], dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Wall milliseconds per pushed second, after the context is full."""
    rates, signals = synthetic(channels, options.context + options.seconds)
    starts = {name: (0.0, float(x.var())) for name, x in signals.items()}
    embedder = StreamingEmbedder(*load_model(path, dtype=DTYPES[dtype]), rates, start_values=starts)
    embedder.push(between(signals, rates, 0, options.context))
    wall_s, cpu, in_time = [], time.process_time(), 0
    for t in range(options.context, options.context + options.seconds):
        samples = between(signals, rates, t, t + 1)
        start = time.perf_counter()
        new = embedder.push(samples)
        wall_s.append(time.perf_counter() - start)
        if len(new) != 1:
            raise BenchError(f"second {t} brought {len(new)} rows; one was expected")
        in_time += new.first_second == t
    wall_ms = 1000 * np.array(wall_s)
    return {
        "channels": len(channels),
        "dtype": dtype,
        "p50_ms": round(float(np.median(wall_ms)), 2),
        "p95_ms": round(float(np.quantile(wall_ms, 0.95)), 2),
        "max_ms": round(float(wall_ms.max()), 2),
        "cpu_ms": round(1000 * (time.process_time() - cpu) / options.seconds, 2),
        "times_real_time": round(1000 / float(wall_ms.mean()), 1),
        "rows_of_their_own_second": in_time,
    }


def main() -> None:
    """Parse the command line, make the bundle, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=_seconds, default=120, help="measured seconds per row of the table")
    parser.add_argument("--context", type=_seconds, default=300, help="seconds pushed before, all at once")
    parser.add_argument("--threads", type=_threads, default=1, help="that torch may use")
    parser.add_argument("--dtype", choices=sorted(DTYPES), action="append", help="repeatable; default: both")
    parser.add_argument("--bundle", type=Path, help="use this file instead of writing one")
    parser.add_argument("--quick", action="store_true", help="ten seconds with the small configuration")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.context = 10, 20
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = options.bundle or Path(folder) / "hypnos.safetensors"
        if options.bundle is None:
            write_random_bundle(path, seed=0, config=CONFIGS["small" if options.quick else "assumed"])
        try:
            results = _table(path, options)
        except BenchError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
    print(json.dumps({"benchmark": "live_latency", "results": results, "machine": machine(options.threads)}))


def _table(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    print(f"synthetic signals, {options.seconds} pushes of one second after {options.context} s of context")
    print("dtype     channels    p50 ms    p95 ms    max ms    cpu ms  x real time")
    results = []
    for dtype in options.dtype or ("float32", "bfloat16"):
        for channels in MONTAGES:
            if path.is_file():
                warm(path)
            row = measure(path, channels, dtype, options)
            numbers = (row[name] for name in ("p50_ms", "p95_ms", "max_ms", "cpu_ms"))
            times = "".join(f"{number:10.2f}" for number in numbers)
            print(f"{dtype:9} {len(channels):8}{times}{row['times_real_time']:13.1f}", flush=True)
            results.append(row)
    return results


def _seconds(word: str) -> int:
    if int(word) < 10:  # a tokenizer's mirrored start takes the first seven or eight
        raise argparse.ArgumentTypeError(f"must be at least 10, not {word}")
    return int(word)


def _threads(word: str) -> int:
    if int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {word}")
    return int(word)


if __name__ == "__main__":
    main()
