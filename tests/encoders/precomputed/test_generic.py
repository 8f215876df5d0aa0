from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.encoders.precomputed.times import coverage, row_times
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.arrays import read_arrays
from hypnos_bench.spec import digest

X = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
STARTS = np.arange(20) * 30.0


@pytest.fixture
def encode(tmp_path, memory_recording):
    """Write files into a folder, encode recording ``r1`` of 600 s from it."""

    def run(seconds=600.0, name="r1"):
        return PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).encode(memory_recording({}, seconds, name))

    return run


def as_npz(folder, **arrays):
    np.savez(folder / "r1.npz", **arrays)


def as_compressed(folder, **arrays):
    np.savez_compressed(folder / "r1.npz", **arrays)


def as_safetensors(folder, **arrays):
    save_file({name: np.atleast_1d(array) for name, array in arrays.items()}, folder / "r1.safetensors")


def as_metadata(folder, X, **times):
    save_file({"X": X}, folder / "r1.safetensors", metadata={name: str(value) for name, value in times.items()})


def as_npy(folder, X, **times):
    np.save(folder / "r1.npy", X)
    (folder / "card.json").write_text(json.dumps(times))


def as_npy_with_sidecar(folder, X, **times):
    np.save(folder / "r1.npy", X)
    (folder / "card.json").write_text('{"start_s": 1, "step_s": 1}')
    (folder / "r1.json").write_text(json.dumps({"recording": "r1", **times}))


def as_hdf5(folder, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "r1.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array


def as_hdf5_attributes(folder, X, **times):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "r1.hdf5", "w") as file:
        file.create_dataset("X", data=X, compression="gzip", chunks=(7, 2))
        file.attrs.update(times)


def as_parquet(folder, X, **times):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    starts = {name: value for name, value in times.items() if name == "epoch_start_s"}
    frame.assign(**starts).to_parquet(folder / "r1.parquet", index=False, row_group_size=8)
    (folder / "r1.json").write_text(json.dumps({name: v for name, v in times.items() if name not in starts}))


@pytest.mark.parametrize(
    "write",
    [
        as_npz,
        as_compressed,
        as_safetensors,
        as_metadata,
        as_npy,
        as_npy_with_sidecar,
        as_hdf5,
        as_hdf5_attributes,
        as_parquet,
    ],
)
def test_every_format_with_start_and_step(tmp_path, encode, write):
    write(tmp_path, X=X, start_s=60.0, step_s=2.0)
    out = encode(seconds=101.0)
    name = next(p.name for p in tmp_path.glob("r1.*") if p.suffix != ".json")
    assert out.channels == {"X": f"rows of {name} (covers 60 to 100 s of 101 s)"}
    np.testing.assert_array_equal(out.arrays["X"], X)
    assert out.arrays["X"].dtype == np.float32
    assert (out.start_s, out.step_s) == (60.0, 2.0)


@pytest.mark.parametrize("write", [as_npz, as_safetensors, as_hdf5, as_parquet])
def test_row_starts(tmp_path, encode, write):
    write(tmp_path, X=X[:19], epoch_start_s=STARTS[1:])
    out = encode()
    assert (out.start_s, out.step_s) == (30.0, 30.0)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("f2", "float16"), ("f4", "float32"), ("f8", "float32"), ("i4", "float32"), ("u1", "float32"), (">f4", "float32")],
)
def test_dtypes(tmp_path, encode, dtype, stored):
    as_npz(tmp_path, X=np.arange(40).reshape(20, 2).astype(dtype), start_s=0, step_s=30)
    out = encode().arrays["X"]
    assert out.dtype == stored
    assert out.dtype.isnative
    np.testing.assert_array_equal(out, np.arange(40).reshape(20, 2))


def test_fortran_order(tmp_path, encode):
    as_npz(tmp_path, X=np.asfortranarray(X), start_s=0, step_s=30)
    np.testing.assert_array_equal(encode().arrays["X"], X)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": X}, "says not when its rows are; add an array epoch_start_s, or the numbers start_s and step_s"),
        ({"X": X, "start_s": 0.0}, "says not when its rows are"),
        ({"X": X, "epoch_start_s": STARTS[:-1]}, r"epoch_start_s is float64 of shape \(19,\), there are 20 rows"),
        ({"X": X, "epoch_start_s": STARTS[::-1]}, "impossible times: start 570 s, step -30 s"),
        ({"X": X[:3], "epoch_start_s": [0.0, 30.0, 90.0]}, "not even: row 2 starts 60 s after the one before"),
        ({"X": X[:3], "epoch_start_s": [0.0, np.nan, 60.0]}, "not even"),
        ({"X": X, "epoch_start_s": STARTS, "step_s": 10.0}, "not even: row 1 starts 30 s after"),
        ({"X": X[:1], "epoch_start_s": [0.0]}, "one row has no step; add step_s"),
        ({"X": X, "start_s": -30.0, "step_s": 30.0}, "impossible times"),
        ({"X": X, "start_s": 0.0, "step_s": 0.0}, "impossible times"),
        ({"X": X, "start_s": 0.0, "step_s": [1.0, 2.0]}, "step_s is not one number"),
        ({"X": X, "start_s": 0.0, "step_s": 60.0}, "end at 1200 s, the recording at 600 s; check step_s"),
        ({"X": X, "start_s": 300.0, "step_s": 30.0}, "end at 900 s"),
        ({"Y": X, "start_s": 0.0, "step_s": 30.0}, "no array X"),
        ({"X": X[0], "start_s": 0.0, "step_s": 30.0}, r"X has shape \(5,\)"),
        ({"X": X[:0], "start_s": 0.0, "step_s": 30.0}, r"X has shape \(0, 5\)"),
        ({"X": X > 0, "start_s": 0.0, "step_s": 30.0}, "X holds bool"),
        ({"X": np.where(X > 2, np.nan, X), "start_s": 0.0, "step_s": 30.0}, "NaN or infinity, first in row"),
        ({"X": X.astype("f8") * 1e300, "start_s": 0.0, "step_s": 30.0}, "NaN or infinity"),  # beyond float32
        ({"X": X.astype(object), "start_s": 0.0, "step_s": 30.0}, "Python objects, which are never loaded"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_the_file(tmp_path, encode, arrays, words):
    as_npz(tmp_path, **{name: np.asarray(value) for name, value in arrays.items()})
    with pytest.raises(RecordingError, match=words) as error:
        encode()
    assert error.value.recording == "r1"
    assert "r1.npz: " in error.value.reason
    assert "\n" not in error.value.reason


def test_rows_may_end_within_a_step_of_the_recording_and_no_further(tmp_path, encode):
    as_npz(tmp_path, X=X, start_s=0.0, step_s=30.0)
    assert encode(seconds=600.0).channels == {"X": "rows of r1.npz"}
    assert len(encode(seconds=570.5).arrays["X"]) == 20  # models that pad the last epoch
    with pytest.raises(RecordingError, match="end at 600 s, the recording at 570 s"):
        encode(seconds=570.0)
    assert encode(seconds=630.0).channels == {"X": "rows of r1.npz (covers 0 to 600 s of 630 s)"}
    with pytest.raises(RecordingError, match='end at 600 s, the recording at 631 s: 31 s are not covered.*"partial"'):
        encode(seconds=631.0)
    (tmp_path / "card.json").write_text('{"partial": true}')
    assert encode(seconds=3600).channels == {"X": "rows of r1.npz (covers 0 to 600 s of 3600 s)"}
    (tmp_path / "r1.json").write_text('{"partial": false}')
    with pytest.raises(RecordingError, match="3000 s are not covered"):
        encode(seconds=3600)


@given(
    n=st.integers(1, 500), step=st.sampled_from([1.0, 2.5, 30.0, 300.0]), rest=st.floats(0, 2), start=st.integers(0, 9)
)
def test_coverage_accepts_what_lies_within_and_refuses_the_rest(n, step, rest, start):
    end = start + n * step
    long_s = end + rest * step
    if long_s - end > step + 1e-6:
        with pytest.raises(ValueError, match="not covered"):
            coverage(start, step, n, long_s, short_s=step, partial=False)
    else:
        words = coverage(start, step, n, long_s, short_s=step, partial=False)
        assert bool(words) == (start > 0 or long_s - end > 1e-6)
    if end - rest * step > 0:
        short_s = end - rest * step
        if end - step >= short_s - 1e-6:
            with pytest.raises(ValueError, match="check step_s"):
                coverage(start, step, n, short_s, short_s=step, partial=True)
        else:
            coverage(start, step, n, short_s, short_s=step, partial=True)


def test_rows_without_signal_only_where_the_card_says_so(tmp_path, encode):
    x = X.copy()
    x[3] = np.nan
    as_npz(tmp_path, X=x, start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match='first in row 3 .1 of 20 rows.; rows .* need "nan_rows": "no-signal"'):
        encode()
    (tmp_path / "card.json").write_text('{"nan_rows": "no-signal"}')
    np.testing.assert_array_equal(encode().arrays["X"], x)
    x[5, 1] = np.nan
    as_npz(tmp_path, X=x, start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match="first in row 5"):
        encode()
    as_npz(tmp_path, X=np.full_like(x, np.nan), start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match="NaN only"):
        encode()


def test_named_arrays_become_modalities(tmp_path, encode):
    as_npz(tmp_path, EEG=X, ECG=X + 1, start_s=0.0, step_s=30.0)
    (tmp_path / "card.json").write_text('{"arrays": ["EEG", "ECG"]}')
    out = encode()
    assert list(out.arrays) == ["EEG", "ECG"]
    np.testing.assert_array_equal(out.arrays["ECG"], X + 1)
    as_npz(tmp_path, EEG=X, ECG=X[:3], start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match="differ in shape"):
        encode()


def test_a_stated_width_is_held(tmp_path, encode):
    as_npz(tmp_path, X=X, start_s=0.0, step_s=30.0)
    (tmp_path / "card.json").write_text('{"dim": 5}')
    assert encode().arrays["X"].shape == (20, 5)
    (tmp_path / "card.json").write_text('{"dim": 6}')
    with pytest.raises(RecordingError, match="has 5 columns, card.json says dim 6"):
        encode()


def test_a_sidecar_tells_what_was_missing(tmp_path, encode):
    as_npz(tmp_path, X=X, start_s=0.0, step_s=30.0)
    (tmp_path / "r1.json").write_text(
        '{"zero_filled": ["SN"], "skipped": {"O1": "flat"}, "channels": {"EEG": "C3-M2"}}'
    )
    out = encode()
    assert out.channels == {"EEG": "C3-M2", "X": "rows of r1.npz"}
    assert out.skipped == {"SN": "zeros when the embeddings were made", "O1": "flat"}
    (tmp_path / "r1.json").write_text('{"steps": 3}')
    with pytest.raises(RecordingError, match="r1.json: unknown field 'steps'. Did you mean 'step_s'"):
        encode()


def npz_claiming(path, shape, payload):
    """An archive whose array header claims more than it holds."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", header.getvalue() + payload)


@pytest.mark.parametrize("shape", [(10**9, 10**6), (10**6, 10)])
def test_sizes_are_bounded_before_anything_is_allocated(tmp_path, encode, shape):
    npz_claiming(tmp_path / "r1.npz", shape, b"\0" * 64)
    with pytest.raises(RecordingError, match=r"GiB, more than|claims 40000000 bytes"):
        encode()


@pytest.mark.parametrize("name", ["r1.npz", "r1.npy", "r1.safetensors", "r1.h5", "r1.parquet"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"{}"]
)
def test_damaged_files(tmp_path, encode, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingError) as error:
        encode()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [as_npz, as_compressed, as_safetensors, as_hdf5, as_parquet])
def test_truncated_files(tmp_path, encode, write):
    write(tmp_path, X=X, start_s=0.0, step_s=30.0)
    path = next(p for p in tmp_path.glob("r1.*") if p.suffix != ".json")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(RecordingError, match="r1"):
        encode()


@pytest.mark.parametrize("write", [as_npz, as_compressed, as_safetensors, as_npy])
def test_altered_files_give_an_error_or_arrays_but_no_crash(tmp_path, encode, write):
    write(tmp_path, X=X[:4], start_s=0.0, step_s=30.0)
    path = next(tmp_path.glob("r1.*"))
    raw = path.read_bytes()
    refused = 0
    for position in range(0, len(raw), 3):
        altered = bytearray(raw)
        altered[position] ^= 0xFF
        path.write_bytes(altered)
        try:
            encode(seconds=120.0)
        except RecordingError:
            refused += 1
    assert refused > 20
    # Archives carry a checksum per array: a change of the numbers is never taken for the numbers.
    if write in (as_npz, as_compressed):
        altered = bytearray(raw)
        altered[raw.index(b"X.npy") + 150] ^= 1
        path.write_bytes(altered)
        with pytest.raises(RecordingError):
            encode()


def test_no_file_or_two(tmp_path, encode):
    as_npz(tmp_path, X=X, start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match="no file of this recording .looked for r2"):
        encode(name="r2")
    as_safetensors(tmp_path, X=X, start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match="2 files, keep one"):
        encode()


def test_ids_cannot_leave_the_folder(tmp_path, memory_recording):
    outside, folder = tmp_path / "r1.npz", tmp_path / "in"
    folder.mkdir()
    for path in (outside, folder / "r2.npz"):
        np.savez(path, X=X, start_s=0.0, step_s=30.0)
    encoder = PrecomputedEncoder(EncoderOptions(embeddings=folder))
    with pytest.raises(RecordingError, match="no file"):
        encoder.encode(memory_recording({}, 600.0, "../r1"))


def test_the_key_changes_with_the_arrays_and_only_with_them(tmp_path):
    def definition():
        return digest(PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card.definition())

    as_npz(tmp_path, X=X, start_s=0.0, step_s=30.0)
    first = definition()
    (tmp_path / "README.md").write_text("notes")
    assert definition() == first
    as_npz(tmp_path, X=X + 1, start_s=0.0, step_s=30.0)
    second = definition()
    np.savez(tmp_path / "r2.npz", X=X)
    third = definition()
    (tmp_path / "r2.npz").rename(tmp_path / "r3.npz")
    fourth = definition()
    (tmp_path / "card.json").write_text('{"lag_rows": 1}')
    fifth = definition()
    (tmp_path / "card.json").write_text('{"lag_rows": 1, "step_s": 30}')
    assert len({first, second, third, fourth, fifth, definition()}) == 6


def test_card_json_is_told_in_the_card(tmp_path):
    as_npz(tmp_path, X=X)
    stated = {
        "title": "SleepFM",
        "lag_rows": 1,
        "causal": True,
        "pretrained_on": ["shhs"],
        "licence": "MIT",
        "note": "n",
    }
    (tmp_path / "card.json").write_text(json.dumps(stated))
    card = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card
    assert (card.title, card.lag_rows, card.causal, card.pretrained_on) == ("SleepFM", 1, True, ("shhs",))
    assert card.step_s is None
    assert (card.id, card.dim, card.weights_name, card.marks) == ("precomputed", None, "", ())
    more = {"id": "my-model", "dim": 5, "weights": "best.pt", "marks": ["untrained"]}
    (tmp_path / "card.json").write_text(json.dumps(more))
    card = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card
    assert (card.id, card.dim, card.weights_name, card.marks) == ("my-model", 5, "best.pt", ("untrained",))
    assert card.pretrained_on is None  # nothing said is not the same as nothing seen


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"step": 30}', "unknown field 'step'. Did you mean 'step_s'"),
        ('{"step_s": "30"}', "field 'step_s' is '30', which is of the wrong type"),
        ('{"lag_rows": true}', "wrong type"),
        ('{"lag_rows": -1}', "expected 0 or more"),
        ('{"tail": "long"}', "use one of drop, short"),
        ('{"id": "My Model"}', "lower-case words joined"),
        ('{"layout": "sleepfm"}', "use one of generic, sleepfm-5s"),
        ('{"dim": 0}', "expected the number of columns"),
        ('{"pretrained_on": [1]}', "expected a list of words"),
        ('{"arrays": []}', "at least one array name"),
        ('{"nan_rows": "fine"}', "use one of refuse, no-signal"),
        ("[]", "not a JSON object"),
        ("{", "not valid JSON"),
    ],
)
def test_a_wrong_card_json(tmp_path, content, words):
    as_npz(tmp_path, X=X)
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(DataError, match=words):
        _ = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card


def test_a_folder_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(DataError, match="no such folder; give the folder"):
        PrecomputedEncoder(EncoderOptions(embeddings=tmp_path / "none"))
    with pytest.raises(DataError, match="holds no .npz, .npy, .safetensors, .h5, .hdf5, .parquet file"):
        _ = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card


def test_without_a_folder_the_recordings_own_archive_is_read(tmp_path, memory_recording):
    encoder = PrecomputedEncoder(EncoderOptions())
    assert encoder.card.weights is None
    np.savez(tmp_path / "r1.npz", X=X, y=np.zeros(20))
    out = encoder.encode(memory_recording({}, 600.0, path=tmp_path / "r1.npz"))
    assert (out.start_s, out.step_s) == (0.0, 30.0)
    np.savez(tmp_path / "r1.npz", X=X, epoch_start_s=np.arange(20) * 10.0)
    assert encoder.encode(memory_recording({}, 200.0, path=tmp_path / "r1.npz")).step_s == 10.0
    with pytest.raises(RecordingError, match="night.edf holds no embeddings; give --embeddings DIR"):
        encoder.encode(memory_recording({}, 600.0, path=Path("night.edf")))


@pytest.mark.parametrize("n", [2, 3, 1000])
def test_row_times_survive_rounding(n):
    start, step = row_times({"epoch_start_s": 0.1 + np.arange(n) * 0.1}, n)
    assert start == pytest.approx(0.1)
    assert step == pytest.approx(0.1)


def test_real_nights(shared_data):
    path = shared_data / "sleepedf-features20" / "SC4001E0.npz"
    arrays = read_arrays(path, ("X", "y"))
    with np.load(path, allow_pickle=False) as expected:
        np.testing.assert_array_equal(arrays["X"], expected["X"])
        np.testing.assert_array_equal(arrays["y"], expected["y"])


@pytest.mark.parametrize("where", ["card.json", "r1.json"])
@pytest.mark.parametrize(
    ("own", "stated"),
    [
        ({"epoch_start_s": STARTS}, {"start_s": 60.0}),
        ({"start_s": 0.0, "step_s": 30.0}, {"start_s": 30.0}),
        ({"start_s": 0.0, "step_s": 30.0}, {"step_s": 20.0}),
        ({"epoch_start_s": STARTS, "start_s": 30.0}, {}),
    ],
)
def test_statements_of_times_that_differ_are_refused(tmp_path, encode, where, own, stated):
    as_npz(tmp_path, X=X, **own)
    (tmp_path / where).write_text(json.dumps({"partial": True, **stated}))
    with pytest.raises(
        RecordingError, match=r"says (start|step)_s [\d.]+, but by its own times it is .*; keep the one"
    ):
        encode(seconds=900.0)


def test_statements_of_times_that_agree_are_one(tmp_path, encode):
    as_npz(tmp_path, X=X, epoch_start_s=STARTS)
    (tmp_path / "card.json").write_text('{"start_s": 0, "step_s": 30}')
    assert encode().start_s == 0.0


@pytest.mark.parametrize("name", ["features", "hypnos", "sleepfm-untrained", "demographics"])
def test_an_id_of_the_suites_own_is_refused(tmp_path, name):
    as_npz(tmp_path, X=X, epoch_start_s=STARTS)
    (tmp_path / "card.json").write_text(json.dumps({"id": name, "pretrained_on": []}))
    with pytest.raises(DataError, match=f"card.json: field 'id' is '{name}', which is one of the suite's own encoders"):
        _ = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card


def test_who_made_them_is_no_part_of_the_definition(tmp_path):
    as_npz(tmp_path, X=X, epoch_start_s=STARTS)
    cards = []
    for stated in ({"id": "precomputed"}, {"made_by": "osf"}):
        (tmp_path / "card.json").write_text(json.dumps(stated))
        cards.append(PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card)
    assert [card.made_by for card in cards] == ["", "osf"]
    assert cards[0].definition() == cards[1].definition()
