"""Which file belongs to which recording."""

import json
import os

import numpy as np
import pytest

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.spec import digest

X = np.arange(40, dtype=np.float32).reshape(20, 2)


@pytest.fixture
def put(tmp_path):
    def write(name, x=X, **sidecar):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, X=x, start_s=0.0, step_s=30.0)
        if sidecar:
            path.with_suffix(".json").write_text(json.dumps(sidecar))

    return write


@pytest.fixture
def encoder(tmp_path):
    return lambda **options: PrecomputedEncoder(EncoderOptions(embeddings=tmp_path, **options))


def test_ids_match_whatever_the_case_and_folder(put, encoder, memory_recording):
    put("mros/visit2/MrOS-visit2-AA0006.npz")
    put("shhs1/shhs1-200001.npz", X + 1)
    out = encoder().encode(memory_recording({}, 600.0, "mros-visit2-aa0006"))
    np.testing.assert_array_equal(out.arrays["X"], X)


def test_the_exact_name_wins_over_another_case(put, encoder, memory_recording):
    put("a/R1.npz")
    put("b/r1.npz", X + 1)
    assert encoder().encode(memory_recording({}, 600.0, "R1")).arrays["X"][0, 0] == 0
    assert encoder().encode(memory_recording({}, 600.0, "r1")).arrays["X"][0, 0] == 1


def test_each_id_once(put, encoder, memory_recording):
    put("shhs1/r1.npz")
    put("shhs1_5min_agg/r1.npz")
    with pytest.raises(RecordingError, match=r"2 files, keep one \(shhs1/r1.npz, shhs1_5min_agg/r1.npz\)"):
        encoder().encode(memory_recording({}, 600.0, "r1"))


def test_a_sidecar_may_name_the_recording(put, encoder, memory_recording):
    put("0001.npz", recording="night one")
    put("0002.npz", X + 1, recording="night two")
    assert encoder().encode(memory_recording({}, 600.0, "night two")).arrays["X"][0, 0] == 1
    with pytest.raises(RecordingError, match="no file"):
        encoder().encode(memory_recording({}, 600.0, "0001"))


def test_files_of_no_recording_are_told(put, encoder, memory_recording):
    for name in ("a/r1.npz", "a/R2.npz", "b/stranger.npz"):
        put(name)
    put("x.npz", recording="r3")
    recordings = [memory_recording({}, 600.0, name) for name in ("r1", "r2", "r3", "r4")]
    assert encoder().unmatched(recordings) == ["b/stranger.npz"]
    assert PrecomputedEncoder(EncoderOptions()).unmatched(recordings) == []


def test_a_second_card_below_is_refused(put, encoder, tmp_path):
    put("a/r1.npz")
    (tmp_path / "a" / "card.json").write_text("{}")
    with pytest.raises(DataError, match=r"a/card.json: a second card below .*; give the folder of one model"):
        _ = encoder().card


def test_two_models_in_one_folder_are_refused(put, encoder, tmp_path):
    put("r1.npz", weights="a.pt")
    put("r2.npz", weights="a.pt")
    assert encoder().card.weights_name == "a.pt"
    (tmp_path / "card.json").write_text('{"weights": "b.pt"}')
    with pytest.raises(DataError, match=r"different weights: 'b.pt' \(card.json\), 'a.pt' \(r1.json\)"):
        _ = encoder().card


def test_a_changed_sidecar_is_another_definition(put, encoder):
    put("r1.npz", start_s=0)
    first = digest(encoder().card.definition())
    put("r1.npz", start_s=30)
    assert digest(encoder().card.definition()) != first


def test_one_bad_sidecar_costs_its_recording_only(put, encoder, memory_recording, tmp_path):
    put("r1.npz")
    put("r2.npz")
    (tmp_path / "r1.json").write_text("{")
    assert encoder().card.weights
    assert encoder().encode(memory_recording({}, 600.0, "r2")).step_s == 30.0
    with pytest.raises(RecordingError, match="r1.json: not valid JSON"):
        encoder().encode(memory_recording({}, 600.0, "r1"))


def test_settings_win_over_the_card(put, encoder, tmp_path):
    put("r1.npz")
    (tmp_path / "card.json").write_text('{"layout": "osf", "part": "cls"}')
    chosen = encoder(settings={"precomputed": {"part": "both"}}).card
    assert (chosen.dim, chosen.settings) == (1536, {"layout": "osf", "part": "both"})
    from hypnos_bench.errors import UsageError

    with pytest.raises(UsageError, match="--set precomputed.part=all: use one of cls, mean-patch, both"):
        encoder(settings={"precomputed": {"part": "all"}})
    with pytest.raises(UsageError, match="--set precomputed.parts: no such setting. Did you mean 'part'"):
        encoder(settings={"precomputed": {"parts": "all"}})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_never_opened(put, encoder, memory_recording, tmp_path):
    put("r1.npz")
    put("r3.npz")
    os.mkfifo(tmp_path / "r2.npy")
    os.mkfifo(tmp_path / "r3.json")
    made = encoder()
    assert made.card.weights
    assert len(made.encode(memory_recording({}, 600.0, "r1")).arrays["X"]) == 20
    for name, path in (("r2", "r2.npy"), ("r3", "r3.json")):
        with pytest.raises(RecordingError, match=f"{path}: not a regular file"):
            made.encode(memory_recording({}, 600.0, name))
    os.mkfifo(tmp_path / "card.json")
    with pytest.raises(DataError, match="card.json: not a regular file"):
        _ = encoder().card


def test_a_file_is_read_for_one_recording_only(put, encoder, memory_recording):
    put("rec1.npz")
    several = [memory_recording({}, 600.0, name) for name in ("REC1", "rec1")]
    said = r"rec1.npz: belongs to several recordings, whose ids differ by case only \(REC1, rec1\)"
    with pytest.raises(DataError, match=said):
        encoder().unmatched(several)
    made = encoder()
    made.encode(several[0])
    made.encode(several[0])
    with pytest.raises(RecordingError, match=said):
        made.encode(several[1])
    put("a/REC1.npz")
    assert encoder().unmatched(several) == []
