from __future__ import annotations

import dataclasses
import json
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hypnos_bench.encoders.base import Embedding
from hypnos_bench.errors import DataError, IntegrityError, RecordingError
from hypnos_bench.store.embeddings import EmbeddingStore
from hypnos_bench.store.tensorfile import METADATA_KEY, read_header, read_tensors, write_tensors

SOURCE = "5" * 64


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path)


@pytest.fixture
def saved(store, make_card, make_recording, embedding):
    return store.save(make_card(), make_recording(), SOURCE, embedding)


def test_round_trip_keeps_every_bit(store, saved, make_card, make_recording, embedding):
    back = store.load(make_card(), make_recording(), SOURCE)
    assert {k: (v.dtype, v.tobytes()) for k, v in back.arrays.items()} == {
        k: (v.dtype, v.tobytes()) for k, v in embedding.arrays.items()
    }
    assert (back.start_s, back.step_s) == (embedding.start_s, embedding.step_s)
    assert (back.channels, back.skipped) == (embedding.channels, embedding.skipped)
    assert store.state(make_card(), make_recording(), SOURCE) == "ok"


def test_saving_twice_gives_the_same_bytes(store, saved, make_card, make_recording, embedding):
    first = saved.read_bytes()
    store.save(make_card(), make_recording(), SOURCE, embedding)
    assert saved.read_bytes() == first


def test_the_safetensors_library_reads_it(saved, embedding):
    arrays = load_file(saved)
    for name, array in embedding.arrays.items():
        np.testing.assert_array_equal(arrays[name], array)
    with safe_open(saved, "np") as handle:
        header = json.loads(handle.metadata()[METADATA_KEY])
    assert header["recording"] == "r1"
    assert header["arrays"]["eeg_c3"] == {"shape": [120, 8], "dtype": "float16"}


def test_header_says_where_it_came_from(store, make_card, make_recording, embedding):
    card = make_card(marks=("untrained",))
    path = store.save(card, make_recording(), SOURCE, embedding, simulated=True)
    header = read_header(path)
    assert header["marks"] == ["simulated", "untrained"]
    assert header["encoder"] == card.definition()
    assert header["source"] == SOURCE
    assert header["rate_hz"] == 1.0
    assert header == store.header(card, make_recording())


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        hnp.arrays(
            st.sampled_from([np.float16, np.float32, np.int8, np.int32, np.int64]),
            hnp.array_shapes(min_dims=1, min_side=0, max_dims=3, max_side=4),
        ),
        max_size=3,
    ).filter(lambda d: "__metadata__" not in d)
)
def test_any_arrays_come_back_identical(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("t") / "x.safetensors"
    write_tensors(path, arrays, {"a": 1})
    header, back = read_tensors(path)
    assert header["a"] == 1
    assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in back.items()} == {
        k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()
    }


def test_byte_order_and_strides_do_not_matter(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    paths = [tmp_path / name for name in "abc"]
    for path, variant in zip(paths, (x, x.astype(">f4"), np.asfortranarray(x)), strict=True):
        write_tensors(path, {"x": variant}, {})
    assert len({path.read_bytes() for path in paths}) == 1
    np.testing.assert_array_equal(read_tensors(paths[1])[1]["x"], x)


def test_every_flipped_byte_is_caught(tmp_path, make_card, make_recording):
    store = EmbeddingStore(tmp_path)
    small = Embedding({"m": np.ones((2, 3), np.float16)}, 0.0, 1.0, {})
    path = store.save(make_card(), make_recording(), SOURCE, small)
    whole = path.read_bytes()
    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 0x01
        path.write_bytes(altered)
        with pytest.raises(IntegrityError, match=rf"^{re.escape(str(path))}: [^\n]*; delete it and rerun$"):
            store.load(make_card(), make_recording(), SOURCE)


@pytest.mark.parametrize("keep", [0, 5, 8, 300, -1, -16])
def test_truncated_files_are_caught_by_the_cheap_check_too(store, saved, make_card, make_recording, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(IntegrityError, match="delete it and rerun"):
        store.load(make_card(), make_recording(), SOURCE)
    assert store.state(make_card(), make_recording(), SOURCE) == "damaged"


def test_a_longer_or_foreign_file_is_caught(store, saved, make_card, make_recording):
    whole = saved.read_bytes()
    saved.write_bytes(whole + b"0")
    assert store.state(make_card(), make_recording(), SOURCE) == "damaged"
    save_file({"m": np.ones((2, 2), np.float16)}, saved, metadata={"format": "np"})
    with pytest.raises(IntegrityError, match="not a file written by hypnos-bench"):
        store.load(make_card(), make_recording(), SOURCE)
    saved.write_bytes((2).to_bytes(8, "little") + b"[]")
    assert store.state(make_card(), make_recording(), SOURCE) == "damaged"


def test_a_file_under_another_recordings_name_is_stale(store, saved, make_card, make_recording):
    other = store.path(make_card(), "toy", "r2")
    saved.rename(other)
    assert store.state(make_card(), make_recording(), SOURCE) == "missing"
    assert store.state(make_card(), make_recording("r2"), SOURCE) == "stale"
    with pytest.raises(IntegrityError, match="another recording"):
        store.load(make_card(), make_recording("r2"), SOURCE)


def test_other_signals_make_it_stale(store, saved, make_card, make_recording):
    assert store.state(make_card(), make_recording(), "6" * 64) == "stale"
    with pytest.raises(IntegrityError, match="other signals"):
        store.load(make_card(), make_recording(), "6" * 64)


@pytest.mark.parametrize(
    "change",
    [{"version": "2"}, {"weights": None}, {"settings": {"modalities": "each"}}, {"lag_rows": 0}, {"id": "other"}],
)
def test_any_change_of_definition_is_another_file(store, saved, make_card, make_recording, change):
    changed = make_card(**change)
    assert store.path(changed, "toy", "r1") != saved
    assert store.state(changed, make_recording(), SOURCE) == "missing"
    # Even moved there, it does not pass for the other definition's.
    target = store.path(changed, "toy", "r1")
    target.parent.mkdir(parents=True, exist_ok=True)
    saved.rename(target)
    assert store.state(changed, make_recording(), SOURCE) == "stale"


@pytest.mark.parametrize("change", [{"title": "New"}, {"note": "x"}, {"marks": ("untrained",)}, {"licence": "MIT"}])
def test_prose_does_not_move_it(store, saved, make_card, change):
    assert store.path(make_card(**change), "toy", "r1") == saved


def test_a_missing_file_is_a_data_error(store, make_card, make_recording):
    assert store.state(make_card(), make_recording(), SOURCE) == "missing"
    with pytest.raises(DataError, match="cannot be read"):
        store.load(make_card(), make_recording(), SOURCE)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no array"),
        ({"m": np.full((3, 2), np.nan, np.float16)}, "NaN or infinity in 'm', first in row 0"),
        ({"m": np.array([[1.0], [np.inf]], np.float32)}, "first in row 1"),
        ({"m": np.zeros((0, 4), np.float16)}, r"shape \(0, 4\)"),
        ({"m": np.zeros(4, np.float16)}, r"shape \(4,\)"),
        ({"m": np.zeros((4, 2))}, "float64"),
        ({"m": np.zeros((4, 2), "f4"), "n": np.zeros((5, 2), "f4")}, "different numbers of rows"),
    ],
)
def test_unusable_embeddings_are_refused(store, make_card, make_recording, arrays, words):
    with pytest.raises(RecordingError, match=words):
        store.save(make_card(), make_recording(), SOURCE, Embedding(arrays, 0.0, 1.0, {}))
    assert not (store.root / "embeddings").exists()


@pytest.mark.parametrize(("start", "step"), [(np.nan, 1.0), (0.0, 0.0), (0.0, 30.0)])
def test_impossible_times_are_refused(store, make_card, make_recording, embedding, start, step):
    with pytest.raises(RecordingError):
        store.save(make_card(), make_recording(), SOURCE, dataclasses.replace(embedding, start_s=start, step_s=step))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs", "a/b", "..", "c:\\x", ".hidden"])
def test_ids_cannot_leave_the_folder(store, make_card, make_recording, embedding, name):
    path = store.save(make_card(), make_recording(name, cohort="../evil"), SOURCE, embedding)
    assert path.resolve().is_relative_to((store.root / "embeddings").resolve())
    assert len(path.relative_to(store.root / "embeddings").parts) == 3
    assert store.state(make_card(), make_recording(name, cohort="../evil"), SOURCE) == "ok"


def test_planning_reads_headers_only(store, make_card, make_recording):
    big = Embedding({"m": np.ones((20_000, 512), np.float16)}, 0.0, 1.0, {})
    path = store.save(make_card(), make_recording(seconds=20_000.0), SOURCE, big)
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    path.write_bytes(altered)
    start = time.perf_counter()
    assert store.state(make_card(), make_recording(), SOURCE) == "ok"  # by design: arrays are checked on load
    assert time.perf_counter() - start < 0.05
    with pytest.raises(IntegrityError, match="do not match their SHA-256"):
        store.load(make_card(), make_recording(), SOURCE)


def rows(n, start_s=0.0, step_s=30.0, dim=6):
    return Embedding({"m": np.ones((n, dim), np.float32)}, start_s, step_s, {})


@pytest.mark.parametrize(
    ("embedding", "words"),
    [
        (rows(400), "400 rows of 30 s from 0 s to 12000 s for a recording of 120 s; check the step on its card"),
        (rows(8), "8 rows of 30 s from 0 s to 240 s"),  # rows of 15 s, an array without times, a card that says 30 s
        (rows(4, start_s=-60.0), "from -60 s to 60 s"),
        (rows(4, start_s=30.001), "from 30.001 s to 150.001 s"),
        (rows(4, dim=99), "columns {'m': 99} although its card says 6"),
    ],
)
def test_rows_that_cannot_be_of_this_recording_are_refused(store, make_card, make_recording, embedding, words):
    card = make_card(step_s=30.0, dim=6)
    with pytest.raises(RecordingError, match=f"^r1: encoder enc gave .*{re.escape(words)}"):
        store.save(card, make_recording(), SOURCE, embedding)
    assert store.state(card, make_recording(), SOURCE) == "missing"


@pytest.mark.parametrize("embedding", [rows(4), rows(5), rows(1), rows(4, start_s=30.0), rows(1, start_s=90.0)])
def test_a_last_row_may_reach_beyond_the_end_and_any_may_be_missing(store, make_card, make_recording, embedding):
    store.save(make_card(step_s=30.0, dim=6), make_recording(), SOURCE, embedding)
    store.save(make_card(step_s=30.0, dim=None), make_recording("r2"), SOURCE, embedding)
