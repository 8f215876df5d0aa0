from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder, row_times
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


@pytest.mark.parametrize("write", [as_npz, as_compressed, as_safetensors, as_metadata, as_npy])
def test_every_format_with_start_and_step(tmp_path, encode, write):
    write(tmp_path, X=X, start_s=60.0, step_s=2.0)
    out = encode()
    np.testing.assert_array_equal(out.arrays["X"], X)
    assert out.arrays["X"].dtype == np.float32
    assert (out.start_s, out.step_s) == (60.0, 2.0)


@pytest.mark.parametrize("write", [as_npz, as_safetensors])
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
        ({"X": X, "epoch_start_s": STARTS[:-1]}, r"epoch_start_s has shape \(19,\), X has 20 rows"),
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


def test_a_missing_last_row_or_a_partial_one_is_fine(tmp_path, encode):
    as_npz(tmp_path, X=X, start_s=0.0, step_s=30.0)
    assert len(encode(seconds=589.5).arrays["X"]) == 20  # models that pad the last epoch
    assert len(encode(seconds=3600).arrays["X"]) == 20


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


@pytest.mark.parametrize("name", ["r1.npz", "r1.npy", "r1.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"{}"]
)
def test_damaged_files(tmp_path, encode, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingError) as error:
        encode()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [as_npz, as_compressed, as_safetensors])
def test_truncated_files(tmp_path, encode, write):
    write(tmp_path, X=X, start_s=0.0, step_s=30.0)
    path = next(tmp_path.glob("r1.*"))
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
            encode()
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
    with pytest.raises(RecordingError, match=r"no file \(r2.npz, r2.npy, r2.safetensors\)"):
        encode(name="r2")
    as_safetensors(tmp_path, X=X, start_s=0.0, step_s=30.0)
    with pytest.raises(RecordingError, match="2 files, keep one"):
        encode()


def test_ids_cannot_leave_the_folder(tmp_path, memory_recording):
    outside, folder = tmp_path / "r1.npz", tmp_path / "in"
    folder.mkdir()
    np.savez(outside, X=X, start_s=0.0, step_s=30.0)
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"step": 30}', "unknown field 'step'. Did you mean 'step_s'"),
        ('{"step_s": "30"}', "field 'step_s' is '30', which is of the wrong type"),
        ('{"lag_rows": true}', "wrong type"),
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
    with pytest.raises(DataError, match="holds no .npz, .npy, .safetensors file"):
        _ = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path)).card


def test_without_a_folder_the_recordings_own_archive_is_read(tmp_path, memory_recording):
    encoder = PrecomputedEncoder(EncoderOptions())
    assert encoder.card.weights is None
    np.savez(tmp_path / "r1.npz", X=X, y=np.zeros(20))
    out = encoder.encode(memory_recording({}, 600.0, path=tmp_path / "r1.npz"))
    assert (out.start_s, out.step_s) == (0.0, 30.0)
    np.savez(tmp_path / "r1.npz", X=X, epoch_start_s=np.arange(20) * 10.0)
    assert encoder.encode(memory_recording({}, 600.0, path=tmp_path / "r1.npz")).step_s == 10.0
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
