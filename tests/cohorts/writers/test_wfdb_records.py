from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Span
from hypnos_bench.cohorts.writers.wfdb_records import fake_beats, fake_ecg, in_codes, spans_of, write_wfdb_record

wfdb = pytest.importorskip("wfdb", reason="the optional wfdb package is not installed")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["16", "212", "16+24"]),
    st.integers(1, 5),
    st.integers(1, 41),
    st.sampled_from([None, 10.0]),
    st.integers(-100, 100),
    st.integers(0, 2**32 - 1),
)
def test_values_survive_in_every_format(tmp_path_factory, fmt, n_channels, n, gain, baseline, seed):
    folder = tmp_path_factory.mktemp("record")
    values = np.random.default_rng(seed).uniform(-90, 90, (n_channels, n))
    channels = [(f"lead {i}", "uV", column) for i, column in enumerate(values)]
    write_wfdb_record(folder, "r1", 250.0, channels, ("a comment",), fmt, gain=gain, baseline=baseline)
    record = wfdb.rdrecord(str(folder / "r1"))
    assert (record.fs, record.sig_len, record.comments) == (250, n, ["a comment"])
    assert record.sig_name == [label for label, _, _ in channels]
    assert record.units == ["uV"] * n_channels
    half_steps = 0.5 / np.array(record.adc_gain)
    assert (np.abs(record.p_signal.T - values) <= half_steps[:, None] + 1e-9).all()
    if gain is None:
        assert half_steps.max() < 0.06
    # The header's first value and checksum are of these samples.
    digital = wfdb.rdrecord(str(folder / "r1"), physical=False)
    assert digital.calc_checksum() == [c % 65536 for c in digital.checksum]
    assert digital.d_signal[0].tolist() == digital.init_value


def test_a_matlab_reader_opens_the_challenge_format(tmp_path):
    from scipy.io import loadmat

    write_wfdb_record(tmp_path, "A00001", 300.0, [("ECG", "mV", np.array([0.1, -0.2, 0.3]))], fmt="16+24", gain=1000)
    np.testing.assert_array_equal(loadmat(tmp_path / "A00001.mat")["val"], [[100, -200, 300]])
    assert (tmp_path / "A00001.hea").read_text().splitlines() == [
        "A00001 1 300 3",
        "A00001.mat 16+24 1000(0)/mV 16 0 100 200 0 ECG",
    ]


def test_the_challenge_header_is_the_real_one(tmp_path, shared_data):
    record = wfdb.rdrecord(str(shared_data / "cinc2017-6/A00001"))
    write_wfdb_record(tmp_path, "A00001", 300.0, [("ECG", "mV", record.p_signal[:, 0])], fmt="16+24", gain=1000)
    assert (tmp_path / "A00001.mat").read_bytes() == (shared_data / "cinc2017-6/A00001.mat").read_bytes()


def test_12_bit_samples_are_packed_as_the_real_ones_are(tmp_path, shared_data):
    record = wfdb.rdrecord(str(shared_data / "ecg-non-af/mitdb/100"))
    channels = [(label, "mV", record.p_signal[:, i]) for i, label in enumerate(record.sig_name)]
    write_wfdb_record(tmp_path, "100", 360.0, channels, fmt="212", gain=200, baseline=1024)
    assert (tmp_path / "100.dat").read_bytes() == (shared_data / "ecg-non-af/mitdb/100.dat").read_bytes()


def test_a_header_without_a_gain(tmp_path):
    write_wfdb_record(tmp_path, "04015", 250.0, [("ECG1", "mV", np.array([0.5, -1.0]))], fmt="212", stated_gain=False)
    assert (tmp_path / "04015.hea").read_text().splitlines()[1] == "04015.dat 212 0 12 0 100 -100 0 ECG1"
    record = wfdb.rdrecord(str(tmp_path / "04015"))
    assert (record.p_signal[:, 0].tolist(), record.units) == ([0.5, -1.0], ["mV"])


def test_a_record_without_signals(tmp_path):
    write_wfdb_record(tmp_path, "00735", 250.0, ())
    assert wfdb.rdheader(str(tmp_path / "00735")).n_sig == 0
    assert [path.name for path in tmp_path.iterdir()] == ["00735.hea"]


def test_values_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="r: ECG does not fit format 212 with a gain of 200"):
        write_wfdb_record(tmp_path, "r", 250.0, [("ECG", "mV", np.array([11.0]))], fmt="212", gain=200)


def test_beats_are_steady_outside_fibrillation_and_irregular_in_it():
    rng = np.random.default_rng(0)
    intervals = [np.diff(fake_beats(np.full(36_000, in_af), 360.0, rng)) / 360 for in_af in (False, True)]
    assert intervals[0].std() < 0.05 < 0.1 < intervals[1].std()
    assert intervals[0].mean() > intervals[1].mean()


def test_r_peaks_are_where_the_beats_are():
    rng = np.random.default_rng(0)
    in_af = np.zeros(5000, dtype=bool)
    beats = fake_beats(in_af, 250.0, rng)
    ecg = fake_ecg(beats, in_af, 250.0, rng)
    assert len(ecg) == 5000
    assert all(abs(int(ecg[b - 20 : b + 21].argmax()) - 20) <= 1 for b in beats)


def test_spans_and_samples_of_rhythm_changes():
    changes = [(2, "N"), (4, "AFIB"), (6, "N"), (9, "AFL")]
    assert in_codes(changes, 10, ("AFIB", "AFL")).tolist() == [False] * 4 + [True] * 2 + [False] * 3 + [True]
    assert spans_of(changes, 9, 2.0) == (Span("N", 1.0, 2.0), Span("AFIB", 2.0, 3.0), Span("N", 3.0, 4.5))
    assert spans_of(changes, 9, 2.0, unlabelled=("N",)) == (Span("AFIB", 2.0, 3.0),)
