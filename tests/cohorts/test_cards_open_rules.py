"""Rules of single cards of open sets: what must lie beside a record, versions of labels, folders, wake by day."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Cohort, CohortOptions, Hypnogram, Recording
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.downloads.source import load_source
from hypnos_bench.cohorts.opener import CardCohort
from hypnos_bench.cohorts.writers import ecg_sets
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf_writer import write_edf

ZIPS = {
    "sleep-edf": "sleep-edf-database-expanded-1.0.0",
    "hmc": "haaglanden-medisch-centrum-sleep-staging-database-1.1",
    "cap": "cap-sleep-database-1.0.0",
    "ucddb": "st-vincents-university-hospital-university-college-dublin-sleep-apnea-database-1.0.0",
    "slpdb": "mit-bih-polysomnographic-database-1.0.0",
    "physionet-2018": "you-snooze-you-win-the-physionet-computing-in-cardiology-challenge-2018-1.0.0",
    "afdb": "mit-bih-atrial-fibrillation-database-1.0.0",
    "ltafdb": "long-term-af-database-1.0.0",
    "shdb-af": "shdb-af-a-japanese-holter-ecg-database-of-atrial-fibrillation-1.0.1",
    "cpsc2021": "paroxysmal-atrial-fibrillation-events-detection-from-dynamic-ecg-recordings-"
    "the-4th-china-physiological-signal-challenge-2021-1.0.0",
    "cinc2017": "af-classification-from-a-short-single-lead-ecg-recording-"
    "the-physionet-computing-in-cardiology-challenge-2017-1.0.0",
    "mitdb": "mit-bih-arrhythmia-database-1.0.0",
    "ptb-xl": "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.3",
    "apnea-ecg": "apnea-ecg-database-1.0.0",
}
"""Folder that PhysioNet's archive of a set unpacks to."""

SUBFOLDER = ("afdb", "ltafdb", "ucddb")
"""Sets whose archive held one more folder, ``files``, at some time."""


def tree(base: Path, *paths: str) -> Path:
    """Empty files, and tables where a path is followed by ``=`` and their text."""
    for path in paths:
        name, _, text = path.partition("=")
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text, encoding="utf-8")
    return base


def opened(cohort: str, root: Path, settings: Path | None = None) -> Cohort:
    return CardCohort(cohort).open(CohortOptions(root, settings=settings))


def codes(cohort: Cohort) -> dict[str, str]:
    return {r.id: r.record_codes()[0] for r in cohort.recordings}


TOP = {
    "cinc2017": "REFERENCE-v3.csv=A00001,N\n",
    "ptb-xl": "ptbxl_database.csv=ecg_id,patient_id,scp_codes,age\n1,7,{'NORM': 100.0},56\n",
    "shdb-af": "AdditionalData.csv=Data_ID,Subject_ID,Age_at_Holter\n1,7,56\n",
}
"""A table at the top of sets whose records need no annotation file, with a row of the example."""


@pytest.mark.parametrize("cohort", sorted(ZIPS))
def test_folders_of_a_mirror_and_of_an_unpacked_archive_are_entered(tmp_path: Path, cohort: str) -> None:
    example = load_layout(cohort).layout.example
    mirror = load_source(cohort).url.removeprefix("https://").rstrip("/")
    folders = [".", mirror, ZIPS[cohort], *([f"{ZIPS[cohort]}/files"] if cohort in SUBFOLDER else [])]
    for n, folder in enumerate(folders):
        root = tree(tmp_path / str(n), f"{folder}/{example}", f"{ZIPS[cohort]}.zip")
        tree(root / folder, *([TOP[cohort]] if cohort in TOP else []))
        (recording,) = opened(cohort, root).recordings
        assert recording.signals.path == root / folder / example
        if cohort in TOP:
            assert recording.covariates or recording.record_codes() == ("N",)
        else:  # where annotations are looked for is told from the folder that was entered
            with pytest.raises(RecordingError, match="expected at") as caught:
                recording.labels.read()
            assert folder == "." or folder not in caught.value.reason


def test_afdb_rhythm_needs_the_beats_that_say_where_annotation_ends(tmp_path: Path) -> None:
    ecg_sets.write_afdb_tree(tmp_path)
    before = opened("afdb", tmp_path).recordings[0]
    assert before.rhythm()
    beats = before.signals.path.with_suffix(".qrs")
    beats.unlink()
    with pytest.raises(RecordingError, match=f"cannot be read without {beats.name}"):
        opened("afdb", tmp_path).recordings[0].rhythm()


def test_only_shdb_af_has_records_that_nobody_annotated() -> None:
    unannotated = {c for c in ZIPS if any(a.optional for a in load_layout(c).annotations)}
    assert unannotated == {"shdb-af"}


def test_an_shdb_af_record_without_atr_is_no_gap(tmp_path: Path) -> None:
    ecg_sets.write_shdb_af_tree(tmp_path, n_persons=2)
    cohort = opened("shdb-af", tmp_path)
    (bare,) = [r for r in cohort.recordings if not r.labels.files]
    with pytest.raises(RecordingError, match="not annotated by its authors"):
        bare.rhythm()
    assert not [gap for gap in cohort.gaps if "atr" in gap]


def test_cinc2017_says_that_nobody_knows_who_was_recorded(tmp_path: Path) -> None:
    cohort = opened("cinc2017", tree(tmp_path, "training/A00/A00001.hea", "REFERENCE-v3.csv=A00001,N\n"))
    assert cohort.card.persons_assumed
    assert [c for c in ZIPS if load_layout(c).persons.unknown] == ["cinc2017"]


@pytest.mark.parametrize("beside", ["training2017/REFERENCE.csv", "training2017/REFERENCE-v2.csv"])
def test_cinc2017_version_3_at_the_root_goes_before_what_lies_beside_the_records(tmp_path: Path, beside: str) -> None:
    tree(tmp_path, *(f"training2017/A0000{n}.hea" for n in (1, 2)), f"{beside}=A00001,O\nA00002,O\n")
    assert codes(opened("cinc2017", tmp_path)) == {"A00001": "O", "A00002": "O"}
    tree(tmp_path, "REFERENCE-v0.csv=A00001,A\nA00002,A\n")  # older than what lies beside
    assert codes(opened("cinc2017", tmp_path)) == {"A00001": "O", "A00002": "O"}
    tree(tmp_path, "REFERENCE-v3.csv=A00001,N\nA00002,A\n")
    assert codes(opened("cinc2017", tmp_path)) == {"A00001": "N", "A00002": "A"}


def test_cinc2017_records_need_a_row_in_one_reference(tmp_path: Path) -> None:
    tree(tmp_path, *(f"training/A00/A0000{n}.hea" for n in (1, 2)))
    assert len([gap for gap in opened("cinc2017", tmp_path).gaps if "no such table was found" in gap]) == 1
    tree(tmp_path, "training/REFERENCE.csv=A00/A00001,N\n")
    (gap,) = opened("cinc2017", tmp_path).gaps
    assert gap == "recordings without a row in REFERENCE.csv"
    tree(tmp_path, "training/REFERENCE.csv=A00/A00001,N\nA00002,A\n")
    assert opened("cinc2017", tmp_path).gaps == ()


def test_cinc2017_totals_are_those_of_version_3(tmp_path: Path) -> None:
    """5,154, 771, 2,557 and 46 are those of version 0."""
    record = load_layout("cinc2017").record
    assert record is not None
    assert dict(record.totals) == {"N": 5076, "A": 758, "O": 2415, "~": 279}
    assert sum(record.totals.values()) == load_layout("cinc2017").expected.recordings
    labels = [label for label, count in (("N", 5154), ("A", 771), ("O", 2557), ("~", 46)) for _ in range(count)]
    names = [f"A{n:05d}" for n in range(1, 8529)]
    text = "".join(f"{name},{label}\n" for name, label in zip(names, labels, strict=True))
    tree(tmp_path, f"training2017/REFERENCE.csv={text}", *(f"training2017/{name}.hea" for name in names))
    gaps = [gap for gap in opened("cinc2017", tmp_path).gaps if "another version" in gap]
    assert len(gaps) == 1
    assert "N 5,154" in gaps[0]
    assert "N 5,076" in gaps[0]


def day(root: Path, scored: Sequence[tuple[str, float]]) -> Recording:
    """A Sleep-EDF record of runs of a stage, in minutes."""
    total_s, runs = 0.0, []
    for stage, minutes in scored:
        runs.append((total_s, 60.0 * minutes, f"Sleep stage {stage}"))
        total_s += 60.0 * minutes
    folder = root / "sleep-cassette"
    folder.mkdir()
    write_edf(folder / "SC4001E0-PSG.edf", [("EEG Fpz-Cz", 1.0, "uV", np.zeros(int(total_s)))])
    write_edf(folder / "SC4001EC-Hypnogram.edf", [], annotations=runs)
    return opened("sleep-edf", root).recordings[0]


def test_sleep_edf_wake_farther_than_30_min_from_sleep_is_unscored(tmp_path: Path) -> None:
    """45 min awake, 10 asleep, 90 awake, 10 asleep, 45 awake: the middle stays."""
    record = day(tmp_path, [("W", 45), ("2", 10), ("W", 90), ("R", 10), ("W", 45)])
    stages = record.stages()
    assert (stages == -1).nonzero()[0].tolist() == [*range(30), *range(370, 400)]
    settings = tmp_path / "settings.toml"
    settings.write_text("[sleep-edf]\nwake_margin_min = 40.0\n", encoding="utf-8")
    wider = opened("sleep-edf", tmp_path, settings).recordings[0]
    hypnogram: Hypnogram = wider.hypnogram()
    assert (hypnogram.codes == -1).nonzero()[0].tolist() == [*range(10), *range(390, 400)]
    assert wider.label_fingerprint() != record.label_fingerprint()


def test_the_margin_is_sleep_edfs_alone() -> None:
    assert {c: m for c in ZIPS if (m := load_layout(c).wake_margin_min) is not None} == {"sleep-edf": 30.0}
    assert "30 min" in load_layout("sleep-edf").card.note
