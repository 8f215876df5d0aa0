from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders import hypnos as module
from hypnos_bench.encoders.base import EncoderOptions, mean_over_modalities
from hypnos_bench.encoders.hypnos import HypnosEncoder, HypnosUntrained
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.hypnos.infer import embed_edf
from hypnos_bench.signals.base import Derivation
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.spec import digest, file_sha256

SECONDS = 50
LABELS = {"C3": "C3-M2", "E1": "LOC", "ECG": "EKG", "THX": "THOR RES"}


@pytest.fixture(scope="module")
def bundle(untrained_cache):
    """The small random bundle as a file of its own."""
    encoder = HypnosUntrained(EncoderOptions(cache=untrained_cache, device="cpu"))
    assert encoder.card.marks == ("untrained",)
    return next((untrained_cache / "weights").glob("hypnos-untrained*.safetensors"))


@pytest.fixture(scope="module")
def edf(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("edf") / "r1.edf"
    rates = {"C3": 100, "E1": 200, "ECG": 256, "THX": 10}
    write_edf(path, [(LABELS[c], r, "uV", 50 * rng.normal(size=SECONDS * r)) for c, r in rates.items()])
    return path


@pytest.fixture
def recording(edf):
    montage = {channel: Derivation(label) for channel, label in LABELS.items()}
    return Recording("toy", "r1", "p1", EdfFile(edf), None, montage, mains_hz=50.0)


def options(bundle, **more):
    return EncoderOptions(weights={"hypnos": str(bundle)}, device="cpu", **more)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"context": "continuous"}),
        ({"chunk_tokens": 20}, {"context": "chunked", "chunk_tokens": 20}),
        ({"zero_phase": True}, {"context": "continuous", "causal": False}),
    ],
)
def test_it_gives_what_the_core_gives(bundle, edf, recording, ours, theirs):
    expected = embed_edf(edf, bundle, **theirs)
    each = HypnosEncoder(options(bundle, per_modality=True, **ours)).encode(recording)
    assert list(each.arrays) == list(expected) == ["eeg_c3", "eog_e1", "ecg", "resp_thx"]
    for name, frames in expected.items():
        np.testing.assert_array_equal(each.arrays[name], frames)
    mean = HypnosEncoder(options(bundle, **ours)).encode(recording)
    assert list(mean.arrays) == ["mean"]
    assert mean.arrays["mean"].dtype == np.float16
    exact = np.mean([frames.astype(np.float64) for frames in expected.values()], axis=0)
    np.testing.assert_allclose(mean.arrays["mean"], exact, rtol=2**-10, atol=1e-6)
    assert (mean.start_s, mean.step_s) == (0.0, 1.0)
    assert len(mean.arrays["mean"]) == SECONDS


def test_provenance_of_channels(bundle, recording):
    out = HypnosEncoder(options(bundle)).encode(recording)
    assert out.channels == {"eeg_c3": "C3-M2", "eog_e1": "LOC", "ecg": "EKG", "resp_thx": "THOR RES"}
    assert out.skipped == dict.fromkeys(["C4", "E2", "Chin", "ABD"], "absent")


def test_an_unusable_channel_is_skipped_with_its_reason(bundle, psg, memory_recording):
    signals = psg(1)
    whole = HypnosEncoder(options(bundle, per_modality=True))
    signals["ECG"] = (256.0, "uV", np.full(30 * 256, 3.0))
    signals["C4"] = (256.0, "uV", np.full(30 * 256, np.nan))
    out = whole.encode(memory_recording(signals, 30))
    assert "constant" in out.skipped["ECG"]
    assert "not finite" in out.skipped["C4"]
    assert not {"ecg", "eeg_c4"} & (set(out.arrays) | set(out.channels))
    del signals["ECG"], signals["C4"]
    without = whole.encode(memory_recording(signals, 30))
    for name, frames in without.arrays.items():
        np.testing.assert_array_equal(out.arrays[name], frames)


def test_no_usable_channel_is_a_recording_error(bundle, memory_recording):
    flat = memory_recording({"C3": (100.0, "uV", np.zeros(3000))}, 30)
    with pytest.raises(RecordingError, match=r"r1: no usable channel \(C3: C3: constant .*ECG: absent"):
        HypnosEncoder(options(bundle)).encode(flat)


def test_the_mains_frequency_of_the_recording_is_used(bundle, recording):
    encoder = HypnosEncoder(options(bundle))
    a = encoder.encode(recording).arrays["mean"]
    b = encoder.encode(dataclasses.replace(recording, mains_hz=60.0)).arrays["mean"]
    assert not np.array_equal(a, b)


def test_rows_trail_their_signal_by_one(bundle, psg, memory_recording):
    """The card's ``lag_rows``: a change within second 70 is first seen in row 71.

    It lies beyond the first minute, which the start values of the running z-score look at.
    """
    rate, unit, x = psg(3)["ECG"]
    encoder = HypnosEncoder(options(bundle))
    assert encoder.card.lag_rows == 1
    a = encoder.encode(memory_recording({"ECG": (rate, unit, x)}, 90)).arrays["mean"]
    changed = x.copy()
    changed[int(70.5 * rate) :] *= -1
    b = encoder.encode(memory_recording({"ECG": (rate, unit, changed)}, 90)).arrays["mean"]
    assert int(np.flatnonzero((a != b).any(axis=1))[0]) == 71


def test_the_card_names_the_weights_and_marks_random_ones(bundle):
    card = HypnosEncoder(options(bundle)).card
    assert card.weights == file_sha256(bundle)
    assert card.marks == ("untrained",)  # the file says so itself
    assert card.channels == ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX")
    assert (card.step_s, card.lag_rows, card.causal) == (1.0, 1, True)
    assert not HypnosEncoder(options(bundle, zero_phase=True)).card.causal


def test_trained_weights_carry_no_mark(bundle, tmp_path):
    raw = bundle.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    del header["__metadata__"]["untrained"]
    head = json.dumps(header).encode()
    path = tmp_path / "hypnos.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + raw[8 + size :])
    card = HypnosEncoder(options(tmp_path)).card
    assert card.marks == ()
    assert card.weights == file_sha256(path)


def test_every_option_that_changes_numbers_changes_the_definition(bundle):
    variants = [{}, {"chunk_tokens": 20}, {"chunk_tokens": 30}, {"per_modality": True}, {"zero_phase": True}]
    variants.append({"precision": "bf16"})
    cards = [HypnosEncoder(options(bundle, **v)).card for v in variants]
    assert len({digest(card.definition()) for card in cards}) == len(variants)
    same = HypnosEncoder(EncoderOptions(weights={"hypnos": str(bundle.parent / "." / bundle.name)}, device="auto")).card
    assert same.definition() == cards[0].definition()  # neither device nor place


def test_missing_weights_end_with_one_line_and_no_fallback(tmp_path, recording):
    encoder = HypnosEncoder(EncoderOptions(weights={"hypnos": str(tmp_path / "none.safetensors")}))
    for call in (lambda: encoder.card, lambda: encoder.encode(recording)):
        with pytest.raises(DataError) as error:
            call()
        message = str(error.value)
        assert "none.safetensors" in message
        assert "hf download joncarter/hypnos hypnos.safetensors" in message
        assert "--weights" in message
        assert "\n" not in message
        assert error.value.exit_code == 3


def test_the_default_is_the_released_repository(monkeypatch):
    asked = []

    def resolve(path_or_repo):
        asked.append(path_or_repo)
        raise DataError("the Hub cannot be reached")

    monkeypatch.setattr("hypnos_bench.hypnos.bundle.resolve_bundle", resolve)
    with pytest.raises(DataError, match="Hub cannot be reached"):
        _ = HypnosEncoder(EncoderOptions()).card
    assert asked == ["joncarter/hypnos"]


def test_a_file_that_is_no_bundle(tmp_path):
    (tmp_path / "hypnos.safetensors").write_bytes(b"something else entirely")
    with pytest.raises(DataError, match=r"hypnos\.safetensors"):
        _ = HypnosEncoder(options(tmp_path)).card


def test_untrained_weights_are_made_once_and_are_the_same_elsewhere(bundle, untrained_cache, tmp_path):
    before = bundle.stat().st_mtime_ns
    here = HypnosUntrained(EncoderOptions(cache=untrained_cache, device="cpu")).card
    assert bundle.stat().st_mtime_ns == before
    there = HypnosUntrained(EncoderOptions(cache=tmp_path, device="cpu")).card
    assert here == there
    assert here.id == "hypnos-untrained"
    assert [p.name for p in (tmp_path / "weights").iterdir()] == [bundle.name]


def test_a_cache_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .* choose another --cache DIR"):
        _ = HypnosUntrained(EncoderOptions(cache=tmp_path / "file")).card


def test_the_weights_are_hashed_once_per_process(bundle, monkeypatch):
    _ = HypnosEncoder(options(bundle)).card
    monkeypatch.setattr(module, "file_sha256", lambda path: pytest.fail("hashed again"))
    _ = HypnosEncoder(options(bundle, chunk_tokens=7)).card


def test_mean_over_modalities_keeps_large_values_finite():
    big = {name: np.full((2, 3), 60000, np.float16) for name in "abc"}
    np.testing.assert_array_equal(mean_over_modalities(big), big["a"])


def test_a_bundle_that_sees_the_whole_past_is_cut_and_its_card_says_so(bundle, tmp_path):
    import copy

    from hypnos_bench.hypnos.random_bundle import SMALL_CONFIG, write_random_bundle

    config = copy.deepcopy(SMALL_CONFIG)
    config["model_kwargs"]["sliding_window"] = None
    write_random_bundle(tmp_path / "unbounded.safetensors", seed=0, config=config)
    bounded = HypnosEncoder(options(bundle)).card.settings
    unbounded = HypnosEncoder(options(tmp_path / "unbounded.safetensors")).card.settings
    assert (bounded["context"], bounded["chunk_tokens"]) == ("continuous", None)
    assert (unbounded["context"], unbounded["chunk_tokens"]) == ("chunked", 2048)


def test_an_accelerator_out_of_memory_is_one_line(bundle, recording, monkeypatch):
    import torch

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr("hypnos_bench.hypnos.batch.embed_many", full)
    with pytest.raises(DataError, match="r1: device cpu ran out of memory") as error:
        HypnosEncoder(options(bundle)).encode(recording)
    assert not isinstance(error.value, RecordingError)  # it would strike every recording
    assert "\n" not in str(error.value)


def test_a_batch_that_does_not_fit_the_memory_is_halved(bundle, psg, memory_recording, monkeypatch):
    import torch

    from hypnos_bench.hypnos import batch

    encoder = HypnosEncoder(options(bundle))
    recordings = [memory_recording(psg(1, seed=i), 30, f"r{i}") for i in range(5)]
    prepared = [encoder.prepare(recording) for recording in recordings]
    embed_many, tried = batch.embed_many, []

    def two_at_most(model, several, *args, **kwargs):
        tried.append(len(several))
        if len(several) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embed_many(model, several, *args, **kwargs)

    monkeypatch.setattr(batch, "embed_many", two_at_most)
    found = encoder.encode_prepared(prepared)
    assert tried == [5, 2, 3, 1, 2]
    monkeypatch.undo()
    for outcome, recording in zip(found, recordings):
        np.testing.assert_array_equal(outcome.arrays["mean"], encoder.encode(recording).arrays["mean"])


def test_recordings_encoded_together_get_what_each_gets_alone_or_their_reason(bundle, psg, memory_recording):
    encoder = HypnosEncoder(options(bundle, per_modality=True))
    whole, short = (memory_recording(psg(epochs, seed=epochs), 30 * epochs, f"r{epochs}") for epochs in (2, 1))
    lost = dataclasses.replace(encoder.prepare(short), recording="lost", arrays={"ecg": np.full(9, np.nan, np.float32)})
    found = encoder.encode_prepared([encoder.prepare(whole), lost, encoder.prepare(short)])
    assert isinstance(found[1], RecordingError)
    assert found[1].recording == "lost"
    for outcome, recording in ((found[0], whole), (found[2], short)):
        alone = encoder.encode(recording)
        assert (outcome.channels, outcome.skipped, outcome.step_s) == (alone.channels, alone.skipped, 1.0)
        for name, rows in alone.arrays.items():
            np.testing.assert_allclose(outcome.arrays[name], rows, rtol=2**-10, atol=1e-6)
    assert encoder.encode_prepared([]) == []


def test_preparing_builds_no_model(bundle, recording, monkeypatch):
    monkeypatch.setattr(
        "hypnos_bench.hypnos.infer.load_model", lambda *args, **kwargs: pytest.fail("a model was built")
    )
    prepared = HypnosEncoder(options(bundle)).prepare(recording)
    assert list(prepared.arrays) == ["eeg_c3", "eog_e1", "ecg", "resp_thx"]
    assert all(a.dtype == np.float32 and a.ndim == 1 for a in prepared.arrays.values())


def test_bf16_is_another_tier_with_nearly_the_same_rows(bundle, recording):
    full, short = (HypnosEncoder(options(bundle, precision=p, per_modality=True)) for p in ("float32", "bf16"))
    assert [encoder.card.settings["precision"] for encoder in (full, short)] == ["float32", "bf16"]
    assert [encoder.card.marks for encoder in (full, short)] == [("untrained",), ("untrained", "bf16")]
    a, b = (encoder.encode(recording).arrays for encoder in (full, short))
    for name, rows in a.items():
        x, y = rows.astype(np.float64), b[name].astype(np.float64)
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        assert cosine.min() >= 0.9999
        assert not np.array_equal(rows, b[name])


def test_an_unknown_precision_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UsageError, match="precision 'fp8' is unknown; use float32 or bf16"):
        HypnosEncoder(EncoderOptions(weights={"hypnos": str(tmp_path / "none")}, precision="fp8"))


def test_channels_too_slow_for_their_band_are_skipped_with_the_reason(bundle, tmp_path):
    rng = np.random.default_rng(0)
    rates = {"C3": 100, "E1": 1}
    write_edf(tmp_path / "slow.edf", [(LABELS[c], r, "uV", rng.normal(size=60 * r)) for c, r in rates.items()])
    montage = {channel: Derivation(LABELS[channel]) for channel in rates}
    slow = Recording("toy", "slow", "p1", EdfFile(tmp_path / "slow.edf"), None, montage, mains_hz=50.0)
    embedding = HypnosEncoder(options(bundle)).encode(slow)
    assert "at least 32 Hz are needed" in embedding.skipped["E1"]
    assert list(embedding.channels) == ["eeg_c3"]
