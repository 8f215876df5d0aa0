"""Open a Dask scheduler, wait for its workers, and keep its remarks out of the output."""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.errors import DataError, UsageError

WAIT_S = 120.0
"""Seconds that workers have to appear."""

_MAX_FILE_BYTES = 2**20
_PROTOCOLS = ("tcp", "tls", "ucx", "ws", "wss", "inproc")
_LOGGERS = ("distributed", "tornado", "asyncio")
_POLL_S = 0.2


@dataclass(frozen=True)
class Cluster:
    """A scheduler that answered, and how long its workers may take to appear."""

    client: Any  # distributed.Client
    address: str
    wait_s: float = WAIT_S

    @property
    def there(self) -> bool:
        """Whether the scheduler answers; asking one that does not takes Dask half a minute each time."""
        return bool(self.client.status == "running")

    def workers(self) -> dict[str, int]:
        """Address of each worker that is there, and its threads. Raises ``DataError`` when the scheduler is gone."""
        if not self.there:
            raise scheduler_gone(self.address)
        try:
            found: dict[str, int] = self.client.nthreads()
        except (OSError, ValueError, RuntimeError) as error:  # closed, or not to be reached
            raise scheduler_gone(self.address) from error
        return found

    def wait_for_workers(self, say: Callable[[str], None]) -> None:
        """Come back when there is a worker. Raises ``DataError`` when none appears in time."""
        if self.workers():
            return
        say(f"waiting for workers of {self.address}, at most {self.wait_s:g} s")
        until = time.monotonic() + self.wait_s
        while not self.workers():
            if time.monotonic() > until:
                raise DataError(
                    f"scheduler {self.address} has no workers after {self.wait_s:g} s: start some, or wait longer with "
                    "--wait-workers SECONDS"
                )
            time.sleep(_POLL_S)


@contextmanager
def open_cluster(where: str, *, wait_s: float = WAIT_S, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to a scheduler for the length of a ``with`` block, and see to it that workers are there.

    Parameters
    ----------
    where : str
        Address (``tcp://host:8786``; ``tls://`` with the certificates that Dask's own configuration names), or the
        scheduler file that ``dask scheduler --scheduler-file`` writes.
    wait_s : float
        Seconds that the scheduler file, the scheduler and its first worker may take to appear.
    say : callable
        Takes remarks.

    Raises
    ------
    UsageError
        Without the package ``distributed``, or for an address that is none.
    DataError
        When nobody answers, or no worker appears.
    """
    address = _address(where, wait_s, say)
    with _quiet():
        try:
            import distributed
        except ImportError as error:
            raise UsageError("--scheduler needs dask's scheduler: pip install 'hypnos-bench[cluster]'") from error
        make_client: Any = distributed.Client  # half typed
        try:
            client = make_client(address, timeout=max(wait_s, 1.0), set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise DataError(f"scheduler {address} does not answer ({why}); see that it runs, or ask another") from error
        try:
            cluster = Cluster(client, address, wait_s)
            cluster.wait_for_workers(say)
            yield cluster
        finally:
            with suppress(OSError):  # a scheduler that is gone need not be told
                client.close(timeout=5)


def scheduler_gone(address: str) -> DataError:
    """Build the error of a scheduler that ended, or dropped this command."""
    return DataError(f"scheduler {address} is gone; what was finished is kept: start it again and rerun")


def _address(where: str, wait_s: float, say: Callable[[str], None]) -> str:
    protocol, separator, _ = where.partition("://")
    if separator:
        if protocol not in _PROTOCOLS:
            raise UsageError(f"--scheduler {where}: write tcp://HOST:PORT or tls://HOST:PORT, or name a scheduler file")
        return where
    path = Path(where).expanduser()
    if re.fullmatch(r"[\w.-]+:\d+", where) and not path.exists():
        raise UsageError(f"--scheduler {where}: write tcp://{where}")
    until, told = time.monotonic() + wait_s, False
    while (address := _read_file(path)) is None:
        if time.monotonic() > until:
            raise DataError(
                f"--scheduler {path}: no scheduler file there after {wait_s:g} s; write tcp://HOST:PORT, or start "
                f"'dask scheduler --scheduler-file {path}'"
            )
        if not told:
            say(f"waiting for scheduler file {path}, at most {wait_s:g} s")
            told = True
        time.sleep(_POLL_S)
    return address


def _read_file(path: Path) -> str | None:
    """Address in a scheduler file; ``None`` when it is not there yet, or half written."""
    try:
        with path.open("rb") as handle:
            address = json.loads(handle.read(_MAX_FILE_BYTES))["address"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None
    except OSError as error:
        raise DataError(f"--scheduler {path}: cannot be read ({error.strerror})") from error
    return address if isinstance(address, str) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's remarks to itself: what matters of them is said in this suite's words."""
    import importlib.util

    if importlib.util.find_spec("distributed"):
        import distributed  # noqa: F401 - it sets the levels of its loggers when it is loaded
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGGERS]
    before = {name: logging.getLogger(name).level for name in {*names, *_LOGGERS}}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(distributed|tornado)(\..*)?")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
