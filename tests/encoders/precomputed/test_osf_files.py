"""Arrays of OSF: one row per 30-s epoch, CLS first."""

import json

import numpy as np
import pytest

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.errors import RecordingError

BOTH = np.random.default_rng(1).normal(size=(20, 2, 768)).astype(np.float16)


@pytest.fixture
def encode(tmp_path, memory_recording):
    def run(seconds=600.0, **card):
        (tmp_path / "card.json").write_text(json.dumps({"layout": "osf", **card}))
        encoder = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path))
        out = encoder.encode(memory_recording({}, seconds, "r1"))
        assert encoder.card.dim == out.arrays["X"].shape[1]
        return out

    return run


def as_npy(folder, x):
    np.save(folder / "r1.npy", x)


def as_hdf5(folder, x):
    with pytest.importorskip("h5py").File(folder / "r1.h5", "w") as file:
        file["X"] = x


def as_parquet(folder, x):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x = x.reshape(len(x), -1)
    pq.write_table(pa.table({f"{i}": x[:, i] for i in range(x.shape[1])}), folder / "r1.parquet")


def as_two_arrays(folder, x):
    np.savez(folder / "r1.npz", cls=x[:, 0], mean_patch=x[:, 1])


@pytest.mark.parametrize("write", [as_npy, as_hdf5, as_parquet, as_two_arrays])
def test_both_halves_are_told_apart(tmp_path, encode, write):
    write(tmp_path, BOTH)
    out = encode()
    assert (out.start_s, out.step_s, out.arrays["X"].dtype) == (0.0, 30.0, np.float16)
    np.testing.assert_array_equal(out.arrays["X"], BOTH[:, 0])
    np.testing.assert_array_equal(encode(part="mean-patch").arrays["X"], BOTH[:, 1])
    np.testing.assert_array_equal(encode(part="both").arrays["X"], BOTH.reshape(20, 1536))


def test_cls_alone_has_no_mean_patch(tmp_path, encode):
    as_npy(tmp_path, BOTH[:, 0])
    np.testing.assert_array_equal(encode().arrays["X"], BOTH[:, 0])
    for part in ("mean-patch", "both"):
        with pytest.raises(RecordingError, match="holds cls; there is no mean-patch to read"):
            encode(part=part)


def test_a_sidecar_moves_the_first_epoch(tmp_path, encode):
    as_npy(tmp_path, BOTH)
    (tmp_path / "r1.json").write_text(
        '{"start_s": 60, "zero_filled": ["SN"], "normalisation": "z", "resampler": "osf"}'
    )
    out = encode(660.0)
    assert out.start_s == 60.0
    assert out.skipped == {"SN": "zeros when the embeddings were made"}
    with pytest.raises(RecordingError, match="end at 660 s, the recording at 600 s"):
        encode(600.0)


def test_lengths_are_held_to_an_epoch(tmp_path, encode):
    as_npy(tmp_path, BOTH)
    assert encode(629.0).channels == {"X": "rows of r1.npy (covers 0 to 600 s of 629 s)"}
    with pytest.raises(RecordingError, match="31 s are not covered"):
        encode(631.0)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (BOTH[:, :, :384], r"shape \(20, 2, 384\); OSF rows are \(n_epochs, 768\) or \(n_epochs, 2, 768\)"),
        (BOTH[:, 0, :700], r"shape \(20, 700\)"),
        (BOTH.reshape(40, 768), "end at 1200 s, the recording at 600 s"),
    ],
)
def test_other_shapes(tmp_path, encode, x, words):
    as_npy(tmp_path, x)
    with pytest.raises(RecordingError, match=words):
        encode()


def test_a_smaller_model_is_read_when_its_width_is_said(tmp_path, encode):
    as_npy(tmp_path, BOTH[:, :, :192])
    assert encode(dim=192).arrays["X"].shape == (20, 192)
    assert encode(dim=384, part="both").arrays["X"].shape == (20, 384)


@pytest.mark.parametrize("times", [{"start_s": 60.0, "step_s": 30.0}, {"epoch_start_s": 60.0 + 30.0 * np.arange(20)}])
def test_times_in_the_file_move_the_first_epoch(tmp_path, encode, times):
    np.savez(tmp_path / "r1.npz", X=BOTH, **times)
    assert encode(660.0).start_s == 60.0
    with pytest.raises(RecordingError, match="the file says start_s 60, but|card.json .* says start_s 0, but"):
        encode(660.0, start_s=0.0)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"step_s": 5.0}, "step_s is said to be 5 s, the layout has rows of 30 s"),
        ({"epoch_start_s": 5.0 * np.arange(20)}, "epoch_start_s is not even|rows of 30 s"),
        ({"start_s": -30.0}, "impossible times"),
    ],
)
def test_times_that_are_no_epochs_are_refused(tmp_path, encode, times, words):
    np.savez(tmp_path / "r1.npz", X=BOTH, **times)
    with pytest.raises(RecordingError, match=words):
        encode()
