"""HDF5 and Parquet files that are damaged, too large on paper, or would mislead."""

import sys

import numpy as np
import pytest

from hypnos_bench.encoders.precomputed import hdf5, parquet
from hypnos_bench.encoders.precomputed.files import read_file
from hypnos_bench.errors import UsageError

h5py = pytest.importorskip("h5py")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
X = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)


def hostile(path, case):
    with h5py.File(path, "w") as file:
        if case == "sparse":
            file.create_dataset("X", (10**6, 512), "f4", chunks=(128, 128))
        elif case == "huge":
            file.create_dataset("X", (10**9, 512), "f4", chunks=(128, 128))
        elif case == "strings":
            file["X"] = np.array([b"a", b"b"])
        elif case == "group":
            file.create_group("X")
        elif case == "outside":
            file["X"] = h5py.ExternalLink("other.h5", "X")
        elif case == "soft":
            file["X"] = h5py.SoftLink("/Y")
        elif case == "external":
            file.create_dataset("X", (4, 4), "f4", external=[("raw.bin", 0, 64)])
        elif case == "virtual":
            layout = h5py.VirtualLayout((4, 4), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "X", (4, 4))
            file.create_virtual_dataset("X", layout)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("sparse", "'X' is not written to its end"),
        ("huge", "more than the 4 GiB allowed"),
        ("strings", "not of numbers"),
        ("group", "'X' is no array"),
        ("outside", r"a link \(ExternalLink\) that is not followed"),
        ("soft", r"a link \(SoftLink\) that is not followed"),
        ("external", "stored outside the file"),
        ("virtual", "stored outside the file"),
    ],
)
def test_hdf5_that_is_not_what_it_says(tmp_path, case, words):
    hostile(tmp_path / "r.h5", case)
    with pytest.raises(ValueError, match=words):
        read_file(tmp_path / "r.h5", ("X",))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"], "c": [1.0]}, "column 'id' holds string, not numbers"),
        ({"c": [1.0], "__index_level_0__": [0]}, "a stored index that would pass for a dimension"),
        ({"epoch_start_s": [0.0]}, "has no column of numbers"),
        (
            {"c": [1.0], "start_s": [0.0]},
            "column 'start_s' would pass for a dimension; name the starts of rows epoch_st",
        ),
        ({"c": [1.0], "step_s": [30.0]}, "column 'step_s' would pass for a dimension"),
        ({"v": [[1.0, 2.0]]}, "holds list"),
    ],
)
def test_parquet_that_would_mislead(tmp_path, columns, words):
    pq.write_table(pa.table(columns), tmp_path / "r.parquet")
    with pytest.raises(ValueError, match=words):
        read_file(tmp_path / "r.parquet", ("X",))


def test_parquet_claims_are_bounded_before_allocation(tmp_path, monkeypatch):
    pq.write_table(pa.table({"a": np.zeros(100_000)}), tmp_path / "r.parquet")
    monkeypatch.setattr(parquet, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="GiB, more than"):
        read_file(tmp_path / "r.parquet", ("X",))


@pytest.mark.parametrize(
    ("types", "expected"),
    [(("f2", "f2"), "f2"), (("f2", "f4"), "f4"), (("f4", "f8"), "f8"), (("i4", "f4"), "f8")],
)
def test_parquet_types_and_nulls(tmp_path, types, expected):
    table = pa.table({str(i): np.arange(3).astype(t) for i, t in enumerate(types)})
    pq.write_table(table, tmp_path / "r.parquet")
    x = read_file(tmp_path / "r.parquet", ("X",))["X"]
    assert x.dtype == np.dtype(expected)
    np.testing.assert_array_equal(x, np.tile(np.arange(3)[:, None], 2))
    pq.write_table(pa.table({"a": [1.0, None], "b": [2, None]}), tmp_path / "n.parquet")
    np.testing.assert_array_equal(read_file(tmp_path / "n.parquet", ("X",))["X"], [[1, 2], [np.nan, np.nan]])


@pytest.mark.parametrize(("name", "extra"), [("h5py", "hdf5"), ("pyarrow", "parquet")])
def test_an_absent_package_is_named_with_its_extra(tmp_path, monkeypatch, name, extra):
    monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / f"r.{'h5' if extra == 'hdf5' else extra}").write_bytes(b"")
    with pytest.raises(UsageError, match=rf"pip install 'hypnos-bench\[{extra}\]'"):
        read_file(next(tmp_path.iterdir()), ("X",))


def test_altered_hdf5_gives_an_error_or_arrays_but_no_crash(tmp_path):
    path = tmp_path / "r.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(8, 5))
    raw = path.read_bytes()
    refused = 0
    for position in range(0, len(raw), 41):
        altered = bytearray(raw)
        altered[position] ^= 0xFF
        path.write_bytes(altered)
        try:
            hdf5.read_hdf5(path, ("X",))
        except ValueError:
            refused += 1
    assert refused > 4


def test_a_fault_of_the_disk_stays_one(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        read_file(tmp_path / "none.h5", ("X",))


def test_a_named_index_is_no_dimension(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"d0": [1.0, 2.0], "seg": [7, 8]})
    frame.set_index("seg").to_parquet(tmp_path / "r.parquet")
    with pytest.raises(ValueError, match="column 'seg' is a stored index that would pass for a dimension"):
        read_file(tmp_path / "r.parquet", ("X",))
    frame.rename(columns={"seg": "epoch_start_s"}).set_index("epoch_start_s").to_parquet(tmp_path / "r.parquet")
    found = read_file(tmp_path / "r.parquet", ("X",))
    np.testing.assert_array_equal(found["X"], [[1.0], [2.0]])
    np.testing.assert_array_equal(found["epoch_start_s"], [7.0, 8.0])
    frame = frame[["d0"]]
    frame.index.name = "epoch"  # a range, which has no column
    frame.to_parquet(tmp_path / "r.parquet")
    assert read_file(tmp_path / "r.parquet", ("X",))["X"].shape == (2, 1)


@pytest.mark.parametrize("said", [b"{", b"[]", b"{}", b'{"index_columns": 3}'])
def test_damaged_pandas_metadata_are_refused(tmp_path, said):
    table = pa.table({"c": [1.0]}).replace_schema_metadata({b"pandas": said})
    pq.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(ValueError, match="pandas metadata is damaged"):
        read_file(tmp_path / "r.parquet", ("X",))
