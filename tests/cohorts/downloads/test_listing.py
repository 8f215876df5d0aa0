from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.downloads.listing import RemoteFile, safe_path, select
from hypnos_bench.cohorts.downloads.physionet import list_files, parse_sums
from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.cohorts.downloads.web import RefusedError
from hypnos_bench.errors import DataError

SOURCE = Download("physionet", url="u", recordings=r"^(?P<id>r\d)\.")


def remote(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, f"http://x/{path}") for path in paths]


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a", "a/../../b", "a//b", "", "a/./b", "C:/a", "a\\..\\b", "a\nb", "a\x00", ".. /a", "a/", "~/../.. "],
)  # fmt: skip
def test_paths_that_could_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="no path below the folder"):
        safe_path(name, "list")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab./\\ :~-\n", max_size=12))
def test_an_accepted_path_stays_below_the_folder(name: str) -> None:
    try:
        path = safe_path(name, "list")
    except DataError:
        return
    root = Path("/somewhere/root")
    # The oracle normalises the text itself, as an operating system would.
    parts: list[str] = []
    for part in PurePosixPath(root / path).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    assert parts[: len(root.parts)] == list(root.parts)
    assert len(parts) > len(root.parts)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.from_regex(r"[a-z0-9]{1,4}(/[a-z0-9 _.-]{0,5}[a-z])?", fullmatch=True), st.binary(max_size=4))
)
def test_checksum_lists_are_read_back(files: dict[str, bytes]) -> None:
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    for blank in (" ", "  ", " *"):  # PhysioNet, sha256sum, and its binary mode
        text = "".join(f"{value}{blank}{name}\n" for name, value in sums.items())
        assert parse_sums(text, "list") == sums


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "line 1: expected '<sha256> <path>'"),
        ("0" * 64 + " a\n\n" + "0" * 63 + " b\n", "line 3: expected"),
        ("0" * 64 + " ../a\n", "line 1: '../a' is no path"),
        ("0" * 64 + " a\n" + "1" * 64 + " a\n", "line 2: a has two checksums"),
    ],
)
def test_a_bad_checksum_list_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_sums(text, "sums")
    assert message in str(caught.value)


def test_limit_counts_recordings_and_keeps_what_belongs_to_none() -> None:
    files = remote("r2.dat", "RECORDS", "r1.hea", "r1.dat", "r2.hea", "r3.dat", "notes.csv")
    assert [f.path for f in select(files, SOURCE, 2)] == [
        "RECORDS",
        "notes.csv",
        "r1.dat",
        "r1.hea",
        "r2.dat",
        "r2.hea",
    ]
    assert len(select(files, SOURCE, None)) == len(files)
    assert [f.recording for f in select(files, SOURCE, 1)] == [None, None, "r1", "r1"]


def test_include_and_exclude() -> None:
    source = Download("physionet", recordings=SOURCE.recordings, include=("^r",), exclude=("hea$",))
    assert [f.path for f in select(remote("r1.dat", "r1.hea", "x"), source, None)] == ["r1.dat"]


def test_into_is_a_folder_below_the_root() -> None:
    source = Download("physionet", recordings=SOURCE.recordings, into="sub")
    (file,) = select(remote("r1.dat"), source, None)
    assert (file.path, file.url) == ("sub/r1.dat", "http://x/r1.dat")


def test_names_that_are_one_on_some_systems_are_refused() -> None:
    with pytest.raises(DataError, match="one file on some systems"):
        select(remote("r1.dat", "r1.DAT"), SOURCE, None)
    with pytest.raises(DataError, match="lists a file twice"):
        select(remote("r1.dat", "r1.dat"), SOURCE, None)


def test_a_listing_without_recordings_is_refused() -> None:
    with pytest.raises(DataError, match="no recordings"):
        select(remote("index.html"), SOURCE, None)


def test_files_of_a_version_folder(mirror, web) -> None:
    base = mirror.publish("/db/1.0.0", {"r1.dat": b"x", "a b/r#2.hea": b"y"})
    listing = list_files(web, SOURCE, base.removesuffix("/"))
    assert {f.path: f.url for f in listing.files} == {
        "r1.dat": f"{base}r1.dat",
        "a b/r#2.hea": f"{base}a%20b/r%232.hea",
    }
    assert listing.files[1].checksum.value == hashlib.sha256(b"x").hexdigest()
    assert listing.remarks == ()


def test_without_checksums_records_and_extensions_are_used_and_it_is_said(mirror, web) -> None:
    base = mirror.publish("/db", {"RECORDS": b"r1\nsub/r2\n"}, sums=False)
    source = Download("physionet", recordings=SOURCE.recordings, extensions=(".hea", ".dat"))
    listing = list_files(web, source, base)
    assert [f.path for f in listing.files] == ["RECORDS", "r1.hea", "r1.dat", "sub/r2.hea", "sub/r2.dat"]
    assert all(f.checksum is None for f in listing.files)
    assert listing.remarks[0].startswith("NO CHECKSUMS")


def test_without_checksums_and_extensions_nothing_is_fetched(mirror, web) -> None:
    base = mirror.publish("/db", {"RECORDS": b"r1\n"}, sums=False)
    with pytest.raises(DataError, match="no SHA256SUMS.txt"):
        list_files(web, SOURCE, base)


def test_a_refused_checksum_list_is_no_missing_one(mirror, web) -> None:
    base = mirror.publish("/db", {"RECORDS": b"r1\n"})
    mirror.status["/db/SHA256SUMS.txt"] = [403]
    source = Download("physionet", recordings=SOURCE.recordings, extensions=(".hea",))
    with pytest.raises(RefusedError, match="403"):
        list_files(web, source, base)


def test_records_cannot_leave_the_folder(mirror, web) -> None:
    base = mirror.publish("/db", {"RECORDS": b"../../r1\n"}, sums=False)
    source = Download("physionet", recordings=SOURCE.recordings, extensions=(".hea",))
    with pytest.raises(DataError, match="no path below the folder"):
        list_files(web, source, base)
