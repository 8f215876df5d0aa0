from __future__ import annotations

import dataclasses
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Cohort, CohortOptions, Derivation, Event, Recording
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.cohorts.writers.cpsc2021 import write_cpsc2021_tree
from hypnos_bench.cohorts.writers.mros import ODDITIES, write_mros_tree
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.errors import DataError, RecordingError, UsageError

HOURS = 0.1  # 12 epochs: every stage is in them


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Written]]:
    root = tmp_path_factory.mktemp("mros")
    written = write_mros_tree(root, n_persons=2, hours=HOURS, seed=3, oddities=tuple(ODDITIES))
    return root, {w.id: w for w in written}


@pytest.fixture(scope="module")
def cohort(tree: tuple[Path, dict[str, Written]]) -> Cohort:
    return card_cohort("mros").open(CohortOptions(tree[0]))


def get(cohort: Cohort, oddity: str, visit: str = "1") -> Recording:
    recording_id = f"mros-visit{visit}-{ODDITIES.get(oddity, oddity)}"
    return next(r for r in cohort.recordings if r.id == recording_id)


def as_read(events: Sequence[Event]) -> list[Event]:
    return [dataclasses.replace(e, kind="hypopnea") if e.kind == "unsure" else e for e in events]


def test_every_edf_is_a_recording(tree: tuple[Path, dict[str, Written]], cohort: Cohort) -> None:
    assert [r.id for r in cohort.recordings] == sorted(tree[1])
    assert [r.cohort for r in cohort.recordings] == ["mros"] * len(tree[1])
    assert cohort.card.split.kind == "holdout"


def test_stages_events_lengths_and_covariates_come_back(tree: tuple[Path, dict[str, Written]], cohort: Cohort) -> None:
    checked = 0
    for recording in cohort.recordings:
        expected = tree[1][recording.id]
        assert recording.duration_s() == expected.duration_s
        assert (recording.person, recording.visit) == (expected.person, expected.visit)
        assert expected.covariates.items() <= recording.covariates.items()
        if not recording.unusable and recording.labels.files:
            if recording.person != ODDITIES["sleep-wake-unflagged"]:
                assert tuple(recording.stages()) == expected.stages
            assert list(recording.events()) == as_read(expected.events)
            checked += 1
    assert checked >= 7


def test_person_is_shared_by_both_visits(cohort: Cohort) -> None:
    both = [r for r in cohort.recordings if r.person == "aa0001"]
    assert [(r.id, r.visit) for r in both] == [("mros-visit1-aa0001", "1"), ("mros-visit2-aa0001", "2")]


def test_rk_stage_4_is_n3(tree: tuple[Path, dict[str, Written]], cohort: Cohort) -> None:
    recording = get(cohort, "aa0001")
    assert b"Stage 4 sleep|4" in recording.labels.files[0].read_bytes()
    assert 3 in recording.stages()


def test_montage_of_visit_1(cohort: Cohort) -> None:
    montage = get(cohort, "aa0001").montage
    assert tuple(montage) == CANONICAL_CHANNELS
    assert {name: str(d) for name, d in montage.items()} == {
        "C3": "C3 - A2",
        "C4": "C4 - A1",
        "E1": "LOC - A2",
        "E2": "ROC - A1",
        "Chin": "L Chin - R Chin",
        "ECG": "ECG L - ECG R",
        "ABD": "Abdominal",
        "THX": "Thoracic",
    }


def test_montage_of_visit_2(cohort: Cohort) -> None:
    montage = get(cohort, "aa0001", visit="2").montage
    assert {name: str(d) for name, d in montage.items()} == {
        "C3": "C3 - M2",
        "C4": "C4 - M1",
        "E1": "E1 - M2",
        "E2": "E2 - M1",
        "Chin": "LChin - RChin",
        "ECG": "ECGL - ECGR",
        "ABD": "ABD",
        "THX": "Chest",
    }


def test_montage_of_pre_referenced_files(cohort: Cohort) -> None:
    montage = get(cohort, "pre-referenced").montage
    assert montage["C3"] == Derivation("C3-A2")
    assert montage["E1"] == Derivation("LOC")
    assert montage["Chin"] == Derivation("L Chin-R Chin")
    assert montage["ECG"] == Derivation("ECG L-ECG R")


def test_montage_of_visit_1_labels_at_visit_2(cohort: Cohort) -> None:
    montage = get(cohort, "visit-1-labels-at-visit-2", visit="2").montage
    assert montage["E1"] == Derivation("LOC", "M2")
    assert montage["ECG"] == Derivation("ECG L", "ECG R")


def test_signals_at_native_rates(cohort: Cohort) -> None:
    recording = get(cohort, "aa0001")
    rates = {}
    for name in CANONICAL_CHANNELS:
        signal = recording.signal(name)
        assert signal is not None
        assert len(signal.values) == recording.duration_s() * signal.rate_hz
        rates[name] = signal.rate_hz
    assert rates == {"C3": 256, "C4": 256, "E1": 256, "E2": 256, "Chin": 256, "ECG": 512, "ABD": 16, "THX": 16}
    second = get(cohort, "aa0001", visit="2").signal("ECG")
    assert second is not None
    assert second.rate_hz == 1024
    assert recording.mains_hz == 60.0


def test_a_referenced_channel_is_the_difference(cohort: Cohort) -> None:
    recording = get(cohort, "aa0001")
    c3 = recording.signal("C3")
    assert c3 is not None
    expected = recording.signals.read("C3").values - recording.signals.read("A2").values
    np.testing.assert_allclose(c3.values, expected, rtol=0, atol=1e-9)


def test_signals_tell_stages_apart(cohort: Cohort) -> None:
    recording = get(cohort, "aa0001")
    c3 = recording.signal("C3")
    assert c3 is not None
    stages = recording.stages()
    epochs = c3.values[: len(stages) * 7680].reshape(len(stages), -1)
    power = epochs.std(axis=1)
    assert power[stages == 3].min() > 1.5 * power[stages == 4].max()


def test_wrong_staging_is_unusable_for_stages_only(cohort: Cohort) -> None:
    recording = get(cohort, "wrong-staging")
    with pytest.raises(RecordingError, match="wrong staging"):
        recording.stages()
    assert recording.events()


def test_lists_by_id_concern_visit_1(tree: tuple[Path, dict[str, Written]], tmp_path: Path) -> None:
    for path in tree[0].rglob("*visit1-aa2033*"):
        target = tmp_path / str(path.relative_to(tree[0])).replace("visit1", "visit2")
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    (recording,) = card_cohort("mros").open(CohortOptions(tmp_path)).recordings
    assert (recording.id, recording.unusable) == ("mros-visit2-aa2033", {})
    assert len(recording.stages()) == 12


def test_no_event_scoring_is_unusable_for_events_only(cohort: Cohort) -> None:
    recording = get(cohort, "no-event-scoring")
    with pytest.raises(RecordingError, match="no event scoring"):
        recording.events()
    assert len(recording.stages()) == 12


@pytest.mark.parametrize(
    ("oddity", "words"),
    [("sleep-wake-flag", "poprstag = 1"), ("sleep-wake-harmonized-flag", "nsrr_flag_spsw")],
)
def test_flagged_sleep_wake_scoring_is_unusable(cohort: Cohort, oddity: str, words: str) -> None:
    recording = get(cohort, oddity)
    assert set(recording.unusable) == {"stage", "arousal"}
    with pytest.raises(RecordingError, match=words):
        recording.stages()
    with pytest.raises(RecordingError, match=words):
        recording.events("arousal")
    assert {e.kind for e in recording.events("respiratory")} <= {"hypopnea", "obstructive-apnea", "central-apnea"}


def test_unflagged_sleep_wake_scoring_is_found_by_its_stages(cohort: Cohort) -> None:
    for read in (Recording.stages, lambda recording: recording.events("arousal")):
        with pytest.raises(RecordingError, match="no N1, N3 or REM in the whole night"):
            read(get(cohort, "sleep-wake-unflagged"))
    assert get(cohort, "sleep-wake-unflagged").events("respiratory")


def test_an_edf_without_annotation_stays_and_says_where_it_was_expected(cohort: Cohort) -> None:
    recording = get(cohort, "no-xml")
    assert recording.labels.files == ()
    assert recording.signal("C3") is not None
    expected = "polysomnography/annotations-events-nsrr/visit1/mros-visit1-aa9006-nsrr.xml"
    for read in (recording.stages, recording.events):
        with pytest.raises(RecordingError, match=f"no annotation file, expected at {expected}"):
            read()


def test_an_annotation_without_edf_is_listed(cohort: Cohort) -> None:
    assert [e.recording for e in cohort.excluded] == ["mros-visit1-aa9004"]
    assert "annotation without signals" in cohort.excluded[0].reason


def test_a_fixed_copy_counts_once_and_is_preferred(cohort: Cohort) -> None:
    recordings = [r for r in cohort.recordings if r.person == ODDITIES["fixed-copy"]]
    assert [r.signals.path.name for r in recordings] == ["mros-visit1-aa9005_fixed.edf"]
    assert recordings[0].id == "mros-visit1-aa9005"
    assert recordings[0].labels.files[0].name == "mros-visit1-aa9005-nsrr.xml"


def test_covariates(cohort: Cohort) -> None:
    covariates = get(cohort, "aa0001").covariates
    assert covariates["sex"] == "male"
    assert covariates["race"] == "white"
    assert covariates["age"] > 60  # the older table says 1
    assert "race" not in get(cohort, "aa0001", visit="2").covariates  # no harmonised table at visit 2
    assert get(cohort, "aa0001", visit="2").covariates["age"] > 60


def test_no_rhythm(cohort: Cohort) -> None:
    with pytest.raises(RecordingError, match="no heart rhythm"):
        get(cohort, "aa0001").rhythm()


def test_recordings_travel_to_other_processes(cohort: Cohort) -> None:
    recording = get(cohort, "aa0001")
    assert recording.montage["C3"] == Derivation("C3", "A2")
    copy = pickle.loads(pickle.dumps(recording))
    assert copy.stages().tolist() == recording.stages().tolist()
    assert dict(copy.montage) == dict(recording.montage)
    assert copy.source_fingerprint() == recording.source_fingerprint()


def test_opening_reads_no_header(tmp_path: Path) -> None:
    folder = tmp_path / "polysomnography/edfs/visit1"
    folder.mkdir(parents=True)
    (folder / "mros-visit1-aa0001.edf").write_bytes(b"garbage")
    (recording,) = card_cohort("mros").open(CohortOptions(tmp_path)).recordings
    assert recording.covariates == {"sex": "male"}  # no table, no covariate but the constant
    with pytest.raises(RecordingError):
        recording.duration_s()
    with pytest.raises(RecordingError):
        dict(recording.montage)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_mros_tree(tmp_path, n_persons=1, hours=1 / 60, visits=("1",), folder="")
    return tmp_path


def test_the_cohort_folder_may_be_the_root(small: Path) -> None:
    (recording,) = card_cohort("mros").open(CohortOptions(small)).recordings
    assert recording.covariates["age"] > 60
    assert len(recording.stages()) == 2


def test_strange_names_and_repeats_are_listed(small: Path) -> None:
    edf = small / "polysomnography/edfs/visit1/mros-visit1-aa0001.edf"
    shutil.copy(edf, edf.with_name("aa0001.edf"))
    shutil.copy(edf, edf.with_name("mros-visit1-aa0002.edf"))
    again = edf.parent / "again"
    again.mkdir()
    shutil.copy(edf, again)
    cohort = card_cohort("mros").open(CohortOptions(small))
    assert [r.id for r in cohort.recordings] == ["mros-visit1-aa0002"]
    reasons = {e.recording: e.reason for e in cohort.excluded}
    assert "does not fit" in reasons["aa0001"]
    assert "found 2 times" in reasons["mros-visit1-aa0001"]


def test_a_malformed_annotation_names_recording_and_file(small: Path) -> None:
    xml = next(small.rglob("*-nsrr.xml"))
    xml.write_bytes(xml.read_bytes()[:-30])
    (recording,) = card_cohort("mros").open(CohortOptions(small)).recordings
    with pytest.raises(RecordingError, match=r"^mros-visit1-aa0001: mros-visit1-aa0001-nsrr.xml: malformed XML"):
        recording.stages()
    with pytest.raises(RecordingError, match="malformed XML"):
        recording.events()


def test_wrong_roots(tmp_path: Path, small: Path) -> None:
    with pytest.raises(UsageError, match="--root"):
        card_cohort("mros").open(CohortOptions())
    with pytest.raises(DataError, match="does not exist"):
        card_cohort("mros").open(CohortOptions(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no polysomnography/edfs folder; expected .*mros-visit1-aa0001.edf"):
        card_cohort("mros").open(CohortOptions(tmp_path / "empty"))
    next(small.rglob("*.edf")).unlink()
    with pytest.raises(DataError, match=r"no usable recording .*1 left out, the first: mros-visit1-aa0001: annotation"):
        card_cohort("mros").open(CohortOptions(small))
    with pytest.raises(UsageError, match="drop the person pattern"):
        card_cohort("mros").open(CohortOptions(small, person_pattern="(a)"))


def test_several_top_folders_are_told_and_the_newest_is_read(tmp_path: Path) -> None:
    name = "paroxysmal-atrial-fibrillation-events-detection-from-dynamic-ecg-recordings"
    for version in ("1.9.0", "1.10.0"):
        folder = tmp_path / f"{name}-{version}"
        write_cpsc2021_tree(folder, n_persons=1, records=1, minutes=0.1)
    cohort = card_cohort("cpsc2021").open(CohortOptions(tmp_path))
    assert {r.signals.path.is_relative_to(folder) for r in cohort.recordings} == {True}
    (told,) = cohort.gaps
    assert told.startswith(f"several top folders: {name}-1.10.0, {name}-1.9.0; only the first is read")
