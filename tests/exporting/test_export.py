"""What is exported comes back through the readers, bit for bit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.errors import DataError
from hypnos_bench.exporting.export import export_recordings
from hypnos_bench.exporting.shapes import pooled_to_epochs, shaped
from hypnos_bench.exporting.writers import WRITERS
from hypnos_bench.labelling.pooling import pool
from hypnos_bench.store.embeddings import EmbeddingStore

CARD = EncoderCard(
    id="toy", title="Toy", version="1", step_s=None, window_s=None, causal=True, lag_rows=1, channels=(),
    missing="", marks=("untrained",), weights="ab" * 32, weights_name="toy.pt", pretrained_on=None, licence="MIT",
)  # fmt: skip


def rows(n, dim, dtype="f4", seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(dtype)


@pytest.fixture
def world(tmp_path, memory_recording):
    """Store embeddings of recordings r0, r1 ..., export them, read them back."""

    class World:
        out = tmp_path / "out"
        store = EmbeddingStore(tmp_path / "results")
        recordings = ()

        def save(self, *embeddings, seconds=600.0, card=CARD):
            self.recordings = [memory_recording({}, seconds, f"r{i}") for i in range(len(embeddings))]
            for recording, embedding in zip(self.recordings, embeddings):
                if embedding is not None:
                    self.store.save(card, recording, "f", embedding)

        def export(self, shape, card=CARD, **options):
            prints = {recording.id: "f" for recording in self.recordings}
            return export_recordings(self.recordings, prints, card, tmp_path / "results", self.out, shape, **options)

        def back(self, **options):
            encoder = PrecomputedEncoder(EncoderOptions(embeddings=self.out, **options))
            return encoder.card, [encoder.encode(recording) for recording in self.recordings]

    return World()


def one(n=600, dim=5, step_s=1.0, dtype="f4", start_s=0.0, **more):
    return Embedding({"mean": rows(n, dim, dtype)}, start_s, step_s, {"EEG": "C3-M2"}, {"O1": "flat"}, **more)


@pytest.mark.parametrize("shape", ["npz", "npy", "h5", "safetensors", "parquet"])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_generic_shapes_come_back_bit_for_bit(world, shape, dtype):
    first, second = one(dtype=dtype), one(540, start_s=30.0, dtype=dtype)
    second.arrays["mean"][7] = np.nan
    world.save(first, second)
    report = world.export(shape, simulated=True)
    assert (report.written, report.kept, report.left_out) == (("r0", "r1"), (), ())
    card, (a, b) = world.back()
    for found, expected in ((a, first), (b, second)):
        assert found.arrays["X"].dtype == expected.arrays["mean"].dtype
        assert found.arrays["X"].tobytes() == expected.arrays["mean"].tobytes()
        assert (found.start_s, found.step_s, found.skipped) == (expected.start_s, expected.step_s, {"O1": "flat"})
        assert found.channels["EEG"] == "C3-M2"
    assert (card.id, card.dim, card.lag_rows, card.causal, card.licence) == ("toy-export", 5, 1, True, "MIT")
    assert card.marks == ("simulated", "untrained")
    assert card.weights_name == f"toy.pt sha256 {'ab' * 32}"
    assert card.pretrained_on is None


@pytest.mark.parametrize("shape", ["npz", "h5", "safetensors"])
def test_modalities_stay_apart(world, shape):
    world.save(Embedding({"EEG": rows(600, 4), "ECG": rows(600, 4, seed=1)}, 0.0, 1.0, {}))
    world.export(shape)
    _, (found,) = world.back()
    np.testing.assert_array_equal(found.arrays["ECG"], rows(600, 4, seed=1))


@pytest.mark.parametrize(("width", "part", "shape"), [(768, "cls", (20, 768)), (1536, "both", (20, 2, 768))])
def test_osf_files_come_back_bit_for_bit(world, width, part, shape):
    embedding = one(20, width, 30.0)
    world.save(embedding)
    world.export("osf")
    assert np.load(world.out / "r0.npy").shape == shape
    card, (found,) = world.back()
    assert card.settings["part"] == part
    assert found.arrays["X"].tobytes() == embedding.arrays["mean"].tobytes()


@pytest.mark.parametrize(("n", "step"), [(120, 5.0), (2, 300.0)])
def test_sleepfm_files_come_back_bit_for_bit_and_read_as_upstream_does(world, n, step):
    h5py = pytest.importorskip("h5py")
    arrays = {name: rows(n, 128, seed=i) for i, name in enumerate(("BAS", "EKG", "EMG"))}
    world.save(Embedding(arrays, 0.0, step, {}))
    world.export("sleepfm")
    with h5py.File(world.out / "r0.hdf5") as file:
        assert sorted(file) == ["BAS", "EKG", "EMG"]
        assert file["BAS"].maxshape == (None, 128)
        assert file["BAS"].dtype == np.float32
    _, (found,) = world.back(per_modality=True)
    assert {name: x.tobytes() for name, x in found.arrays.items()} == {n: x.tobytes() for n, x in arrays.items()}
    assert found.step_s == step
    _, (found,) = world.back()
    assert found.arrays["X"].shape == (n, 512)


@pytest.mark.parametrize(
    ("shape", "embedding", "words"),
    [
        ("osf", one(), "rows of 1 s; OSF files hold one per 30 s: add --pool-epochs, or choose npz"),
        ("osf", one(20, 5, 30.0), "5 columns; OSF rows have 768 or 1536"),
        ("osf", Embedding({"a": rows(20, 768), "b": rows(20, 768)}, 0, 30.0, {}), "one array per modality"),
        ("sleepfm", one(), "arrays mean; SleepFM files hold BAS, RESP, EKG, EMG"),
        ("sleepfm", Embedding({"BAS": rows(120, 64)}, 0, 5.0, {}), "columns .64.; SleepFM rows have 128"),
        ("sleepfm", Embedding({"BAS": rows(600, 128)}, 0, 1.0, {}), "rows of 1 s from 0 s; SleepFM files hold rows"),
        ("sleepfm", Embedding({"BAS": rows(20, 128)}, 5.0, 5.0, {}), "rows of 5 s from 5 s"),
        ("npy", Embedding({"a": rows(20, 4), "b": rows(20, 4)}, 0, 30.0, {}), "a .npy file holds one"),
        ("parquet", Embedding({"a": rows(20, 4), "b": rows(20, 4)}, 0, 30.0, {}), "a .parquet file holds one"),
    ],
)
def test_what_does_not_fit_a_shape_is_told(embedding, shape, words):
    with pytest.raises(ValueError, match=words):
        shaped(embedding, shape, 600.0)


def test_only_what_is_in_the_store_is_exported(world):
    world.save(one(), None, one())
    report = world.export("npz")
    assert report.written == ("r0", "r2")
    assert [(e.recording, e.reason) for e in report.left_out] == [
        ("r1", "not in the store (missing); run hypnos-bench embed with the same options first")
    ]
    card = replace(CARD, settings={"x": 1})
    assert [e.reason[:26] for e in world.export("npz", card).left_out] == ["not in the store (missing)"] * 3


@pytest.mark.parametrize("shape", [name for name in WRITERS if name not in ("osf", "sleepfm")])
def test_a_second_export_keeps_what_is_there(world, shape):
    world.save(one(30, step_s=20.0), one(30, step_s=20.0))
    world.export(shape)
    before = {p: p.stat().st_mtime_ns for p in world.out.iterdir()}
    assert world.export(shape).kept == ("r0", "r1")
    assert {p: p.stat().st_mtime_ns for p in world.out.iterdir()} == before
    next(world.out.glob("r1.[!j]*")).unlink()  # as after a kill
    assert world.export(shape).written == ("r1",)


def test_other_files_are_not_replaced_unless_asked(world):
    world.save(one())
    world.export("npz")
    (world.out / "r0.npz").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"r0.npz: another file of that name is there"):
        world.export("npz")
    assert world.export("npz", overwrite=True).written == ("r0",)
    with pytest.raises(DataError, match=r"card.json: another file"):
        world.export("npz", replace(CARD, title="Other", lag_rows=1))


def test_recordings_of_different_widths_do_not_share_a_folder(world):
    world.save(one(), one(dim=6))
    with pytest.raises(DataError, match="recordings differ in dim"):
        world.export("npz")


def test_rows_that_end_early_are_said_to(world):
    world.save(one(500))
    world.export("npz")
    assert json.loads((world.out / "r0.json").read_text())["partial"] is True
    _, (found,) = world.back()
    assert found.channels["X"] == "rows of r0.npz (covers 0 to 500 s of 600 s)"


def test_pooling_is_said_and_is_that_of_run(world):
    world.save(one(dim=768))
    world.export("osf", pool_epochs=True)
    card, (found,) = world.back()
    assert (card.lag_rows, found.step_s) == (0, 30.0)
    assert card.note == (
        "made by hypnos-bench with encoder toy, pooled to 30-s epochs. rows trail the signal by 1 s as in the source"
    )
    expected = pool(one(dim=768), np.arange(20) * 30.0, 30.0, 0)  # as run does, alignment "reference"
    np.testing.assert_allclose(found.arrays["X"], expected, rtol=1e-6, atol=1e-7)


def test_rows_of_an_epoch_are_not_pooled_and_keep_their_lag(world):
    embedding = one(20, step_s=30.0)
    world.save(embedding)
    world.export("npz", pool_epochs=True)
    card, (found,) = world.back()
    assert (card.lag_rows, card.note) == (1, "made by hypnos-bench with encoder toy")
    assert found.arrays["X"].tobytes() == embedding.arrays["mean"].tobytes()


@given(st.sampled_from([1.0, 5.0, 10.0, 15.0]), st.integers(40, 400), st.integers(0, 3))
def test_pooled_rows_are_means_of_the_rows_of_their_epoch(step, n, start_epochs):
    x = rows(n, 3)
    embedding = Embedding({"a": x, "b": -x}, 30.0 * start_epochs, step, {})
    pooled = pooled_to_epochs(embedding)
    k = round(30 / step)
    for epoch, row in enumerate(pooled.arrays["a"]):
        first = (epoch - start_epochs) * k
        if first < 0:
            assert np.isnan(row).all()
        else:
            np.testing.assert_allclose(row, x[first : first + k].mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pooled.arrays["b"], -pooled.arrays["a"])
    assert pooled.start_s + len(pooled.arrays["a"]) * 30 <= embedding.start_s + n * step


@pytest.mark.parametrize(
    ("n", "step", "words"), [(600, 7.0, "do not divide"), (20, 60.0, "do not divide"), (20, 1.0, "fill no epoch")]
)
def test_rows_that_make_no_epochs(n, step, words):
    with pytest.raises(ValueError, match=words):
        pooled_to_epochs(one(n, step_s=step))


def test_an_export_names_its_maker_and_an_export_of_it_too(world, tmp_path):
    world.save(one())
    world.export("npz")
    card, (found,) = world.back()
    assert (card.id, card.made_by) == ("toy-export", "toy")
    world.save(found, card=card)
    world.out = tmp_path / "again"
    world.export("npz", card)
    again, _ = world.back()
    assert (again.id, again.made_by) == ("toy-export", "toy")


@pytest.mark.parametrize(
    ("n", "seconds", "said"),
    [(120, 610.0, {}), (122, 610.0, {"tail": "short"}), (110, 610.0, {"tail": "short", "partial": True}),
     (60, 610.0, {"partial": True})],
)  # fmt: skip
def test_sleepfm_files_say_where_they_are_not_as_upstream_writes_them(world, n, seconds, said):
    pytest.importorskip("h5py")
    world.save(Embedding({"BAS": rows(n, 128)}, 0.0, 5.0, {}), seconds=seconds)
    world.export("sleepfm")
    sidecar = json.loads((world.out / "r0.json").read_text())
    assert {name: sidecar[name] for name in ("tail", "partial") if name in sidecar} == said
    _, (found,) = world.back()
    assert len(found.arrays["X"]) == n
