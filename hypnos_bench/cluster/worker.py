"""What runs in a Dask worker: it opens the work it was given once, and then does one unit after the other.

The scheduler, all workers and the command load this module, so all of them need hypnos-bench and the extra.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from hypnos_bench import __version__
from hypnos_bench.errors import BenchError, DataError


@dataclass(frozen=True)
class Token:
    """A file of the results folder by which a worker knows that it sees the same folder.

    Parameters
    ----------
    path : Path
    words : str
        What is in it.
    cwd : str
        Folder that relative paths start from.
    """

    path: Path
    words: str
    cwd: str


@dataclass(frozen=True)
class Work:
    """What all units of a run share.

    Parameters
    ----------
    start : str
        ``"module:function"``; called once per worker process as ``function(setup)``. It gives a state of whatever is
        expensive: an encoder, or the rows of a block. A state with ``close()`` is closed when other work comes.
    do : str
        ``"module:function"``; called as ``function(state, unit)`` for every unit.
    setup : object
        Anything that can be pickled. It travels to every worker once, so a list of recordings is fine, and rows are
        not: workers read those from the results folder.
    """

    start: str
    do: str
    setup: Any


class Keeper(WorkerPlugin):
    """Work as it is kept at a worker, also at one that joins later."""

    def __init__(self, name: str, work: Work, token: Token) -> None:
        self.name, self.work, self.token = name, work, token

    def setup(self, worker: Any) -> None:
        """Take the work in; it is opened by its first unit."""
        _kept[self.name] = self

    def teardown(self, worker: Any) -> None:
        """Forget the work, and close it; where a unit is in work that is left to it, since nothing here may wait."""
        _kept.pop(self.name, None)
        if _one_at_a_time.acquire(blocking=False):
            try:
                _open.close_if_forgotten()
            finally:
                _one_at_a_time.release()


class _Open:
    """The one state that a worker process holds."""

    def __init__(self) -> None:
        self.name = ""
        self.state: Any = None

    def of(self, name: str) -> Any:
        """State of this work, made when it is not there; another one is closed first, for its memory."""
        if self.name != name:
            self.close()
            keeper = _kept.get(name)
            if keeper is None:
                raise DataError(f"{host()}: the worker was not told what to do; rerun")
            self.state = _start(keeper)
            self.name = name
        return self.state

    def close_if_forgotten(self) -> None:
        if self.name not in _kept:
            self.close()

    def close(self) -> None:
        state, self.name, self.state = self.state, "", None
        if hasattr(state, "close"):
            state.close()


_kept: dict[str, Keeper] = {}
_open = _Open()
_one_at_a_time = threading.Lock()  # of a worker with several threads: states are no more made for that than encoders


def perform(name: str, do: str, unit: Any) -> Any:
    """Do one unit of the work of this name."""
    with _one_at_a_time:
        try:
            return _find(do)(_open.of(name), unit)
        finally:
            _open.close_if_forgotten()


def host() -> str:
    """Name machine and process, for messages."""
    return f"worker on {socket.gethostname()} (process {os.getpid()})"


def look_around(token: Token) -> dict[str, Any]:
    """What a worker has and sees; compared with what the command has."""
    return {"host": host(), "hypnos-bench": __version__, "sees": _sees(token), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions that may change a last digit."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _start(keeper: Keeper) -> Any:
    from hypnos_bench.threads import one_thread

    one_thread()
    if __version__ != keeper.token.words.partition(" ")[0]:
        raise DataError(f"{host()} has hypnos-bench {__version__}: install the version of the command there")
    if not _sees(keeper.token):
        raise DataError(unseen(host(), keeper.token))
    with contextlib.suppress(OSError):  # then absolute paths alone mean there what they mean here
        os.chdir(keeper.token.cwd)
    try:
        return _find(keeper.work.start)(keeper.work.setup)
    except BenchError as error:
        raise DataError(f"{host()}: {error}") from error


def unseen(who: str, token: Token) -> str:
    """Say that a worker does not see the results folder."""
    return (
        f"{who} does not see {token.path.parent} as this machine does: put --results on a filesystem that all machines "
        "share under the same path"
    )


def _sees(token: Token) -> bool:
    try:
        return token.path.read_text("utf-8") == token.words
    except (OSError, UnicodeDecodeError):
        return False


def _find(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
