from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.features import BLOCKS, FEATURE_NAMES, FeaturesEncoder, normalise
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import Derivation
from hypnos_bench.store.embeddings import embedding_problem

N_BASE = sum(len(block.columns) for block in BLOCKS)


@pytest.fixture(scope="module")
def encoder():
    return FeaturesEncoder(EncoderOptions())


@pytest.fixture(scope="module")
def night(encoder, psg, memory_recording):
    return encoder.encode(memory_recording(psg(20), 600))


def at(embedding, name):
    return embedding.arrays["features"][:, FEATURE_NAMES.index(name)]


def test_one_named_row_per_epoch(encoder, night):
    rows = night.arrays["features"]
    assert rows.shape == (20, len(FEATURE_NAMES))
    assert rows.dtype == np.float32
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == 3 * N_BASE + len(BLOCKS)
    assert (night.start_s, night.step_s) == (0.0, 30.0)
    assert embedding_problem(night, encoder.card) is None
    assert night.skipped == {}


def test_values_are_what_the_signal_says(night):
    np.testing.assert_allclose(at(night, "ECG.rate_bpm"), 66, atol=1)
    np.testing.assert_allclose(at(night, "ABD.rate_per_min"), 15, atol=0.5)
    np.testing.assert_allclose(at(night, "Effort.correlation"), 1, atol=0.05)
    for block in BLOCKS:
        assert (at(night, f"{block.name}.present") == 1).all()


def test_width_is_fixed_and_missing_channels_are_zeros(encoder, psg, memory_recording):
    signals = psg(20)
    whole = encoder.encode(memory_recording(signals, 600))
    del signals["E2"], signals["ABD"]
    out = encoder.encode(memory_recording(signals, 600))
    assert out.skipped == {"E2": "absent", "ABD": "absent"}
    gone = {"E2", "EOG", "ABD", "Effort"}
    for i, name in enumerate(FEATURE_NAMES):
        column = out.arrays["features"][:, i]
        if name.split(".")[0] in gone:
            assert (column == 0).all(), name
        else:
            np.testing.assert_array_equal(column, whole.arrays["features"][:, i])


def test_a_single_lead_ecg_is_enough(encoder, psg, memory_recording):
    out = encoder.encode(memory_recording({"ECG": psg(4)["ECG"]}, 120))
    np.testing.assert_allclose(at(out, "ECG.rate_bpm"), 66, atol=1)
    assert set(out.channels) == {"ECG"}
    assert np.isfinite(out.arrays["features"]).all()


def test_units_are_read_from_the_file(encoder, psg, memory_recording):
    signals = psg(4)
    a = encoder.encode(memory_recording(signals, 120))
    for channel in ("C3", "C4", "E1", "E2", "Chin"):
        rate, _, x = signals[channel]
        signals[channel] = (rate, "mV", x * 1e-3)
    b = encoder.encode(memory_recording(signals, 120))
    np.testing.assert_allclose(a.arrays["features"], b.arrays["features"], rtol=1e-4, atol=1e-4)


def test_z_scores_take_out_the_gain(encoder, psg, memory_recording):
    signals = psg(20)
    loud = {c: (r, u, 3 * x) for c, (r, u, x) in signals.items()}
    a, b = (encoder.encode(memory_recording(s, 600)).arrays["features"][:, N_BASE:] for s in (signals, loud))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_an_artefact_stays_in_its_epoch(encoder, psg, memory_recording):
    signals = psg(20)
    rate, unit, x = signals["C3"]
    clean = encoder.encode(memory_recording(signals, 600)).arrays["features"]
    x = x.copy()
    x[int(300 * rate) : int(330 * rate)] = 0.0
    out = encoder.encode(memory_recording({**signals, "C3": (rate, unit, x)}, 600))
    rows = out.arrays["features"]
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(np.flatnonzero(at(out, "C3.present") == 0), [10])
    assert (at(out, "C3.log_total:z")[10]) == 0
    raw = [i for i, name in enumerate(FEATURE_NAMES[:N_BASE]) if name.startswith("C3.")]
    other = np.delete(np.arange(20), [9, 10, 11])  # the decimation filter reaches a few samples over the edge
    np.testing.assert_array_equal(rows[np.ix_(other, raw)], clean[np.ix_(other, raw)])


@pytest.mark.parametrize("bad", [np.zeros(7680 * 4), np.full(7680 * 4, np.nan), np.full(7680 * 4, 5.0)])
def test_a_dead_channel_is_as_good_as_absent(encoder, psg, memory_recording, bad):
    signals = psg(4)
    out = encoder.encode(memory_recording({**signals, "C3": (256.0, "uV", bad)}, 120))
    assert "C3" in out.skipped
    assert (at(out, "C3.present") == 0).all()
    assert np.isfinite(out.arrays["features"]).all()


def test_a_slow_channel_is_skipped_with_its_reason(encoder, psg, memory_recording):
    signals = psg(4, rates={"C3": 25, "ECG": 256})
    out = encoder.encode(memory_recording(signals, 120))
    assert out.skipped["C3"] == "sampled at 25 Hz, needs 40 Hz"
    assert set(out.channels) == {"ECG"}


@pytest.mark.parametrize("rates", [{"E1": 256, "E2": 200, "ABD": 32, "THX": 10}, {"E1": 100, "E2": 99.5}])
def test_pairs_at_different_rates(encoder, psg, memory_recording, rates):
    out = encoder.encode(memory_recording(psg(4, rates=rates), 120))
    assert (at(out, "EOG.present")[:3] == 1).all()
    assert np.isfinite(out.arrays["features"]).all()


def test_gaps_cost_their_epoch_only(encoder, psg, memory_recording):
    signals = psg(4)
    rate, unit, x = signals["C3"]
    x = x.copy()
    x[40 * 256 : 45 * 256] = np.nan
    out = encoder.encode(memory_recording({**signals, "C3": (rate, unit, x)}, 120))
    np.testing.assert_array_equal(at(out, "C3.present"), [1, 0, 1, 1])
    assert np.isfinite(out.arrays["features"]).all()


def test_electrodes_that_cannot_be_subtracted_are_skipped(encoder, psg, memory_recording):
    signals = {**psg(4), "M2": (0.5, "uV", np.arange(60.0))}
    recording = memory_recording(signals, 120)
    montage = {**recording.montage, "C3": Derivation("C3", "M2")}
    out = encoder.encode(dataclasses.replace(recording, montage=montage))
    assert "both must be at least 1 Hz" in out.skipped["C3"]


def test_what_cannot_be_used_at_all(encoder, psg, memory_recording):
    with pytest.raises(RecordingError, match="shorter than one epoch"):
        encoder.encode(memory_recording(psg(1), 29.0))
    with pytest.raises(RecordingError, match=r"no usable channel \(C3: C3: constant.*THX: absent"):
        encoder.encode(memory_recording({"C3": (256.0, "uV", np.zeros(7680))}, 30))


def test_normalise_is_the_robust_z_score_and_its_triangular_mean():
    x = np.random.default_rng(0).normal(5, 2, size=(40, 1))
    z, context = normalise(x)
    low, middle, high = np.percentile(x, (25, 50, 75))
    np.testing.assert_allclose(z, (x - middle) / ((high - low) / 1.349))
    weights = 1 - np.abs(np.arange(-7, 8)) / 8
    expected = [
        np.average(z[max(0, i - 7) : i + 8, 0], weights=weights[max(0, 7 - i) : 15 - max(0, i + 8 - 40)])
        for i in range(40)
    ]
    np.testing.assert_allclose(context[:, 0], expected)


def test_normalise_leaves_out_what_is_undefined():
    x = np.random.default_rng(0).normal(size=(40, 3))
    with_hole = np.insert(x, 20, np.nan, axis=0)
    z, _ = normalise(with_hole)
    np.testing.assert_allclose(np.delete(z, 20, axis=0), normalise(x)[0])
    assert (z[20] == 0).all()
    assert (normalise(np.full((40, 2), 7.0))[0] == 0).all()  # no spread
    assert (normalise(x[:9])[0] == 0).all()  # too few
    assert (normalise(np.full((40, 2), np.nan))[1] == 0).all()


def test_fast_enough(encoder, psg, memory_recording):
    """Two and a half hours of eight channels in about a second of one core; the bound leaves room for slow ones."""
    recording = memory_recording(psg(300), 9000)
    start = time.process_time()
    encoder.encode(recording)
    assert time.process_time() - start < 5


def test_the_same_bytes_again(encoder, psg, memory_recording):
    recording = memory_recording(psg(4), 120)
    a, b = (encoder.encode(recording).arrays["features"] for _ in range(2))
    assert a.tobytes() == b.tobytes()
