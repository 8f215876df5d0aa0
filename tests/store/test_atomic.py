from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.errors import DataError
from hypnos_bench.store import atomic
from hypnos_bench.store.atomic import atomic_write, remove_leftovers, safe_name


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_writes_bytes_and_makes_parents(tmp_path):
    target = tmp_path / "a" / "b" / "file.json"
    atomic_write(target, b"one")
    atomic_write(target, lambda temporary: temporary.write_bytes(b"two"))
    assert target.read_bytes() == b"two"
    assert names(target.parent) == ["file.json"]


def test_the_temporary_file_is_hidden_and_in_the_same_folder(tmp_path):
    seen = []
    atomic_write(tmp_path / "x.bin", lambda temporary: (seen.append(temporary), temporary.write_bytes(b"1"))[0])
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(".")
    assert str(os.getpid()) in seen[0].name


def test_a_failing_writer_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "x.bin"
    atomic_write(target, b"old")

    def interrupted(temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(target, interrupted)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_line(tmp_path, monkeypatch, call, code):
    target = tmp_path / "x.bin"
    atomic_write(target, b"old")

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(DataError) as error:
        atomic_write(target, b"new")
    message = str(error.value)
    assert str(target) in message
    assert os.strerror(code) in message
    assert "--results DIR" in message
    assert "\n" not in message
    assert error.value.exit_code == 3
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written \(.*\); make room or choose another --results DIR"):
        atomic_write(tmp_path / "results" / "x.json", b"1")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match="Permission denied"):
            atomic_write(tmp_path / "x.json", b"1")
    finally:
        tmp_path.chmod(0o700)


def test_a_killed_writer_leaves_the_old_file_and_its_rest_is_swept(tmp_path):
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    code = (
        "import sys, time; from pathlib import Path; from hypnos_bench.store.atomic import atomic_write\n"
        "def slow(t):\n    t.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
        "atomic_write(Path(sys.argv[1]), slow)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"writing"
        assert remove_leftovers(tmp_path) == []  # alive: not ours to judge
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert target.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    time.sleep(0.01)
    atomic._swept.discard(tmp_path)
    atomic_write(tmp_path / "y.bin", b"next run")
    assert names(tmp_path) == ["x.bin", "y.bin"]


def test_other_machines_and_other_files_are_left_alone(tmp_path):
    for name in (".tmp-elsewhere!-1-0", ".tmp-otherhost-999999999-0", ".tmp-notes", "tmp-1"):
        (tmp_path / name).write_bytes(b"")
    before = names(tmp_path)
    assert remove_leftovers(tmp_path) == []
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "name"),
    [("SC4001E0", "SC4001E0"), ("a/b", "a=2Fb"), ("..", "=2E."), (".hidden", "=2Ehidden"), ("a=2Fb", "a=3D2Fb"),
     ("100%", "100=25"), ("é", "=C3=A9"), ("a b", "a=20b"), ("a\x00", "a=00"), ("\udc80", "=ED=B2=80")],
)  # fmt: skip
def test_safe_names(text, name):
    assert safe_name(text) == name


def test_an_empty_id_is_refused():
    with pytest.raises(DataError, match="empty id"):
        safe_name("")


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_safe_names_are_safe_and_distinct(a, b):
    import re

    assert re.fullmatch(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,119}", safe_name(a))
    assert (safe_name(a) == safe_name(b)) == (a == b)
