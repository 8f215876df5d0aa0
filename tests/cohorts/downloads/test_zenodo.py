from __future__ import annotations

import io
import json
import random
import zipfile
import zlib
from pathlib import Path

import pytest

from hypnos_bench.cohorts.downloads import zenodo
from hypnos_bench.cohorts.downloads.fetch import fetch, part_of, target_of
from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.cohorts.downloads.web import NoRangesError
from hypnos_bench.cohorts.downloads.zenodo import RangeFile, list_files
from hypnos_bench.errors import DataError

SOURCE = Download("zenodo-zip", recordings=r"^dodo/(?P<id>\w+)\.h5$", archive="dodo.zip")
RANDOM = random.Random(0)
MEMBERS = {"dodo/a.h5": RANDOM.randbytes(200_000), "dodo/b.h5": b"0123456789" * 30_000, "dodo/empty.h5": b""}
PACKINGS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def bring(web, root: Path, file) -> int:
    counts: list[int] = []
    fetch(web, target_of(root, file), file, counts.append)
    return sum(counts)


def test_a_remote_file_reads_like_a_local_one(mirror, web) -> None:
    data = RANDOM.randbytes(3000)
    mirror.files["/f"] = data
    local, remote = io.BytesIO(data), RangeFile(web, mirror.url + "/f", len(data))
    for offset, whence, length in [
        (0, 0, 10),
        (-22, 2, 22),
        (5, 1, 3),
        (-100, 2, 500),
        (2990, 0, 20),
        (0, 2, 5),
        (9, 0, 0),
    ]:
        if whence == 1:
            local.seek(100)
            remote.seek(100)
        assert remote.seek(offset, whence) == local.seek(offset, whence)
        assert remote.read(length) == local.read(length)
        assert remote.tell() == local.tell()
    with pytest.raises(OSError, match="before the beginning"):
        remote.seek(-1)


def test_reading_without_end_is_refused(mirror, web) -> None:
    mirror.files["/f"] = bytes(100)
    file = RangeFile(web, mirror.url + "/f", 100, most=50)
    file.read(50)
    with pytest.raises(DataError, match="implausibly large"):
        file.read(1)


@pytest.mark.parametrize("packing", PACKINGS)
def test_members_come_one_by_one_and_little_else(mirror, web, tmp_path: Path, packing: int) -> None:
    record, path = mirror.publish_zip(MEMBERS, packing=packing)
    files = list_files(web, SOURCE, record).files
    assert [f.path for f in files] == list(MEMBERS)
    assert [f.size for f in files] == [len(data) for data in MEMBERS.values()]
    assert [f.checksum.value for f in files] == [f"{zlib.crc32(data):08x}" for data in MEMBERS.values()]
    assert all(asked is not None for asked in mirror.gets(path))
    n_bytes = bring(web, tmp_path, files[1])
    assert n_bytes == files[1].member.packed_size
    assert (tmp_path / "dodo/b.h5").read_bytes() == MEMBERS["dodo/b.h5"]
    assert [p.name for p in (tmp_path / "dodo").iterdir()] == ["b.h5"]
    for file in (files[0], files[2]):
        bring(web, tmp_path, file)
        assert (tmp_path / file.path).read_bytes() == MEMBERS[file.path]


def test_members_of_zip64_archives(mirror, web, tmp_path: Path) -> None:
    record, path = mirror.publish_zip({})
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("dodo/a.h5", "w", force_zip64=True) as m,
    ):
        m.write(MEMBERS["dodo/a.h5"])
    mirror.files[path] = buffer.getvalue()
    listed = json.loads(mirror.files["/api/records/1"])
    listed["files"][0]["size"] = len(buffer.getvalue())
    mirror.files["/api/records/1"] = json.dumps(listed).encode()
    (file,) = list_files(web, SOURCE, record).files
    bring(web, tmp_path, file)
    assert (tmp_path / "dodo/a.h5").read_bytes() == MEMBERS["dodo/a.h5"]


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_member_goes_on_where_it_ended(mirror, web, tmp_path: Path, packing: int) -> None:
    record, path = mirror.publish_zip(MEMBERS, packing=packing)
    file = list_files(web, SOURCE, record).files[0]
    start = zenodo.data_start(web, file)
    part = part_of(target_of(tmp_path, file))
    part.parent.mkdir()
    part.write_bytes(mirror.files[path][start : start + 150_000])
    assert bring(web, tmp_path, file) == file.member.packed_size - 150_000
    assert (tmp_path / file.path).read_bytes() == MEMBERS[file.path]


def test_a_dropped_member_goes_on(mirror, web, tmp_path: Path) -> None:
    record, path = mirror.publish_zip(MEMBERS)
    file = list_files(web, SOURCE, record).files[0]
    mirror.drop[path] = [30, 1000]  # the local header comes whole, the data do not
    assert bring(web, tmp_path, file) == file.member.packed_size
    assert (tmp_path / file.path).read_bytes() == MEMBERS[file.path]


def test_clutter_of_macos_and_folders_are_left_out(mirror, web) -> None:
    clutter = {"__MACOSX/dodo/._a.h5": b"x", "dodo/": b"", "dodo/._a.h5": b"x", "dodo/.DS_Store": b"x"}
    record, _ = mirror.publish_zip({**clutter, "dodo/a.h5": b"1"})
    assert [f.path for f in list_files(web, SOURCE, record).files] == ["dodo/a.h5"]


@pytest.mark.parametrize("name", ["../evil.h5", "/etc/evil", "dodo/../../evil.h5", "__MACOSX/../../evil", "a\\b"])
def test_an_archive_with_a_name_that_leaves_the_folder_is_not_used(mirror, web, name: str) -> None:
    record, _ = mirror.publish_zip({"dodo/a.h5": b"1", name: b"2"})
    with pytest.raises(DataError, match="no path below the folder"):
        list_files(web, SOURCE, record)


def test_a_missing_archive_names_those_that_are_there(mirror, web) -> None:
    record, _ = mirror.publish_zip({"dodo/a.h5": b"1"}, archive="dodo_v2.zip")
    with pytest.raises(DataError, match=r"no dodo\.zip in the record, which holds dodo_v2\.zip"):
        list_files(web, SOURCE, record)


def test_a_server_without_ranges_is_said(mirror, web) -> None:
    record, _ = mirror.publish_zip(MEMBERS)
    mirror.ranges = False
    with pytest.raises(NoRangesError, match="ignores Range requests"):
        list_files(web, SOURCE, record)


def test_a_server_that_shifts_ranges_is_said(mirror, web, tmp_path: Path) -> None:
    record, _ = mirror.publish_zip(MEMBERS)
    mirror.shift = 1
    with pytest.raises(NoRangesError):
        list_files(web, SOURCE, record)


@pytest.mark.parametrize("text", [b"<html>", b"[]", b"{}", b'{"files": [{"key": "a"}]}', b'{"files": 3}'])
def test_what_is_no_record_is_said(mirror, web, text: bytes) -> None:
    mirror.files["/api/records/1"] = text
    with pytest.raises(DataError, match="not the record of files"):
        list_files(web, SOURCE, mirror.url + "/api/records/1")


def test_an_archive_on_another_kind_of_address_is_refused(mirror, web) -> None:
    listed = {"files": [{"key": "dodo.zip", "size": 1, "links": {"self": "file:///etc/passwd"}}]}
    mirror.files["/api/records/1"] = json.dumps(listed).encode()
    with pytest.raises(DataError, match="no https address"):
        list_files(web, SOURCE, mirror.url + "/api/records/1")


def test_what_is_no_zip_is_said(mirror, web) -> None:
    record, path = mirror.publish_zip(MEMBERS)
    mirror.files[path] = bytes(len(mirror.files[path]))
    with pytest.raises(DataError, match="no readable zip archive"):
        list_files(web, SOURCE, record)


@pytest.mark.parametrize("packing", PACKINGS)
def test_damaged_members_are_found_and_removed(mirror, web, tmp_path: Path, packing: int) -> None:
    record, path = mirror.publish_zip(MEMBERS, packing=packing)
    file = list_files(web, SOURCE, record).files[1]
    start = zenodo.data_start(web, file)
    damaged = bytearray(mirror.files[path])
    damaged[start + 200] ^= 0xFF
    mirror.files[path] = bytes(damaged)
    with pytest.raises(DataError, match="crc32 is|cannot be unpacked|bytes came"):
        bring(web, tmp_path, file)
    assert list((tmp_path / "dodo").iterdir()) == []


def test_a_member_that_unpacks_to_more_than_it_says_is_stopped(mirror, web, tmp_path: Path) -> None:
    from dataclasses import replace

    record, _ = mirror.publish_zip({"dodo/b.h5": bytes(10_000_000)})
    file = replace(list_files(web, SOURCE, record).files[0], size=1000)
    with pytest.raises(DataError, match="more bytes than the directory says"):
        bring(web, tmp_path, file)
    assert list((tmp_path / "dodo").iterdir()) == []


def test_a_directory_that_points_elsewhere_is_said(mirror, web, tmp_path: Path) -> None:
    from dataclasses import replace

    record, _ = mirror.publish_zip(MEMBERS)
    file = list_files(web, SOURCE, record).files[1]
    wrong = replace(file, member=replace(file.member, header=file.member.header + 1))
    with pytest.raises(DataError, match="not where the archive's directory says"):
        bring(web, tmp_path, wrong)


def test_encrypted_or_odd_packing_is_said(mirror, web) -> None:
    record, _ = mirror.publish_zip({"dodo/a.h5": b"1" * 100}, packing=zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="packed in a way that is not read here"):
        list_files(web, SOURCE, record)
