"""Errors a user can act on, each tied to one exit code of the command line.

Messages are one line: what is wrong, where (file, record, channel), and what to do next.
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of every expected error. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(BenchError):
    """The caller asked for something that does not exist or does not fit together."""

    exit_code = 2


class DataError(BenchError):
    """Data or weights are missing, unreadable or not what they claim to be."""

    exit_code = 3


class RecordingError(DataError):
    """One recording cannot be used. It is listed with its reason; the rest of the cohort goes on.

    Parameters
    ----------
    recording : str
        Recording id, or the file name when the id is not known yet.
    reason : str
        One line: what was found and where.
    """

    def __init__(self, recording: str, reason: str) -> None:
        super().__init__(f"{recording}: {reason}")
        self.recording = recording
        self.reason = reason

    def __reduce__(self) -> tuple[type[RecordingError], tuple[str, str]]:
        # Worker processes send these back; the default would replay the joined message only.
        return (type(self), (self.recording, self.reason))


def is_transient(error: BaseException) -> bool:
    """Whether a fault of the moment is behind an error, so that trying again helps.

    A network drive that stalled, memory that was short (torch's own error included), a module that is not installed.
    """
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, OSError):
            return not isinstance(cause, (FileNotFoundError, IsADirectoryError, NotADirectoryError))
        if isinstance(cause, (MemoryError, ImportError)) or type(cause).__name__ == "OutOfMemoryError":
            return True
        cause = cause.__cause__
    return False


class FitError(BenchError):
    """A head could not be fitted to convergence: the cell is saved as failed, never as a number."""


class IntegrityError(BenchError):
    """A stored file does not match its own hash or schema."""

    exit_code = 4
