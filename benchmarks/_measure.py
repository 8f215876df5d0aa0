"""Seconds and memory of the stages of a process, child processes that are measured, and the machine in words."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypnos_bench.errors import BenchError
from hypnos_bench.threads import usable_cores

_STATUS = Path("/proc/self/status")
_STAT = Path("/proc/stat")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


def peak_mb() -> float:
    """Peak resident memory of this process, in MB: since the last reset where the kernel knows resets."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def reset_peak() -> bool:
    """Let the peak start from what is resident now; False where this cannot be done."""
    if not _CLEAR_REFS.exists():
        return False
    try:
        _CLEAR_REFS.write_text("5")
    except PermissionError:
        return False
    return True


class Meter:
    """Wall seconds, CPU seconds of all threads, and peak memory by stage.

    Attributes
    ----------
    stages : dict of str to dict
        ``wall_s``, ``cpu_s`` and ``peak_mb`` by stage, in the order in which they ran.
    resets : bool
        Whether peaks are those of a stage alone; otherwise they are those since the process began.
    """

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self.resets = True

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        self.resets = reset_peak() and self.resets
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.stages[name] = {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak_mb()}


def run_child(job: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Run one job in a process of its own, so that its memory is its own; see ``_child.py``.

    Raises
    ------
    BenchError
        When the child fails; its own message stands on stderr already.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("_child.py"))],
        input=json.dumps({**job, "threads": threads}),
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        hint = "it was killed, most likely for want of memory" if done.returncode == -9 else "see its message above"
        raise BenchError(f"{job['side']}, {job['task']}: ended with code {done.returncode}; {hint}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def warm(path: Path) -> None:
    """Read a file once, so that every side finds it in the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**24):
            pass


class Neighbours:
    """How much of the machine other processes use from now on: they slow wall and, through waiting threads, CPU."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float | None:
        """Share of all cores that others kept busy since the start; None where the kernel does not say."""
        now = self._now()
        if now is None or self._start is None:
            return None
        wall, busy, own = (b - a for a, b in zip(self._start, now, strict=True))
        return max(0.0, (busy - own) / (wall * (os.cpu_count() or 1)))

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        if not _STAT.exists():
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(field) for field in _STAT.read_text().splitlines()[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.monotonic(), busy, sum(u.ru_utime + u.ru_stime for u in used)


def machine(threads: int) -> dict[str, Any]:
    """What results depend on: processor, memory, versions."""
    import torch

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    kind = ", ".join(f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields)
    flags = fields.get("flags", "").split()
    return {
        "cpu": f"{fields.get('model name', platform.processor() or platform.machine())} ({kind})",
        "instructions": [flag for flag in _TELLING_FLAGS if flag in flags],
        "cores": usable_cores(),
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
