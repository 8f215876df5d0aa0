from dataclasses import dataclass, replace

import numpy as np
import pytest

from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.hypnos.preprocess import check_channel, min_rate_hz, preprocess_channels, preprocess_edf
from hypnos_bench.signals.base import Signal
from hypnos_bench.signals.channels import ALIASES
from hypnos_bench.signals.edf_writer import write_edf


@dataclass(frozen=True)
class Modality:
    name: str
    channels: tuple[str, ...]
    sample_rate: int
    preprocess_modality: str


@dataclass(frozen=True)
class Metadata:
    modalities: tuple[Modality, ...]


METADATA = Metadata(
    (
        Modality("eeg_c3", ("C3",), 128, "eeg"),
        Modality("eeg_c4", ("C4",), 128, "eeg"),
        Modality("eog_e1", ("E1",), 128, "eeg"),
        Modality("eog_e2", ("E2",), 128, "eeg"),
        Modality("emg_chin", ("Chin",), 128, "emg"),
        Modality("ecg", ("ECG",), 128, "ecg"),
        Modality("resp_abd", ("ABD",), 32, "respiratory"),
        Modality("resp_thx", ("THX",), 32, "respiratory"),
    )
)
MODALITY = {m.channels[0]: m.name for m in METADATA.modalities}


@pytest.fixture(scope="module")
def reference():
    """The published package's own function."""
    return pytest.importorskip(
        "hypnos.embedding.pipeline", reason="the reference package hypnos is not installed"
    ).preprocess_edf


def recorded(rate_hz, seconds, seed):
    """Drift, rhythm, noise, a large offset and an artefact of many deviations."""
    rng = np.random.default_rng(seed)
    n = int(rate_hz * seconds)
    t = np.arange(n) / rate_hz
    x = 40 * np.sin(2 * np.pi * 0.3 * t) + 10 * np.sin(2 * np.pi * 50 * t) + rng.standard_normal(n) * 8
    x += 0.05 * np.cumsum(rng.standard_normal(n)) + 200
    x[n // 2 : n // 2 + 4] += 4000
    return x


def write(path, *channels, seconds=75.0):
    write_edf(path, [(label, rate, "uV", recorded(rate, seconds, i)) for i, (label, rate) in enumerate(channels)])
    return path


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], values, err_msg=name)


LAYOUTS = {
    "bare electrodes and both mastoids": [
        *(("C3", 200), ("C4", 128), ("M1", 200), ("A2", 256), ("LOC", 100), ("E2", 512)),
        *(("Chin1", 200), ("Chin2", 100), ("EKG", 250), ("Abdo", 10), ("Thor", 32)),
    ],
    "referenced by the recorder": [
        *(("EEG(sec)", 125), ("EEG", 125), ("EOG(L)", 50), ("EOG(R)", 50), ("EMG", 125)),
        *(("ECG", 125), ("ABDO RES", 10), ("THOR RES", 10)),
    ],
    "derived by the recorder": [
        *(("C3-A2", 128), ("EEG C4-M1", 256), ("E1-M2", 128), ("EOG ROC-M1", 200), ("Chin1-Chin2", 400)),
        *(("ECG L-ECG R", 1000), ("Abdomen", 16), ("Chest", 25), ("M1", 128)),
    ],
    "one mastoid only": [("C3", 128), ("C4", 128), ("E1", 128), ("E2", 128), ("M1", 128), ("EMG2", 64), ("EMG1", 99)],
    "rates that are not whole": [
        ("C3", 97.3),
        ("M2", 99.5),
        ("C4", 256 / 3),
        ("M1", 128),
        ("ECG", 204.8),
        ("ABD", 12.5),
    ],
}


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "zero-phase"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_published_package(reference, tmp_path, layout, causal):
    # Odd lengths, beyond and below the minute from which the z-score takes its start values.
    seconds, mains_hz, tau_s = {True: (75.37, 60.0, 60.0), False: (41.0, 50.0, 60.0)}[causal]
    path = write(tmp_path / "night.edf", *LAYOUTS[layout], seconds=seconds)
    options = {"notch_freq": mains_hz, "causal": causal, "tau_seconds": tau_s}
    expected = reference(str(path), METADATA, **options)
    assert_equal(preprocess_edf(path, METADATA, **options), expected)
    assert expected
    if layout == "one mastoid only":
        assert set(expected) == {"eeg_c4", "eog_e2", "emg_chin"}


@pytest.mark.parametrize("tau_s", [5.0, 600.0])
def test_other_time_constants(reference, tmp_path, tau_s):
    path = write(tmp_path / "night.edf", ("C3-M2", 256), ("THX", 32))
    found = preprocess_edf(path, METADATA, tau_seconds=tau_s)
    assert_equal(found, reference(str(path), METADATA, tau_seconds=tau_s))


@pytest.mark.parametrize("channel", ALIASES)
def test_every_alias_gives_what_the_published_package_gives(reference, tmp_path, channel):
    for i, alias in enumerate((channel, *ALIASES[channel])):
        path = write(tmp_path / f"{i}.edf", ("SpO2", 1), (alias, 100), seconds=8)
        found = preprocess_edf(path, METADATA)
        assert list(found) == [MODALITY[channel]]
        assert_equal(found, reference(str(path), METADATA))


@pytest.mark.parametrize(("modern", "old"), [("TP9", "A1"), ("TP10", "A2")])
def test_ten_ten_mastoids_count_like_the_old_names(reference, tmp_path, modern, old):
    channels = [("C3", 128), ("C4", 128), ("E1", 100), ("E2", 100)]
    expected = reference(str(write(tmp_path / "old.edf", *channels, (old, 200))), METADATA)
    assert_equal(preprocess_edf(write(tmp_path / "new.edf", *channels, (modern, 200)), METADATA), expected)


def test_real_recording(reference, shared_data):
    path = shared_data / "sleepedf-sc4001/short_psg.edf"
    metadata = Metadata(
        (Modality("eeg_c3", ("EEG Fpz-Cz",), 128, "eeg"), Modality("resp", ("Resp oro-nasal",), 32, "respiratory"))
    )
    assert_equal(preprocess_edf(path, metadata), reference(str(path), metadata))
    aliased = preprocess_edf(path, METADATA, channel_aliases={"C3": ["eeg fpz-cz"], "THX": ["RESP ORO-NASAL"]})
    np.testing.assert_array_equal(aliased["eeg_c3"], preprocess_edf(path, metadata)["eeg_c3"])
    assert set(aliased) == {"eeg_c3", "resp_thx"}


def test_real_ecg(reference, shared_data):
    path = shared_data / "cinc2017-6/sample.edf"
    found = preprocess_edf(path, METADATA)
    assert_equal(found, reference(str(path), METADATA))
    assert len(found["ecg"]) == 40 * 128


def test_channels_give_the_same_as_a_file(tmp_path):
    from hypnos_bench.signals.edf import EdfFile

    path = write(tmp_path / "night.edf", ("C3-M2", 200), ("ABD", 10))
    file = EdfFile(path)
    signals = {"C3": file.read("C3-M2"), "ABD": file.read("ABD")}
    assert_equal(preprocess_channels(signals, METADATA), preprocess_edf(path, METADATA))


def test_scale_does_not_matter_and_later_samples_are_not_seen():
    values = recorded(128, 120, 0)
    eeg = Signal(values, 128.0, "uV", "C3")
    result = preprocess_channels({"C3": eeg}, METADATA)["eeg_c3"]
    millivolts = preprocess_channels({"C3": replace(eeg, values=values / 1000)}, METADATA)["eeg_c3"]
    # Not exact: the variance has a floor in the signal's own unit.
    assert np.corrcoef(result, millivolts)[0, 1] > 0.99
    cut = 100 * 128
    changed = values.copy()
    changed[cut:] = 0
    other = preprocess_channels({"C3": replace(eeg, values=changed)}, METADATA)["eeg_c3"]
    np.testing.assert_array_equal(result[:cut], other[:cut])


def test_nothing_resolves(tmp_path):
    path = write(tmp_path / "night.edf", ("SpO2", 1), ("Pleth", 32))
    with pytest.raises(DataError, match=r"night.edf: none of C3, .*, THX found among its labels: SpO2, Pleth"):
        preprocess_edf(path, METADATA)
    assert preprocess_channels({}, METADATA) == {}


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path / "night.edf", ("C3-M2", 128))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordingError, match=r"truncated: 74 of 75 data records are there, 1 s missing"):
        preprocess_edf(path, METADATA)


@pytest.mark.parametrize(
    ("signal", "options", "message"),
    [
        (Signal(np.ones(0), 128.0, "uV", "C3"), {}, "C3: 0 samples at 128 Hz"),
        (Signal(np.ones(9), 0.5, "uV", "C3"), {}, "C3: 9 samples at 0.5 Hz"),
        (Signal(np.ones(9), 128.0, "uV", "C3"), {"causal": False}, "C3: 0.0703125 s are too short"),
        (Signal(np.ones(999), 128.0, "uV", "C3"), {"notch_freq": 64.0}, "filters at 64 Hz .* do not fit its 128 Hz"),
        (Signal(np.ones(999), 128.0, "uV", "C3"), {"notch_freq": 0.0}, "do not fit"),
    ],
)
def test_what_cannot_be_filtered(signal, options, message):
    with pytest.raises(DataError, match=message):
        preprocess_channels({"C3": signal}, METADATA, **options)


def test_unknown_preprocessing():
    metadata = Metadata((Modality("x", ("C3",), 128, "meg"),))
    with pytest.raises(DataError, match="modality 'x' asks for preprocessing 'meg'; known: eeg"):
        preprocess_channels({"C3": Signal(np.ones(9), 128.0, "", "C3")}, metadata)


@pytest.mark.parametrize(
    ("values", "rate_hz", "reason"),
    [
        ([], 100.0, "C3 - M2: empty"),
        (np.arange(599), 100.0, "C3 - M2: 5.99 s long, at least 6 s are needed"),
        (np.arange(600), 100.0, None),
        ([1.0, np.nan, 2.0] * 400, 100.0, "C3 - M2: 400 of 1200 samples are not finite"),
        ([1.0, np.inf, -np.inf] * 400, 100.0, "C3 - M2: 800 of 1200 samples are not finite"),
        ([-3.5] * 1200, 100.0, "C3 - M2: constant (-3.5 uV), not connected"),
        (np.arange(600), 0.5, "C3 - M2: sampled at 0.5 Hz, at least 1 Hz are needed"),
    ],
)
def test_check_channel(values, rate_hz, reason):
    assert check_channel(Signal(np.asarray(values, dtype=np.float64), rate_hz, "uV", "C3 - M2")) == reason


@pytest.mark.parametrize("rate_hz", [99.5, 199.8, 49.999999999])
def test_channels_at_fractional_rates_keep_their_length(rate_hz):
    seconds = 3600
    values = np.random.default_rng(0).normal(size=round(rate_hz * seconds))
    ready = preprocess_channels({"C3": Signal(values, rate_hz, "uV", "C3")}, METADATA)
    (name,) = ready
    rate = next(m.sample_rate for m in METADATA.modalities if m.name == name)
    assert len(ready[name]) / rate == pytest.approx(seconds, abs=0.1)


def test_a_channel_too_slow_for_its_band_is_refused():
    slow = Signal(np.arange(600.0), 1.0, "uV", "EEG")
    assert check_channel(slow) is None
    assert "sampled at 1 Hz, at least 32 Hz are needed" in check_channel(slow, min_rate_hz("C3"))
    assert check_channel(Signal(np.arange(600.0), 10.0, "", "ABD"), min_rate_hz("ABD")) is None


@pytest.mark.parametrize("causal", [True, False])
def test_a_gap_stays_where_it_is(causal):
    """A minute without samples: those seconds are NaN, and no filter carries them further."""
    values = recorded(100, 600, 0)
    clean = preprocess_channels({"C3": Signal(values, 100.0, "uV", "C3")}, METADATA, causal=causal)["eeg_c3"]
    values[10050:16095] = np.nan
    out = preprocess_channels({"C3": Signal(values, 100.0, "uV", "C3")}, METADATA, causal=causal)["eeg_c3"]
    assert out.dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(out)), np.arange(100 * 128, 161 * 128))
    if causal:
        np.testing.assert_array_equal(out[: 100 * 128], clean[: 100 * 128])
    else:
        assert np.corrcoef(out[: 95 * 128], clean[: 95 * 128])[0, 1] > 0.999
    after = slice(165 * 128, None)
    assert np.corrcoef(out[after], clean[after])[0, 1] > 0.99
    # The z-score has waited: without that, a minute of silence would have blown it up.
    assert np.std(out[after]) == pytest.approx(np.std(clean[after]), rel=0.25)


def test_a_tenth_of_a_second_is_bridged():
    values = recorded(128, 90, 0)
    clean = preprocess_channels({"C3": Signal(values, 128.0, "uV", "C3")}, METADATA)["eeg_c3"]
    values[70 * 128 : 70 * 128 + 12] = np.nan
    out = preprocess_channels({"C3": Signal(values, 128.0, "uV", "C3")}, METADATA)["eeg_c3"]
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[: 70 * 128], clean[: 70 * 128])
    values[70 * 128 + 12] = np.nan
    out = preprocess_channels({"C3": Signal(values, 128.0, "uV", "C3")}, METADATA)["eeg_c3"]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(out)), np.arange(70 * 128, 71 * 128))


def test_a_channel_without_any_sample_is_nan():
    out = preprocess_channels({"C3": Signal(np.full(1280, np.nan), 128.0, "uV", "C3")}, METADATA)["eeg_c3"]
    assert len(out) == 1280
    assert np.isnan(out).all()


def test_stored_integers_are_not_subtracted(tmp_path):
    path = write(tmp_path / "night.edf", ("C3", 128), ("M2", 128))
    raw = bytearray(path.read_bytes())
    for at in (256 + 2 * 104 + 8, 256 + 2 * 112 + 8):  # both physical limits of the second channel
        raw[at : at + 8] = b"0       "
    path.write_bytes(raw)
    with pytest.raises(DataError, match="night.edf: C3 - M2: no difference can be taken, 'M2' without calibration"):
        preprocess_edf(path, METADATA)
