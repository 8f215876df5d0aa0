from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

import pytest

from hypnos_bench.cohorts.downloads import fetch as fetch_module
from hypnos_bench.cohorts.downloads.fetch import DiskError, checksum, fetch, is_present, part_of, target_of
from hypnos_bench.cohorts.downloads.listing import Checksum, RemoteFile
from hypnos_bench.cohorts.downloads.web import UnreachableError, Web
from hypnos_bench.errors import DataError

DATA = bytes(range(256)) * 40


def remote(mirror, data: bytes = DATA, published: bytes | None = None, size: int | None = None) -> RemoteFile:
    mirror.files["/f"] = data
    value = hashlib.sha256(data if published is None else published).hexdigest()
    return RemoteFile("sub/f", mirror.url + "/f", Checksum("sha256", value), size)


def bring(web: Web, root: Path, file: RemoteFile) -> tuple[Path, int]:
    counts: list[int] = []
    target = target_of(root, file)
    fetch(web, target, file, counts.append)
    return target, sum(counts)


def test_a_file_comes_whole(mirror, web, tmp_path: Path) -> None:
    target, n_bytes = bring(web, tmp_path, remote(mirror))
    assert target.read_bytes() == DATA
    assert n_bytes == len(DATA)
    assert [p.name for p in target.parent.iterdir()] == ["f"]


def test_an_empty_file_comes_too(mirror, web, tmp_path: Path) -> None:
    target, _ = bring(web, tmp_path, remote(mirror, b""))
    assert target.read_bytes() == b""


@pytest.mark.parametrize("have", [1, 5000, len(DATA) - 1])
def test_a_killed_download_goes_on_where_it_ended(mirror, web, tmp_path: Path, have: int) -> None:
    file = remote(mirror)
    part = part_of(target_of(tmp_path, file))
    part.parent.mkdir()
    part.write_bytes(DATA[:have])
    target, n_bytes = bring(web, tmp_path, file)
    assert target.read_bytes() == DATA
    assert n_bytes == len(DATA) - have
    assert mirror.gets("/f") == [f"bytes={have}-"]
    assert not part.exists()


def test_a_dropped_connection_goes_on_where_it_ended(mirror, web, tmp_path: Path) -> None:
    mirror.drop["/f"] = [3000, 2000]
    target, n_bytes = bring(web, tmp_path, remote(mirror))
    assert target.read_bytes() == DATA
    assert mirror.gets("/f") == [None, "bytes=3000-", "bytes=5000-"]
    assert n_bytes == len(DATA)


def test_what_came_is_kept_when_the_source_goes_away(mirror, web, tmp_path: Path) -> None:
    file = remote(mirror)
    mirror.drop["/f"] = [3000, 0, 0]
    with pytest.raises(UnreachableError, match="goes on where this one ended"):
        bring(web, tmp_path, file)
    assert part_of(target_of(tmp_path, file)).read_bytes() == DATA[:3000]


def test_a_server_that_ignores_ranges_starts_again(mirror, web, tmp_path: Path) -> None:
    file = remote(mirror)
    mirror.ranges = False
    part = part_of(target_of(tmp_path, file))
    part.parent.mkdir()
    part.write_bytes(b"x" * 7000)
    target, n_bytes = bring(web, tmp_path, file)
    assert target.read_bytes() == DATA
    assert n_bytes == len(DATA)


def test_a_range_that_was_not_asked_for_is_not_used(mirror, web, tmp_path: Path) -> None:
    file = remote(mirror)
    mirror.shift = 1
    part = part_of(target_of(tmp_path, file))
    part.parent.mkdir()
    part.write_bytes(DATA[:100])
    target, _ = bring(web, tmp_path, file)
    assert target.read_bytes() == DATA
    assert mirror.gets("/f") == ["bytes=100-", None]


def test_a_part_that_is_whole_already_is_only_checked(mirror, web, tmp_path: Path) -> None:
    file = remote(mirror)
    part = part_of(target_of(tmp_path, file))
    part.parent.mkdir()
    part.write_bytes(DATA)
    target, n_bytes = bring(web, tmp_path, file)  # the size is unknown, so the server is asked and answers 416
    assert (target.read_bytes(), n_bytes) == (DATA, 0)


def test_a_part_that_is_too_long_starts_again(mirror, web, tmp_path: Path) -> None:
    for size in (None, len(DATA)):
        file = remote(mirror, size=size)
        part = part_of(target_of(tmp_path, file))
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(DATA + b"more")
        target, _ = bring(web, tmp_path, file)
        assert target.read_bytes() == DATA
        target.unlink()


def test_a_wrong_checksum_names_both_sums_and_keeps_nothing(mirror, web, tmp_path: Path) -> None:
    file = remote(mirror, published=b"other")
    with pytest.raises(DataError) as caught:
        bring(web, tmp_path, file)
    assert hashlib.sha256(DATA).hexdigest() in str(caught.value)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_wrong_part_is_found_by_the_checksum(mirror, web, tmp_path: Path) -> None:
    file = remote(mirror)
    part = part_of(target_of(tmp_path, file))
    part.parent.mkdir()
    part.write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="sha256 is"):
        bring(web, tmp_path, file)
    assert not part.exists()
    assert bring(web, tmp_path, file)[0].read_bytes() == DATA


def test_a_wrong_length_is_found_without_a_checksum(mirror, web, tmp_path: Path) -> None:
    mirror.files["/f"] = DATA
    file = RemoteFile("f", mirror.url + "/f", None, len(DATA) + 1)
    with pytest.raises(DataError, match=f"{len(DATA)} bytes came, the source says {len(DATA) + 1}"):
        bring(web, tmp_path, file)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_the_part(mirror, web, tmp_path: Path, monkeypatch) -> None:
    file = remote(mirror)
    target = target_of(tmp_path, file)
    monkeypatch.setattr(fetch_module, "_PIECE", 1000)

    def interrupt(n_bytes: int) -> None:
        if interrupt.calls == 2:
            raise KeyboardInterrupt
        interrupt.calls += 1

    interrupt.calls = 0
    with pytest.raises(KeyboardInterrupt):
        fetch(web, target, file, interrupt)
    part = part_of(target)
    have = part.stat().st_size
    assert 0 < have < len(DATA)
    assert part.read_bytes() == DATA[:have]
    assert not target.exists()
    fetch(web, target, file, lambda n: None)
    assert target.read_bytes() == DATA
    assert mirror.gets("/f")[-1] == f"bytes={have}-"


def test_present_is_size_first_and_then_checksum(tmp_path: Path) -> None:
    target = tmp_path / "f"
    good = Checksum("sha256", hashlib.sha256(b"abc").hexdigest())
    assert not is_present(target, RemoteFile("f", "u", good, 3), verify=False)
    target.write_bytes(b"abc")
    assert is_present(target, RemoteFile("f", "u", good, 3), verify=True)
    assert not is_present(target, RemoteFile("f", "u", good, 4), verify=False)
    target.write_bytes(b"abd")
    assert not is_present(target, RemoteFile("f", "u", good, 3), verify=True)
    assert is_present(target, RemoteFile("f", "u", good, 3), verify=False)


def test_checksums_agree_with_the_libraries(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    assert checksum(tmp_path / "f", "sha256") == hashlib.sha256(DATA).hexdigest()
    assert checksum(tmp_path / "f", "crc32") == f"{zlib.crc32(DATA):08x}"


@pytest.mark.skipif(os.name != "posix", reason="links need POSIX")
def test_links_do_not_lead_out_of_the_root(mirror, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "sub").symlink_to(outside)
    with pytest.raises(DiskError, match="leads out of"):
        target_of(root, remote(mirror))
    (root / "sub").unlink()
    (root / "sub").mkdir()
    (root / "sub/f.part").symlink_to(outside / "f")
    with pytest.raises(DiskError, match="leads out of"):
        target_of(root, remote(mirror))


def test_a_root_that_is_a_link_is_fine(mirror, web, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    bring(web, tmp_path / "root", remote(mirror))
    assert (tmp_path / "real/sub/f").read_bytes() == DATA


def test_a_full_disk_is_found_before_the_file_comes(mirror, web, tmp_path: Path, monkeypatch) -> None:
    file = remote(mirror)
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda path: _Usage(100))
    with pytest.raises(DiskError, match="make room"):
        bring(web, tmp_path, file)


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_folder_that_cannot_be_made_is_one_clear_line(mirror, web, tmp_path: Path) -> None:
    (tmp_path / "sub").write_text("a file where the folder goes")
    with pytest.raises(DiskError, match="--root DIR"):
        bring(web, tmp_path, remote(mirror))
