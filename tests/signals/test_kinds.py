"""Modalities told from labels, beside a published table that nobody here wrote; and files of which some are hidden."""

import json

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.errors import DataError
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.signals.kinds import MODALITIES, OF_CANONICAL, modality_of
from hypnos_bench.signals.some import SomeChannels, whole_file

GROUPS = {"BAS": {"eeg", "eog"}, "EKG": {"ecg"}, "RESP": {"resp"}, "EMG": {"emg"}}


def test_every_canonical_channel_has_a_modality():
    assert set(OF_CANONICAL) == set(CANONICAL_CHANNELS)
    assert set(OF_CANONICAL.values()) == set(MODALITIES)


def test_sleepfms_683_labels_fall_into_its_groups(shared_data):
    table = json.loads((shared_data / "splits/sleepfm/channel_groups.json").read_text())
    wrong = {label for group, labels in table.items() for label in labels if modality_of(label) not in GROUPS[group]}
    # Pulse and belts that the table has among the muscles, a digit for a letter, and an abbreviation.
    assert wrong == {"Pleth", "Pressur", "RIP Abd", "RIP Tho", "01-A2", "Should."}


@pytest.mark.parametrize(
    ("label", "modality"),
    [
        ("EEG(sec)", "eeg"), ("EEG Fpz-Cz", "eeg"), ("F4-M1", "eeg"), ("A1", "eeg"), ("EOG(L)", "eog"), ("LOC", "eog"),
        ("ROC-M1", "eog"), ("E2-M1", "eog"), ("EMG Chin", "emg"), ("L Chin", "emg"), ("LEG/L", "emg"), ("ECGL", "ecg"),
        ("EKG", "ecg"), ("THOR RES", "resp"), ("SaO2", "resp"), ("Nasal Pressure", "resp"), ("H.R.", "resp"),
        ("POSITION", None), ("LIGHT", None), ("STAT", None), ("", None), ("OX stat", None),
    ],
)  # fmt: skip
def test_labels_of_known_cohorts(label, modality):
    assert modality_of(label) == modality


class File:
    path, files = "x.edf", ()

    def channels(self):
        return tuple(Channel(label, 100.0, "uV", 10) for label in ("C3", "ECG", "Mystery", "SaO2"))

    def unreadable(self):
        return {"ECG": "broken", "C3": "broken too"}

    def read(self, label):
        return Signal(np.zeros(10), 100.0, "uV", label)


def test_hidden_channels_are_neither_listed_nor_read():
    some = SomeChannels(File(), {"eeg"})
    assert [channel.label for channel in some.channels()] == ["C3"]
    assert set(some.unreadable()) == {"C3"}
    assert some.read("C3").source == "C3"
    for label in ("ECG", "Mystery", "SaO2"):
        with pytest.raises(DataError, match="masked"):
            some.read(label)


def test_what_a_kept_canonical_channel_is_made_from_can_be_read_and_is_not_listed():
    some = SomeChannels(File(), {"eeg"}, {"ECG"})
    assert [channel.label for channel in some.channels()] == ["C3"]
    assert some.read("ECG").source == "ECG"
    assert some.unreadable() == {"ECG": "broken", "C3": "broken too"}
    assert whole_file(some).channels() == whole_file(File()).channels() == File().channels()
