"""PhysioNet: a version folder whose ``SHA256SUMS.txt`` names every file."""

from __future__ import annotations

import http
import re
from urllib.parse import quote

from hypnos_bench.cohorts.downloads.listing import Checksum, Listing, RemoteFile, safe_path
from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.cohorts.downloads.web import RefusedError, Web
from hypnos_bench.errors import DataError

SUMS, RECORDS = "SHA256SUMS.txt", "RECORDS"
_MOST_BYTES = 64 * 2**20
_LINE = re.compile(r"(?P<sum>[0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(?P<path>\S.*)")


def list_files(web: Web, source: Download, url: str) -> Listing:
    """Files of a version folder with their SHA-256.

    Without ``SHA256SUMS.txt``, what RECORDS and the source's extensions say, with a remark that nothing can be
    checked.

    Raises
    ------
    DataError
        When neither can be read.
    """
    base = url if url.endswith("/") else f"{url}/"
    try:
        text = _text(web, base + SUMS)
    except RefusedError as error:
        if error.status != http.HTTPStatus.NOT_FOUND:
            raise
        return _from_records(web, source, base)
    return Listing(tuple(_files(parse_sums(text, base + SUMS), base)))


def parse_sums(text: str, where: str) -> dict[str, str]:
    """Path to SHA-256, in the order of the lines.

    Raises
    ------
    DataError
        For a line that is none of ``<sha256> <path>``, a path that leaves the folder, or one with two checksums.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise DataError(f"{where} line {number}: expected '<sha256> <path>', found {line[:80]!r}")
        path = safe_path(match["path"], f"{where} line {number}")
        if sums.setdefault(path, match["sum"].lower()) != match["sum"].lower():
            raise DataError(f"{where} line {number}: {path} has two checksums")
    return sums


def _files(sums: dict[str, str], base: str) -> list[RemoteFile]:
    return [RemoteFile(path, base + quote(path), Checksum("sha256", value)) for path, value in sums.items()]


def _from_records(web: Web, source: Download, base: str) -> Listing:
    if not source.extensions:
        raise DataError(
            f"{base}: no {SUMS} there, so neither the files nor their checksums are known; "
            "give the folder of one version as --url"
        )
    where = base + RECORDS
    records = dict.fromkeys(line.strip() for line in _text(web, where).splitlines() if line.strip())
    paths = [safe_path(record + extension, where) for record in records for extension in source.extensions]
    remark = f"NO CHECKSUMS: {base} has no {SUMS}; files are taken from {RECORDS} and only their lengths are checked"
    return Listing(tuple(RemoteFile(path, base + quote(path)) for path in [RECORDS, *paths]), (remark,))


def _text(web: Web, url: str) -> str:
    data = web.read(url, _MOST_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{url}: not UTF-8 text ({error.reason} at byte {error.start})") from error
