"""What a source offers: files with their paths, checksums and recordings, and which of them are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.errors import DataError

# Control characters, and what separates folders or drives on some systems.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\:]")


@dataclass(frozen=True)
class Checksum:
    """A published checksum: the algorithm and its hexadecimal value."""

    algorithm: Literal["sha256", "crc32"]
    value: str


@dataclass(frozen=True)
class Member:
    """Where a file lies in a zip archive: position of its local header, bytes there, and whether they are deflated."""

    header: int
    packed_size: int
    deflated: bool


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source.

    Parameters
    ----------
    path : str
        Path below the root, with ``/``; checked by :func:`safe_path`.
    url : str
        The file, or the archive it is a member of.
    checksum : Checksum or None
        As published.
    size : int or None
        Bytes, if known.
    recording : str or None
        The recording it belongs to; ``None`` comes with every download.
    member : Member or None
        Its place in the archive.
    """

    path: str
    url: str
    checksum: Checksum | None = None
    size: int | None = None
    recording: str | None = None
    member: Member | None = None

    @property
    def transfer(self) -> int | None:
        """Bytes that go over the network, if known."""
        return self.member.packed_size if self.member else self.size


@dataclass(frozen=True)
class Listing:
    """Everything a source offers, and what the user should hear about it."""

    files: tuple[RemoteFile, ...]
    remarks: tuple[str, ...] = ()


def safe_path(name: str, where: str) -> str:
    """A path from a listing that stays below the folder it is put into.

    Raises
    ------
    DataError
        For absolute paths, ``..``, drive letters, backslashes and control characters.
    """
    # Nothing but dots and blanks: "..", and what some systems shorten to it. An empty part is a leading or double "/".
    if _FORBIDDEN.search(name) or not all(part.strip(" .") for part in name.split("/")):
        raise DataError(f"{where}: {name!r} is no path below the folder; nothing is fetched from such a listing")
    return name


def select(files: Iterable[RemoteFile], source: Download, limit: int | None) -> list[RemoteFile]:
    """Files that the source's rules and `limit` (recordings, in order of their ids) leave; recordings are set.

    Raises
    ------
    DataError
        When a path is listed twice, or nothing is left.
    """
    wanted = [file for file in files if _wanted(file.path, source)]
    pattern = re.compile(source.recordings)
    named = []
    for file in wanted:
        match = pattern.search(file.path)
        named.append(replace(file, recording=match["id"] if match else None))
    recordings = sorted({file.recording for file in named if file.recording is not None})
    if not recordings:
        raise DataError(f"{source.url}: the listing holds no recordings; the source has changed, or --url is wrong")
    kept = {*recordings[:limit], None}
    folder = f"{source.into}/" if source.into else ""
    chosen = [replace(file, path=folder + file.path) for file in named if file.recording in kept]
    _refuse_doubles(chosen, source)
    # What belongs to no recording is small and tells what the rest is; then recording by recording.
    return sorted(chosen, key=lambda file: (file.recording is not None, file.recording or "", file.path))


def _wanted(path: str, source: Download) -> bool:
    included = not source.include or any(re.search(pattern, path) for pattern in source.include)
    return included and not any(re.search(pattern, path) for pattern in source.exclude)


def _refuse_doubles(files: Sequence[RemoteFile], source: Download) -> None:
    seen: dict[str, str] = {}
    for file in files:
        # Some file systems do not tell case apart: one file would silently replace the other.
        if (other := seen.setdefault(file.path.casefold(), file.path)) != file.path:
            raise DataError(f"{source.url}: lists both {other} and {file.path}, which are one file on some systems")
    if len(seen) < len(files):
        raise DataError(f"{source.url}: lists a file twice")
