"""Raw spectra: what scipy's Welch gives, in the bins stated, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as sp

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.raw_psd import EFFORT, ELECTRIC, FEATURE_NAMES, RawPSDEncoder, log_psd
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.store.embeddings import embedding_problem


@pytest.fixture(scope="module")
def encoder():
    return RawPSDEncoder(EncoderOptions())


def noise(seconds, rate, scale=20.0, seed=0):
    return scale * np.random.default_rng(seed).normal(size=int(seconds * rate))


def of(embedding, channel):
    """Columns of one channel."""
    columns = [i for i, name in enumerate(FEATURE_NAMES) if name.startswith(f"{channel}.log_psd")]
    return embedding.arrays["psd"][:, columns]


def present(embedding, channel):
    return embedding.arrays["psd"][:, FEATURE_NAMES.index(f"{channel}.present")]


@pytest.mark.parametrize(("grid", "rate"), [(ELECTRIC, 100), (ELECTRIC, 256), (EFFORT, 10), (EFFORT, 32)])
def test_it_is_scipys_welch_averaged_over_bins(grid, rate):
    x = noise(90, rate)
    got = log_psd(x, rate, 3, grid)
    width = round(grid.segment_s * rate)
    f, psd = sp.welch(x.reshape(3, -1), rate, "hann", width, width // 2, detrend="constant", axis=1)
    for k, low in enumerate(grid.edges_hz[:-1]):
        lines = (f >= low - 1e-9) & (f < low + grid.width_hz - 1e-9)
        assert lines.sum() == round(grid.width_hz * grid.segment_s)
        np.testing.assert_allclose(got[:, k], np.log10(psd[:, lines].mean(axis=1)), rtol=1e-9, atol=1e-12)


def test_bins_add_up_to_the_variance_of_the_band():
    """Parseval: density times width, summed, is the mean square of the signal between 0.5 and 32.5 Hz."""
    sos = sp.butter(8, (3, 28), btype="bandpass", fs=128, output="sos")
    x = sp.sosfiltfilt(sos, noise(330, 128))[: 300 * 128]
    power = (10 ** log_psd(x, 128, 10, ELECTRIC)).sum(axis=1) * ELECTRIC.width_hz
    np.testing.assert_allclose(power.mean(), np.mean(x**2), rtol=0.02)


@pytest.mark.parametrize(("hz", "bin_"), [(1, 0), (2.3, 1), (10, 9), (13.6, 13), (32, 31)])
@pytest.mark.parametrize("rate", [100, 128, 512])
def test_a_tone_lands_in_its_bin(hz, bin_, rate):
    x = 10 * np.sin(2 * np.pi * hz * np.arange(60 * rate) / rate)
    assert (log_psd(x, rate, 2, ELECTRIC).argmax(axis=1) == bin_).all()
    breath = np.sin(2 * np.pi * 0.25 * np.arange(600) / 10)
    assert (log_psd(breath, 10, 2, EFFORT).argmax(axis=1) == 2).all()  # 0.225 to 0.325 Hz


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(-100, 100), st.integers(0, 99))
def test_gain_adds_its_square_and_offset_nothing(gain, offset, seed):
    x = noise(60, 100, seed=seed)
    a, b = log_psd(x, 100, 2, ELECTRIC), log_psd(gain * x + offset, 100, 2, ELECTRIC)
    np.testing.assert_allclose(b - a, 2 * np.log10(gain), atol=1e-5)


def test_twice_the_gain_adds_log_4_through_the_encoder(encoder, psg, memory_recording):
    signals = psg(2)
    loud = {c: (r, u, 2 * x) for c, (r, u, x) in signals.items()}
    a, b = (encoder.encode(memory_recording(s, 60)).arrays["psd"] for s in (signals, loud))
    bins = [i for i, name in enumerate(FEATURE_NAMES) if "log_psd" in name]
    np.testing.assert_allclose(b[:, bins] - a[:, bins], np.log10(4), atol=1e-5)
    np.testing.assert_array_equal(np.delete(b, bins, axis=1), 1)


def test_one_row_per_epoch_as_the_card_says(encoder, psg, memory_recording):
    out = encoder.encode(memory_recording(psg(4), 125))
    assert out.arrays["psd"].shape == (4, encoder.card.dim) == (4, 6 * 32 + 2 * 20 + 8)
    assert embedding_problem(out, encoder.card) is None
    assert (encoder.card.licence, encoder.card.pretrained_on, encoder.card.marks) == ("MIT", (), ())
    assert (encoder.card.causal, encoder.card.window_s, encoder.card.lag_rows) == (True, 30.0, 0)
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    with pytest.raises(UsageError, match="no such setting"):
        RawPSDEncoder(EncoderOptions(settings={"raw-psd": {"bins": "8"}}))


def test_a_row_sees_its_own_epoch_only(encoder, psg, memory_recording):
    signals = psg(4)
    whole = encoder.encode(memory_recording(signals, 120)).arrays["psd"]
    rate, unit, x = signals["C3"]
    x = x.copy()
    x[int(58 * rate) : int(60 * rate)] = np.nan  # bridged from within, although the gap ends with the epoch
    x[int(60 * rate) : int(90 * rate)] *= 9
    changed = encoder.encode(memory_recording({**signals, "C3": (rate, unit, x)}, 120)).arrays["psd"]
    np.testing.assert_array_equal(changed[[0, 3]], whole[[0, 3]])
    x[int(60 * rate) : int(90 * rate)] = 0
    again = encoder.encode(memory_recording({**signals, "C3": (rate, unit, x)}, 120))
    np.testing.assert_array_equal(again.arrays["psd"][1], changed[1])
    assert present(again, "C3").tolist() == [1, 1, 0, 1]  # flat
    shifted = {c: (r, u, np.roll(v, -int(30 * r))) for c, (r, u, v) in signals.items()}
    np.testing.assert_allclose(encoder.encode(memory_recording(shifted, 120)).arrays["psd"][:3], whole[1:], atol=1e-6)


def test_missing_channels_are_zeros_and_say_so(encoder, psg, memory_recording):
    signals = psg(2)
    whole = encoder.encode(memory_recording(signals, 60))
    del signals["E2"]
    signals["ABD"] = (2.0, "", np.arange(120.0))
    out = encoder.encode(memory_recording(signals, 60))
    assert out.skipped["E2"] == "absent"
    assert "at least 4 Hz are needed" in out.skipped["ABD"]
    for channel in ("E2", "ABD"):
        assert (of(out, channel) == 0).all()
        assert (present(out, channel) == 0).all()
    np.testing.assert_array_equal(of(out, "C3"), of(whole, "C3"))


def test_bins_beyond_the_rate_are_zeros(encoder, memory_recording):
    out = encoder.encode(memory_recording({"E1": (50.0, "uV", noise(60, 50))}, 60))
    assert (of(out, "E1")[:, :24] != 0).all()
    assert (of(out, "E1")[:, 25:] == 0).all()
    assert (present(out, "E1") == 1).all()


def test_gaps_cost_their_epoch_and_nobodys_epoch_is_nan(encoder, psg, memory_recording):
    signals = psg(5)
    holes = {}
    for channel, (rate, unit, x) in signals.items():
        holes[channel] = (rate, unit, x.copy())
        holes[channel][2][int(60 * rate) : int(90 * rate)] = np.nan
    rate, _, x = holes["C3"]
    x[int(5 * rate) : int(7 * rate)] = np.nan  # less than a tenth: bridged
    x[int(100 * rate) : int(104 * rate)] = np.nan
    out = encoder.encode(memory_recording(holes, 150))
    assert np.flatnonzero(np.isnan(out.arrays["psd"]).any(axis=1)).tolist() == [2]
    assert np.isnan(out.arrays["psd"][2]).all()
    np.testing.assert_array_equal(present(out, "C3"), [1, 1, np.nan, 0, 1])
    assert (present(out, "C4")[[0, 1, 3, 4]] == 1).all()


def test_units_are_microvolts_and_without_calibration_only_the_shape_counts(encoder, psg, memory_recording):
    signals = psg(2)
    rate, _, x = signals["C3"]
    a, b, raw, loud = (
        of(encoder.encode(memory_recording({"C3": (rate, unit, k * x)}, 60)), "C3")
        for unit, k in (("uV", 1), ("mV", 1e-3), ("uncalibrated", 1), ("uncalibrated", 7))
    )
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(raw, loud, atol=1e-5)
    np.testing.assert_allclose(raw, a - a.mean(axis=1, keepdims=True), atol=1e-5)


def test_what_cannot_be_used_at_all(encoder, psg, memory_recording):
    with pytest.raises(RecordingError, match="shorter than one epoch"):
        encoder.encode(memory_recording(psg(1), 29.0))
    with pytest.raises(RecordingError, match=r"no usable channel \(C3: C3: constant"):
        encoder.encode(memory_recording({"C3": (256.0, "uV", np.zeros(7680))}, 30))
    with pytest.raises(RecordingError, match="no usable channel"):
        encoder.encode(memory_recording({"C3": (256.0, "uV", noise(20, 256))}, 30))


def test_a_channel_that_ends_early(encoder, psg, memory_recording):
    signals = psg(4)
    rate, unit, x = signals["THX"]
    out = encoder.encode(memory_recording({**signals, "THX": (rate, unit, x[: int(70 * rate)])}, 120))
    assert present(out, "THX").tolist() == [1, 1, 0, 0]
    assert np.isfinite(out.arrays["psd"]).all()
