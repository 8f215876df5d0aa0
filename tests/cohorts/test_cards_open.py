from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Cohort, CohortOptions, Recording
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.downloads.source import load_source
from hypnos_bench.cohorts.finder import Found, find_files
from hypnos_bench.cohorts.montage import apply_rules
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.cohorts.writers import ecg_sets, wfdb_sleep
from hypnos_bench.cohorts.writers.dreem import write_dreem_h5
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf_writer import write_edf

SLEEP = ("dod-o", "dod-h", "sleep-edf", "isruc", "hmc", "cap", "mass", "physionet-2018", "ucddb", "slpdb")
ECG = ("afdb", "ltafdb", "shdb-af", "cpsc2021", "cinc2017", "mitdb", "ptb-xl", "apnea-ecg")
CARDS = (*SLEEP, *ECG)
DODO = "83c1394e-9c69-5c11-9102-9ff8d59b1cfd"
DODH = "-1111-2222-3333-444455556666"  # its documentation gives only how some names begin
REAL = Path(__file__).parents[2] / "../shared/data"


def real(folder: str) -> Path:
    if not (REAL / folder).is_dir():
        pytest.skip(f"no shared {folder}")
    return REAL / folder


def tree(base: Path, *paths: str) -> Path:
    """Empty files."""
    for path in paths:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).touch()
    return base


def found(cohort: str, base: Path, *paths: str) -> Found:
    return find_files(tree(base, *paths), load_layout(cohort))


def opened(cohort: str, root: Path) -> Cohort:
    return card_cohort(cohort).open(CohortOptions(root))


def by_id(recordings: Iterable[Recording]) -> dict[str, Recording]:
    return {r.id: r for r in recordings}


def montage(cohort: str, *labels: str) -> dict[str, str]:
    return {name: str(made) for name, made in apply_rules(labels, load_layout(cohort).channels).items()}


@pytest.mark.parametrize("cohort", CARDS)
def test_cards_say_what_a_reader_must_know_and_agree_with_the_download(cohort: str) -> None:
    layout, source = load_layout(cohort), load_source(cohort)
    card = layout.card
    assert card.id == cohort
    assert (card.licence, card.citation) == (source.licence, source.citation)
    assert card.access == ("restricted" if cohort == "mass" else "open")
    place = source.page or source.url.replace("/files/", "/content/").replace("/api/", "/")
    assert card.source == place
    assert card.note
    assert layout.unsure
    assert layout.expected.note
    assert layout.expected.recordings is not None
    assert layout.expected.persons is not None
    assert card.split.kind == ("cv5" if layout.expected.persons < 300 else "holdout")
    assert layout.aliases is False
    assert layout.mains_hz == (
        60.0 if cohort in ("mass", "physionet-2018", "slpdb", "afdb", "ltafdb", "cinc2017", "mitdb") else 50.0
    )


def test_labels_are_those_that_are_really_scored() -> None:
    labels = {cohort: load_layout(cohort).card.labels for cohort in CARDS}
    assert {c for c, kinds in labels.items() if "events" in kinds} == {"cap", "physionet-2018", "ucddb", "slpdb"}
    assert {c for c, kinds in labels.items() if "stage" in kinds} == set(SLEEP)
    assert {c for c, kinds in labels.items() if "rhythm" in kinds} == {"afdb", "ltafdb", "shdb-af", "cpsc2021", "mitdb"}
    assert {c for c, kinds in labels.items() if "record" in kinds} == {"cpsc2021", "cinc2017", "ptb-xl"}
    assert [c for c, kinds in labels.items() if "minutes" in kinds] == ["apnea-ecg"]


@pytest.mark.parametrize("cohort", CARDS)
def test_the_example_of_each_card_is_a_recording(tmp_path: Path, cohort: str) -> None:
    files = found(cohort, tmp_path, load_layout(cohort).layout.example)
    assert (len(files.recordings), files.excluded) == (1, ())


# Cohort, file, id, person, visit, annotation.
NAMES: tuple[tuple[str, str, str, str, str | None, str | None], ...] = (
    ("dod-o", f"dodo/{DODO}.h5", DODO, DODO, None, f"dodo/{DODO}.h5"),
    ("dod-o", f"{DODO}.h5", DODO, DODO, None, f"{DODO}.h5"),
    ("dod-h", f"dodh/63b799f6{DODH}.h5", f"63b799f6{DODH}", f"63b799f6{DODH}", None, f"dodh/63b799f6{DODH}.h5"),
    ("sleep-edf", "sleep-cassette/SC4001E0-PSG.edf", "SC4001", "sc400", "1", "sleep-cassette/SC4001EC-Hypnogram.edf"),
    ("sleep-edf", "sleep-cassette/SC4822G0-PSG.edf", "SC4822", "sc482", "2", "sleep-cassette/SC4822GC-Hypnogram.edf"),
    ("sleep-edf", "sleep-telemetry/ST7011J0-PSG.edf", "ST7011", "st701", "1", "sleep-telemetry/ST7011JP-Hypnogram.edf"),
    ("isruc", "Subgroup_1/40/40.rec", "S1-40-40", "s1-40", None, "Subgroup_1/40/40_1.txt"),
    ("isruc", "Subgroup_2/3/1/1.rec", "S2-3-1", "s2-3", "1", "Subgroup_2/3/1/1_1.txt"),
    ("isruc", "Subgroup_2/2/2/2.rec", "S2-2-2", "s2-2", "2", "Subgroup_2/2/2/2_1.txt"),
    ("isruc", "Subgroup_2/1/1/1/1.rec", "S2-1-1", "s2-1", "1", "Subgroup_2/1/1/1/1_1.txt"),
    ("isruc", "Subgroup 3/9/9/9.rec", "S3-9-9", "s3-9", None, "Subgroup 3/9/9/9_1.txt"),
    ("isruc", "isruc/Subgroup_3/10/10.rec", "S3-10-10", "s3-10", None, "isruc/Subgroup_3/10/10_1.txt"),
    ("hmc", "recordings/SN001.edf", "SN001", "sn001", None, "recordings/SN001_sleepscoring.edf"),
    ("cap", "n1.edf", "n1", "n1", None, "n1.txt"),
    ("cap", "nfle40.edf", "nfle40", "nfle40", None, "nfle40.txt"),
    ("cap", "narco5.edf", "narco5", "narco5", None, "narco5.txt"),
    ("mass", "SS01/01-01-0001 PSG.edf", "01-01-0001", "01-01-0001", None, "SS01/01-01-0001_Annotations.edf"),
    ("mass", "SS03/01-03-0062 PSG.edf", "01-03-0062", "01-03-0062", None, "SS03/01-03-0062 Annotations.edf"),
    ("mass", "SS02/01-02-0001 PSG.edf", "01-02-0001", "01-02-0001", None, "SS02/01-02-0001_Base.edf"),
    ("mass", "SS05/01-05-0026 PSG.edf", "01-05-0026", "01-05-0026", None, "SS05/01-05-0026 Base.edf"),
    ("mass", "SS01/01-01-0002 PSG.edf", "01-01-0002", "01-01-0002", None, "SS01/01-01-0002 Base.edf"),
    ("physionet-2018", "training/tr03-0005/tr03-0005.hea", "tr03-0005", "tr03-0005", None, "training/tr03-0005/tr03-0005.arousal"),
    ("ucddb", "ucddb002.rec", "ucddb002", "ucddb002", None, "ucddb002_stage.txt"),
    ("slpdb", "slp01a.hea", "slp01a", "slp01", None, "slp01a.st"),
    ("slpdb", "slp67x.hea", "slp67x", "slp67", None, "slp67x.st"),
    ("afdb", "04015.hea", "04015", "04015", None, "04015.atr"),
    ("ltafdb", "00.hea", "00", "00", None, "00.atr"),
    ("ltafdb", "117.hea", "117", "117", None, "117.atr"),
    ("shdb-af", "001.hea", "001", "001", None, "001.atr"),
    ("cpsc2021", "Training_set_I/data_1_1.hea", "data_1_1", "1", None, "Training_set_I/data_1_1.atr"),
    ("cpsc2021", "Training_set_II/data_101_12.hea", "data_101_12", "101", None, "Training_set_II/data_101_12.atr"),
    ("mitdb", "100.hea", "100", "100", None, "100.atr"),
    ("cinc2017", "training/A00/A00001.hea", "A00001", "a00001", None, None),
    ("cinc2017", "training2017/A08528.hea", "A08528", "a08528", None, None),
    ("ptb-xl", "records500/00000/00001_hr.hea", "00001", "00001", None, None),
    ("apnea-ecg", "a01.hea", "a01", "a01", None, "a01.apn"),
    ("apnea-ecg", "x35.hea", "x35", "x35", None, "x35.apn"),
)  # fmt: skip


@pytest.mark.parametrize(("cohort", "path", "recording", "person", "visit", "annotation"), NAMES)
def test_documented_names(
    tmp_path: Path, cohort: str, path: str, recording: str, person: str, visit: str | None, annotation: str | None
) -> None:
    names = [name for name in (path, annotation) if name]
    kept = [*load_layout(cohort).layout.folders, ""][0]
    for root, base in ((tmp_path / "a", ""), (tmp_path / "b", kept)):
        tree(root / base, *names)
        (file,) = opened(cohort, root).recordings
        assert (file.id, file.person, file.visit) == (recording, person, visit)
        assert [f.relative_to(root / base).as_posix() for f in file.labels.files] == names[1:]


@pytest.mark.parametrize(("cohort", "path", "recording"), [name[:3] for name in NAMES])
def test_a_recording_is_what_a_download_counts_as_one(cohort: str, path: str, recording: str) -> None:
    source = load_source(cohort)
    match = re.search(source.recordings, path) if source.recordings else None
    if match is not None:
        assert match["id"] == recording
    else:
        assert not source.open or path in (f"{DODO}.h5", "training2017/A08528.hea")  # as users moved or unpacked them


def test_companions_of_annotations(tmp_path: Path) -> None:
    (u,) = opened(
        "ucddb", tree(tmp_path / "u", "ucddb002.rec", "ucddb002_stage.txt", "ucddb002_respevt.txt")
    ).recordings
    assert [f.name for f in u.labels.files] == ["ucddb002_stage.txt", "ucddb002_respevt.txt"]
    (a,) = opened("afdb", tree(tmp_path / "a", "04015.hea", "04015.atr", "04015.qrs")).recordings
    assert [f.name for f in a.labels.files] == ["04015.atr", "04015.qrs"]


@pytest.mark.parametrize(
    ("cohort", "keep", "passed_over", "strange"),
    [
        ("dod-o", f"dodo/{DODO}.h5", [], ["dodo/features.h5", "dodo/83c1394e.h5"]),
        ("dod-o", f"{DODO}.h5", [f"x/dodh/63b799f6{DODH}.h5"], []),
        ("dod-h", f"63b799f6{DODH}.h5", [f"x/dodo/{DODO}.h5"], []),
        ("sleep-edf", "a/SC4001E0-PSG.edf", ["a/SC4001EC-Hypnogram.edf", "a/ST7011JP-Hypnogram.edf"], ["a/SC401E0-PSG.edf", "a/SC4001E0.edf", "a/SC5001E0-PSG.edf"]),
        ("isruc", "Subgroup_1/1/1.rec", [], ["Subgroup_1/1/2.rec", "Subgroup_4/1/1.rec", "subgroupII/1/1/1.rec", "Subgroup_2/3/3/3.rec", "1/1.rec"]),
        ("hmc", "recordings/SN001.edf", ["recordings/SN001_sleepscoring.edf"], ["recordings/SN1.edf", "recordings/SN0011.edf"]),
        ("cap", "n1.edf", [], ["n.edf", "control1.edf", "n1b.edf"]),
        ("mass", "SS02/01-02-0001 PSG.edf", ["SS02/01-02-0001 Base.edf", "SS02/01-02-0001_Annotations.edf", "SS02/01-02-0001 Spindles_E1.edf", "SS02/01-02-0001 KComplexesE1.edf"], ["SS02/01-06-0001 PSG.edf", "SS02/01-02-001 PSG.edf"]),
        ("physionet-2018", "training/tr03-0005/tr03-0005.hea", ["test/te03-0002/te03-0002.hea"], ["training/tr3-5.hea"]),
        ("ucddb", "ucddb002.rec", [], ["ucddb2.rec", "ucddb002b.rec"]),
        ("slpdb", "slp01a.hea", [], ["slp1.hea", "slp01c.hea", "a01.hea"]),
        ("afdb", "04015.hea", ["old/04015.hea"], ["100.hea", "040150.hea"]),
        ("ltafdb", "00.hea", [], ["4.hea", "04015.hea"]),
        ("shdb-af", "001.hea", [], ["01.hea", "0001.hea"]),
        ("cpsc2021", "Training_set_I/data_1_1.hea", [], ["Training_set_I/data_1.hea"]),
        ("cinc2017", "training/A00/A00001.hea", ["validation/A00001.hea", "sample2017/validation/A00002.hea"], ["training/A1.hea"]),
        ("mitdb", "100.hea", ["x_mitdb/x_108.hea", "x_108.hea"], ["102-0.hea"]),
        ("ptb-xl", "records500/00000/00001_hr.hea", ["records100/00000/00001_lr.hea"], ["records500/00000/1_hr.hea"]),
        ("apnea-ecg", "a01.hea", ["a01r.hea", "a01er.hea", "c03r.hea"], ["d01.hea", "a001.hea"]),
    ],
)  # fmt: skip
def test_decoys(tmp_path: Path, cohort: str, keep: str, passed_over: Sequence[str], strange: Sequence[str]) -> None:
    suffix = Path(keep).suffix
    hidden = [f"._01{suffix}", f"__MACOSX/{keep}", f".trash/{Path(keep).name}"]
    files = found(cohort, tmp_path, keep, *passed_over, *strange, *hidden, f"{keep}.part", "RECORDS", "notes.txt")
    assert [(tmp_path / keep).samefile(f.path) for f in files.recordings] == [True]
    assert sorted(e.recording for e in files.excluded) == sorted(Path(name).stem for name in strange)
    assert sum(files.remarks.values()) == len(passed_over)
    assert all(remark.startswith("passed over: ") for remark in files.remarks)


FULL = {"C3": "C3-A2", "C4": "C4-A1", "E1": "LOC-A2", "E2": "ROC-A1"}
HMC = ["EEG F4-M1", "EEG C4-M1", "EEG O2-M1", "EEG C3-M2", "EMG chin", "EOG E1-M2", "EOG E2-M2", "ECG"]
CINC2018 = ["F3-M2", "F4-M1", "C3-M2", "C4-M1", "O1-M2", "O2-M1", "E1-M2", "Chin1-Chin2", "ABD", "CHEST", "AIRFLOW", "SaO2", "ECG"]  # fmt: skip
UCDDB = ["Lefteye", "RightEye", "EMG", "C3A2", "C4A1", "ECG", "SpO2", "Sound", "Flow", "Sum", "ribcage", "abdo", "BodyPos", "Pulse"]  # fmt: skip
DOD = ("eeg/C3_M2", "eeg/F3_M2", "eeg/F3_F4", "eog/EOG1", "eog/EOG2", "emg/EMG", "emg/ECG")
MASS_EOG = {"E1": "EOG Left Horiz", "E2": "EOG Right Horiz"}
MASS_EMG = ("EMG Chin1", "EMG Chin2", "EMG Chin3")
MASS_1 = (*MASS_EOG.values(), *MASS_EMG, "EEG C3-CLE", "EEG C4-CLE", "ECG ECGI", "Resp Belt Thor", "Resp Belt Abdo", "EEG A2-CLE")  # fmt: skip
PTBXL = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]


@pytest.mark.parametrize(
    ("cohort", "labels", "expected"),
    [
        ("dod-o", [f"signals/{x}" for x in (*DOD, "eeg/C4_M1")], {"C3": "signals/eeg/C3_M2", "C4": "signals/eeg/C4_M1", "E1": "signals/eog/EOG1", "E2": "signals/eog/EOG2", "Chin": "signals/emg/EMG", "ECG": "signals/emg/ECG"}),
        ("dod-h", [f"signals/{x}" for x in (*DOD, "eeg/F4_M1")], {"C3": "signals/eeg/C3_M2", "E1": "signals/eog/EOG1", "E2": "signals/eog/EOG2", "Chin": "signals/emg/EMG", "ECG": "signals/emg/ECG"}),
        ("sleep-edf", ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "Resp oro-nasal", "EMG submental", "Temp rectal", "Event marker"), {"E1": "EOG horizontal", "Chin": "EMG submental"}),
        ("isruc", ("LOC-A2", "ROC-A1", "F3-A2", "C3-A2", "O1-A2", "F4-A1", "C4-A1", "O2-A1", "X1", "X2", "X3", "X6", "X7", "X8"), {**FULL, "Chin": "X1", "ECG": "X2"}),
        ("isruc", ("E1-M2", "E2-M1", "F3-M2", "C3-M2", "C4-M1", "24", "25", "26", "30", "31"), {"C3": "C3-M2", "C4": "C4-M1", "E1": "E1-M2", "E2": "E2-M1", "Chin": "24", "ECG": "25"}),
        ("isruc", ("ROC", "A1", "LOC", "A2", "C4", "O2", "C3", "O1", "F4", "F3", "X1", "X2", "X3"), {"C3": "C3 - A2", "C4": "C4 - A1", "E1": "LOC - A2", "E2": "ROC - A1", "Chin": "X1", "ECG": "X2"}),
        ("hmc", HMC, {"C3": "EEG C3-M2", "C4": "EEG C4-M1", "E1": "EOG E1-M2", "E2": "EOG E2-M2", "Chin": "EMG chin", "ECG": "ECG"}),
        ("cap", ("Fp2-F4", "C3-A2", "C4-A1", "ROC-LOC", "EMG1-EMG2", "ECG1-ECG2", "TERMISTORE", "TORACE", "ADDOME"), {"C3": "C3-A2", "C4": "C4-A1", "E2": "ROC-LOC", "Chin": "EMG1-EMG2", "ECG": "ECG1-ECG2", "ABD": "ADDOME", "THX": "TORACE"}),
        ("cap", ("C4A1", "C3A2", "EOG-L", "EOG-R", "CHIN1", "CHIN2", "ekg", "Torace", "Abdo"), {"C3": "C3A2", "C4": "C4A1", "E1": "EOG-L", "E2": "EOG-R", "Chin": "CHIN1 - CHIN2", "ECG": "ekg", "ABD": "Abdo", "THX": "Torace"}),
        ("cap", ("C3", "C4", "A1", "A2", "LOC", "ROC", "EMG", "ECG1", "ECG2"), {"C3": "C3 - A2", "C4": "C4 - A1", "E1": "LOC - A2", "E2": "ROC - A1", "Chin": "EMG", "ECG": "ECG1 - ECG2"}),
        ("cap", ("F4-C4", "C4-P4", "P4-O2", "C3", "SpO2"), {}),
        ("mass", MASS_1, {**MASS_EOG, "C3": "EEG C3-CLE - EEG A2-CLE", "C4": "EEG C4-CLE", "Chin": "EMG Chin1 - EMG Chin2", "ECG": "ECG ECGI", "ABD": "Resp Belt Abdo", "THX": "Resp Belt Thor"}),
        ("mass", ("EEG C3-LER", "EEG C4-LER", "EEG A2-LER", "EOG Left Horiz", "EOG Right Horiz", "EMG Chin1", "EMG Chin2", "ECG ECGI"), {**MASS_EOG, "C3": "EEG C3-LER - EEG A2-LER", "C4": "EEG C4-LER", "Chin": "EMG Chin1 - EMG Chin2", "ECG": "ECG ECGI"}),
        ("mass", ("EEG C3-CLE", "EMG Chin", "ECG I", "Resp Nasal"), {"C3": "EEG C3-CLE", "Chin": "EMG Chin", "ECG": "ECG I"}),
        ("physionet-2018", CINC2018, {"C3": "C3-M2", "C4": "C4-M1", "E1": "E1-M2", "Chin": "Chin1-Chin2", "ECG": "ECG", "ABD": "ABD", "THX": "CHEST"}),
        ("ucddb", UCDDB, {"C3": "C3A2", "C4": "C4A1", "E1": "Lefteye", "E2": "RightEye", "Chin": "EMG", "ECG": "ECG", "ABD": "abdo", "THX": "ribcage"}),
        ("slpdb", ("ECG", "BP", "EEG (C4-A1)", "Resp (nasal)", "Resp (abdominal)", "EOG (right)", "EMG"), {"C4": "EEG (C4-A1)", "E2": "EOG (right)", "Chin": "EMG", "ECG": "ECG", "ABD": "Resp (abdominal)"}),
        ("slpdb", ("ECG", "BP", "EEG (C3-O1)", "Resp (sum)", "EOG"), {"ECG": "ECG", "THX": "Resp (sum)"}),
        ("slpdb", ("ECG", "EEG (O2-A1)", "Resp (chest)", "Resp (abdomen)", "SO2"), {"ECG": "ECG", "THX": "Resp (chest)", "ABD": "Resp (abdomen)"}),
        ("afdb", ("ECG1", "ECG2"), {"ECG": "ECG1"}),
        ("ltafdb", ("ECG", "ECG#2"), {"ECG": "ECG"}),
        ("shdb-af", ("CC5", "NASA"), {"ECG": "CC5"}),
        ("shdb-af", ("ECG1", "ECG2"), {"ECG": "ECG1"}),
        ("shdb-af", ("NASA", "ECG2"), {"ECG": "NASA"}),
        ("cpsc2021", ("I", "II"), {"ECG": "II"}),
        ("cinc2017", ("ECG",), {"ECG": "ECG"}),
        ("mitdb", ("MLII", "V1"), {"ECG": "MLII"}),
        ("mitdb", ("V5", "MLII"), {"ECG": "MLII"}),
        ("mitdb", ("V5", "V2"), {"ECG": "V5"}),
        ("ptb-xl", PTBXL, {"ECG": "II"}),
        ("apnea-ecg", ("ECG",), {"ECG": "ECG"}),
    ],
)  # fmt: skip
def test_channels_of_documented_headers(cohort: str, labels: Sequence[str], expected: dict[str, str]) -> None:
    assert montage(cohort, *labels) == expected


def test_pages_of_20_s_in_the_subsets_of_mass_that_have_them(tmp_path: Path) -> None:
    """One page of 20 s from 100 s on: widened by 5 s it is the epoch from 95 s; in SS1 a page has 30 s."""
    for subset, page_s in (("SS01", 30.0), ("SS02", 20.0), ("SS03", 30.0), ("SS04", 20.0), ("SS05", 20.0)):
        name = f"01-{subset[2:]}-0001"
        (tmp_path / subset).mkdir()
        write_edf(tmp_path / subset / f"{name} PSG.edf", [("EEG C4-CLE", 1.0, "uV", np.zeros(300))])
        write_edf(tmp_path / subset / f"{name} Base.edf", [], annotations=[(100.0, page_s, "Sleep stage 2")])
    scored = {r.id: r.hypnogram() for r in opened("mass", tmp_path).recordings}
    starts = {name: h.start_s[h.codes == 2].tolist() for name, h in scored.items()}
    assert starts == {
        "01-01-0001": [100.0], "01-02-0001": [95.0], "01-03-0001": [100.0], "01-04-0001": [95.0], "01-05-0001": [95.0]
    }  # fmt: skip


def test_ends_of_dod_h_records_that_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    stages = [2] * 630
    for head in ("63b799f6", "de3af7b1", "a14f8058", "00000000"):
        channels = {"signals/eeg/C3_M2": "eeg"}
        write_dreem_h5(tmp_path / f"dodh/{head}{DODH}.h5", stages, channels=channels, rate_hz=1.0)  # type: ignore[arg-type]
    scored = {r.id[:8]: r.stages() for r in opened("dod-h", tmp_path).recordings}
    assert {head: np.flatnonzero(codes == 2)[[0, -1]].tolist() for head, codes in scored.items()} == {
        "63b799f6": [60, 629], "de3af7b1": [60, 629], "a14f8058": [0, 619], "00000000": [0, 629]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cohort", "recording", "scope"),
    [
        ("cap", "n1.edf", "arousal"),
        ("cap", "sdb1.edf", "respiratory"),
        ("physionet-2018", "tr03-0005.hea", "desaturation"),
        ("ucddb", "ucddb002.rec", "arousal"),
        ("ucddb", "ucddb002.rec", "desaturation"),
        ("slpdb", "slp41.hea", "respiratory"),
        ("slpdb", "slp45.hea", "respiratory"),
        ("slpdb", "slp01a.hea", "desaturation"),
    ],
)
def test_what_was_not_scored_is_refused_and_not_taken_for_a_night_without(
    tmp_path: Path, cohort: str, recording: str, scope: str
) -> None:
    (file,) = opened(cohort, tree(tmp_path, recording)).recordings
    with pytest.raises(RecordingError, match="not (known to be )?scored"):
        file.events(scope)


def test_apneas_are_scored_in_the_other_slpdb_records(tmp_path: Path) -> None:
    (file,) = opened("slpdb", tree(tmp_path, "slp01a.hea")).recordings
    assert set(file.unusable) == {"desaturation"}


def test_afdb_records_without_signals_are_left_out(tmp_path: Path) -> None:
    cohort = opened("afdb", tree(tmp_path, "04015.hea", "00735.hea", "03665.hea"))
    assert [r.id for r in cohort.recordings] == ["04015"]
    assert [(e.recording, e.reason) for e in cohort.excluded] == [
        ("00735", "released without signals"),
        ("03665", "released without signals"),
    ]


def persons(cohort: Cohort) -> dict[str, str]:
    return {r.id: r.person for r in cohort.recordings}


def test_records_known_to_be_of_one_person(tmp_path: Path) -> None:
    mitdb = persons(opened("mitdb", tree(tmp_path / "m", "200.hea", "201.hea", "202.hea")))
    assert mitdb["201"] == mitdb["202"] != mitdb["200"]
    slpdb = persons(opened("slpdb", tree(tmp_path / "s", *(f"slp{x}.hea" for x in ("01a", "01b", "02a", "02b", "03")))))
    assert sorted(slpdb.values()) == ["slp01", "slp01", "slp02", "slp02", "slp03"]
    shdb = persons(opened("shdb-af", tree(tmp_path / "h", "005.hea", "020.hea", "006.hea")))
    assert shdb["005"] == shdb["020"] != shdb["006"]


APNEA_TABLE = """Additional information about the recordings

Record\tLength\tnon-apn\tapnea\thours\tAI\tHI\tAHI\tAge\tSex\theight\tweight
\tminutes\tminutes\tminutes\tw/apnea\t\t\t\t\t\t(cm)\t(kg)

a01\t490\t20\t470\t9\t12.5\t57.1\t69.6\t51\tM\t175\t102\t\t
a14\t510\t127\t383\t9\t0\t0\t54.7\t51\tM\t175\t102\t\t
c01\t485\t485\t0\t0\t0\t0\t0\t31\tM\t184\t74\t\t
c05\t467\t467\t0\t0\t0\t0\t0\t28\tF\t169\t57\t\t
c06\t469\t468\t1\t1\t0\t0\t0.25\t28\tF\t171\t65\t\t
x17\t401\t401\t0\t0\t0\t0\t0\t27\tF\t158\t53\t\t
x22\t483\t481\t2\t1\t0\t0\t0\t27\tF\t158\t53\t\t
x35\t484\t484\t0\t0\t0\t0\t0\t31\tM\t184\t74\t\t
"""


def test_apnea_ecg_persons_are_those_who_agree_in_age_sex_height_and_weight(tmp_path: Path) -> None:
    """x22 and x35 are one recording although the table says otherwise: with them, c01 and x17 are one person."""
    names = ["a01", "a14", "c01", "c05", "c06", "x17", "x22", "x35"]
    (tree(tmp_path, *(f"{n}.hea" for n in names)) / "additional-information.txt").write_text(APNEA_TABLE)
    cohort = opened("apnea-ecg", tmp_path)
    who = persons(cohort)
    groups = sorted(sorted(n for n in names if who[n] == person) for person in set(who.values()))
    assert groups == [["a01", "a14"], ["c01", "x17", "x22", "x35"], ["c05", "c06"]]
    assert by_id(cohort.recordings)["a01"].covariates == {
        "age": 51.0, "sex": "male", "ahi_as_reported": 69.6, "height_cm": 175.0, "weight_kg": 102.0
    }  # fmt: skip
    assert cohort.gaps == ()


def test_sleep_edf_tables_code_sex_in_opposite_ways(tmp_path: Path) -> None:
    tree(
        tmp_path, *(f"sleep-cassette/SC40{x}E0-PSG.edf" for x in ("01", "02", "12")), "sleep-telemetry/ST7011J0-PSG.edf"
    )
    (tmp_path / "SC-subjects.csv").write_text(
        "subject,night,age,sex (F=1),LightsOff\n0,1,33,1,0.02\n0,2,33,1,0.91\n1,2,34,2,0.95\n"
    )
    (tmp_path / "ST-subjects.csv").write_text(
        "Subject - age - sex,,,Placebo night,,Temazepam night,\n"
        "Nr,Age,M1/F2,night nr,lights off,night nr,lights off\n1,60,1,1,0.96,2,0.99\n"
    )
    facts = {r.id: dict(r.covariates) for r in opened("sleep-edf", tmp_path).recordings}
    assert facts == {
        "SC4001": {"age": 33.0, "sex": "female"},
        "SC4002": {"age": 33.0, "sex": "female"},
        "SC4012": {"age": 34.0, "sex": "male"},
        "ST7011": {"age": 60.0, "placebo_night": 1.0},  # 1 would be male here
    }


def test_tables_of_ucddb_and_the_2018_challenge(tmp_path: Path) -> None:
    (tree(tmp_path / "u", "ucddb002.rec") / "SubjectDetails.csv").write_text(
        "S/No,Study Number,Height (cm),Weight (kg),Gender,PSG Start Time,PSG AHI,BMI,Age\n"
        "1,UCDDB002,172,100.3,M,00:11:04,23,33.9,54\n"
    )
    (u,) = opened("ucddb", tmp_path / "u").recordings
    assert u.covariates == {"age": 54.0, "sex": "male", "bmi": 33.9, "ahi_as_reported": 23.0}
    (tree(tmp_path / "c", "training/tr03-0005/tr03-0005.hea") / "age-sex.csv").write_text(
        "Record,Age,Sex\nte03-0002,60,M\ntr03-0005,59,F\n"
    )
    (c,) = opened("physionet-2018", tmp_path / "c").recordings
    assert c.covariates == {"age": 59.0, "sex": "female"}


@pytest.mark.parametrize(
    ("folder", "reference", "name"),
    [
        ("training/A00", "training/REFERENCE.csv", "A00/{}"),
        ("training2017", "training2017/REFERENCE.csv", "{}"),
        ("training/A00", "training/REFERENCE.csv", "{}"),
        ("training/A00", "REFERENCE-v3.csv", "{}"),
        ("training/A00", "REFERENCE-v3.csv", "A00/{}"),
        ("training2017", "REFERENCE-v3.csv", "{}"),
    ],
)
def test_cinc2017_reference_with_and_without_folders(tmp_path: Path, folder: str, reference: str, name: str) -> None:
    labels = {"A00001": "N", "A00004": "A", "A00008": "O", "A00106": "~"}
    tree(tmp_path, *(f"{folder}/{record}.hea" for record in labels))
    (tmp_path / reference).write_text("".join(f"{name.format(r)},{label}\n" for r, label in labels.items()))
    (tree(tmp_path, "validation/A00001.hea") / "validation/REFERENCE.csv").write_text("A00001,A\n")
    records = by_id(opened("cinc2017", tmp_path).recordings)
    assert {r: records[r].record_codes() for r in ("A00001", "A00004", "A00008")} == {
        "A00001": ("N",), "A00004": ("A",), "A00008": ("O",)
    }  # fmt: skip
    with pytest.raises(RecordingError, match="too noisy"):
        records["A00106"].record_codes()


def test_cinc2017_takes_the_last_version_of_its_reference(tmp_path: Path) -> None:
    tree(tmp_path, "training/A00/A00001.hea")
    for version, label in (("", "O"), ("-original", "O"), ("-v0", "A"), ("-v3", "N")):
        (tmp_path / f"training/REFERENCE{version}.csv").write_text(f"A00/A00001,{label}\n")
    (record,) = opened("cinc2017", tmp_path).recordings
    assert record.record_codes() == ("N",)


def test_ptb_xl_table(tmp_path: Path) -> None:
    tree(tmp_path, *(f"records500/00000/0000{n}_hr.hea" for n in (1, 2, 3)))
    (tmp_path / "ptbxl_database.csv").write_text(
        "ecg_id,patient_id,age,sex,scp_codes,strat_fold\n"
        "1,15709.0,56.0,1,\"{'NORM': 100.0, 'SR': 0.0}\",3\n"
        "2,13243.0,300.0,0,\"{'AFIB': 0.0, 'NST_': 100.0}\",10\n"
        "3,15709.0,57.0,1,\"{'AFLT': 100.0}\",3\n"
    )
    records = by_id(opened("ptb-xl", tmp_path).recordings)
    assert records["00002"].covariates == {"age": 90.0, "sex": "male", "official_split": 10.0}
    assert records["00001"].covariates["sex"] == "female"
    assert {r: records[r].record_codes() for r in records} == {
        "00001": ("NORM", "SR"), "00002": ("AFIB", "NST_"), "00003": ("AFLT",)
    }  # fmt: skip
    assert records["00001"].person == records["00003"].person != records["00002"].person


@pytest.mark.parametrize(
    ("cohort", "write"),
    [
        ("afdb", ecg_sets.write_afdb_tree),
        ("ltafdb", ecg_sets.write_ltafdb_tree),
        ("shdb-af", ecg_sets.write_shdb_af_tree),
        ("mitdb", ecg_sets.write_mitdb_tree),
        ("cinc2017", ecg_sets.write_cinc2017_tree),
        ("slpdb", wfdb_sleep.write_slpdb_tree),
        ("physionet-2018", wfdb_sleep.write_cinc2018_tree),
        ("apnea-ecg", wfdb_sleep.write_apnea_ecg_tree),
    ],
)
def test_fake_trees_are_read_back(tmp_path: Path, cohort: str, write: Callable[[Path], tuple[Written, ...]]) -> None:
    """The writers imitate the sets, oddities included, and say what a reader must find in them."""
    written = {w.id: w for w in write(tmp_path)}
    records = by_id(opened(cohort, tmp_path).recordings)
    assert sorted(records) == sorted(w.id for w in written.values() if not w.id.startswith("te"))
    who = {written[r].person: record.person for r, record in records.items()}
    assert all(record.person == who[written[r].person] for r, record in records.items())
    assert len(set(who.values())) == len(who)
    for record in records.values():
        expected = written[record.id]
        if expected.rhythm:
            assert record.rhythm() == expected.rhythm
        if expected.minutes:
            assert record.minutes() == expected.minutes
        if expected.record and expected.record != ("~",):
            assert record.record_codes() == expected.record
        if expected.stages:
            assert tuple(record.stages()) == expected.stages
            assert {e.kind for e in record.labels.read().events or ()} == {e.kind for e in expected.events}
        assert record.signal("ECG") is not None


def test_records_of_shdb_af_without_atr_are_refused(tmp_path: Path) -> None:
    ecg_sets.write_shdb_af_tree(tmp_path, n_persons=2)
    with pytest.raises(RecordingError, match="003: not annotated by its authors"):
        by_id(opened("shdb-af", tmp_path).recordings)["003"].rhythm()


def test_real_cpsc2021(tmp_path: Path) -> None:
    folder = tmp_path / "physionet.org/files/cpsc2021/1.0.0/Training_set_II"
    shutil.copytree(real("cpsc2021-af"), folder)
    records = by_id(opened("cpsc2021", tmp_path).recordings)
    assert {name: r.record_codes() for name, r in records.items()} == {
        **{f"data_101_{n}": ("paroxysmal",) for n in (6, 8, 9)},
        **{f"data_21_{n}": ("non",) for n in (7, 8, 9)},
        **{f"data_84_{n}": ("persistent",) for n in (1, 2, 3)},
    }
    assert {str(r.montage["ECG"]) for r in records.values()} == {"II"}


def test_real_cinc2017(tmp_path: Path) -> None:
    folder = tmp_path / "training2017"
    folder.mkdir()
    for path in (*real("cinc2017-6").glob("A0*"), real("cinc2017-6") / "REFERENCE.csv"):
        shutil.copy(path, folder)
    cohort = opened("cinc2017", tmp_path)
    assert {r.id: r.record_codes()[0] for r in cohort.recordings} == {
        "A00001": "N", "A00002": "N", "A00004": "A", "A00005": "A", "A00008": "O", "A00013": "O"
    }  # fmt: skip
    signal = cohort.recordings[0].signal("ECG")
    assert signal is not None
    assert (len(signal.values), signal.rate_hz, signal.unit) == (9000, 300.0, "mV")
    assert cohort.gaps == ()


def test_real_mitdb(tmp_path: Path) -> None:
    folder = real("ecg-non-af") / "mitdb"
    for path in folder.glob("10?.*"):
        shutil.copy(path, tmp_path)
    records = by_id(opened("mitdb", tmp_path).recordings)
    assert {name: str(r.montage["ECG"]) for name, r in records.items()} == {"100": "MLII", "102": "V5"}
    assert {span.code for span in records["100"].rhythm()} == {"N"}
    assert "P" in {span.code for span in records["102"].rhythm()}  # paced
    assert all(not r.labels.read().unknown for r in records.values())


def test_real_apnea_ecg(tmp_path: Path) -> None:
    """Signals are not part of the shared data: minutes are counted from the length in the header."""
    for path in (real("apneaecg-rr70") / "wfdb").iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "a03.apn").unlink(missing_ok=True)
    records = by_id(opened("apnea-ecg", tmp_path).recordings)
    assert sorted(records) == ["a01", "a02", "a03"]
    assert [sum(s.code == "A" for s in records[r].minutes()) for r in ("a01", "a02")] == [470, 420]
    assert str(records["a01"].montage["ECG"]) == "ECG"


def test_real_sleep_edf(tmp_path: Path) -> None:
    """The header of the first 5 min, and the scoring of the whole night against signals as long as it."""
    source, folder = real("sleepedf-sc4001"), tmp_path / "sleep-cassette"
    folder.mkdir()
    shutil.copy(source / "short_psg.edf", folder / "SC4001E0-PSG.edf")
    shutil.copy(source / "SC4001EC-Hypnogram.edf", folder)
    (record,) = opened("sleep-edf", tmp_path).recordings
    assert {name: str(made) for name, made in record.montage.items()} == {
        "E1": "EOG horizontal",
        "Chin": "EMG submental",
    }
    assert record.labels.files == (folder / "SC4001EC-Hypnogram.edf",)
    chin = record.signal("Chin")
    assert chin is not None
    assert chin.rate_hz == 1.0  # an envelope
    night = [("EEG Fpz-Cz", 1.0, "uV", np.zeros(79_500))]
    write_edf(folder / "SC4001E0-PSG.edf", night, start=datetime(1989, 4, 24, 16, 13))
    stages = opened("sleep-edf", tmp_path).recordings[0].stages()
    assert len(stages) == 2650
    # Of 1,997 epochs awake those within 30 min of sleep stay: the 841 epochs that publications count in this night.
    assert {code: int((stages == code).sum()) for code in range(5)} == {0: 188, 1: 58, 2: 250, 3: 220, 4: 125}
