import dataclasses

import numpy as np
import pytest
import torch

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import EncoderOptions, is_staged
from hypnos_bench.encoders.osf import OSFEncoder, OSFUntrained, adapter
from hypnos_bench.encoders.osf.layout import SIZES
from hypnos_bench.encoders.osf.model import ViT
from hypnos_bench.encoders.osf.signal import condition
from hypnos_bench.encoders.osf.slots import SLOTS
from hypnos_bench.encoders.osf.weights import RELEASED_SHA256, load, random_state
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.signals.base import Derivation
from hypnos_bench.spec import file_sha256

EIGHT = ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX")
EXTRA = {"LLeg": 128, "RLeg": 128, "Nasal Pressure": 32, "Snore": 200}


@pytest.fixture
def night(memory_recording, psg):
    """A recording of some epochs, all twelve channels but those that are left out."""

    def make(epochs=3, without=(), rest_s=0, seed=0, name="r1", **changed):
        signals = psg(epochs + 1, seed=seed)
        rng = np.random.default_rng([seed, 9])
        signals |= {
            label: (float(rate), "uV", rng.normal(size=30 * (epochs + 1) * rate)) for label, rate in EXTRA.items()
        }
        seconds = 30 * epochs + rest_s
        signals = {label: (rate, unit, x[: round(seconds * rate)]) for label, (rate, unit, x) in signals.items()}
        for label, change in changed.items():
            rate, unit, x = signals[label]
            signals[label] = (rate, unit, change(x.copy()))
        signals = {label: made for label, made in signals.items() if label not in without}
        whole = memory_recording(signals, seconds, name)
        montage = {channel: Derivation(channel) for channel in EIGHT if channel in signals}
        return Recording("toy", name, "p1", whole.signals, whole.labels, montage)

    return make


def encoder(kind=OSFUntrained, weights=None, precision="float32", keep=None, **settings):
    settings = {"size": "vit_nano"} | settings if kind is OSFUntrained else settings
    options = EncoderOptions(
        weights={} if weights is None else {"osf": str(weights)},
        settings={kind.id: settings},
        device="cpu",
        precision=precision,
        keep=keep,
    )
    return kind(options) if keep is None else make_encoder(kind.id, options)


def rows(embedding):
    assert list(embedding.arrays) == ["osf"]
    return embedding.arrays["osf"]


def test_from_channels_to_rows(released, state, night):
    """What a user would do by hand with the parts."""
    path = released(state)
    recording = night(3, rest_s=17)
    out = encoder(OSFEncoder, path).encode(recording)
    sources = [recording.signals.read(label) for label in
               ("ECG", "Chin", "LLeg", "RLeg", "ABD", "THX", "Nasal Pressure", "Snore", "E1", "E2", "C3", "C4")]  # fmt: skip
    made = [condition(s, 3, slot.storage_hz, "polyphase") for s, slot in zip(sources, SLOTS, strict=True)]
    x = torch.from_numpy(np.stack(made).reshape(12, 3, 1920).transpose(1, 0, 2).copy())
    loaded, geometry, _ = load(path)
    with torch.inference_mode():
        cls, patches = ViT(loaded, geometry)(x, patches=True)
    np.testing.assert_allclose(rows(out), cls, atol=2e-6)
    assert rows(out).shape == (3, 32)
    assert rows(out).dtype == np.float32
    assert (out.start_s, out.step_s) == (0.0, 30.0)
    assert out.skipped == {}
    assert list(out.channels) == [slot.name for slot in SLOTS]
    mean = rows(encoder(OSFEncoder, path, feature="mean-patch").encode(recording))
    np.testing.assert_allclose(mean, patches.mean(dim=1), atol=2e-6)
    both = encoder(OSFEncoder, path, feature="both")
    np.testing.assert_allclose(rows(both.encode(recording)), np.hstack([cls, mean]), atol=2e-6)
    assert both.card.dim == 64


def test_the_card_of_a_users_file(released, state):
    path = released(state)
    card = encoder(OSFEncoder, path, branch="student").card
    assert (card.dim, card.step_s, card.window_s, card.causal, card.lag_rows) == (32, 30.0, 30.0, False, 0)
    assert card.weights == file_sha256(path)
    assert card.weights_name == "osf_backbone.pth"
    assert card.pretrained_on == ("shhs", "nchsdb", "wsc", "ccshs", "cfs")
    assert card.marks == ()
    assert card.licence == "MIT"
    assert card.settings["normalisation"] == "recording z-score (assumed)"
    assert "Assumed" in card.note
    assert "not the one whose hash third parties pass on" in card.note
    assert len(RELEASED_SHA256) == 64
    short = encoder(OSFEncoder, path, precision="bf16").card
    assert short.marks == ("bf16",)
    assert short.definition() != card.definition()


def test_cohorts_are_those_of_the_release_unless_the_file_was_fine_tuned(released, state, tmp_path):
    plain = encoder(OSFEncoder, released(state)).card
    assert plain.pretrained_on == adapter.PRETRAINED_ON
    assert plain.note.endswith("of the released weights; a file trained further has seen more.")
    head = {"linear_layer.1.weight": torch.zeros(4, 32)}
    fine_tuned = {
        "copies.ckpt": {f"backbones.all.{name}": value for name, value in state.items()},
        "head.ckpt": {f"backbone.{name}": value for name, value in state.items()} | head,
        "wrapped.ckpt": {f"module.backbones.all.{name}": value for name, value in state.items()},
    }
    for name, content in fine_tuned.items():
        torch.save({"state_dict": content}, tmp_path / name)
        card = encoder(OSFEncoder, tmp_path / name).card
        assert card.pretrained_on is None, name
        assert card.note.endswith("which cohorts that has seen is not known.")


def test_the_control_says_that_it_is_one():
    card = encoder().card
    assert card.marks == ("untrained",)
    assert card.pretrained_on == ()
    assert card.dim == 128
    assert card.weights != encoder(size="vit_tiny").card.weights
    plain = OSFUntrained(EncoderOptions()).card
    assert plain.dim == 768
    assert plain.settings["size"] == "vit_base"
    with pytest.raises(UsageError, match="osf-untrained.size=vit_giant: use one of vit_base, vit_nano"):
        encoder(size="vit_giant")
    assert is_staged(encoder())


def test_it_needs_a_users_file(tmp_path):
    for weights in (None, tmp_path / "gone.pth"):
        with pytest.raises(DataError, match=r"hf download yang-ai-lab/OSF-Base .*--weights osf="):
            _ = encoder(OSFEncoder, weights).card
    (tmp_path / "other.pth").write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"other\.pth: damaged or no torch checkpoint"):
        _ = encoder(OSFEncoder, tmp_path / "other.pth").card
    with pytest.raises(UsageError, match=r"osf\.branch=both: use one of student, teacher"):
        encoder(OSFEncoder, branch="both")
    with pytest.raises(UsageError, match="precision 'int8' is unknown"):
        encoder(precision="int8")


def test_missing_channels_are_zero_and_told(night):
    enc = encoder()
    out = enc.encode(night(2, without=("ECG", "RLeg", "Snore", "C4")))
    assert out.skipped == dict.fromkeys(("ECG", "EMG_RLeg", "SN", "C4"), "absent")
    assert set(out.channels) == {slot.name for slot in SLOTS} - {"ECG", "EMG_RLeg", "SN", "EEG_C4_A1"}
    prepared = enc.prepare(night(2, without=("ECG", "RLeg", "Snore", "C4")))
    epochs = adapter.batch.epochs([prepared], [(0, 0), (0, 1)])
    assert epochs.shape == (2, 12, 1920)
    assert [bool(epochs[:, i].any()) for i in range(12)] == [i not in (0, 3, 7, 11) for i in range(12)]


@pytest.mark.parametrize("only", [*EIGHT, *EXTRA])
def test_any_channel_alone_is_enough(night, only):
    out = encoder().encode(night(1, without={*EIGHT, *EXTRA} - {only}))
    assert np.isfinite(rows(out)).all()
    assert len(out.skipped) == 11
    assert list(out.channels.values()) == [only]


def test_no_channel_is_a_recording_error(night):
    with pytest.raises(RecordingError, match=r"r1: no usable channel \(ECG: absent; Chin: absent; EMG_LLeg: absent"):
        encoder().encode(night(1, without={*EIGHT, *EXTRA}))
    with pytest.raises(RecordingError, match=r"r1: 29 s long, one epoch of 30 s is needed"):
        encoder().encode(night(0, rest_s=29))


def test_the_other_side_can_stand_in(night):
    enc = encoder(substitute="contralateral")
    recording = night(2, without=("C3", "E2", "LLeg", "ECG"))
    out = enc.encode(recording)
    assert out.channels["EEG_C3_A2"] == "C4 copied"
    assert out.channels["EOG_E2_A1"] == "E1 copied"
    assert out.channels["EMG_LLeg"] == "RLeg copied"
    assert out.skipped == dict.fromkeys(("ECG", "EMG_LLeg", "E2", "C3"), "absent")
    arrays = enc.prepare(recording).arrays
    np.testing.assert_array_equal(arrays["EEG_C3_A2"], arrays["EEG_C4_A1"])
    assert not np.array_equal(rows(out), rows(encoder().encode(recording)))
    assert enc.card.definition() != encoder().card.definition()
    neither = enc.encode(night(1, without=("C3", "C4")))
    assert {"EEG_C3_A2", "EEG_C4_A1"}.isdisjoint(neither.channels)


def test_flat_and_slow_channels_count_as_missing(night):
    out = encoder().encode(night(2, ECG=lambda x: 0 * x + 3, C4=lambda x: x * np.nan))
    assert "constant" in out.skipped["ECG"]
    assert "C4" in out.skipped
    absent = encoder().encode(night(2, without=("ECG", "C4")))
    np.testing.assert_array_equal(rows(out), rows(absent))


def test_a_gap_costs_the_channel_and_then_the_row(night):
    def second_epoch_gone(x):
        x[len(x) // 3 : 2 * len(x) // 3] = np.nan
        return x

    one = rows(encoder().encode(night(3, C3=second_epoch_gone)))
    assert np.isfinite(one).all()
    changed = dict.fromkeys((*EIGHT, *EXTRA), second_epoch_gone)
    every = rows(encoder().encode(night(3, **changed)))
    assert np.isnan(every).all(axis=1).tolist() == [False, True, False]
    assert np.isfinite(every[[0, 2]]).all()


def test_other_resampling_is_another_encoder(night):
    a, b = encoder(), encoder(resampler="upstream")
    assert a.card.definition() != b.card.definition()
    assert not np.array_equal(rows(a.encode(night(1))), rows(b.encode(night(1))))


@pytest.mark.parametrize("size", [1, 3])
def test_batches_and_order_do_not_matter(monkeypatch, night, size):
    enc = encoder()
    nights = [night(n, seed=n, name=f"r{n}", rest_s=5 * n) for n in (4, 1, 2)]
    alone = [rows(enc.encode(recording)) for recording in nights]
    assert [len(a) for a in alone] == [4, 1, 2]
    monkeypatch.setitem(adapter.BATCH, "cpu", size)
    together = enc.encode_prepared([enc.prepare(recording) for recording in reversed(nights)])
    for one, other in zip(alone, reversed(together), strict=True):
        np.testing.assert_allclose(rows(other), one, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(rows(enc.encode(nights[0])), rows(enc.encode(nights[0])))
    assert enc.batch_size() == 1


def test_a_batch_that_does_not_fit_is_halved(monkeypatch, night):
    enc = encoder()
    wanted = rows(enc.encode(night(5)))
    sizes, real = [], ViT.forward

    def forward(self, x, *, patches):
        sizes.append(len(x))
        if len(x) > fits:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, x, patches=patches)

    monkeypatch.setattr(ViT, "forward", forward)
    fits = 2
    np.testing.assert_allclose(rows(enc.encode(night(5))), wanted, rtol=1e-6, atol=1e-6)
    assert sizes == [5, 5, 4, 2, 2, 1]
    fits = 0
    with pytest.raises(DataError, match="ran out of memory"):
        enc.encode(night(5))


def test_modalities_can_be_masked(night):
    out = encoder(keep=("resp",)).encode(night(1))
    assert set(out.channels) == {"ABD", "THX", "NP", "SN"}
    brain = encoder(keep=("eeg", "eog")).encode(night(1))
    assert set(brain.channels) == {"EOG_E1_A2", "EOG_E2_A1", "EEG_C3_A2", "EEG_C4_A1"}


def test_damaged_weights_are_no_recordings_fault(released, state, night):
    del state["norm.bias"]
    with pytest.raises(DataError, match=r"norm\.bias: wanted 32, found nothing") as caught:
        encoder(OSFEncoder, released(state)).encode(night(1))
    assert not isinstance(caught.value, RecordingError)


def test_short_weights_stay_near(night):
    exact, short = rows(encoder().encode(night(2))), rows(encoder(precision="bf16").encode(night(2)))
    assert short.dtype == np.float32
    cosine = (exact * short).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(short, axis=1)
    assert cosine.min() > 0.999


def test_the_control_draws_its_weights_once_and_the_same(night):
    a = rows(encoder().encode(night(1)))
    np.testing.assert_array_equal(a, rows(encoder().encode(night(1))))
    with torch.inference_mode():
        epochs = adapter.batch.epochs([encoder().prepare(night(1))], [(0, 0)])
        model = ViT(random_state(SIZES["vit_nano"], 0), SIZES["vit_nano"])
        np.testing.assert_allclose(a, model(torch.from_numpy(epochs), patches=False)[0], atol=1e-6)


def test_cards_can_be_compared(released, state):
    path = released(state)
    assert encoder(OSFEncoder, path).card == encoder(OSFEncoder, path).card
    assert dataclasses.asdict(encoder(OSFEncoder, path).card)["id"] == "osf"
