"""Recordings looked over in worker processes, in the order in which they were given."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.doctor.checkup import Checkup, examine
from hypnos_bench.errors import DataError
from hypnos_bench.processes import end_with_parent, signals_held

_CHUNK = 16  # recordings per message to a worker: a header and an annotation take some milliseconds


def examine_all(recordings: Sequence[Recording], label_kinds: Sequence[str], workers: int) -> Iterator[Checkup]:
    """Look every recording over, in processes when there are several workers and enough to do.

    Raises
    ------
    DataError
        When a worker process dies.
    """
    examined = partial(examine, label_kinds=tuple(label_kinds))
    workers = min(workers, len(recordings) // _CHUNK)
    if workers <= 1:
        yield from map(examined, recordings)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent)
    try:
        with signals_held():  # processes start while recordings are submitted, and inherit this
            found = pool.map(examined, recordings, chunksize=_CHUNK)
        yield from found
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} worker processes died while it looked recordings over, most likely out of memory; "
            "rerun with --workers 1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
