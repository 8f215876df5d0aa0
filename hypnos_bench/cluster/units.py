"""Hand units of work to the workers of a scheduler and take results in: a lost worker costs its unit only."""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import KilledWorker

from hypnos_bench import __version__
from hypnos_bench.cluster.connect import Cluster, scheduler_gone
from hypnos_bench.cluster.worker import Keeper, Token, Work, look_around, perform, unseen, versions
from hypnos_bench.errors import DataError
from hypnos_bench.store.atomic import atomic_write, remove

_PER_WORKER = 2  # units that a worker has at once: one in work and one in waiting; more would die with the first
_PATIENCE_S = 2.0  # between looks whether anybody is still at work


@dataclass(frozen=True)
class Lost:
    """What stands in place of a result when worker after worker died over a unit."""

    reason: str


def run_units(
    cluster: Cluster, work: Work, units: Sequence[Any], results: Path, *, say: Callable[[str], None]
) -> Iterator[tuple[int, Any]]:
    """Do units on the workers; yields the index of each with its result or `Lost`, in any order.

    Embedding (``embed.crew``) and cells go through here. The contract:

    * `work` names two functions at the top of a module that workers can import: ``start(setup)`` makes the state that
      a worker process keeps for all its units (and closes when other work comes, if it has ``close()``), and
      ``do(state, unit)`` does one. Units, setup and results are pickled: keep units and results small.
    * A unit may be done twice, when its worker was lost before its result came in: what it writes must be atomic, and
      the same both times. Large results are written by the unit, to the results folder; small ones come back and are
      written here, by the caller.
    * What a unit raises ends the run and is raised here; what concerns that unit alone is a result.
    * Where the state depends on what could be read (which recordings are embedded), the caller settles it and puts it
      into the setup: workers that looked for themselves might differ.
    * A worker process does one unit at a time with one numeric thread.

    Parameters
    ----------
    cluster : Cluster
    work : Work
    units : sequence
    results : Path
        The results folder, which all machines must share.
    say : callable
        Takes remarks.

    Raises
    ------
    DataError
        When a worker does not see the folder or has another release, when no worker is left, or the scheduler ended.
    """
    if not units:
        return
    with _handed_out(cluster, work, results, say) as name:
        outstanding = _Outstanding(cluster, name, work.do, units)
        try:
            again = []
            for index, result in outstanding.run(range(len(units)), _PER_WORKER):
                if isinstance(result, Lost):
                    again.append(index)
                else:
                    yield index, result
            # A unit is also blamed for the death of a worker at which it only waited: on its own this cannot be.
            yield from outstanding.run(again, 1)
        finally:
            outstanding.cancel()


class _Outstanding:
    """Units that were submitted and have not come back."""

    def __init__(self, cluster: Cluster, name: str, do: str, units: Sequence[Any]) -> None:
        self._cluster, self._name, self._do, self._units = cluster, name, do, units
        self._begun: dict[Any, int] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._alone_since: float | None = None
        self._submitted = 0

    def run(self, indices: Sequence[int], per_worker: int) -> Iterator[tuple[int, Any]]:
        waiting = deque(indices)
        while waiting or self._begun:
            most = max(1, per_worker * len(self._cluster.workers()))
            while waiting and len(self._begun) < most:
                self._submit(waiting.popleft())
            future = self._next()
            came, result = self._result(future)
            if came:
                index = self._begun.pop(future)
                future.release()
                yield index, result
            else:
                future.add_done_callback(self._done.put)

    def cancel(self) -> None:
        """Take back what has not begun; what a worker is at, it finishes."""
        if self._begun and self._cluster.there:
            with suppress(OSError, RuntimeError):  # the scheduler goes at this moment, and they with it
                self._cluster.client.cancel([*self._begun], force=True)
        self._begun.clear()

    def _submit(self, index: int) -> None:
        self._submitted += 1
        key = f"{self._name}-{self._submitted}"
        future = self._cluster.client.submit(perform, self._name, self._do, self._units[index], key=key, pure=False)
        self._begun[future] = index
        future.add_done_callback(self._done.put)

    def _next(self) -> Any:
        """Wait for a unit; sees to it that there is somebody to wait for."""
        while True:
            try:
                future = self._done.get(timeout=_PATIENCE_S)
            except queue.Empty:
                self._look()
                continue
            self._alone_since = None
            return future

    def _look(self) -> None:
        if self._cluster.workers():
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since > self._cluster.wait_s:
            raise DataError(
                f"scheduler {self._cluster.address} has had no workers for {self._cluster.wait_s:g} s; what was "
                "finished is kept: start some and rerun"
            )

    def _result(self, future: Any) -> tuple[bool, Any]:
        """Whether the result is here, and the result; it may have been lost with the worker that had it."""
        status = future.status
        if status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                return True, Lost(
                    f"its worker died {error.allowed_failures + 1} times over, most likely out of memory; give workers "
                    "more, and rerun"
                )
            raise error.with_traceback(future.traceback())
        if status == "cancelled":
            raise scheduler_gone(self._cluster.address)
        if status != "finished":
            return False, None
        try:
            return True, future.result(timeout=_PATIENCE_S)
        except TimeoutError:
            self._look()
            return False, None


@contextmanager
def _handed_out(cluster: Cluster, work: Work, results: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Give work to every worker, those that come later too, once those that are there have been looked at."""
    name = f"hypnos-bench-{uuid.uuid4().hex}"
    folder = results.expanduser().absolute()
    token = Token(folder / f".{name}", f"{__version__} {name}", str(Path.cwd()))
    atomic_write(token.path, token.words.encode())
    try:
        cluster.wait_for_workers(say)
        _check(cluster, token, say)
        cluster.client.register_plugin(Keeper(name, work, token), name=name)
        try:
            yield name
        finally:
            if cluster.there:
                with suppress(OSError, RuntimeError, ValueError):  # it goes, or a worker, at this moment
                    cluster.client.unregister_worker_plugin(name)
    finally:
        remove(token.path)


def _check(cluster: Cluster, token: Token, say: Callable[[str], None]) -> None:
    """Refuse workers that would write elsewhere or by other code; tell of those that may differ in a last digit."""
    own = versions()
    for address, report in cluster.client.run(look_around, token, on_error="return").items():
        if isinstance(report, OSError):
            continue  # it left while we asked; whoever comes is looked at by its first unit
        if isinstance(report, BaseException):
            raise DataError(
                f"worker {address} cannot load hypnos-bench ({' '.join(str(report).split())}): install "
                f"'hypnos-bench[cluster]=={__version__}' there"
            ) from report
        if report["hypnos-bench"] != __version__:
            theirs = report["hypnos-bench"]
            raise DataError(f"{report['host']} has hypnos-bench {theirs}: install {__version__} there, as it is here")
        if not report["sees"]:
            raise DataError(unseen(report["host"], token))
        other = {name: value for name, value in report["versions"].items() if value != own.get(name)}
        if other:
            told = ", ".join(f"{name} {value} (here {own.get(name, 'none')})" for name, value in other.items())
            say(f"{report['host']} has {told}: last digits may differ")
    threads = max(cluster.workers().values(), default=1)
    if threads > 1:
        say(f"workers have up to {threads} threads and use one each: start them with --nthreads 1, and more of them")
