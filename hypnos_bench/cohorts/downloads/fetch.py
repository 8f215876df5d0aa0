"""One file: into ``<name>.part``, resumed where it ended, checked, and only then under its own name."""

from __future__ import annotations

import hashlib
import http
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypnos_bench.cohorts.downloads.listing import RemoteFile
from hypnos_bench.cohorts.downloads.web import Answer, NoRangesError, RefusedError, Stopped, Transient, Web, read_piece
from hypnos_bench.cohorts.downloads.zenodo import data_start
from hypnos_bench.errors import DataError

PART = ".part"
_PIECE = 2**20
_PACKED_PIECE = 2**16  # can unpack to a thousand times as much

Count = Callable[[int], None]


class DiskError(DataError):
    """The folder cannot be written: no other file would fare better."""


def target_of(root: Path, file: RemoteFile) -> Path:
    """Where a file goes.

    Raises
    ------
    DiskError
        When a link in the way would lead out of the root.
    """
    target = root / file.path
    inside = root.resolve()
    if not target.parent.resolve().is_relative_to(inside) or part_of(target).is_symlink():
        raise DiskError(f"{target}: a link on the way leads out of {inside}; nothing is written there")
    return target


def part_of(target: Path) -> Path:
    """Where an unfinished file is kept."""
    return target.with_name(target.name + PART)


def is_present(target: Path, file: RemoteFile, verify: bool) -> bool:
    """Whether a file is there already: its size first, which costs nothing, then its checksum if `verify`."""
    with _disk(target):
        if not target.is_file() or (file.size is not None and target.stat().st_size != file.size):
            return False
        return not verify or file.checksum is None or checksum(target, file.checksum.algorithm) == file.checksum.value


def fetch(web: Web, target: Path, file: RemoteFile, count: Count) -> None:
    """Bring one file; `count` is told the bytes as they come.

    Raises
    ------
    DataError
        Refused by the server, or not what the source publishes: then nothing of it is kept.
    DiskError
        The folder cannot be written.
    """
    part = part_of(target)
    with _disk(part):  # faults of the network are told apart where they happen
        part.parent.mkdir(parents=True, exist_ok=True)
        web.patiently(lambda: _pull(web, part, file, count), file.url if file.member is None else file.path)
        ready = _inflate(part, file) if file.member is not None and file.member.deflated else part
        try:
            _check(ready, file)
        except DataError:
            ready.unlink()
            part.unlink(missing_ok=True)
            raise
        with ready.open("rb+") as handle:
            os.fsync(handle.fileno())
        ready.replace(target)
        part.unlink(missing_ok=True)


def checksum(path: Path, algorithm: str) -> str:
    """Checksum of a whole file, hexadecimal."""
    with path.open("rb") as handle:
        if algorithm != "crc32":
            return hashlib.file_digest(handle, algorithm).hexdigest()
        value = 0
        while piece := handle.read(_PIECE):
            value = zlib.crc32(piece, value)
        return f"{value:08x}"


def _pull(web: Web, part: Path, file: RemoteFile, count: Count) -> None:
    """Bring the part to its full length, going on where it ends."""
    have = _length(part)
    if file.transfer is not None and have > file.transfer:
        part.unlink()
        have = 0
    if have == file.transfer:
        part.touch()  # an empty file has no bytes to ask for
        return
    answer = _ask(web, file, have)
    if answer is None:  # already whole
        return
    with answer.body:
        if answer.first == 0 and have and file.member is None:
            have = 0  # the server does not resume
        _check_room(part, file, answer.length)
        _append(web, part, have, answer, count)
    if file.transfer is not None and _length(part) != file.transfer:
        raise Transient(f"{_length(part)} of {file.transfer} bytes came")


def _ask(web: Web, file: RemoteFile, have: int) -> Answer | None:
    """The response that goes on after `have` bytes, or from the beginning; ``None`` when there is nothing more."""
    if file.member is not None:
        start = data_start(web, file)
        answer = web.open(file.url, start + have, start + file.member.packed_size - 1)
        if answer.body.status != http.HTTPStatus.PARTIAL_CONTENT or answer.first != start + have:
            answer.body.close()
            raise NoRangesError(file.url)
        return answer
    try:
        answer = web.open(file.url, have)
    except RefusedError as error:
        if error.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.total == have:
            return None
        return web.open(file.url)
    if answer.first in (0, have):
        return answer
    answer.body.close()  # another range than asked for
    return web.open(file.url)


def _append(web: Web, part: Path, have: int, answer: Answer, count: Count) -> None:
    got = 0
    with part.open("rb+" if have else "wb") as handle:
        handle.seek(have)
        while answer.length is None or got < answer.length:
            if web.stop.is_set():
                raise Stopped
            piece = read_piece(answer.body, _PIECE if answer.length is None else min(_PIECE, answer.length - got))
            if not piece:
                break
            handle.write(piece)
            got += len(piece)
            count(len(piece))
    if answer.length is not None and got < answer.length:
        raise Transient(f"the connection closed after {got} of {answer.length} bytes")


def _check_room(part: Path, file: RemoteFile, coming: int | None) -> None:
    unpacked = file.size or 0 if file.member is not None and file.member.deflated else 0
    free = shutil.disk_usage(part.parent).free
    if (coming or 0) + unpacked > free:
        raise DiskError(
            f"{part.parent}: {free / 1e9:.1f} GB free, {((coming or 0) + unpacked) / 1e9:.1f} GB needed for "
            f"{file.path}; make room, or choose another --root DIR"
        )


def _inflate(part: Path, file: RemoteFile) -> Path:
    """Unpack beside the packed bytes; never to more than the archive's directory says."""
    assert file.size is not None
    unpacked = part.with_name(part.name + ".inflated")
    stream, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        with part.open("rb") as source, unpacked.open("wb") as handle:
            for piece in iter(lambda: source.read(_PACKED_PIECE), b""):
                length += handle.write(stream.decompress(piece, file.size - length + 1))
                if length > file.size:
                    raise zlib.error("more bytes than the directory says")
            handle.write(stream.flush())
    except zlib.error as error:
        part.unlink()
        unpacked.unlink()
        raise DataError(f"{file.path}: cannot be unpacked ({error}); it was removed, run the command again") from error
    except BaseException:
        unpacked.unlink(missing_ok=True)  # the packed bytes stay
        raise
    return unpacked


def _check(ready: Path, file: RemoteFile) -> None:
    size = ready.stat().st_size
    if file.size is not None and size != file.size:
        raise DataError(f"{file.path}: {size} bytes came, the source says {file.size}; they were removed")
    if file.checksum is None:
        return
    found, wanted = checksum(ready, file.checksum.algorithm), file.checksum
    if found != wanted.value:
        raise DataError(
            f"{file.path}: {wanted.algorithm} is {found}, the source publishes {wanted.value}; what came was removed, "
            "run the command again, and if that does not help the source is at fault"
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DiskError(f"{path}: cannot be used ({reason}); make room or choose another --root DIR") from error
