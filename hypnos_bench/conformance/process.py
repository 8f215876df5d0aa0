"""The encoder made again in a process of its own, as a worker makes it: same rows, CPU seconds, memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from hypnos_bench.conformance.recordings import synthetic
from hypnos_bench.conformance.same import UNSTEADY
from hypnos_bench.conformance.trial import SEED, Trial
from hypnos_bench.conformance.trying import Check, Tried, attempt, difference
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.processes import end_with_parent, signals_held
from hypnos_bench.spec import digest
from hypnos_bench.threads import one_thread

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Measured:
    """What a process of its own found.

    Parameters
    ----------
    plain : Tried
        The first recording of a trial.
    definition : str
        Digest of the card's definition.
    long : Tried
        The recording whose time was taken.
    cpu_s, wall_s : float
        Of all threads and child processes, for that one.
    start_mb, peak_mb : float
        Resident memory before the encoder was made, and its peak.
    """

    plain: Tried
    definition: str
    long: Tried
    cpu_s: float
    wall_s: float
    start_mb: float
    peak_mb: float


def check_process(trial: Trial, reference: str, options: EncoderOptions, hours: float) -> list[Check]:
    """Rebuild the encoder from its reference in another process and measure it there, with one thread."""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _settle_in)
    try:
        with signals_held():
            future = pool.submit(_measure, reference, options, trial.lengths_s[0], hours)
        found = future.result()
    except BrokenProcessPool:
        words = "the process died, most likely out of memory"
        return [Check("other process", "fail", words), Check("speed and memory", "fail", words)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [_same(trial, found), _cost(found, hours)]


def _same(trial: Trial, found: Measured) -> Check:
    name = "other process"
    if found.definition != digest(trial.card.definition()):
        return Check(name, "fail", "its card is another one there: embeddings would never be found again")
    if not trial.steady:
        return Check(name, "note", UNSTEADY)
    if found.plain.embedding is None:
        return Check(name, "fail", f"made again from its name there: {found.plain.words}")
    apart = difference(found.plain.embedding, trial.first)
    words = "made again from its name there: " + ("bit-equal" if apart == 0 else f"rows differ by {apart:.1e}")
    return Check(name, "pass" if apart == 0 else "fail", words)


def _cost(found: Measured, hours: float) -> Check:
    name = "speed and memory"
    if found.long.embedding is None:
        return Check(name, "fail", f"{hours:g} h of signal: {found.long.words}")
    per_hour = found.cpu_s / hours
    numbers = {
        "cpu_s_per_hour": per_hour, "measured_hours": hours, "cpu_s": found.cpu_s, "wall_s": found.wall_s,
        "peak_mb": found.peak_mb, "start_mb": found.start_mb,
    }  # fmt: skip
    words = (
        f"{per_hour:.3g} CPU s per hour of signal (from {hours:g} h, twelve channels; one thread); peak "
        f"{found.peak_mb:.0f} MB, of which {found.start_mb:.0f} MB stood before the encoder was made"
    )
    return Check(name, "note", words, numbers)


def _settle_in() -> None:
    end_with_parent()
    one_thread()


def _measure(reference: str, options: EncoderOptions, plain_s: float, hours: float) -> Measured:
    plain, long = synthetic("synthetic-0", plain_s, SEED), synthetic("synthetic-long", 3600 * hours, SEED)
    start_mb = _peak_mb()
    encoder = make_encoder(reference, options)
    first = attempt(encoder, plain)  # also builds what is built once
    wall, cpu = time.perf_counter(), _cpu_s()
    second = attempt(encoder, long)
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    return Measured(first, digest(encoder.card.definition()), second, cpu, wall, start_mb, _peak_mb())


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _peak_mb() -> float:
    """Peak resident memory in MB. Linux lets a process inherit the peak of the one that started it in ``ru_maxrss``."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
