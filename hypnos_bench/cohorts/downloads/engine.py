"""All files of a plan, one after the other or a few at a time. A file that fails is listed and the rest goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, Protocol

from hypnos_bench.cohorts.downloads.fetch import DiskError, fetch, is_present, target_of
from hypnos_bench.cohorts.downloads.listing import RemoteFile
from hypnos_bench.cohorts.downloads.plan import Plan
from hypnos_bench.cohorts.downloads.web import NoRangesError, UnreachableError, Web
from hypnos_bench.errors import DataError

MOST_UNREACHABLE = 3
"""Files in a row that a source may fail to give, each tried several times, before the others are not tried."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Parameters
    ----------
    path : str
        Below the root.
    state : {"fetched", "replaced", "present", "failed"}
        ``replaced``: there was one under the name, but not the one that is published.
    reason : str
        Why it failed.
    """

    path: str
    state: Literal["fetched", "replaced", "present", "failed"]
    reason: str = ""


class Watch(Protocol):
    """Hears of progress; calls come one at a time."""

    def received(self, n_bytes: int) -> None:
        """Bytes came over the network."""

    def finished(self, outcome: Outcome) -> None:
        """One file is done."""


def run_plan(plan: Plan, web: Web, *, watch: Watch, jobs: int = 1, verify: bool = True) -> list[Outcome]:
    """Fetch what is missing; the outcomes are in the order of the plan's files.

    Parameters
    ----------
    plan : Plan
        What to fetch.
    web : Web
        How to ask; its switch ends the work of all threads.
    watch : Watch
        Who hears of progress.
    jobs : int
        Files at a time.
    verify : bool
        Whether files that are there are read again and compared with their checksum.

    Raises
    ------
    DataError
        When no file can be had: the folder cannot be written, or the server cannot send parts of an archive.
    """
    lock = threading.Lock()

    def count(n_bytes: int) -> None:
        with lock:
            watch.received(n_bytes)

    outcomes: dict[str, Outcome] = {}
    unreachable = 0
    with closing(_each(plan.files, lambda file: _bring(plan, file, web, verify, count), jobs, web)) as results:
        for outcome, lost in results:
            outcomes[outcome.path] = outcome
            with lock:
                watch.finished(outcome)
            unreachable = unreachable + 1 if lost else 0
            if unreachable == MOST_UNREACHABLE:
                break
    untried = f"not tried, because the {MOST_UNREACHABLE} before it could not be reached"
    return [outcomes.get(file.path) or Outcome(file.path, "failed", untried) for file in plan.files]


_Result = tuple[Outcome, bool]  # and whether the source could not be reached


def _each(
    files: Sequence[RemoteFile], bring: Callable[[RemoteFile], _Result], jobs: int, web: Web
) -> Generator[_Result, None, None]:
    if jobs == 1:
        yield from map(bring, files)  # in this thread, where Ctrl-C is felt at once
        return
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in as_completed([pool.submit(bring, file) for file in files]):
                yield done.result()
        finally:
            # Also on Ctrl-C, on a full disk, or when nobody wants more: threads end at their next piece.
            web.stop.set()
            pool.shutdown(cancel_futures=True)


def _bring(plan: Plan, file: RemoteFile, web: Web, verify: bool, count: Callable[[int], None]) -> _Result:
    target = target_of(plan.root, file)
    if is_present(target, file, verify):
        return Outcome(file.path, "present"), False
    replaces = target.exists()
    try:
        fetch(web, target, file, count)
    except (DiskError, NoRangesError):
        raise
    except DataError as error:
        return Outcome(file.path, "failed", str(error).removeprefix(f"{file.path}: ")), isinstance(
            error, UnreachableError
        )
    return Outcome(file.path, "replaced" if replaces else "fetched"), False
