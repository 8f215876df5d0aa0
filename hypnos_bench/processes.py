"""Worker processes: how they start, and that they end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def end_with_parent(scratch: Path | None = None) -> None:
    """Let the calling worker end when its parent is gone: a killed command leaves no processes behind.

    Parameters
    ----------
    scratch : Path, optional
        Folder that is removed then.
    """
    threading.Thread(target=_wait_for_parent, args=(scratch,), daemon=True).start()


def _wait_for_parent(scratch: Path | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)


@contextmanager
def signals_held() -> Iterator[None]:
    """Start processes whole: Ctrl-C and SIGTERM take effect afterwards, and Ctrl-C never reaches those processes.

    Only the parent has something to say, and it ends them. Blocking alone would not hold a signal back from the
    parent: one of its other threads, a progress bar's, may take it.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    came: list[int] = []
    handled = [n for n in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(n))]
    usual = {number: signal.signal(number, lambda number, _: came.append(number)) for number in handled}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in usual.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
