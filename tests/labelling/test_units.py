from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import CohortOptions, Event, Hypnogram, Recording, Scoring, Span, StageRun
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.labelling.classes import ClassMap
from hypnos_bench.labelling.units import read_unit_labels, rhythm_cover
from hypnos_bench.taskfiles import load_task

STAGING, AF, AROUSAL, MINUTE = (load_task(name) for name in ("staging", "af", "arousal", "apnea-minute"))


def staged(codes, first_s=0.0):
    scored = Hypnogram(first_s + 30.0 * np.arange(len(codes)), np.asarray(codes, dtype=np.int8))
    return SimpleNamespace(id="r1", hypnogram=lambda: scored)


def with_rhythm(duration_s, *spans):
    return SimpleNamespace(id="r1", duration_s=lambda: duration_s, rhythm=lambda: tuple(Span(*s) for s in spans))


def test_unscored_epochs_are_dropped_and_counted():
    labels = read_unit_labels(STAGING, staged([0, -1, 4, -1]))
    assert labels.y.tolist() == [0, 4]
    assert labels.start_s.tolist() == [0.0, 60.0]
    assert labels.dropped == {"unscored": 2}
    with pytest.raises(RecordingError, match="no labelled epoch for task staging .2 unscored"):
        read_unit_labels(STAGING, staged([-1, -1]))


def test_pure_windows_are_labelled_and_mixed_ones_dropped():
    recording = with_rhythm(125.0, ("N", 0.0, 40.0), ("AFIB", 40.0, 70.0), ("AFL", 70.0, 90.0), ("N", 90.0, 125.0))
    labels = read_unit_labels(AF, recording)
    assert labels.start_s.tolist() == [0.0, 60.0, 90.0]  # AFIB then AFL is AF throughout
    assert labels.y.tolist() == [0, 1, 0]
    assert labels.dropped == {"unlabelled": 0, "mixed": 1}


def test_majority_rule_keeps_mixed_windows():
    recording = with_rhythm(60.0, ("N", 0.0, 40.0), ("AFIB", 40.0, 60.0))
    assert read_unit_labels(replace(AF, mixed="majority"), recording).y.tolist() == [0, 1]


def test_stretches_without_annotation_stay_unlabelled():
    recording = with_rhythm(120.0, ("N", 20.0, 95.0))
    labels = read_unit_labels(AF, recording)
    assert labels.start_s.tolist() == [30.0, 60.0]
    assert labels.dropped == {"unlabelled": 2, "mixed": 0}


@given(st.lists(st.floats(0, 300), min_size=2, max_size=8, unique=True), st.floats(5, 60))
def test_cover_never_exceeds_a_window_and_adds_up(edges, unit_s):
    edges = sorted(edges)
    spans = tuple(Span("AFIB" if i % 2 else "N", a, b) for i, (a, b) in enumerate(pairwise(edges)))
    n_units = int(300 // unit_s)
    cover = rhythm_cover(spans, ClassMap({"AFIB": 1, "*": 0}), 2, n_units, unit_s)
    assert (cover >= 0).all()
    assert (cover.sum(axis=1) <= unit_s + 1e-6).all()
    end = n_units * unit_s
    expected = sum(max(0.0, min(s.stop_s, end) - min(s.start_s, end)) for s in spans)
    assert cover.sum() == pytest.approx(expected, abs=1e-6)


def test_ignored_rhythms_stay_unlabelled_although_the_catch_all_would_take_them():
    recording = with_rhythm(90.0, ("N", 0.0, 30.0), ("NOISE", 30.0, 60.0), ("VT", 60.0, 90.0))
    labels = read_unit_labels(replace(AF, ignore=("NOISE",)), recording)
    assert labels.start_s.tolist() == [0.0, 60.0]
    assert labels.dropped == {"unlabelled": 1, "mixed": 0}


def test_stages_of_fewer_classes():
    recording = staged([0, 1, 2, 3, 4, -1])
    assert read_unit_labels(load_task("staging-4"), recording).y.tolist() == [0, 1, 1, 2, 3]
    assert read_unit_labels(load_task("staging-3"), recording).y.tolist() == [0, 1, 1, 1, 2]
    assert read_unit_labels(load_task("staging-wake"), recording).y.tolist() == [1, 0, 0, 0, 0]


def scored(
    *events: tuple[str, float, float], stages: tuple[int, ...] = (0, 1, 2, -1, 4), first_s: float = 0.0
) -> Scoring:
    runs = tuple(StageRun(code, first_s + 30.0 * i, 30.0, f"epoch {i}") for i, code in enumerate(stages))
    return Scoring(stages=runs, events=tuple(Event(*event) for event in sorted(events, key=lambda e: e[1])))


Make = Callable[..., Recording]


def test_epochs_with_enough_of_an_event_are_positive(make_recording: Make) -> None:
    told = scored(("arousal", 25.0, 5.4), ("arousal", 75.0, 15.4), ("hypopnea", 0.0, 20.0), ("arousal", 95.0, 9.0))
    recording = make_recording(scoring=told, duration_s=150.0)
    labels = read_unit_labels(AROUSAL, recording)
    assert labels.start_s.tolist() == [0.0, 30.0, 60.0, 120.0]  # epoch 3 is unscored, whatever event is in it
    assert labels.y.tolist() == [1, 0, 1, 0]  # 0.4 s in epoch 1 are a touch
    assert labels.dropped == {"unscored": 1}
    assert read_unit_labels(replace(AROUSAL, overlap_s=0.3), recording).y.tolist() == [1, 1, 1, 0]
    assert read_unit_labels(replace(AROUSAL, overlap_share=0.4), recording).y.tolist() == [0, 0, 1, 0]
    assert recording.labels.reads == [1, 1, 1]  # each time once, for events and stages together


def test_the_positive_class_may_be_the_first(make_recording: Make) -> None:
    recording = make_recording(scoring=scored(("arousal", 0.0, 9.0)), duration_s=150.0)
    assert read_unit_labels(replace(AROUSAL, classes=("arousal", "none")), recording).y.tolist() == [0, 1, 1, 1]


def test_several_kinds_of_two_scopes_make_one_label(make_recording: Make) -> None:
    task = replace(AROUSAL, events=("arousal", "desaturation"))
    told = scored(("arousal", 0.0, 9.0), ("desaturation", 130.0, 9.0))
    assert read_unit_labels(task, make_recording(scoring=told, duration_s=150.0)).y.tolist() == [1, 0, 0, 1]
    barred = make_recording(scoring=told, duration_s=150.0, unusable={"desaturation": "copies"})
    with pytest.raises(RecordingError, match="copies"):
        read_unit_labels(task, barred)
    assert barred.labels.reads == []


def test_epochs_stay_where_the_scorer_put_them_for_events_too(make_recording: Make) -> None:
    told = scored(("arousal", 20.0, 9.0), first_s=17.0)
    labels = read_unit_labels(AROUSAL, make_recording(scoring=told, duration_s=180.0))
    assert labels.start_s.tolist() == [17.0, 47.0, 77.0, 137.0]
    assert labels.y.tolist() == [1, 0, 0, 0]


def test_without_stages_the_night_is_cut_from_its_start(make_recording: Make) -> None:
    told = Scoring(events=(Event("hypopnea", 40.0, 10.0),))
    labels = read_unit_labels(load_task("hypopnea"), make_recording(scoring=told, duration_s=100.0))
    assert (labels.start_s.tolist(), labels.y.tolist()) == ([0.0, 30.0, 60.0], [0, 1, 0])
    assert labels.dropped == {"unscored": 0}


def test_a_night_without_any_event_is_all_negative_and_one_without_scoring_is_refused(make_recording: Make) -> None:
    assert read_unit_labels(AROUSAL, make_recording(scoring=scored(), duration_s=150.0)).y.tolist() == [0, 0, 0, 0]
    unscored = replace(scored(), events=None)
    with pytest.raises(RecordingError, match="no events are scored"):
        read_unit_labels(AROUSAL, make_recording(scoring=unscored, duration_s=150.0))


def test_nights_scored_as_sleep_or_wake_have_respiratory_events_but_no_arousals(make_recording: Make) -> None:
    told = scored(("hypopnea", 40.0, 12.0), stages=(0, 2, 2, 2, 0))
    night = make_recording(scoring=told, duration_s=150.0, full_staging=True)
    assert read_unit_labels(load_task("hypopnea"), night).y.tolist() == [0, 1, 0, 0, 0]
    with pytest.raises(RecordingError, match="sleep or wake only"):
        read_unit_labels(AROUSAL, night)
    with pytest.raises(RecordingError, match="sleep or wake only"):
        read_unit_labels(STAGING, night)


def test_unusable_stages_leave_the_events(make_recording: Make) -> None:
    told = scored(("arousal", 40.0, 12.0))
    night = make_recording(scoring=told, duration_s=150.0, unusable={"stage": "wrong staging"})
    assert read_unit_labels(AROUSAL, night).y.tolist() == [0, 1, 0, 0]
    with pytest.raises(RecordingError, match="wrong staging"):
        read_unit_labels(STAGING, night)


def test_minutes_begin_where_the_scorer_put_them_and_must_be_whole(make_recording: Make) -> None:
    spans = (Span("A", 3.0, 63.0), Span("N", 63.0, 123.0), Span("A", 183.0, 243.0), Span("A", 243.0, 270.0))
    labels = read_unit_labels(MINUTE, make_recording(scoring=Scoring(minutes=spans), duration_s=270.0))
    assert labels.start_s.tolist() == [3.0, 63.0, 183.0]
    assert labels.y.tolist() == [1, 0, 1]
    assert labels.dropped == {"cut short": 1, "unlabelled": 0}
    only = replace(MINUTE, class_map={"A": "apnea", "X": "normal"})
    labels = read_unit_labels(only, make_recording(scoring=Scoring(minutes=spans), duration_s=270.0))
    assert labels.dropped == {"cut short": 1, "unlabelled": 1}
    with pytest.raises(RecordingError, match="no labelled window .*1 cut short"):
        read_unit_labels(MINUTE, make_recording(scoring=Scoring(minutes=spans[3:]), duration_s=270.0))


def test_labels_of_the_whole_are_not_of_stretches(make_recording: Make) -> None:
    with pytest.raises(UsageError, match="task sex has labels of whole recordings"):
        read_unit_labels(load_task("sex"), make_recording())


def fibrillating_share(record: Path, unit_s: float) -> np.ndarray:
    """Sample by sample, as the wfdb package reads the file: an oracle that shares no code with the reader."""
    wfdb = pytest.importorskip("wfdb")
    header, marks = wfdb.rdheader(str(record)), wfdb.rdann(str(record), "atr")
    in_af = np.zeros(header.sig_len, dtype=bool)
    on = False
    for at, note in [(s, n.rstrip("\0")) for s, n in zip(marks.sample, marks.aux_note) if n.startswith("(")]:
        in_af[at:], on = note in ("(AFIB", "(AFL"), note in ("(AFIB", "(AFL")
    assert not on or in_af[-1]
    n = round(unit_s * header.fs)
    return in_af[: len(in_af) // n * n].reshape(-1, n).mean(axis=1)


def test_real_rhythms(shared_data: Path) -> None:
    cohort = card_cohort("cpsc2021").open(CohortOptions(root=shared_data / "cpsc2021-af"))
    assert len(cohort.recordings) == 9
    pure: dict[str, list[int]] = {}
    for recording in cohort.recordings:
        expected = fibrillating_share(shared_data / f"cpsc2021-af/{recording.id}", 30.0)
        by_majority = read_unit_labels(replace(AF, mixed="majority"), recording)
        assert by_majority.share is not None
        np.testing.assert_allclose(by_majority.share, expected, atol=2 / 6000)
        assert by_majority.y.tolist() == (expected > 0.5).astype(int).tolist()
        clear = (expected < 1e-3) | (expected > 1 - 1e-3)
        if not clear.any():
            with pytest.raises(RecordingError, match="no labelled window for task af .3 mixed."):
                read_unit_labels(AF, recording)
            continue
        labels = read_unit_labels(AF, recording)
        assert labels.y.tolist() == (expected[clear] > 0.5).astype(int).tolist()
        assert labels.dropped == {"unlabelled": 0, "mixed": int((~clear).sum())}
        pure.setdefault(recording.record_codes()[0], []).extend(labels.y.tolist())
    assert {kind: sorted(set(y)) for kind, y in pure.items()} == {"non": [0], "paroxysmal": [0, 1], "persistent": [1]}


def test_real_minutes(shared_data: Path) -> None:
    """Apnea-ECG a01: 489 minutes, 470 with apnea, as its table of additional information has it."""
    root = shared_data / "apneaecg-rr70/wfdb"
    cohort = card_cohort("apnea-ecg").open(CohortOptions(root=root))
    recording = next(r for r in cohort.recordings if r.id == "a01")
    labels = read_unit_labels(MINUTE, recording)
    assert np.bincount(labels.y).tolist() == [19, 470]
    assert labels.start_s[:3].tolist() == [0.0, 60.0, 120.0]
