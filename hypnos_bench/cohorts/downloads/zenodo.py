"""Zenodo: members of a record's zip archive, one by one through Range requests, so that nobody needs all of it."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any
from urllib.parse import urlsplit

from hypnos_bench.cohorts.downloads.listing import Checksum, Listing, Member, RemoteFile, safe_path
from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.cohorts.downloads.web import Web
from hypnos_bench.errors import DataError

_MOST_RECORD_BYTES = 16 * 2**20
_MOST_DIRECTORY_BYTES = 256 * 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1


class RangeFile(io.RawIOBase):
    """A remote file that can be read from any position; each read is one request.

    Parameters
    ----------
    web : Web
        How to ask.
    url : str
        The file.
    size : int
        Its length in bytes.
    most : int
        Bytes after which reading is refused: an archive's directory is small.
    """

    def __init__(self, web: Web, url: str, size: int, most: int = _MOST_DIRECTORY_BYTES) -> None:
        super().__init__()
        self._web, self._url, self._size, self._left = web, url, size, most
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Current position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; one before the beginning is an ``OSError``, as for files."""
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError(f"{self._url}: position {position} lies before the beginning")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with what is there."""
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        self._left -= length
        if self._left < 0:
            raise DataError(f"{self._url}: the directory of the archive is implausibly large")
        buffer[:length] = self._web.read_range(self._url, self._position, length)
        self._position += length
        return length


def list_files(web: Web, source: Download, url: str) -> Listing:
    """Members of the source's archive in the record at `url`, with their CRC-32.

    Raises
    ------
    DataError
        When the record does not hold the archive (naming what it holds), the server knows no ranges, or a member's
        name would leave the folder.
    """
    link, size = _find_archive(web, source, url)
    try:
        # zipfile reads its directory in small steps; the buffer makes few requests of them.
        with zipfile.ZipFile(io.BufferedReader(RangeFile(web, link, size), 2**16)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise DataError(f"{link}: no readable zip archive ({error})") from error
    files = [_remote(member, link) for member in members if not _is_clutter(member, link)]
    return Listing(tuple(files))


def data_start(web: Web, file: RemoteFile) -> int:
    """Position of a member's first byte in its archive.

    Raises
    ------
    DataError
        When no local header is where the directory says.
    """
    assert file.member is not None
    header = web.read_range(file.url, file.member.header, _LOCAL_HEADER.size)
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise DataError(f"{file.url}: {file.path} is not where the archive's directory says")
    return int(file.member.header + _LOCAL_HEADER.size + name_length + extra_length)


def _find_archive(web: Web, source: Download, url: str) -> tuple[str, int]:
    try:
        record = json.loads(web.read(url, _MOST_RECORD_BYTES))
        listed = {str(each["key"]): (str(each["links"]["self"]), int(each["size"])) for each in record["files"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{url}: not the record of files that Zenodo gives ({error!r})") from error
    if source.archive not in listed:
        raise DataError(
            f"{url}: no {source.archive} in the record, which holds {', '.join(sorted(listed)) or 'nothing'}; "
            "the source has changed, or --url is wrong"
        )
    link, size = listed[source.archive]
    if urlsplit(link).scheme not in ("https", urlsplit(url).scheme):
        raise DataError(f"{url}: {source.archive} lies at {link!r}, which is no https address")
    return link, size


def _is_clutter(member: zipfile.ZipInfo, where: str) -> bool:
    """Folders, and what macOS adds. Every name is checked first: an archive with a bad one is not trusted at all."""
    parts = safe_path(member.filename.rstrip("/"), where).split("/")
    return member.is_dir() or "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] == ".DS_Store"


def _remote(member: zipfile.ZipInfo, link: str) -> RemoteFile:
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{link}: {member.filename} is encrypted or packed in a way that is not read here")
    place = Member(member.header_offset, member.compress_size, member.compress_type == zipfile.ZIP_DEFLATED)
    checksum = Checksum("crc32", f"{member.CRC:08x}")
    return RemoteFile(member.filename, link, checksum, member.file_size, member=place)
