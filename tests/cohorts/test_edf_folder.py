from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CohortOptions
from hypnos_bench.cohorts.edf_folder import SOURCE, scoring_files
from hypnos_bench.cohorts.writers.edf_folder import SCORINGS, write_csv_hypnogram, write_edf_folder
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.errors import DataError, RecordingError, UsageError

SC4001 = Path(__file__).parents[2] / "../shared/data/sleepedf-sc4001"
MISC = Path(__file__).parents[2] / "../shared/data/hypnograms-misc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Written]]:
    root = tmp_path_factory.mktemp("edf")
    return root, dict(zip(SCORINGS, write_edf_folder(root), strict=True))


@pytest.mark.parametrize("scoring", SCORINGS[:-1])
def test_every_way_of_scoring_is_read_back(folder: tuple[Path, dict[str, Written]], scoring: str) -> None:
    expected = folder[1][scoring]
    recording = next(r for r in SOURCE.open(CohortOptions(folder[0])).recordings if r.id == expected.id)
    assert recording.duration_s() == expected.duration_s
    assert tuple(recording.stages()) == expected.stages
    if not expected.events:  # stages alone do not say that there were none
        with pytest.raises(RecordingError, match="no events are scored"):
            recording.events()
    else:
        events = [dataclasses.replace(e, kind="hypopnea") if e.kind == "unsure" else e for e in expected.events]
        assert list(recording.events()) == events


def test_hypnograms_are_no_recordings(folder: tuple[Path, dict[str, Written]]) -> None:
    cohort = SOURCE.open(CohortOptions(folder[0]))
    assert [r.id for r in cohort.recordings] == [f"night{i + 1}" for i in range(len(SCORINGS))]
    assert [r.person for r in cohort.recordings] == [r.id for r in cohort.recordings]
    assert cohort.card.split.kind == "cv5"


def test_no_scoring_says_where_it_was_looked_for(folder: tuple[Path, dict[str, Written]]) -> None:
    recording = SOURCE.open(CohortOptions(folder[0])).recordings[-1]
    with pytest.raises(RecordingError, match=r"night6: night6.edf: no sleep stage is scored; no night6-nsrr.xml, "):
        recording.stages()


def test_montage_comes_from_the_alias_table(folder: tuple[Path, dict[str, Written]]) -> None:
    montage = SOURCE.open(CohortOptions(folder[0])).recordings[0].montage
    assert {"C3": "C3-M2", "C4": "C4-M1", "ECG": "ECG"}.items() <= {k: str(d) for k, d in montage.items()}.items()


def test_several_scoring_files_follow_the_precedence_and_are_reported(tmp_path: Path) -> None:
    (written,) = write_edf_folder(tmp_path, ["nsrr-xml"])
    write_csv_hypnogram(tmp_path / "night1.csv", [0] * 12)
    shutil.copy(tmp_path / "night1-nsrr.xml", tmp_path / "night1.xml")
    cohort = SOURCE.open(CohortOptions(tmp_path))
    assert tuple(cohort.recordings[0].stages()) == written.stages
    assert "night1 (used night1-nsrr.xml, not night1.xml, night1.csv)" in cohort.card.note
    assert "Several" not in SOURCE.card.note


def test_precedence(tmp_path: Path) -> None:
    endings = ["-nsrr.xml", ".xml", "-Hypnogram.edf", ".csv"]
    for ending in reversed(endings):
        (tmp_path / f"a{ending}").touch()
    assert [p.name for p in scoring_files(tmp_path / "a.edf")] == [f"a{ending}" for ending in endings]


def test_sleep_edf_pairs_by_six_characters(tmp_path: Path) -> None:
    written = write_edf_folder(tmp_path, ["hypnogram"] * 3, sleep_edf=True)
    assert sorted(p.name for p in tmp_path.iterdir())[:2] == ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"]
    cohort = SOURCE.open(CohortOptions(tmp_path, person_pattern=r"^(SC4\d\d)"))
    assert [(r.id, r.person) for r in cohort.recordings] == [
        ("SC4001E0-PSG", "SC400"),
        ("SC4002E0-PSG", "SC400"),
        ("SC4011E0-PSG", "SC401"),
    ]
    for recording, expected in zip(cohort.recordings, written, strict=True):
        assert tuple(recording.stages()) == expected.stages


def test_other_psg_names_do_not_pair_by_six_characters(tmp_path: Path) -> None:
    for name in ("patient1-PSG.edf", "patient2-Hypnogram.edf", "patient1-Hypnogram.edf"):
        (tmp_path / name).touch()
    assert [p.name for p in scoring_files(tmp_path / "patient1-PSG.edf")] == ["patient1-Hypnogram.edf"]


def test_subfolders_are_searched_and_repeated_names_left_out(tmp_path: Path) -> None:
    write_edf_folder(tmp_path / "a", ["csv", "csv"], n_epochs=1)
    write_edf_folder(tmp_path / "b", ["csv"], n_epochs=1)
    cohort = SOURCE.open(CohortOptions(tmp_path))
    assert [r.id for r in cohort.recordings] == ["night2"]
    assert cohort.excluded[0].reason == "found 2 times: a/night1.edf, b/night1.edf; keep one"


def test_person_patterns_that_do_not_fit(tmp_path: Path) -> None:
    write_edf_folder(tmp_path, ["csv"], n_epochs=1)
    with pytest.raises(UsageError, match="finds no person in recording 'night1'"):
        SOURCE.open(CohortOptions(tmp_path, person_pattern="^(x)"))
    with pytest.raises(UsageError, match="not a regular expression"):
        SOURCE.open(CohortOptions(tmp_path, person_pattern="(["))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Looked for \*.edf .* night1-Hypnogram.edf"):
        SOURCE.open(CohortOptions(tmp_path))


def test_a_csv_that_is_no_text_names_the_file(tmp_path: Path) -> None:
    write_edf_folder(tmp_path, ["csv"], n_epochs=1)
    (tmp_path / "night1.csv").write_bytes(b"stage\n\xff\xfe\n")
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match=r"night1: night1.csv: line"):
        recording.stages()


@pytest.mark.skipif(not SC4001.is_dir(), reason="no shared sleepedf-sc4001")
def test_real_sleep_edf_hypnogram(tmp_path: Path) -> None:
    """SC4001: 22 h 5 min scored from 30,630 s on, then an unscored stretch that outlasts the signals."""
    from hypnos_bench.signals.edf_writer import write_edf

    write_edf(tmp_path / "SC4001E0-PSG.edf", [("EEG Fpz-Cz", 1.0, "uV", np.zeros(79500))])
    shutil.copy(SC4001 / "SC4001EC-Hypnogram.edf", tmp_path)
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    stages = recording.stages()
    assert len(stages) == 2650
    assert (stages[:1021] == 0).all()
    assert stages[1021:1025].tolist() == [1, 1, 1, 1]  # 30,630 s: 120 s of stage 1
    assert stages[1025:1038].tolist() == [2] * 13  # 30,750 s: 390 s of stage 2
    assert np.bincount(stages).tolist() == [1997, 58, 250, 220, 125]  # as counted by others, 3 and 4 together


@pytest.mark.skipif(not SC4001.is_dir(), reason="no shared sleepedf-sc4001")
def test_real_hypnogram_beside_a_cut_signal_is_refused(tmp_path: Path) -> None:
    shutil.copy(SC4001 / "short_psg.edf", tmp_path / "SC4001E0-PSG.edf")
    shutil.copy(SC4001 / "SC4001EC-Hypnogram.edf", tmp_path)
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match="up to 79500 s, but the signals last 300 s"):
        recording.stages()


@pytest.mark.skipif(not MISC.is_dir(), reason="no shared hypnograms-misc")
def test_a_five_second_csv_of_another_night_is_refused(tmp_path: Path) -> None:
    write_edf_folder(tmp_path, ["none"], n_epochs=1)
    shutil.copy(MISC / "sleepfm_demo_psg.csv", tmp_path / "night1.csv")
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match="night1.csv: .*sleep is scored up to 2015 s, but the signals last 30 s"):
        recording.stages()


def test_mains_are_told_by_the_user(tmp_path):
    write_edf_folder(tmp_path)
    assert SOURCE.open(CohortOptions(root=tmp_path)).recordings[0].mains_hz == 50.0
    assert SOURCE.open(CohortOptions(root=tmp_path, mains_hz=60.0)).recordings[0].mains_hz == 60.0


def test_generated_signals_are_no_recordings(tmp_path):
    from hypnos_bench.signals.edf_writer import write_edf

    write_edf_folder(tmp_path, ["csv"], n_epochs=1)
    write_edf(tmp_path / "made.edf", [("C3-M2", 10.0, "uV", [0.0] * 300)], recording="synthetic X hypnos-bench")
    cohort = SOURCE.open(CohortOptions(root=tmp_path))
    assert [r.id for r in cohort.recordings] == ["night1"]
    assert [(e.recording, e.reason) for e in cohort.excluded] == [
        ("made", "made.edf: made by hypnos-bench synthesize, not recorded")
    ]
