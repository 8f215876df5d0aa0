"""From recordings to rows: times, modalities that are missing, gaps, and what must not depend on what."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hypnos_bench.encoders.base import EncoderOptions, mean_over_modalities
from hypnos_bench.encoders.masked import MaskedEncoder
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.encoders.sleepfm import SleepFMEncoder, SleepFMUntrained
from hypnos_bench.encoders.sleepfm.model import Blocks, SleepFM
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.labelling.pooling import pool
from hypnos_bench.leakage import seen_in_pretraining
from hypnos_bench.signals.base import Derivation

BAS, RESP, EKG, EMG = (slice(128 * i, 128 * (i + 1)) for i in range(4))


@pytest.fixture(scope="module")
def night(memory_recording, signals_of):
    """Two windows and 37 s."""
    return replace(memory_recording(signals_of(637), 637.0), montage={})


@pytest.fixture(scope="module")
def embedded(make_untrained, night):
    return make_untrained().encode(night)


def without(night, *labels, **other):
    kept = {label: made for label, made in night.signals.signals.items() if label not in labels}
    return replace(night, signals=replace(night.signals, signals={**kept, **other}))


def close(found, wanted):
    return np.abs(found - wanted).max() <= 2e-5


def test_a_row_per_five_seconds_of_every_modality(embedded):
    rows = embedded.arrays["concat"]
    assert rows.shape == (127, 512)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert (embedded.start_s, embedded.step_s) == (0.0, 5.0)
    assert embedded.channels == {"BAS": "EEG, EEG(sec), EOG(L)", "RESP": "SaO2, THOR RES", "EKG": "ECG", "EMG": "EMG"}
    assert embedded.skipped == {}
    assert (rows.std(axis=0) > 0.01).all()  # no column is idle


def test_it_is_the_network_on_windows_of_the_signals(make_untrained, night, embedded):
    """Window by window, straight through the module that parity was shown for."""
    encoder = make_untrained()
    tracks = [encoder_signals(night, label) for label in ("EEG", "EEG(sec)", "EOG(L)")]
    x = torch.from_numpy(np.stack(tracks))
    for first, stop in ((0, 60), (60, 120), (120, 127)):
        window = encoder._model(x[None, :, first * 640 : stop * 640])
        assert close(embedded.arrays["concat"][first:stop, BAS], window.tokens[0].numpy())
    pooled = make_untrained(output="5min").encode(night).arrays["concat"]
    assert pooled.shape == (2, 512)
    assert close(pooled[1, BAS], encoder._model(x[None, :, 60 * 640 : 120 * 640]).pooled[0].numpy())


def encoder_signals(night, label):
    from hypnos_bench.encoders.sleepfm.signals import prepare

    return prepare(night.signals.read(label), night.duration_s(), 256.0).values


def test_the_rest_of_the_last_window_can_be_dropped(make_untrained, night, embedded):
    dropped = make_untrained(tail="drop").encode(night).arrays["concat"]
    assert dropped.shape == (120, 512)
    assert np.array_equal(dropped, embedded.arrays["concat"][:120])


def test_neither_blocks_nor_earlier_recordings_change_a_row(make_untrained, night, embedded, state):
    encoder = make_untrained()
    encoder.encode(without(night, "EEG", "ECG"))
    assert np.array_equal(encoder.encode(night).arrays["concat"], embedded.arrays["concat"])
    encoder.__dict__["_model"] = SleepFM(state, blocks=Blocks(13, 7, 1))
    assert close(encoder.encode(night).arrays["concat"], embedded.arrays["concat"])


def test_a_missing_modality_is_zeros_or_left_out(make_untrained, night, embedded):
    deaf = without(night, "SaO2", "THOR RES", EMG=(128.0, "uV", np.full(637 * 128, 7.0)))
    whole = embedded.arrays["concat"]
    rows = make_untrained().encode(deaf)
    assert np.array_equal(rows.arrays["concat"][:, BAS], whole[:, BAS])
    assert np.array_equal(rows.arrays["concat"][:, EKG], whole[:, EKG])
    assert not rows.arrays["concat"][:, RESP].any()
    assert not rows.arrays["concat"][:, EMG].any()
    assert rows.skipped == {
        "EMG": "EMG: constant (7 uV), not connected",
        "modality EMG": "no usable channel",
        "modality RESP": "no usable channel",
    }
    assert rows.channels == {"BAS": "EEG, EEG(sec), EOG(L)", "EKG": "ECG"}

    mean = make_untrained(combine="mean").encode(deaf).arrays
    each = make_untrained(per_modality=True).encode(deaf).arrays
    assert list(each) == ["BAS", "EKG"]
    np.testing.assert_allclose(mean["mean"], mean_over_modalities(each), atol=1e-6)
    assert np.array_equal(each["BAS"], whole[:, BAS])


def test_masking_is_the_same_as_not_having_been_recorded(make_untrained, night):
    masked = MaskedEncoder(make_untrained(), ("eeg", "emg")).encode(night)
    apart = make_untrained().encode(without(night, "EOG(L)", "SaO2", "THOR RES"))
    assert np.array_equal(masked.arrays["concat"][:, BAS], apart.arrays["concat"][:, BAS])
    assert np.array_equal(masked.arrays["concat"][:, EMG], apart.arrays["concat"][:, EMG])
    assert not masked.arrays["concat"][:, EKG].any()


def test_a_pause_gives_rows_without_values_and_own_gaps_are_told(make_untrained, memory_recording, signals_of):
    made = signals_of(637)
    for label, (rate, _, values) in made.items():
        values[int(100 * rate) : int(200 * rate)] = np.nan  # nobody was recorded
        if label == "EMG":
            values[: int(20 * rate)] = np.nan
        if label == "ECG":
            values[int(300 * rate) : int(400 * rate)] = np.nan
    rows = make_untrained().encode(memory_recording(made, 637.0))
    gone = np.isnan(rows.arrays["concat"])
    assert np.flatnonzero(gone.any(axis=1)).tolist() == list(range(20, 40))
    assert gone[20:40].all()
    assert rows.skipped == {
        "ECG": "100 s are missing in it that other channels have",
        "modality EKG": "no usable channel",
        "part of EMG": "20 s in which it was not recorded",
    }
    windows = make_untrained(output="5min").encode(memory_recording(made, 637.0)).arrays["concat"]
    assert np.isfinite(windows).all()


def test_channels_that_cannot_be_used_are_named(make_untrained, night):
    odd = without(
        *(night, "EEG(sec)"),
        EEG=(20.0, "uV", np.arange(20 * 637) % 17),
        SaO2=(0.5, "%", np.arange(318) % 5),
        POSITION=(1.0, "", np.arange(637) % 3),
        ECG=(256.0, "uV", np.full(637 * 256, np.nan)),
    )
    skipped = make_untrained().encode(odd).skipped
    assert skipped["EEG"] == "EEG: sampled at 20 Hz, at least 32 Hz are needed"
    assert skipped["SaO2"] == "SaO2: sampled at 0.5 Hz, at least 1 Hz are needed"
    assert skipped["POSITION"] == "its label tells no modality"
    assert "samples are not finite" in skipped["ECG"]

    class Damaged(type(night.signals)):
        def unreadable(self):
            return {"EOG(L)": "its gain is zero"}

        def read(self, label):
            if label == "EMG":
                raise DataError("EMG: bad header")
            if label == "ECG":
                raise RecordingError("r1", "cut off")
            return super().read(label)

    damaged = replace(night, signals=Damaged(night.signals.signals, 637.0))
    with pytest.raises(RecordingError, match="cut off"):
        make_untrained().encode(damaged)
    skipped = make_untrained().encode(damaged.only(["eeg", "eog", "emg"])).skipped
    assert skipped["EMG"] == "EMG: bad header"
    assert "modality EKG" in skipped


def test_limits_of_the_paper(make_untrained, memory_recording, signals_of):
    rates = {f"EEG {i}": 128 for i in range(12)} | {"ECG": 128, "ECG 2": 128, "ECG II": 128}
    recording = memory_recording(signals_of(10, rates), 10.0)
    limited = make_untrained(limit="paper").encode(recording)
    assert limited.channels == {"BAS": ", ".join(f"EEG {i}" for i in range(10)), "EKG": "ECG, ECG 2"}
    assert limited.skipped["EEG 11"] == "beyond the first 10 of BAS"
    assert limited.skipped["ECG II"] == "beyond the first 2 of EKG"
    assert "EEG 11" in make_untrained().encode(recording).channels["BAS"]


def test_canonical_channels_and_tables_of_groups(make_untrained, night, tmp_path):
    montage = {"C3": Derivation("EEG", "EEG(sec)"), "ECG": Derivation("ECG"), "THX": Derivation("THOR RES")}
    rows = make_untrained(channels="canonical").encode(replace(night, montage=montage))
    assert rows.channels == {"BAS": "EEG - EEG(sec)", "RESP": "THOR RES", "EKG": "ECG"}
    assert rows.skipped["C4"] == "absent"

    (tmp_path / "g.json").write_text(json.dumps({"BAS": ["EOG(L)"], "EMG": ["EEG", "absent"]}))
    encoder = make_untrained(groups=tmp_path / "g.json")
    assert encoder.encode(night).channels == {"BAS": "EOG(L)", "EMG": "EEG"}
    assert "groups" in encoder.card.settings
    assert encoder.card.definition() != make_untrained().card.definition()
    with pytest.raises(UsageError, match="not with sleepfm-untrained.channels=canonical"):
        make_untrained(channels="canonical", groups=tmp_path / "g.json")


def test_too_short_and_empty_recordings_are_refused(make_untrained, memory_recording, signals_of):
    short = memory_recording(signals_of(299), 299.0)
    assert make_untrained().encode(short).arrays["concat"].shape == (59, 512)
    for settings in ({"tail": "drop"}, {"output": "5min"}):
        with pytest.raises(RecordingError, match="r1: 299 s long, at least 300 s are needed"):
            make_untrained(**settings).encode(short)
    with pytest.raises(RecordingError, match="4 s long, at least 5 s"):
        make_untrained().encode(memory_recording({}, 4.0))
    flat = {"EEG": (128.0, "uV", np.zeros(128 * 20)), "POS": (1.0, "", np.arange(20))}
    with pytest.raises(RecordingError, match=r"no usable channel \(POS: .*; EEG: EEG: constant"):
        make_untrained().encode(memory_recording(flat, 20.0))
    with pytest.raises(RecordingError, match="no usable channel"):
        make_untrained(channels="canonical").encode(memory_recording({}, 20.0))


def test_windows_of_five_minutes_do_not_fit_epochs(make_untrained, night):
    rows = make_untrained(output="5min", combine="mean").encode(night)
    assert rows.step_s == 300.0
    with pytest.raises(UsageError, match="embedding rows of 300 s do not divide units of 30 s"):
        pool(rows, np.arange(0.0, 600.0, 30.0), 30.0, 0)


def test_epochs_are_means_of_six_rows(embedded):
    x = pool(embedded, np.arange(0.0, 630.0, 30.0), 30.0, 0)
    np.testing.assert_allclose(x[3], embedded.arrays["concat"][18:24].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_the_card_of_given_weights(checkpoint, make_untrained, night, embedded):
    options = EncoderOptions(weights={"sleepfm": str(checkpoint)}, device="cpu")
    encoder = make_encoder("sleepfm", options)
    card = encoder.card
    assert (card.id, card.dim, card.step_s, card.window_s, card.lag_rows, card.causal) == (
        *("sleepfm", 512, 5.0, 300.0, 0, False),
    )
    assert len(card.weights) == 64
    assert card.weights_name == "best.pt"
    assert card.marks == ()
    seen = {cohort for cohort in ("mesa", "mros", "mnc", "shhs") if seen_in_pretraining(card.pretrained_on, cohort)}
    assert seen == {"mesa", "mros", "mnc"}
    # The same numbers as the untrained encoder: the file holds the same tensors.
    assert close(encoder.encode(night).arrays["concat"], embedded.arrays["concat"])
    five = SleepFMEncoder(replace(options, settings={"sleepfm": {"output": "5min", "combine": "mean"}})).card
    assert (five.dim, five.step_s) == (128, 300.0)
    assert five.definition() != card.definition()


def test_the_untrained_card_says_so(untrained_cache, tmp_path):
    card = SleepFMUntrained(EncoderOptions(cache=untrained_cache)).card
    assert card.marks == ("untrained",)
    assert card.pretrained_on == ()
    other = SleepFMUntrained(EncoderOptions(cache=tmp_path)).card
    assert other.weights == card.weights  # drawn again, the same to the last byte


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, DataError, "SleepFM weights are missing: .*model_base/best.pt.* --weights sleepfm=best.pt"),
        ({"weights": {"sleepfm": "nowhere.pt"}}, DataError, "nowhere.pt: no such file"),
        (
            {"settings": {"sleepfm": {"combine": "sum"}}},
            UsageError,
            "--set sleepfm.combine=sum: use one of concat, mean",
        ),
        ({"settings": {"sleepfm": {"chanels": "file"}}}, UsageError, "--set sleepfm.chanels: no such setting"),
        ({"settings": {"sleepfm": {"groups": "nowhere.json"}}}, DataError, "nowhere.json: cannot be opened"),
    ],
)
def test_what_is_missing_or_misspelt_is_said(options, kind, message):
    with pytest.raises(kind, match=message):
        SleepFMEncoder(EncoderOptions(**options)).card  # noqa: B018
