"""Nights per hour on a GPU: what each stage costs, what the whole of phase 1 gives, and what EDF reading adds.

A bundle with random weights (the sizes reproduce the released file's 1.9 GB) and synthetic eight-channel nights at
native rates. "Decoded" nights have their samples in memory; workers still resample, filter and z-score them. EDF
files are read from the page cache. The last line printed is JSON.

    python benchmarks/gpu_throughput.py --check                        eight-hour nights in bf16 on CUDA
    python benchmarks/gpu_throughput.py --precision float32 --nights 32
    python benchmarks/gpu_throughput.py --device cpu --quick --check   a small model, to see that it runs

``--check`` compares tokens and embeddings with float32 on the CPU first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _floor import Work, work_per_second
from _inputs import CONFIGS
from _measure import machine
from _nights import decoded, recordings, write_nights

from hypnos_bench.embed import embed_recordings
from hypnos_bench.encoders.base import PRECISIONS, EncoderOptions, Prepared
from hypnos_bench.encoders.hypnos import HypnosEncoder
from hypnos_bench.errors import BenchError, DataError
from hypnos_bench.hypnos.batch import Tokens, embed_many, tokenize_many
from hypnos_bench.hypnos.budget import recordings_at_once
from hypnos_bench.hypnos.device import pick_device
from hypnos_bench.hypnos.infer import load_model
from hypnos_bench.hypnos.random_bundle import write_random_bundle
from hypnos_bench.threads import one_thread, usable_cores

TARGET_NIGHTS_PER_HOUR = 10_000
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
_GEMM = (32768, 768, 4096)  # rows, inner width, columns: 32 nights of eight modalities, 128 s of them
_COPY_BYTES = 2**28
_FILES = 4


class Bench:
    """One invocation: files, model and options.

    Parameters
    ----------
    options : argparse.Namespace
    folder : Path
        For everything written.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.device, self.device_line = pick_device(options.device)
        self.bundle: Path = options.bundle or folder / "hypnos.safetensors"
        if options.bundle is None:
            _say(f"writing a random bundle ({options.config} sizes)")
            write_random_bundle(self.bundle, config=CONFIGS[options.config])
        _say("writing synthetic nights")
        self.seconds = round(options.hours * 3600)
        self.files = write_nights(folder, self.seconds, min(_FILES, options.nights))
        self.encoder_options = EncoderOptions(
            weights={"hypnos": str(self.bundle)}, device=str(self.device), precision=options.precision
        )
        self.encoder = HypnosEncoder(self.encoder_options)
        dtype = _DTYPES[options.precision]
        self.model, tokenizers, self.metadata = load_model(self.bundle, self.device, dtype)
        self.tokenizers = dict(tokenizers)
        self.batch = recordings_at_once(self.model, self.metadata)
        self.work: Work = work_per_second(self.metadata)

    def prepared(self, n: int) -> list[Prepared]:
        """Preprocessed nights, made in this process."""
        return [self.encoder.prepare(recording) for recording in recordings(self.files, n, in_memory=False)]

    def timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds of a call, with everything that it queued on the device."""
        self.wait()
        start = time.perf_counter()
        result = call()
        self.wait()
        return time.perf_counter() - start, result

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def check(bench: Bench) -> dict[str, float]:
    """Tokens and embeddings of short recordings, side by side on the device, against float32 on the CPU one by one."""
    _say("comparing with float32 on the CPU")
    n = min(bench.seconds, 600)
    signals = [_cut(prepared, n, bench) for prepared in bench.prepared(2)]
    model, tokenizers, metadata = load_model(bench.bundle, "cpu")
    expected = [_tokens(tokenize_many(tokenizers, metadata, [each]))[0] for each in signals]
    found = _tokens(tokenize_many(bench.tokenizers, metadata, signals))
    rows = [embed_many(model, [each], metadata)[0] for each in expected]
    rows_found = embed_many(bench.model, expected, metadata, at_once=len(expected))  # of the same tokens
    least, most = 1.0, 0.0
    for ours, theirs in zip(rows_found, rows, strict=True):
        for name, b in theirs.items():
            x, y = ours[name].astype(np.float64), b.astype(np.float64)
            least = min(least, float(np.min((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))))
            most = max(most, float(np.abs(x - y).max()))
    equal = [float((a[0] == b[0]).double().mean()) for a, b in zip(found, expected, strict=True)]
    return {"tokens_equal_share": min(equal), "embedding_max_difference": most, "embedding_least_cosine": least}


def stages(bench: Bench) -> dict[str, dict[str, float]]:
    """Seconds per night of one full batch, stage by stage, and what of the arithmetic that is."""
    _say(f"stages, {bench.batch} nights side by side")
    (night,) = bench.prepared(1)
    together = [night.arrays] * bench.batch
    short = [_cut(night, min(bench.seconds, 600), bench)] * bench.batch
    warm_up = _tokens(tokenize_many(bench.tokenizers, bench.metadata, short))
    embed_many(bench.model, warm_up, bench.metadata, average=True, at_once=bench.batch)
    spent, found = bench.timed(lambda: tokenize_many(bench.tokenizers, bench.metadata, together))
    tokens = _tokens(found)
    result = {"tokenize": _rate(spent / bench.batch, bench.work.tokenizer * bench.seconds)}
    spent, _ = bench.timed(lambda: embed_many(bench.model, tokens, bench.metadata, average=True, at_once=bench.batch))
    result["temporal"] = _rate(spent / bench.batch, bench.work.temporal * bench.seconds)
    signal_bytes = sum(array.nbytes for array in night.arrays.values())
    row_bytes = 2 * bench.seconds * bench.model.embed_dim
    for name, n_bytes, (source, target) in (
        ("signals_to_device", signal_bytes, ("cpu", bench.device)),
        ("rows_to_host", row_bytes, (bench.device, "cpu")),
    ):
        per_s = _copy_rate(bench, source, target)
        result[name] = {"s_per_night": n_bytes / per_s, "gb_per_s": per_s / 1e9}
    return result


def _rate(seconds: float, operations: float) -> dict[str, float]:
    return {"s_per_night": seconds, "nights_per_hour": 3600 / seconds, "tflop_per_s": operations / seconds / 1e12}


def _copy_rate(bench: Bench, source: Any, target: Any) -> float:
    """Bytes per second between pinned host memory and the device, or within the host without a GPU."""
    pinned = bench.device.type == "cuda"
    x, y = (
        torch.zeros(_COPY_BYTES, dtype=torch.uint8, device=where, pin_memory=pinned and where == "cpu")
        for where in (source, target)
    )
    y.copy_(x)
    spent, _ = bench.timed(lambda: y.copy_(x, non_blocking=True))
    return _COPY_BYTES / spent


def gemm_rates(bench: Bench) -> dict[str, float]:
    """TFLOP/s of plain products of the size that a full batch has: what this device gives in practice."""
    rows, inner, columns = (max(1, n // (64 if bench.device.type == "cpu" else 1)) for n in _GEMM)
    found = {}
    for name, dtype in _DTYPES.items():
        x, w = (torch.ones(n, inner, dtype=dtype, device=bench.device) for n in (rows, columns))
        torch.nn.functional.linear(x, w)
        spent = min(bench.timed(lambda x=x, w=w: torch.nn.functional.linear(x, w))[0] for _ in range(10))
        found[name] = 2 * rows * inner * columns / spent / 1e12
    return found


def preparing(bench: Bench) -> dict[str, dict[str, float]]:
    """Nights per hour that the workers alone can read and preprocess, and the CPU seconds of one."""
    _say(f"preparing in {bench.options.workers} workers")
    context = multiprocessing.get_context("spawn")
    result = {}
    with ProcessPoolExecutor(bench.options.workers, context, _start, (bench.encoder_options, bench.files[0])) as pool:
        list(pool.map(_prepare, recordings(bench.files, 2 * bench.options.workers, in_memory=False)))  # all awake
        for name, in_memory in (("decoded", True), ("edf", False)):
            todo = recordings(bench.files, bench.options.nights, in_memory=in_memory)
            start = time.perf_counter()
            cpu_s = [future.result() for future in as_completed([pool.submit(_prepare, each) for each in todo])]
            spent = time.perf_counter() - start
            result[name] = {"nights_per_hour": 3600 * len(todo) / spent, "cpu_s_per_night": float(np.mean(cpu_s))}
    return result


_encoder: HypnosEncoder | None = None  # one per worker


def _start(options: EncoderOptions, file: Path) -> None:
    global _encoder
    one_thread()
    _encoder = HypnosEncoder(options)
    decoded(file)


def _prepare(recording: Any) -> float:
    start = time.process_time()
    _encoder.prepare(recording)
    return time.process_time() - start


def end_to_end(bench: Bench, *, in_memory: bool) -> dict[str, float]:
    """Phase 1 as users run it, from signals to stored files; the steady rate leaves the first quarter out."""
    source = "decoded signals" if in_memory else "EDF files"
    _say(f"end to end from {source}: {bench.options.nights} nights")
    todo = recordings(bench.files, bench.options.nights, in_memory=in_memory)
    prints = {recording.id: recording.source_fingerprint() for recording in todo}
    stamps: list[float] = []

    def stamped(done: Iterator[Any], total: int, text: str) -> Iterable[Any]:
        for outcome in done:
            stamps.append(time.perf_counter())
            yield outcome

    results, start = bench.folder / "results", time.perf_counter()
    report = embed_recordings(
        todo, prints, "hypnos", bench.encoder_options, results,
        simulated=True, workers=bench.options.workers, overlap=True, progress=stamped,
    )  # fmt: skip
    shutil.rmtree(results)
    if report.failed:
        raise BenchError(f"{report.failed[0].recording}: {report.failed[0].reason}")
    first = len(todo) // 4
    steady = (len(todo) - 1 - first) / (stamps[-1] - stamps[first]) if len(todo) > 1 else float("nan")
    return {"nights_per_hour": 3600 * len(todo) / (stamps[-1] - start), "steady_nights_per_hour": 3600 * steady}


def _cut(prepared: Prepared, seconds: int, bench: Bench) -> dict[str, Any]:
    rates = {m.name: m.sample_rate for m in bench.metadata.modalities}
    return {name: array[: seconds * rates[name]] for name, array in prepared.arrays.items()}


def _tokens(found: list[Tokens | DataError]) -> list[Tokens]:
    for each in found:
        if isinstance(each, DataError):
            raise each
    return [each for each in found if not isinstance(each, DataError)]


def run(bench: Bench) -> dict[str, Any]:
    """Everything that is measured."""
    found = {"check": check(bench)} if bench.options.check else {}
    found |= {"gemm_tflop_per_s": gemm_rates(bench), "stages": stages(bench), "preparing": preparing(bench)}
    found["end_to_end"] = {
        name: end_to_end(bench, in_memory=in_memory) for name, in_memory in (("decoded", True), ("edf", False))
    }
    if bench.device.type == "cuda":
        found["peak_gpu_gb"] = torch.cuda.max_memory_allocated(bench.device) / 1e9
    steady = found["end_to_end"]["decoded"]["steady_nights_per_hour"]
    hours = 8 * TARGET_NIGHTS_PER_HOUR  # of signal per hour, hence seconds per second
    return {
        "benchmark": "gpu_throughput",
        "weights": "random (untrained)" if bench.options.bundle is None else str(bench.options.bundle),
        "config": bench.options.config if bench.options.bundle is None else "of the bundle",
        "device": bench.device_line,
        "machine": machine(1),
        **{name: getattr(bench.options, name) for name in ("precision", "nights", "hours", "workers")},
        "batch": bench.batch,
        **found,
        "target": {
            "eight_hour_nights_per_hour": TARGET_NIGHTS_PER_HOUR,
            "needs_tflop_per_s": {
                "float32": bench.work.tokenizer * hours / 1e12,
                "temporal": bench.work.temporal * hours / 1e12,
            },
            "reached": bench.options.hours * steady >= hours,
        },
    }


def show(result: dict[str, Any]) -> None:
    """What a reader wants to know first."""
    size = f"{result['nights']} synthetic nights of {result['hours']:g} h, {result['batch']} side by side"
    print(f"{result['device']}; {result['precision']}; {size}")
    for name, each in result.get("check", {}).items():
        print(f"  check: {name:26s} {each:.6g}")
    for name, each in result["gemm_tflop_per_s"].items():
        print(f"  plain products in {name:15s} {each:10.1f} TFLOP/s")
    for name, each in result["stages"].items():
        rate = f"{each['tflop_per_s']:.1f} TFLOP/s" if "tflop_per_s" in each else f"{each['gb_per_s']:.1f} GB/s"
        print(f"  {name:33s} {each['s_per_night']:10.3f} s per night, {rate}")
    for name, each in result["preparing"].items():
        print(
            f"  workers alone, {name:18s} {each['nights_per_hour']:10.0f} nights per hour, "
            f"{each['cpu_s_per_night']:.2f} CPU s each"
        )
    for name, each in result["end_to_end"].items():
        print(
            f"  end to end, {name:21s} {each['nights_per_hour']:10.0f} nights per hour with start-up, "
            f"{each['steady_nights_per_hour']:.0f} steady"
        )
    target = result["target"]
    needs, verdict = target["needs_tflop_per_s"], "reached" if target["reached"] else "missed"
    print(
        f"  target of {TARGET_NIGHTS_PER_HOUR} eight-hour nights per hour {verdict}; "
        f"it takes {needs['float32']:.3g} TFLOP/s in float32 and {needs['temporal']:.3g} in {result['precision']}"
    )
    print(json.dumps(_rounded(result)))


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, help="default: 64")
    parser.add_argument("--hours", type=float, help="of each night; default: 8")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16")
    parser.add_argument("--workers", type=int, help="processes that prepare; default: one per core")
    parser.add_argument("--config", choices=sorted(CONFIGS), help="sizes of the random bundle; default: assumed")
    parser.add_argument("--bundle", type=Path, help="measure this bundle instead of a random one")
    parser.add_argument("--check", action="store_true", help="compare with float32 on the CPU first")
    parser.add_argument("--quick", action="store_true", help="a small model, four short nights, one worker")
    parser.add_argument("--folder", type=Path, help="where to write, several GB; default: the system's")
    options = parser.parse_args()
    quick = options.quick
    options.nights = options.nights or (4 if quick else 64)
    options.hours = options.hours or (0.05 if quick else 8.0)
    options.workers = options.workers or (1 if quick else usable_cores())
    options.config = options.config or ("small" if quick else "assumed")
    if options.nights < 2 or options.hours < 0.02 or options.workers < 1:
        parser.error("--nights must be at least 2, --hours at least 0.02, --workers at least 1")
    one_thread()
    try:
        with tempfile.TemporaryDirectory(prefix="gpu-throughput-", dir=options.folder) as folder:
            show(run(Bench(options, Path(folder))))
    except BenchError as error:
        _say(f"error: {error}")
        return error.exit_code
    return 0


def _rounded(value: Any) -> Any:
    """Numbers to five significant digits: what follows is noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
