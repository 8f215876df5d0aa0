"""SleepFM's pickles of 2024, written as its scripts do, come out with every clip at its place."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.errors import DataError
from hypnos_bench.exporting.sleepfm2024 import convert_sleepfm_2024


def written(folder, clips, split="test", others=None, dim=512, seed=0):
    """Pickles of a split whose row i is clip i; returns what each clip's row should be."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(len(clips), dim)).astype(np.float32) for _ in range(3)]
    rows = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in rows]
    events = {"train": [], "valid": [], "test": [], **(others or {})}
    events[split] = [(f"/data/X/{clip.rpartition('_')[0]}/{clip}.npy", "rem") for clip in clips]
    (folder / "events.pickle").write_bytes(pickle.dumps(events))
    (folder / "emb.pickle").write_bytes(pickle.dumps([torch.from_numpy(x) for x in rows]))
    return dict(zip(clips, np.concatenate(rows, axis=1))) if clips else {}


@pytest.fixture
def convert(tmp_path):
    def run(split="test", **options):
        return convert_sleepfm_2024(
            tmp_path / "emb.pickle", tmp_path / "events.pickle", split, tmp_path / "out", **options
        )

    return run


CLIPS = ["tr03-0005_2", "tr03-0006_0", "tr03-0005_0", "tr03-0005_4", "tr03-0006_1"]


def test_every_clip_at_its_place_and_gaps_as_rows_without_signal(tmp_path, convert, memory_recording):
    rows = written(tmp_path, CLIPS)
    done = convert()
    assert (done.written, done.clips, done.gaps) == (("tr03-0005", "tr03-0006"), 5, 2)
    encoder = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path / "out"))
    assert (encoder.card.id, encoder.card.dim, encoder.card.pretrained_on) == ("sleepfm-2024", 1536, None)
    out = encoder.encode(memory_recording({}, 170.0, "TR03-0005"))
    assert (out.start_s, out.step_s, out.arrays["X"].shape) == (0.0, 30.0, (5, 1536))
    for index in (0, 2, 4):
        np.testing.assert_array_equal(out.arrays["X"][index], rows[f"tr03-0005_{index}"])
    assert np.isnan(out.arrays["X"][[1, 3]]).all()


def test_one_modality_and_stated_starts(tmp_path, convert, memory_recording):
    rows = written(tmp_path, CLIPS)
    convert(modality="ekg", starts_s={"tr03-0006": 915.0})
    encoder = PrecomputedEncoder(EncoderOptions(embeddings=tmp_path / "out"))
    out = encoder.encode(memory_recording({}, 1000.0, "tr03-0006"))
    assert (out.start_s, encoder.card.id, encoder.card.dim) == (915.0, "sleepfm-2024-ekg", 512)
    np.testing.assert_array_equal(out.arrays["X"][1], rows["tr03-0006_1"][1024:])
    with pytest.raises(DataError, match="start of 'tr99' is given"):
        convert(modality="ekg", starts_s={"tr99": 0.0})


@settings(max_examples=15, deadline=None)
@given(st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), min_size=1, max_size=12), st.randoms())
def test_any_order_gives_the_same_files(tmp_path_factory, clips, random):
    folder = tmp_path_factory.mktemp("any")
    names = [f"{record}_{index}" for record, index in {*clips, ("a", 0)}]
    random.shuffle(names)
    rows = written(folder, names)
    convert_sleepfm_2024(folder / "emb.pickle", folder / "events.pickle", "test", folder / "out")
    from safetensors.numpy import load_file

    found = {}
    for path in (folder / "out").glob("*.safetensors"):
        x = load_file(path)["X"]
        found |= {f"{path.stem}_{i}": x[i] for i in np.flatnonzero(np.isfinite(x).all(axis=1))}
    assert found.keys() == rows.keys()
    assert all(np.array_equal(found[name], rows[name]) for name in rows)


def test_a_second_run_keeps_what_is_there_and_never_replaces_other_files(tmp_path, convert):
    written(tmp_path, CLIPS)
    convert()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert convert().kept == ("tr03-0005", "tr03-0006")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before
    written(tmp_path, CLIPS, seed=1)
    with pytest.raises(DataError, match="another file of that name is there.*--overwrite"):
        convert()
    assert convert(overwrite=True).written == ("tr03-0005", "tr03-0006")


def test_splits_share_a_folder(tmp_path, convert):
    written(tmp_path, ["a_0"], "train")
    convert("train")
    written(tmp_path, ["b_0"], "test")
    convert("test")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.safetensors")) == ["a.safetensors", "b.safetensors"]
    assert "list test of events.pickle" in json.loads((tmp_path / "out" / "b.json").read_text())["note"]


@pytest.mark.parametrize(
    ("clips", "others", "words"),
    [
        (["a_0", "a_1", "a_0"], None, r"clip 0 of 'a' comes twice in 'test' \(rows 0, 2\)"),
        (["a_1", "a_2"], None, "no record has a clip 0, although upstream counts from 0"),
        (["a_0", "night"], None, "expected .*<record>_<index>.npy"),
        (["a_99999"], None, "beyond 20000 clips"),
        ([], None, "the list 'test' is empty"),
        (["a_0"], {"test2": 3}, "expected a dict of lists"),
        (["a_1"], {"train": [("X/a_0.npy", "rem")]}, None),
        (["a_0"], {"valid": [["x"]]}, None),
    ],
)
def test_events_that_do_not_fit(tmp_path, convert, clips, others, words):
    written(tmp_path, clips, others=others)
    if words is None:
        assert convert().clips == len(clips)
        return
    with pytest.raises(DataError, match=words):
        convert()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([torch.zeros(5, 512)] * 2, r"expected a list of 3 arrays \(N, 512\)"),
        ([torch.zeros(5, 128)] * 3, r"found \[\(5, 128\)"),
        ([torch.zeros(5, 512), torch.zeros(5, 512), torch.zeros(4, 512)], "expected a list of 3 arrays"),
        ([torch.zeros(4, 512)] * 3, "4 rows, but the list 'test' .* has 5 clips; choose the --split"),
        ([torch.full((5, 512), torch.nan)] * 3, "respiratory holds NaN or infinity, first in row 0"),
        ("text", "found str"),
        ([], "found list"),
        ([np.zeros((5, 512))] * 3, None),
    ],
)
def test_embeddings_that_do_not_fit(tmp_path, convert, value, words):
    written(tmp_path, CLIPS)
    (tmp_path / "emb.pickle").write_bytes(pickle.dumps(value))
    if words is None:
        assert convert().clips == 5
        return
    with pytest.raises(DataError, match=words):
        convert()


def test_an_unknown_split(tmp_path, convert):
    written(tmp_path, CLIPS)
    with pytest.raises(DataError, match="has no list 'tset'; it has test, train, valid"):
        convert("tset")
