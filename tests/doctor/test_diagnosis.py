"""Checkups put together: counts, and what is called a loss."""

from dataclasses import replace

import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Exclusion
from hypnos_bench.cohorts.card import Exclude, Flag
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.doctor import diagnose


@pytest.fixture(scope="module")
def layout():
    return load_layout("mros")


def whats(diagnosis):
    return [loss.what for loss in diagnosis.losses]


def cases(diagnosis):
    return {case.recording: case.reason for loss in diagnosis.losses for case in loss.cases}


def test_counts_are_sums_over_recordings(night, cohort_of):
    checkups = [
        night(1, visit="1"),
        night(2, visit="1", montage={"C3": "C3 - A2"}),
        night(3, person="p0001", visit="2"),
    ]
    d = diagnose(cohort_of(checkups), checkups)
    assert (d.n_recordings, d.n_readable, d.n_persons, d.hours) == (3, 3, 2, 25.0)
    assert d.visits == {"1": 2, "2": 1}
    assert d.annotations == {"nsrr-xml": 3}
    assert d.n_labelled == {"stage": 3, "events": 3}
    assert d.labels["stage"]["N2"] == 1500
    assert d.labels["events"] == {"hypopnea": 9}
    assert d.epochs_with == {"arousal": 0, "respiratory": 9, "desaturation": 0}
    assert d.montage["C3"] == {"C3 - ref": 2, "C3 - A2": 1}
    assert d.montage["Chin"] == {"Chin - ref": 2, "absent": 1}
    assert d.rates_hz["C3"] == {"256": 3}
    assert d.losses == ()


def test_nights_without_events_are_counted_by_scope(night, cohort_of):
    quiet = {"labels": {"stage": {"W": 1}, "events": {}}}
    checkups = [night(1), night(2, **quiet), night(3, **quiet, ruled_out={"arousal": "scorer: unreliable"})]
    d = diagnose(cohort_of(checkups), checkups)
    assert d.n_without_events == {"any": 2, "arousal": 2, "respiratory": 2, "desaturation": 3}
    assert d.losses == ()  # a night without events is a finding of the scorer


def test_an_unreadable_header_counts_for_no_channel(night, cohort_of):
    checkups = [night(1), night(2, problems={"signals": "truncated"}, montage={}, labels={}, rates_hz={}, units={})]
    d = diagnose(cohort_of(checkups), checkups)
    assert (d.n_recordings, d.n_readable) == (2, 1)
    assert d.montage["C3"] == {"C3 - ref": 1}
    assert cases(d) == {"n0002": "truncated"}


def test_exclusions_are_losses_unless_the_card_states_them(night, cohort_of, layout):
    checkups = [night(1)]
    left_out = [Exclusion("a", "by the card"), Exclusion("b", "by a flag"), Exclusion("c", "found 2 times")]
    stated = replace(
        layout,
        exclude=(Exclude(("all",), "by the card"),),
        flags=(Flag("column", "1", "by a flag", ("all",)), Flag("other", "1", "found 2 times", ("stage",))),
    )
    cohort = cohort_of(checkups, excluded=left_out)
    assert cases(diagnose(cohort, checkups, stated)) == {"c": "found 2 times"}
    assert set(cases(diagnose(cohort, checkups))) == {"a", "b", "c"}


@pytest.mark.parametrize("kind", ["signals", "annotation", "stage"])
def test_problems_are_losses(night, cohort_of, kind):
    checkups = [night(1), night(2, problems={kind: "because"})]
    d = diagnose(cohort_of(checkups), checkups)
    assert cases(d) == {"n0002": "because"}
    assert kind in whats(d)[0]


def test_what_the_card_rules_out_is_no_loss(night, cohort_of):
    checkups = [night(i, ruled_out={"stage": f"n{i:04d}.xml: sleep or wake only"}) for i in (1, 2)]
    d = diagnose(cohort_of(checkups), checkups)
    assert d.losses == ()
    assert d.ruled_out == {"stage: n0001.xml: sleep or wake only": 2}


def test_unknown_texts_and_unreadable_channels_are_losses(night, cohort_of):
    checkups = [night(1, unknown={"flow halved": 3, "another": 1}), night(2, unreadable={"C3": "no calibration"})]
    d = diagnose(cohort_of(checkups), checkups)
    assert cases(d) == {"n0001": "'another', 'flow halved'", "n0002": "no calibration"}
    assert d.unknown == {"flow halved": 3, "another": 1}


def test_a_kind_that_others_with_the_same_reader_have_is_a_loss(night, cohort_of):
    without = {"labels": {"stage": {"W": 1}}, "absent": {"events": "no events"}}
    checkups = [night(1), night(2, **without), night(3, **without, annotation="csv-hypnogram")]
    assert cases(diagnose(cohort_of(checkups), checkups)) == {"n0002": "no events"}


def test_a_kind_that_nobody_has_is_a_loss_only_where_the_card_promises_it(night, cohort_of, layout):
    without = {"labels": {"stage": {"W": 1}}, "absent": {"events": "no events"}}
    checkups = [night(1, **without), night(2, **without)]
    assert diagnose(cohort_of(checkups), checkups).losses == ()
    assert whats(diagnose(cohort_of(checkups), checkups, layout)) == [
        "events is annotated in no recording, though the card offers it"
    ]


def test_a_channel_that_some_recordings_lack_is_shown_and_no_loss(night, cohort_of, layout):
    channels = {channel: channel for channel in CANONICAL_CHANNELS if channel != "Chin"}
    checkups = [night(1), night(2, montage=channels, unused=("SpO2", "Leg L"))]
    d = diagnose(cohort_of(checkups), checkups, layout)
    assert d.montage["Chin"]["absent"] == 1
    assert d.losses == ()


def test_a_channel_that_no_recording_has_is_a_loss_where_the_card_has_rules(night, cohort_of, layout):
    channels = {channel: channel for channel in CANONICAL_CHANNELS if channel != "Chin"}
    checkups = [night(1, montage=channels, unused=("Kinn",))]
    (loss,) = diagnose(cohort_of(checkups), checkups, layout).losses
    assert loss.what == "Chin is made in no recording (say how: [channels] Chin)"
    assert loss.details == ("labels that are not used: 'Kinn'",)
    ecg_only = replace(layout, channels={"ECG": layout.channels["ECG"]})
    alone = [night(1, montage={"ECG": "II"}, unused=("I",))]
    assert diagnose(cohort_of(alone), alone, ecg_only).losses == ()
    assert diagnose(cohort_of(checkups), checkups).losses == ()


LIKE = {
    "C3": ("EEG C3-Ref", "c3m2x", "C3"),
    "E1": ("E1-AVG", "EOG L", "LOC-A2"),
    "E2": ("EOG(R)2", "ROC"),
    "Chin": ("EMG submental", "chin left"),
    "ECG": ("EKG 2", "ECG-V5"),
    "ABD": ("Abdo Effort", "abdomen"),
    "THX": ("Thor Effort", "Chest RIP"),
}


@pytest.mark.parametrize(("channel", "label"), [(c, label) for c, labels in LIKE.items() for label in labels])
def test_a_label_that_looks_like_an_absent_channel_is_a_loss(night, cohort_of, layout, channel, label):
    montage = {c: c for c in CANONICAL_CHANNELS if c != channel}
    checkups = [night(1), night(2, montage=montage, unused=("SpO2", label))]
    assert cases(diagnose(cohort_of(checkups), checkups, layout)) == {"n0002": repr(label)}


@pytest.mark.parametrize("label", ["FC3", "C34", "EEG F3", "Loch", "EMG leg", "Flow", "Position", "SpO2", "Airflow"])
def test_other_labels_look_like_nothing(night, cohort_of, layout, label):
    checkups = [night(1), night(2, montage={"C4": "C4"}, unused=(label,))]
    assert diagnose(cohort_of(checkups), checkups, layout).losses == ()


def test_a_recording_without_any_channel_is_a_loss(night, cohort_of):
    checkups = [night(1), night(2, montage={}, unused=("Q1", "Q2")), night(3, montage={})]
    assert cases(diagnose(cohort_of(checkups), checkups)) == {
        "n0002": "no channel is recognised in 'Q1', 'Q2'",
        "n0003": "the file holds no channel",
    }


def test_a_cohort_of_embeddings_has_no_channels_and_loses_nothing(night, cohort_of):
    checkups = [night(i, montage={}) for i in (1, 2)]
    assert diagnose(cohort_of(checkups), checkups).losses == ()


def test_what_tables_lack_is_one_finding(night, cohort_of):
    checkups = [night(1)]
    gaps = ("covariate bmi: no table has a column bmi", "table not found: datasets/x.csv")
    (loss,) = diagnose(cohort_of(checkups, gaps=gaps), checkups).losses
    assert (loss.cases, loss.details) == ((), gaps)


def test_notes_that_differ_by_numbers_are_counted_together(night, cohort_of):
    notes = [
        "3 epochs without a stage, in 1 gaps, the first at 30 s",
        "12 epochs without a stage, in 2 gaps, the first at 0.5 s",
    ]
    checkups = [night(i, notes=(note, f"n{i:04d}: odd")) for i, note in enumerate(notes, start=1)]
    checkups.append(night(3, notes=("N1 and N2 unreliable",)))
    checkups.append(night(4, notes=("N2 and N3 unreliable",)))
    d = diagnose(cohort_of(checkups), checkups)
    assert d.notes == {notes[0]: 2, "n0001: odd": 2, "N1 and N2 unreliable": 1, "N2 and N3 unreliable": 1}
