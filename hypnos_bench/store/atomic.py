"""Files appear whole or not at all, whatever kills the process or fills the disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

from hypnos_bench.errors import DataError

_LEFTOVER = re.compile(r"\.tmp-(?P<host>[A-Za-z0-9.-]*)-(?P<pid>\d+)-\d+")
_MAX_NAME = 120
_counter = itertools.count()
_swept: set[Path] = set()


def atomic_write(path: Path, content: bytes | Callable[[Path], None], *, instead: str = "--results DIR") -> None:
    """Write `path` so that a reader sees the old file, or the whole new one, and nothing between.

    Parameters
    ----------
    path : Path
        Target; missing parent folders are made.
    content : bytes or callable
        The bytes, or a function that writes a file at the (temporary) path it is given.
    instead : str
        The option that would choose another place, for the message.

    Raises
    ------
    DataError
        When the file system refuses: read-only, full, no permission. Nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        temporary = path.parent / f".tmp-{_host()}-{os.getpid()}-{next(_counter)}"
        try:
            _write_durably(temporary, content)
            os.replace(temporary, path)  # noqa: PTH105 - tests simulate its failure
            _sync_folder(path.parent)
        except BaseException:
            # Also on Ctrl-C. The first error is the one to tell, so a failing clean-up may not replace it.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot be written ({reason}); make room or choose another {instead}") from error


def check_writable(folder: Path, *, instead: str = "--results DIR") -> None:
    """Find out before hours of work that a folder cannot be written; it is made when it is not there.

    Raises
    ------
    DataError
        As :func:`atomic_write`.
    """
    trial = folder / f".trial-{os.getpid()}"
    atomic_write(trial, b"", instead=instead)
    remove(trial)


def remove(path: Path) -> None:
    """Delete a stored file if it is there. Raises ``DataError`` when the file system refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be deleted ({error.strerror}); choose another --results DIR") from error


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files of this machine's dead processes in `folder`; return what was deleted.

    Other machines may share the folder: their temporary files cannot be judged from here and stay.
    """
    removed = []
    for entry in folder.glob(".tmp-*"):
        match = _LEFTOVER.fullmatch(entry.name)
        if match and match["host"] == _host() and not _alive(int(match["pid"])):
            entry.unlink(missing_ok=True)
            removed.append(entry)
    return removed


def safe_name(text: str) -> str:
    """File name for an id: ``[A-Za-z0-9._-]`` stay, all else (and a leading dot) becomes ``=XX`` per byte.

    Different ids give different names, and no id can leave its folder or hide a file. A name beyond
    120 characters keeps its beginning and is told apart by a digest.

    Raises
    ------
    DataError
        For an empty id.
    """
    if not text:
        raise DataError("an empty id cannot name a file; the cohort must give every recording an id")
    name = re.sub(
        r"^\.|[^A-Za-z0-9._-]",
        lambda match: "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")),
        text,
    )
    if len(name) > _MAX_NAME:
        from hypnos_bench.spec import digest

        name = f"{name[: _MAX_NAME - 18]}=={digest(name)[:16]}"
    return name


def _write_durably(temporary: Path, content: bytes | Callable[[Path], None]) -> None:
    if isinstance(content, bytes):
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        return
    content(temporary)
    with temporary.open("rb+") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; only POSIX can open a folder for that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep_once(folder: Path) -> None:
    # Listing a folder before every write would cost more than the writes in a cohort of thousands.
    if folder not in _swept:
        _swept.add(folder)
        remove_leftovers(folder)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process
    return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())
