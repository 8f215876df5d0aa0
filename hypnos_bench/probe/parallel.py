"""Cells side by side: each is fitted in a process of its own with one thread, on rows that all of them share."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from hypnos_bench.errors import DataError
from hypnos_bench.probe.cell import Probe, run_cell
from hypnos_bench.probe.data import ProbeData
from hypnos_bench.processes import end_with_parent, signals_held
from hypnos_bench.spec import CellSpec
from hypnos_bench.store.cells import Cell
from hypnos_bench.store.side import Side

Result = tuple[Cell, Side | None]

# Rows are inherited by fork: copied once for every process they would not fit, and a spill file has no name.
_shared: tuple[Probe, ProbeData] | None = None


def run_cells(specs: Sequence[CellSpec], probe: Probe, data: ProbeData, workers: int) -> Iterator[Result]:
    """Compute cells, in any order; those that are finished are handed out at once.

    Where processes cannot inherit memory (macOS, Windows) or there is one cell, they run one after the other.

    Raises
    ------
    DataError
        When a process dies, for want of memory as a rule.
    IntegrityError
        As :func:`run_cell`.
    """
    if workers < 2 or len(specs) < 2 or sys.platform != "linux":
        yield from (run_cell(spec, probe, data) for spec in specs)
        return
    global _shared
    _shared = (probe, data)
    context = multiprocessing.get_context("fork")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(specs)), mp_context=context, initializer=end_with_parent)
    ended = False
    try:
        with signals_held(), warnings.catch_warnings():
            # Python 3.12 warns of threads at a fork: ours (a progress bar's) hold no lock that a child asks for.
            warnings.simplefilter("ignore", DeprecationWarning)
            waiting: set[Future[Result]] = {pool.submit(_run, spec) for spec in specs}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        ended = True
    except BrokenProcessPool as error:
        raise DataError(
            "a process that fits cells was ended from outside, for want of memory as a rule; use fewer --workers"
        ) from error
    finally:
        _shared = None
        if not ended:  # nobody waits for a cell that nobody will save
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _run(spec: CellSpec) -> Result:
    if _shared is None:
        raise RuntimeError("a worker was started without its rows")
    return run_cell(spec, *_shared)
