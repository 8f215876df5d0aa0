import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.signals.base import Derivation, Signal
from hypnos_bench.signals.channels import ALIASES, difference, label_key, resolve_montage

CHANNELS = ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX")
# Spelt as the published package spells them: its version 0.1.0 knows no other spelling.
MASTOIDS = ["M1", "M2", "A1", "A2"]
CHIN_ELECTRODES = ["ChinR", "ChinL", "Chin1", "Chin2", "cchin_r", "cchin_l", "R Chin", "L Chin", "Rchin", "Lchin"]
EMG_ELECTRODES = ["EMG1", "EMG2", "EMG3", "CHIN", "CHIN1-CHIN2"]
KNOWN = sorted({*CHANNELS, *MASTOIDS, *CHIN_ELECTRODES, *EMG_ELECTRODES, *(a for row in ALIASES.values() for a in row)})


class FakeReader:
    """Stands in for an open file: every label's samples are a power of two, so a difference names its parts."""

    def __init__(self, labels):
        self.labels = labels

    def getSignalLabels(self):  # noqa: N802
        return self.labels

    def readSignal(self, index):  # noqa: N802
        return np.full(4, 2.0**index)

    def getSampleFrequency(self, index):  # noqa: N802
        return 128.0

    def getPhysicalDimension(self, index):  # noqa: N802
        return "uV"

    def getPhysicalMinimum(self, index):  # noqa: N802
        return -1.0

    getPhysicalMaximum = getPhysicalMinimum  # noqa: N815


def values_of(derivation, labels):
    minus = 0 if derivation.minus is None else 2.0 ** labels.index(derivation.minus)
    return 2.0 ** labels.index(derivation.plus) - minus


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*KNOWN, *MASTOIDS * 8]), unique=True, max_size=12))
def test_any_mixture_of_known_labels_resolves_as_in_the_published_package(labels):
    edf = pytest.importorskip("hypnos.data.edf", reason="the reference package hypnos is not installed")
    expected = edf.load_psg_channels(FakeReader(labels), list(CHANNELS), drop_unreferenced=True)
    found = resolve_montage(labels)
    assert set(found) == set(expected)
    assert {c: values_of(d, labels) for c, d in found.items()} == {c: r.signal[0] for c, r in expected.items()}


@pytest.mark.parametrize(("channel", "alias"), [(c, a) for c, row in ALIASES.items() for a in (c, *row)])
def test_every_alias_in_every_spelling(channel, alias):
    spellings = [alias, alias.lower(), alias.upper(), f" {alias} ", f"{alias}_PDS", f"{alias}_eg"]
    spellings += [alias.replace("-", ":"), alias.replace("-", "/")]
    for label in spellings:
        assert resolve_montage(["SpO2", label], [channel]) == {channel: Derivation(label)}


@pytest.mark.parametrize("channel", ["C3", "C4", "E1", "E2"])
def test_mastoids(channel):
    right = channel in ("C3", "E1")
    this, other = (("M2", "A2", "TP10"), ("M1", "A1", "TP9")) if right else (("M1", "A1", "TP9"), ("M2", "A2", "TP10"))
    for reference in (*this, this[0].lower(), f"{this[1]}_PDS"):
        assert resolve_montage([other[0], reference, channel], [channel]) == {channel: Derivation(channel, reference)}
    for reference in other:
        assert resolve_montage([channel, reference], [channel]) == {}  # only the wrong one: left out
    assert resolve_montage([channel], [channel]) == {channel: Derivation(channel)}  # none at all: by the recorder
    ready = f"{channel.lower()}:{this[0].lower()}"
    assert resolve_montage([ready, other[0]], [channel]) == {channel: Derivation(ready)}
    # M1 proper is preferred to its older and its 10-10 name, wherever they stand.
    assert resolve_montage([this[2], this[1], this[0], channel], [channel])[channel].minus == this[0]
    assert resolve_montage([this[2], this[1], channel], [channel])[channel].minus == this[1]


def test_an_exact_name_wins_over_another_spelling():
    assert resolve_montage(["c3", "C3"], ["C3"]) == {"C3": Derivation("C3")}
    assert resolve_montage(["ecg ", "EKG"], ["ECG"]) == {"ECG": Derivation("ecg ")}


def test_callers_aliases_come_before_the_built_in_ones():
    labels = ["EKG", "Lead II", "EEG(sec)"]
    aliases = {"ECG": ["lead ii"], "C3": ["absent"]}
    assert resolve_montage(labels, ["ECG", "C3"], aliases) == {
        "ECG": Derivation("Lead II"),
        "C3": Derivation("EEG(sec)"),
    }
    assert resolve_montage(["ECG", "Lead II"], ["ECG"], aliases) == {"ECG": Derivation("ECG")}


def test_chin():
    def chin(*labels):
        return resolve_montage(labels, ["Chin"]).get("Chin")

    assert chin("EMG", "Chin1", "Chin2", "Chin1-Chin2") == Derivation("Chin1-Chin2")
    assert chin("EMG", "Chin2", "Chin1") == Derivation("Chin1", "Chin2")
    assert chin("EMG1", "EMG2", "EMG3") == Derivation("EMG3", "EMG2")
    assert chin("EMG1", "EMG2") == Derivation("EMG2", "EMG1")
    assert chin("Chin1", "EMG") == Derivation("EMG")
    assert chin("Chin1") is None
    assert chin("L CHIN", "R CHIN") == Derivation("R CHIN", "L CHIN")  # another spelling, and nothing else fits
    assert chin("L CHIN", "R CHIN", "EMG") == Derivation("EMG")


def test_repeated_and_strange_labels_are_left_alone():
    assert resolve_montage(["C3", "C3#2", "", "#5"]) == {"C3": Derivation("C3")}
    assert resolve_montage([]) == {}


@pytest.mark.parametrize(
    ("aliases", "message"),
    [({"ECG": "EKG2"}, "must be a list of labels, not the string 'EKG2'"), ({"EGC": ["x"]}, "Did you mean 'ECG'")],
)
def test_bad_aliases(aliases, message):
    with pytest.raises(UsageError, match=message):
        resolve_montage(["ECG"], aliases=aliases)


def test_label_key():
    assert label_key(" EEG C3/M2_") == label_key("eegc3:m2") == "eegc3-m2"


def signal(values, rate_hz=128.0, unit="uV", source="C3"):
    return Signal(np.asarray(values, dtype=np.float64), rate_hz, unit, source)


def test_difference_is_cut_to_the_shorter():
    result = difference(signal([5, 6, 7]), signal([1, 2], source="M2"))
    assert (result.values.tolist(), result.rate_hz, result.unit, result.source) == ([4, 4], 128, "uV", "C3 - M2")


@pytest.mark.parametrize(("plus_hz", "minus_hz"), [(200, 100), (128, 256), (97.3, 97.9), (100.5, 128)])
def test_difference_at_two_rates_equals_the_published_package(plus_hz, minus_hz):
    edf = pytest.importorskip("hypnos.data.edf", reason="the reference package hypnos is not installed")
    rng = np.random.default_rng(0)
    plus, minus = rng.standard_normal(int(plus_hz * 5)), rng.standard_normal(int(minus_hz * 5))

    class Reader(FakeReader):
        def readSignal(self, index):  # noqa: N802
            return (plus, minus)[index]

        def getSampleFrequency(self, index):  # noqa: N802
            return (plus_hz, minus_hz)[index]

    expected = edf.load_psg_channels(Reader(["ChinR", "ChinL"]), ["Chin"])["Chin"].signal
    # The package cuts rates to whole hertz before it takes the difference.
    result = difference(signal(plus, int(plus_hz)), signal(minus, int(minus_hz)))
    np.testing.assert_array_equal(result.values, expected)


def test_units_of_voltage_are_matched():
    assert difference(signal([3000.0]), signal([2.0], unit="mV")).values.tolist() == [1000]
    assert difference(signal([3.0], unit=""), signal([2.0], unit="mV")).values.tolist() == [1]


def test_difference_needs_a_hertz():
    with pytest.raises(DataError, match="C3 - M2: sampled at 128 and 0.5 Hz"):
        difference(signal([1.0]), signal([1.0], 0.5, source="M2"))


@pytest.mark.parametrize("plus_hz", [99.5, 85.33, 49.999999999])
def test_difference_of_fractional_rates_does_not_drift(plus_hz):
    seconds = 600
    n_plus, n_minus = round(plus_hz * seconds), 128 * seconds
    t_plus, t_minus = np.arange(n_plus) / plus_hz, np.arange(n_minus) / 128
    slow = 2 * np.pi * 0.5
    result = difference(signal(np.sin(slow * t_plus), plus_hz), signal(np.sin(slow * t_minus), 128.0))
    middle = slice(int(5 * plus_hz), -int(5 * plus_hz))
    assert abs(len(result.values) / plus_hz - seconds) < 0.1
    assert np.abs(result.values[middle]).max() < 0.02  # a drift of a second would give up to 2
