"""How a command ends early: Ctrl-C, SIGTERM, or nobody reading its output."""

from __future__ import annotations

import os
import select
import signal
import sys
from types import FrameType
from typing import TextIO


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: unwound, so that everything open is closed."""


def stop_on_signals() -> None:
    """From now on the first SIGINT or SIGTERM unwinds the command and stops its workers; later ones are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A parent that ignores Ctrl-C (nohup, a background job) has said so for its children too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    if "multiprocessing" in sys.modules:
        import multiprocessing

        # A worker would finish its recording first; what it has not saved is made again by the next run.
        for child in multiprocessing.active_children():
            child.terminate()
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def reader_gone() -> bool:
    """Whether stdout is a pipe that nobody reads from any more."""
    descriptor = _descriptor(sys.stdout)
    if descriptor is None:
        return False
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def drop_unwritable(*streams: TextIO | None) -> None:
    """Send what a broken stream still holds nowhere, or Python fails once more when it flushes at exit."""
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):  # not a file (a test's buffer), or closed
        return None
