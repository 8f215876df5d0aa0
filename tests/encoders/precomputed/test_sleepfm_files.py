"""HDF5 files of SleepFM (2026), written as its ``generate_embeddings.py`` does: appended in blocks, float32, no times."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.encoders.precomputed.sleepfm import MODALITIES, _step, whole_rows
from hypnos_bench.errors import RecordingError
from hypnos_bench.store.embeddings import embedding_problem

h5py = pytest.importorskip("h5py")
DURATION_S = 1500.0 + 140.0  # five windows, and what is left of a sixth


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 128)).astype(np.float32)


def written(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        for name, x in arrays.items():
            if name in file:  # what an appending writer does to a file that is there
                if len(file[name]) < len(x):
                    file[name].resize(len(x), axis=0)
                file[name][: len(x)] = x
            else:
                file.create_dataset(name, data=x, chunks=(128, 128), maxshape=(None, 128))


@pytest.fixture
def encode(tmp_path, memory_recording):
    def run(card=None, seconds=DURATION_S, **options):
        if card is not None:
            (tmp_path / "card.json").write_text(json.dumps(card))
        encoder = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path, **options))
        out = encoder.encode(memory_recording({}, seconds, "r1"))
        assert embedding_problem(out, encoder.card) is None
        dims = {array.shape[1] for array in out.arrays.values()}
        assert encoder.card.dim is None or {encoder.card.dim} == dims
        return out

    return run


ALL = {name: rows(300, seed) for seed, name in enumerate(MODALITIES)}


@pytest.mark.parametrize(("n", "step"), [(300, 5.0), (5, 300.0)])
def test_concatenation_in_a_fixed_order_and_the_step_from_the_length(tmp_path, encode, n, step):
    written(tmp_path / "shhs1" / "r1.hdf5", {name: x[:n] for name, x in ALL.items()})
    out = encode()
    assert (out.start_s, out.step_s) == (0.0, step)
    np.testing.assert_array_equal(
        out.arrays["X"], np.concatenate([ALL[m][:n] for m in ("BAS", "RESP", "EKG", "EMG")], axis=1)
    )
    assert out.channels == {"X": "rows of r1.hdf5 (covers 0 to 1500 s of 1640 s)"}
    assert not out.skipped


def test_a_missing_modality_keeps_the_width_and_is_told(tmp_path, encode):
    written(tmp_path / "r1.hdf5", {m: ALL[m] for m in ("BAS", "EMG")})
    out = encode({"layout": "sleepfm-5s"})
    assert out.arrays["X"].shape == (300, 512)
    assert not out.arrays["X"][:, 128:384].any()
    np.testing.assert_array_equal(out.arrays["X"][:, 384:], ALL["EMG"])
    assert out.skipped == dict.fromkeys(("RESP", "EKG"), "not in r1.hdf5: zeros in its columns")
    out = encode({"layout": "sleepfm-5s", "combination": "concat-presence"})
    np.testing.assert_array_equal(out.arrays["X"][:, 512:], np.tile([1, 0, 0, 1], (300, 1)))
    out = encode({"layout": "sleepfm-5s", "combination": "mean"})
    np.testing.assert_allclose(out.arrays["X"], (ALL["BAS"] + ALL["EMG"]) / 2, rtol=1e-6)
    out = encode({"layout": "sleepfm-5s"}, per_modality=True)
    assert list(out.arrays) == ["BAS", "EMG"]


def test_a_stale_tail_is_refused_with_the_counts_or_cropped_when_said(tmp_path, encode):
    written(tmp_path / "r1.hdf5", {"BAS": rows(360, 9), "RESP": rows(300, 8)})
    with pytest.raises(RecordingError, match=r"differ in rows \(BAS 360, RESP 300\): SleepFM appends to old files"):
        encode()
    assert len(encode({"crop": "shortest"}).arrays["X"]) == 300


def test_a_whole_file_of_a_longer_recording_is_refused(tmp_path, encode):
    written(tmp_path / "r1.hdf5", {m: rows(360) for m in MODALITIES})
    with pytest.raises(RecordingError, match="360 rows end at 1800 s with rows of 5 s or 108000 s with rows of 300 s"):
        encode()
    with pytest.raises(RecordingError, match="360 rows of 5 s end at 1800 s, the recording at 1640 s"):
        encode({"layout": "sleepfm-5s"})


def test_a_window_too_few_is_refused_unless_partial(tmp_path, encode):
    written(tmp_path / "r1.hdf5", {m: rows(240) for m in MODALITIES})
    with pytest.raises(RecordingError, match="say which they are with"):
        encode()
    with pytest.raises(
        RecordingError, match=r'end at 1200 s, the recording at 1640 s: SleepFM writes 300, .* say "partial": true'
    ):
        encode({"layout": "sleepfm-5s"})
    assert len(encode({"layout": "sleepfm-5s", "partial": True}).arrays["X"]) == 240


def test_rows_without_signal_of_one_modality_count_as_absent_there(tmp_path, encode):
    holes = ALL["BAS"].copy()
    holes[[4, 7]] = np.nan
    other = ALL["EKG"].copy()
    other[7] = np.nan
    written(tmp_path / "r1.hdf5", {"BAS": holes, "EKG": other})
    x = encode({"nan_rows": "no-signal", "combination": "concat-presence"}).arrays["X"]
    assert not x[4, :128].any()
    np.testing.assert_array_equal(x[[3, 4], 512:], [[1, 0, 1, 0], [0, 0, 1, 0]])
    assert np.isnan(x[7]).all()
    assert np.isfinite(np.delete(x, 7, axis=0)).all()


@pytest.mark.parametrize(
    ("arrays", "card", "words"),
    [
        ({"EEG": rows(300)}, {"layout": "sleepfm-5s"}, "holds none of the datasets BAS, RESP, EKG, EMG"),
        ({"BAS": rows(300)[:, :64]}, None, r"columns \{'BAS': 64\}, expected 128"),
        ({"BAS": np.full((300, 128), np.inf, "f4")}, None, "BAS holds NaN or infinity"),
        ({"BAS": rows(300)[:, 0]}, None, r"BAS has shape \(300,\)"),
        ({"BAS": rows(300)}, {"step_s": 30}, "step_s is said to be 30 s, the layout has rows of 5 s"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, encode, arrays, card, words):
    with h5py.File(tmp_path / "r1.hdf5", "w") as file:
        for name, x in arrays.items():
            file[name] = x
    with pytest.raises(RecordingError, match=words):
        encode(card)


def test_blog_style_npy_is_told_what_sleepfm_files_are(tmp_path, encode):
    np.save(tmp_path / "r1.npy", rows(300))
    with pytest.raises(RecordingError, match=r"SleepFM embeddings are .h5 or .hdf5 files, not .npy"):
        encode({"layout": "sleepfm-5s"})


@given(st.integers(2, 200), st.floats(0, 299.99))
def test_the_step_is_the_one_of_the_writer_for_any_whole_night(windows, rest):
    duration_s = 300.0 * windows + rest
    assert _step(windows, duration_s) == 300.0
    assert _step(60 * windows, duration_s) == 5.0


def test_a_step_that_cannot_be_told_is_asked_for():
    with pytest.raises(ValueError, match='"layout": "sleepfm-5s" or "sleepfm-5min"'):
        _step(1, 302.0)


@pytest.mark.parametrize(
    ("layout", "seconds", "n", "writes", "hint"),
    [
        ("sleepfm-5min", 3610.0, 13, 12, "the rest is of another recording"),
        ("sleepfm-5min", 3600.0, 11, 12, '"partial": true'),
        ("sleepfm-5s", 3899.0, 780, 720, "the rest is of another recording"),  # ends beyond the recording
        ("sleepfm-5s", 3899.0, 779, 720, '"tail": "short"'),
        ("sleepfm-5s", 3610.0, 715, 720, '"partial": true'),
    ],
)
def test_rows_are_as_many_as_sleepfm_writes(tmp_path, encode, layout, seconds, n, writes, hint):
    written(tmp_path / "r1.hdf5", {"BAS": rows(n)})
    with pytest.raises(RecordingError, match=f"its {n} rows .*: SleepFM writes {writes}, .*{hint}"):
        encode({"layout": layout}, seconds)


@pytest.mark.parametrize("n", [720, 779, 780])
def test_a_short_tail_goes_on_to_the_end_and_not_beyond(tmp_path, encode, n):
    written(tmp_path / "r1.hdf5", {"BAS": rows(n)})
    card = {"layout": "sleepfm-5s", "tail": "short"}
    if n == 780:
        with pytest.raises(RecordingError, match="its 780 rows"):
            encode(card, 3899.0)
    else:
        assert len(encode(card, 3899.0).arrays["X"]) == n


def test_rows_that_end_early_come_window_by_window(tmp_path, encode):
    written(tmp_path / "r1.hdf5", {"BAS": rows(275)})
    with pytest.raises(RecordingError, match="rows come 60 by 60"):
        encode({"layout": "sleepfm-5s", "partial": True})


def test_times_in_the_file_count(tmp_path, encode):
    written(tmp_path / "r1.hdf5", {"BAS": rows(300)})
    with h5py.File(tmp_path / "r1.hdf5", "a") as file:
        file.attrs["start_s"] = 600.0
    out = encode(seconds=600.0 + DURATION_S)
    assert (out.start_s, out.step_s) == (600.0, 5.0)
    with pytest.raises(RecordingError, match="says start_s 0, but by its own times it is 600"):
        encode({"start_s": 0}, seconds=600.0 + DURATION_S)


@given(st.floats(0, 50_000), st.sampled_from([5.0, 300.0]))
def test_whole_rows_fill_whole_windows_and_no_more_fit(seconds, step_s):
    n = whole_rows(seconds, step_s)
    assert n * step_s <= seconds + 1e-3 < n * step_s + 300.0 + 2e-3
    assert n % round(300.0 / step_s) == 0
