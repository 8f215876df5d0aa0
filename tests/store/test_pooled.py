"""Pooled rows on disk: what was written is read, nothing is left behind, a full disk is one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.store import pooled
from hypnos_bench.store.pooled import PooledWriter


def read(rows, start, k):
    out = np.empty((k, rows.shape[1]), dtype=np.float32)
    rows.read_into(start, out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rows_come_back(tmp_path, dtype):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, 5)).astype(dtype) for n in (3, 0, 7)]
    with PooledWriter(tmp_path / "new", 5, dtype) as writer:
        assert [writer.append(part) for part in parts] == [(0, 3), (3, 3), (3, 10)]
        with writer.finish() as rows:
            expected = np.concatenate(parts).astype(np.float32)
            assert rows.shape == (10, 5)
            assert rows.nbytes == 50 * np.dtype(dtype).itemsize
            for start, k in ((0, 10), (2, 5), (9, 1), (4, 0)):
                np.testing.assert_array_equal(read(rows, start, k), expected[start : start + k])
            strided = np.zeros((4, 10), dtype=np.float32)[:, ::2]
            rows.read_into(1, strided)
            np.testing.assert_array_equal(strided, expected[1:5])


def test_float16_rows_fit_into_a_float32_pool_but_not_the_other_way(tmp_path):
    with PooledWriter(tmp_path, 2) as writer:
        writer.append(np.ones((1, 2), dtype=np.float16))
        with writer.finish() as rows:
            np.testing.assert_array_equal(read(rows, 0, 1), [[1, 1]])
    with PooledWriter(tmp_path, 2, np.float16) as writer, pytest.raises(UsageError, match="would lose digits"):
        writer.append(np.ones((1, 2), dtype=np.float32))


def test_the_file_has_no_name_and_a_killed_process_leaves_nothing(tmp_path):
    script = (
        "import os, signal, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from hypnos_bench.store.pooled import PooledWriter\n"
        "writer = PooledWriter(Path(sys.argv[1]), 4)\n"
        "writer.append(np.zeros((1000, 4), dtype=np.float32))\n"
        "print(os.listdir(sys.argv[1]), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == -9
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(tmp_path):
    writer = PooledWriter(tmp_path, 4)
    writer._handle.close()
    writer._handle = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(DataError, match="No space left on device.*make room") as caught:
        writer.append(np.zeros((10, 4), dtype=np.float32))
    assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        PooledWriter(tmp_path / "file", 4)


@pytest.mark.parametrize("without", [False, True])
def test_short_reads_go_on_and_a_short_file_is_an_error(tmp_path, monkeypatch, without):
    with PooledWriter(tmp_path, 3) as writer:
        x = np.arange(60, dtype=np.float32).reshape(20, 3)
        writer.append(x)
        rows = writer.finish()
    if without:
        monkeypatch.delattr(os, "preadv")
    whole = pooled._read_at
    monkeypatch.setattr(pooled, "_read_at", lambda fd, data, offset: whole(fd, data[:7], offset))
    np.testing.assert_array_equal(read(rows, 0, 20), x)
    os.ftruncate(rows._handle.fileno(), 100)
    with pytest.raises(DataError, match="ended early"):
        read(rows, 0, 20)
    rows.close()


def test_misuse_is_refused(tmp_path):
    with pytest.raises(UsageError, match="float32 or float16"):
        PooledWriter(tmp_path, 3, np.float64)
    writer = PooledWriter(tmp_path, 3)
    with pytest.raises(DataError, match="do not fit into a pool of 3 columns"):
        writer.append(np.zeros((2, 4), dtype=np.float32))
    rows = writer.finish()
    for act in (writer.finish, lambda: writer.append(np.zeros((1, 3), dtype=np.float32))):
        with pytest.raises(UsageError, match="finished"):
            act()
    with pytest.raises(UsageError, match="asked from 0 x 3 rows"):
        read(rows, 0, 1)
    rows.close()
