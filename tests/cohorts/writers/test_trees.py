"""Fake trees against what the cohorts' documentation says: names, labels, rates, tables, visits."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from hypnos_bench.cohorts.writers.trees import TREES, write_tree
from hypnos_bench.errors import UsageError

EDFS = "polysomnography/edfs"
XML = "polysomnography/annotations-events-nsrr"
PROFUSION = "polysomnography/annotations-events-profusion"
PSGS = "original/STAGES PSGs"
SUB = "PSG/bids/S0001/sub-S0001111189359/ses-1/eeg/sub-S0001111189359_ses-1_task-psg"

PATHS = {
    "mros": [f"{EDFS}/visit1/mros-visit1-aa0001.edf", f"{XML}/visit2/mros-visit2-aa0001-nsrr.xml"],
    "shhs": [
        f"{EDFS}/shhs1/shhs1-200001.edf",
        f"{EDFS}/shhs2/shhs2-200001.edf",
        f"{XML}/shhs1/shhs1-200001-nsrr.xml",
        "polysomnography/annotations-rpoints/shhs1/shhs1-200001-rpoint.csv",
        "datasets/shhs1-dataset-0.21.0.csv",
        "datasets/shhs-cvd-summary-dataset-0.21.0.csv",
        "datasets/shhs-harmonized-dataset-0.21.0.csv",
    ],
    "mesa": [
        f"{EDFS}/mesa-sleep-0001.edf",
        f"{XML}/mesa-sleep-0001-nsrr.xml",
        f"{PROFUSION}/mesa-sleep-0001-profusion.xml",
        "actigraphy/mesa-sleep-0001.csv",
        "datasets/mesa-sleep-dataset-0.7.0.csv",
        "datasets/mesa-sleep-harmonized-dataset-0.7.0.csv",
    ],
    "cfs": [f"{EDFS}/cfs-visit5-800002.edf", "datasets/cfs-visit5-harmonized-dataset-0.7.0.csv"],
    "chat": [
        f"{EDFS}/baseline/chat-baseline-300001.edf",
        f"{XML}/followup/chat-followup-300001-nsrr.xml",
        f"{EDFS}/nonrandomized/chat-baseline-nonrandomized-300506.edf",
        "datasets/chat-nonrandomized-dataset-0.14.0.csv",
        "datasets/chat-harmonized-dataset-0.14.0.csv",
    ],
    "ccshs": [f"{EDFS}/ccshs-trec-1800001.edf", "datasets/ccshs-trec-harmonized-0.8.0.csv"],
    "sof": [f"{EDFS}/sof-visit-8-00004.edf", "datasets/sof-visit-8-dataset-0.8.0.csv"],
    "wsc": [
        *(f"polysomnography/wsc-visit1-10119-nsrr.{end}" for end in ("edf", "stg.txt", "log.txt", "sco.txt")),
        "polysomnography/wsc-visit2-10119-nsrr.allscore.txt",
        "datasets/wsc-dataset-0.8.0.csv",
    ],
    "stages": [
        f"{PSGS}/GSSA/GSSA00001.edf",
        f"{PSGS}/GSSA/GSSA00001_1.edf",
        f"{PSGS}/BOGN/BOGN000021.csv",
        "datasets/stages-harmonized-dataset-0.3.0.csv",
        "original/De-identified Data/PSG SRBD Variables/STAGESPSGKeySRBDVariables2020-08-29 Deidentified.xlsx",
    ],
    "homepap": [
        f"{EDFS}/lab/full/homepap-lab-full-1600001.edf",
        f"{EDFS}/lab/split/homepap-lab-split-1600366.edf",
        f"{EDFS}/home/homepap-home-1600001.edf",
        f"{XML}/lab/full/homepap-lab-full-1600001-nsrr.xml",
        "datasets/homepap-baseline-harmonized-dataset-0.2.0.csv",
    ],
    "nchsdb": [
        "sleep_data/10000_17728.edf",
        "sleep_data/10000_17729.tsv",
        "health_data/DEMOGRAPHIC.csv",
        "datasets/nchsdb-dataset-harmonized-0.3.0.csv",
    ],
    "mnc": ["ssc/ssc_1558_1-nsrr.edf", "ssc/ssc_1558_2-nsrr.xml", "dhc/N0021-nsrr.eannot", "cohorts_deid.xlsx"],
    "apples": [
        "polysomnography/apples-130001.edf",
        "polysomnography/apples-130001.annot",
        "datasets/apples-harmonized-dataset-0.1.0.csv",
    ],
    "abc": [f"{EDFS}/{part}/abc-{part}-900001.edf" for part in ("baseline", "month09", "month18")],
    "hsp": [f"{SUB}_{end}" for end in ("eeg.edf", "annotations.csv", "channels.tsv", "eeg.json")]
    + ["bdsp_psg_master_20231101.csv"],
}
"""Below the cohort's folder."""

# What channels a file of a cohort has, and how fast: label to Hz.
CHANNELS = {
    f"shhs/{EDFS}/shhs1/shhs1-200001.edf": "EEG(sec) 125 EEG 125 EOG(L) 50 EMG 125 ECG 125 H.R. 1",
    f"shhs/{EDFS}/shhs2/shhs2-200001.edf": "EEG(sec) 125 EEG 125 EOG(R) 50 ECG 250 PR 1",
    f"shhs/{EDFS}/shhs2/shhs2-200087.edf": "EEG 128 EMG 128 ECG 256 EOG(L) 64",
    f"mesa/{EDFS}/mesa-sleep-0001.edf": "EEG1 256 EEG2 256 EEG3 256 EOG-L 256 EMG 256 EKG 256 Thor 32 Abdo 32 HR 1",
    f"cfs/{EDFS}/cfs-visit5-800002.edf": "C3 128 A2 128 LOC 128 ECG1 256 EMG1 256 EMG3 256",
    f"ccshs/{EDFS}/ccshs-trec-1800001.edf": "C4 128 A1 128 ROC 128 ECG2 256 EMG2 256",
    f"sof/{EDFS}/sof-visit-8-00004.edf": "C3 128 ECG1 256 Thoracic 16 Abdominal 16",
    f"sof/{EDFS}/sof-visit-8-00005.edf": "EMG/L 128 EMG/R 128",
    f"abc/{EDFS}/month09/abc-month09-900001.edf": "C3 256 M2 256 E1 256 Chin3 256 Abdo 32 Thor 32",
    f"homepap/{EDFS}/lab/full/homepap-lab-full-1600001.edf": "C3-M2 256 LCHIN-CCHIN 256 Chest 32 Abd 32",
    "wsc/polysomnography/wsc-visit1-10119-nsrr.edf": "C3_M2 200 chin 200 thorax 200",
    "wsc/polysomnography/wsc-visit2-10119-nsrr.edf": "C3_M2 100 E1 100",
    f"stages/{PSGS}/GSSA/GSSA00001.edf": "EEG_C3-A2 200 ECG_II 1000 Effort_THO 50",
    f"stages/{PSGS}/BOGN/BOGN00002.edf": "C3M2 200 E2M2 200 THOR 200",
    "apples/polysomnography/apples-130001.edf": "C3_M2 100 LOC 100 nasal_pres 100",
    "apples/polysomnography/apples-130002.edf": "C4_M1 200 thorax 200",
    f"hsp/{SUB}_eeg.edf": "C3-M2 200 CHIN1-CHIN2 200",
}


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def rows_of(path: Path, encoding: str = "utf-8") -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding).splitlines()))


@pytest.mark.parametrize("cohort_id", sorted(PATHS))
def test_documented_paths(tmp_path: Path, cohort_id: str) -> None:
    write_tree(cohort_id, tmp_path, n_epochs=1)
    assert [path for path in PATHS[cohort_id] if not (tmp_path / cohort_id / path).is_file()] == []


@pytest.mark.parametrize("cohort_id", sorted(PATHS))
def test_the_cohorts_own_folder_is_optional(tmp_path: Path, cohort_id: str) -> None:
    write_tree(cohort_id, tmp_path, n_persons=1, n_epochs=1, folder=False)
    assert (tmp_path / PATHS[cohort_id][0]).is_file()
    assert not (tmp_path / cohort_id).exists()


@pytest.mark.parametrize("cohort_id", sorted(TREES))
def test_equal_seeds_give_equal_bytes(tmp_path: Path, cohort_id: str) -> None:
    if cohort_id.startswith("dod"):
        pytest.importorskip("h5py", reason="the optional package h5py is not installed")
    trees = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        write_tree(cohort_id, tmp_path / name, n_epochs=2, seed=seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        trees.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    first, again, other = trees
    assert first == again
    assert first != other


@pytest.mark.parametrize("path", sorted(CHANNELS))
def test_labels_and_rates(tmp_path: Path, path: str) -> None:
    pyedflib = pytest.importorskip("pyedflib", reason="the optional package pyedflib is not installed")
    write_tree(path.split("/")[0], tmp_path, n_epochs=1)
    with pyedflib.EdfReader(str(tmp_path / path)) as edf:
        rates = dict(zip(edf.getSignalLabels(), edf.getSampleFrequencies(), strict=True))
        assert (edf.getStartdatetime().year, edf.getFileDuration()) == (1985, 45)
    words = CHANNELS[path].split(" ")
    for label, rate_hz in zip(words[::2], words[1::2], strict=True):
        assert rates[label] == float(rate_hz)


def test_a_channel_of_chat_has_no_range(tmp_path: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib", reason="the optional package pyedflib is not installed")
    write_tree("chat", tmp_path, n_persons=1, n_epochs=1)
    with pytest.raises(OSError, match="Physical Maximum"):
        pyedflib.EdfReader(str(tmp_path / f"chat/{EDFS}/baseline/chat-baseline-300001.edf"))


def test_labels_that_one_reader_cannot_tell_apart(tmp_path: Path) -> None:
    """Second EEGs of SHHS and their order; electrode flags of MESA; the montage that stands twice at MSMI."""
    from hypnos_bench.signals.edf import EdfFile

    def labels(path: str) -> list[str]:
        return [channel.label for channel in EdfFile(tmp_path / path).channels()]

    write_tree("shhs", tmp_path, n_persons=5, n_epochs=1)
    first = [labels(f"shhs/{EDFS}/shhs1/shhs1-{person}.edf") for person in (200001, 200087, 200003, 200004, 200005)]
    assert [next(x for x in names if x.startswith("EEG") and x != "EEG") for names in first] == [
        *("EEG(sec)", "EEG 2", "EEG2", "EEG sec", "EEG(SEC)")
    ]
    assert [names.index("EEG") < names.index("EMG") for names in first] == [False, True, False, False, False]
    write_tree("mesa", tmp_path, n_persons=1, n_epochs=1)
    assert {"EKG_Off", "EOG-L_Off", "EEG1_Off"} <= set(labels(f"mesa/{EDFS}/mesa-sleep-0001.edf"))
    write_tree("stages", tmp_path, n_persons=9, n_epochs=1)
    assert {"EEG_C3-A2", "EEG_C3-A22"} <= set(labels(f"stages/{PSGS}/MSMI/MSMI00009.edf"))


@pytest.mark.parametrize(
    ("cohort_id", "path", "stage_4"),
    [
        ("mros", f"mros/{XML}/visit1/mros-visit1-aa0001-nsrr.xml", "Stage 4 sleep|4"),
        ("shhs", f"shhs/{XML}/shhs2/shhs2-200001-nsrr.xml", "Stage 4 sleep|4"),
        ("mesa", f"mesa/{XML}/mesa-sleep-0001-nsrr.xml", "Stage 4 sleep|4"),
        ("cfs", f"cfs/{XML}/cfs-visit5-800002-nsrr.xml", "Stage 4 sleep|4"),
        ("apples", "apples/polysomnography/apples-130001.annot", "\nN4\t"),
        ("wsc", "wsc/polysomnography/wsc-visit1-10119-nsrr.stg.txt", "\t4\t"),
    ],
)
def test_stage_4_is_scored_by_rechtschaffen_and_kales(tmp_path: Path, cohort_id: str, path: str, stage_4: str) -> None:
    (written, *_) = write_tree(cohort_id, tmp_path, n_persons=1)
    assert stage_4 in text_of(tmp_path / path)
    assert set(written.stages) >= {0, 1, 2, 3, 4}


def test_desaturations_of_shhs_are_copies_30_s_later(tmp_path: Path) -> None:
    write_tree("shhs", tmp_path, n_persons=1)
    text = text_of(tmp_path / f"shhs/{XML}/shhs1/shhs1-200001-nsrr.xml")
    found = re.findall(r"<EventConcept>([^|]*)\|.*?<Start>(.*?)</Start>\s*<Duration>(.*?)</Duration>", text, re.DOTALL)
    apneas = {(float(start) + 30, float(length)) for name, start, length in found if "apnea" in name.lower()}
    copies = {(float(start), float(length)) for name, start, length in found if "desaturation" in name}
    assert copies == apneas
    assert len(copies) == 3


def test_annotations_by_site_and_visit(tmp_path: Path) -> None:
    write_tree("mnc", tmp_path, n_persons=5)
    names = {path.relative_to(tmp_path / "mnc").as_posix() for path in (tmp_path / "mnc").rglob("*-nsrr.*")}
    assert {name for name in names if not name.endswith(".edf")} == {
        *("ssc/ssc_1558_1-nsrr.xml", "ssc/ssc_1558_2-nsrr.xml", "cnc/chc002-nsrr.xml"),
        *("cnc/chp063-nsrr.eannot", "dhc/N0021-nsrr.eannot", "dhc/Sub98-nsrr.eannot"),
    }
    assert set(text_of(tmp_path / "mnc/dhc/N0021-nsrr.eannot").split()) == {"1", "0", "-1", "-2", "-3"}
    assert set(text_of(tmp_path / "mnc/cnc/chp063-nsrr.eannot").split()) == {"0", "1", "2", "3", "5", "7"}
    write_tree("chat", tmp_path, n_persons=2)
    assert not list((tmp_path / "chat" / XML).rglob("*300002*"))
    assert len(list((tmp_path / "chat" / PROFUSION).rglob("*300002*"))) == 2
    write_tree("hsp", tmp_path, n_persons=3)
    hsp = [path.name for path in sorted((tmp_path / "hsp").rglob("*_annotations.*"))]
    assert [name[4:9] + name[-4:] for name in hsp] == ["I0004.tsv", "S0001.csv", "S0001.csv", "S0001.csv"]


@pytest.mark.parametrize(
    ("cohort_id", "visits"),
    [
        ("mros", {"1", "2"}),
        ("shhs", {"1", "2"}),
        ("wsc", {"1", "2"}),
        ("chat", {"baseline", "followup"}),
        ("abc", {"baseline", "month09", "month18"}),
        ("nchsdb", {"17728", "17729"}),
        ("hsp", {"1", "2"}),
        ("mnc", {"1", "2"}),
    ],
)
def test_a_person_has_several_visits_and_grows_older(tmp_path: Path, cohort_id: str, visits: set[str]) -> None:
    written = write_tree(cohort_id, tmp_path, n_epochs=1)
    first = [w for w in written if w.person == written[0].person]
    assert {w.visit for w in first} == visits
    assert len({w.id for w in written}) == len(written)
    if "sex" in first[0].covariates:
        assert len({w.covariates["sex"] for w in first}) == 1
        assert len({w.covariates["age"] for w in first}) == len(first)


def test_families_of_cfs_are_in_the_table(tmp_path: Path) -> None:
    written = write_tree("cfs", tmp_path, n_persons=4, n_epochs=1)
    assert [w.family for w in written] == ["715", "715", "716", "716"]
    rows = rows_of(tmp_path / "cfs/datasets/cfs-visit5-dataset-0.7.0.csv")
    assert {row["nsrrid"]: row["familyi"] for row in rows} == {w.person: w.family for w in written}
    assert (tmp_path / f"cfs/{EDFS}/cfs-visit5-800004-famID716.edf").is_file()
    assert (tmp_path / f"cfs/{XML}/cfs-visit5-800004-nsrr.xml").is_file()


@pytest.mark.parametrize(
    ("cohort_id", "table", "age", "sex", "codes"),
    [
        ("shhs", "shhs1-dataset-{}", "age_s1", "gender", ("1", "2")),
        ("mesa", "mesa-sleep-dataset-{}", "sleepage5c", "gender1", ("1", "0")),
        ("cfs", "cfs-visit5-dataset-{}", "age", "male", ("1", "0")),
        ("ccshs", "ccshs-trec-dataset-{}", "age", "male", ("1", "0")),
        ("wsc", "wsc-dataset-{}", "age", "sex", ("M", "F")),
        ("apples", "apples-dataset-{}", "age", "gender", ("0) male", "1) female")),
        ("nchsdb", "nchsdb-dataset-harmonized-{}", "nsrr_age", "nsrr_sex", ("male", "female")),
        ("chat", "chat-harmonized-dataset-{}", "nsrr_age", "nsrr_sex", ("male", "female")),
        ("homepap", "homepap-baseline-harmonized-dataset-{}", "nsrr_age", "nsrr_sex", ("male", "female")),
        ("sof", "sof-visit-8-dataset-{}", "v8age", "gender", ("", "1")),
    ],
)
def test_tables_have_two_versions_of_which_the_older_is_wrong(
    tmp_path: Path, cohort_id: str, table: str, age: str, sex: str, codes: tuple[str, str]
) -> None:
    written = write_tree(cohort_id, tmp_path, n_epochs=1)
    paths = list((tmp_path / cohort_id / "datasets").glob(table.format("*") + ".csv"))
    new, old = sorted(paths, key=lambda path: [int(part) for part in path.stem.rsplit("-", 1)[1].split(".")])[::-1]
    rows = rows_of(new, "windows-1252")
    told = {float(w.covariates["age"]) for w in written if "sex" in w.covariates}
    ages = {float(row[age]) for row in rows}
    assert len(told & ages) >= 2  # beside ages at other visits, and of persons with a split night alone
    assert {float(row[age]) for row in rows_of(old, "windows-1252")} == {1.0}
    assert {row[sex] for row in rows} == set(codes) - {""}


def test_tables_of_shhs_are_windows_1252(tmp_path: Path) -> None:
    write_tree("shhs", tmp_path, n_epochs=1)
    data = (tmp_path / "shhs/datasets/shhs1-dataset-0.21.0.csv").read_bytes()
    assert "’" in data.decode("windows-1252")
    with pytest.raises(UnicodeDecodeError):
        data.decode("utf-8")


def test_workbooks_are_read_by_openpyxl(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra 'excel' is not installed")
    written = write_tree("mnc", tmp_path, n_epochs=1)
    sheet = openpyxl.load_workbook(tmp_path / "mnc/cohorts_deid.xlsx").active
    assert [[cell.value for cell in row] for row in sheet.rows] == [
        ["ID", "cohort", "diagnosis"],
        ["ssc_1558_1", "SSC", "T1N"],
        ["ssc_1558_2", "SSC", "T1N"],
        ["N0021", "DHC", "T1N"],
    ]
    assert len(written) == 3


def test_unknown_trees_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'shhs'"):
        write_tree("shs", tmp_path)
