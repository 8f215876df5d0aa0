"""EDF+D: pauses stay pauses. Sample i of a channel lies i / rate seconds after the first, and a pause is NaN."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.signals.edf import EdfFile, read_edf_annotations
from hypnos_bench.signals.edf_writer import write_edf

RATES = {"EEG": 128, "belt": 10, "slow": 1}


def write(path, starts_s, rates=RATES, **more):
    """A file whose samples count themselves: few enough that rounding gives the count back exactly."""
    counts = {label: np.arange(len(starts_s) * rate) for label, rate in rates.items()}
    write_edf(path, [(k, rates[k], "uV", x + 1.0) for k, x in counts.items()], record_starts_s=starts_s, **more)
    return EdfFile(path)


def recorded_s(signal, starts_s):
    """Which samples were recorded, and when each of these was in truth, from the first one."""
    known = np.isfinite(signal.values)
    count = np.rint(signal.values[known]).astype(int) - 1
    record, within = np.divmod(count, int(signal.rate_hz))
    return known, np.asarray(starts_s)[record] - starts_s[0] + within / signal.rate_hz


def test_a_pause_stays_a_pause(tmp_path):
    file = write(tmp_path / "a.edf", [0, 1, 2, 7, 8])
    assert file.gaps() == ((3.0, 4.0),)
    assert file.duration_s() == 9.0
    for channel in file.channels():
        signal = file.read(channel.label)
        assert len(signal.values) == channel.n_samples == 9 * channel.rate_hz
        t = np.arange(len(signal.values)) / signal.rate_hz
        np.testing.assert_array_equal(np.isnan(signal.values), (t >= 3) & (t < 7))
        known, true_s = recorded_s(signal, [0, 1, 2, 7, 8])
        np.testing.assert_allclose(t[known], true_s, rtol=0, atol=1e-9)
    assert file.repairs() == ()  # the standard allows it


def test_marked_discontinuous_but_without_a_pause(tmp_path):
    """Some exporters mark every file so; times printed to the millisecond are no pauses either."""
    exact = write(tmp_path / "a.edf", [0, 1, 2, 3])
    printed = write(tmp_path / "b.edf", [0.0, 1.0004, 1.9996 + 0.0008, 3.001])
    assert exact.gaps() == printed.gaps() == ()
    for label in RATES:
        np.testing.assert_array_equal(exact.read(label).values, printed.read(label).values)


def test_the_first_record_may_begin_late(tmp_path):
    file = write(tmp_path / "a.edf", [0.25, 1.25, 5.25], annotations=[(5.5, 1, "arousal")])
    assert file.gaps() == ((2.0, 3.0),)
    assert file.start_clock().microsecond == 250000
    # On the axis of the samples: 5.5 s after the header's start is 5.25 s after the first sample.
    assert read_edf_annotations(file.path) == [(5.25, 1.0, "arousal")]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.just(0), st.integers(1, 9_000), st.integers(0, 20_000_000)), min_size=1, max_size=12),
    st.integers(0, 999_999),
)
def test_every_sample_is_within_half_a_sample_of_its_time(tmp_path, pauses_us, first_us):
    """Pauses of any length, whole numbers of samples or not: nothing is lost, nothing moves, nothing is invented."""
    begins_us = np.concatenate([[first_us], first_us + np.cumsum(1_000_000 + np.asarray(pauses_us))])
    starts_s = (begins_us / 1e6).tolist()
    file = write(tmp_path / "a.edf", starts_s)
    sample_s = 1 / RATES["EEG"]
    for i, pause_us in enumerate(pauses_us):
        if pause_us / 1e6 > sample_s:
            end_s = (begins_us[i] - first_us) / 1e6 + 1
            assert any(abs(s - end_s) + abs(d - pause_us / 1e6) < sample_s for s, d in file.gaps())
    for channel in file.channels():
        signal = file.read(channel.label)
        known, true_s = recorded_s(signal, starts_s)
        assert len(true_s) == len(starts_s) * channel.rate_hz
        assert (np.diff(true_s) > 0).all()
        assert np.abs(np.flatnonzero(known) / signal.rate_hz - true_s).max() <= 0.5 / signal.rate_hz + 1e-9
        assert abs(len(signal.values) / signal.rate_hz - file.duration_s()) <= 1 / signal.rate_hz


def test_no_error_adds_up_over_many_small_delays(tmp_path):
    """A clock that gains 0.9 ms with every record: after 40 records a sample is still in its place."""
    starts_s = [round(i * 1.0009, 6) for i in range(40)]
    file = write(tmp_path / "a.edf", starts_s, {"EEG": 128})
    signal = file.read("EEG")
    known, true_s = recorded_s(signal, starts_s)
    assert np.abs(np.flatnonzero(known) / 128 - true_s).max() <= 0.5 / 128 + 1e-9
    assert np.isnan(signal.values).sum() == 4  # 35.1 ms are 4.5 samples


def test_overlapping_records_are_refused(tmp_path):
    file = write(tmp_path / "a.edf", [0, 1, 2, 7, 8])
    raw = file.path.read_bytes()
    file.path.write_bytes(raw.replace(b"+7\x14\x14", b"+2\x14\x14"))
    with pytest.raises(RecordingError, match=r"a.edf: discontinuous .* record 4 begins at 2 s, 1 s before the one"):
        EdfFile(file.path).channels()


def test_a_span_beyond_seven_days_is_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"its records span 7.0 days, more than 7"):
        write(tmp_path / "a.edf", [0, 7 * 86400]).channels()
    file = write(tmp_path / "b.edf", [0, 7 * 86400 - 1], {"slow": 1})
    assert file.duration_s() == 7 * 86400
    assert np.isfinite(file.read("slow").values).sum() == 2


def test_pauses_cannot_ask_for_more_memory_than_a_channel_may_have(tmp_path):
    file = write(tmp_path / "a.edf", [0, 6 * 86400], {"EMG": 2000})
    with pytest.raises(RecordingError, match=r"a channel has 1036802000 samples, more than the 536870912 allowed"):
        file.channels()


def test_a_record_without_a_time_is_refused(tmp_path):
    file = write(tmp_path / "a.edf", [0, 1, 5])
    raw = file.path.read_bytes()
    file.path.write_bytes(raw.replace(b"+5\x14\x14", b"\x00\x00\x00\x00"))
    with pytest.raises(RecordingError, match="data record 3 does not say when it begins"):
        EdfFile(file.path).channels()


def test_the_writer_takes_one_start_per_record(tmp_path):
    with pytest.raises(DataError, match="2 starts for 3 records of 1 s"):
        write_edf(tmp_path / "a.edf", [("a", 10, "", np.arange(30.0))], record_starts_s=[0, 1])
    with pytest.raises(DataError, match="in order"):
        write_edf(tmp_path / "a.edf", [("a", 10, "", np.arange(20.0))], record_starts_s=[0, 0.5])
