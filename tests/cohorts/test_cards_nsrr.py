from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import Derivation
from hypnos_bench.cohorts.card import CohortLayout
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.finder import Found, FoundFile, find_files
from hypnos_bench.cohorts.montage import apply_rules

NSRR = (
    *("mros", "shhs", "mesa", "cfs", "chat", "ccshs", "sof", "wsc", "stages", "homepap"),
    *("nchsdb", "mnc", "apples", "abc"),
)
CARDS = (*NSRR, "hsp")
EVENTS = "polysomnography/annotations-events-nsrr"
PROFUSION = "polysomnography/annotations-events-profusion"
EDFS = "polysomnography/edfs"
SUB = "PSG/bids/S0001/sub-S0001111189359/ses-1/eeg/sub-S0001111189359_ses-1_task-psg"
PSGS = "original/STAGES PSGs"


def tree(base: Path, *paths: str) -> Path:
    """Empty files."""
    for path in paths:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).touch()
    return base


def found(cohort: str, base: Path, *paths: str) -> Found:
    return find_files(tree(base, *paths), load_layout(cohort))


def annotation_paths(layout: CohortLayout, file: FoundFile) -> list[str]:
    fitting = [a for a in layout.annotations if all(file.groups[name] == value for name, value in a.when.items())]
    return list(dict.fromkeys(annotation.path.format_map(file.groups) for annotation in fitting))


@pytest.mark.parametrize("cohort", CARDS)
def test_cards_say_what_a_reader_must_know(cohort: str) -> None:
    layout = load_layout(cohort)
    card = layout.card
    assert (card.id, card.labels, layout.full_staging, layout.aliases) == (cohort, ("stage", "events"), True, False)
    if cohort in NSRR:
        assert (card.access, card.source) == ("nsrr", f"https://sleepdata.org/datasets/{cohort}")
        assert "no redistribution" in card.licence
    else:
        assert card.access == "credentialed"
    assert card.note
    assert layout.unsure
    assert layout.expected.note
    assert layout.layout.folders == (cohort,)


@pytest.mark.parametrize(
    ("cohort", "path", "person", "visit", "annotations"),
    [
        ("mros", f"{EDFS}/visit1/mros-visit1-aa0001.edf", "aa0001", "1", [f"{EVENTS}/visit1/mros-visit1-aa0001-nsrr.xml", f"{PROFUSION}/visit1/mros-visit1-aa0001-profusion.xml"]),
        ("mros", f"{EDFS}/visit2/mros-visit2-aa4113.edf", "aa4113", "2", [f"{EVENTS}/visit2/mros-visit2-aa4113-nsrr.xml", f"{PROFUSION}/visit2/mros-visit2-aa4113-profusion.xml"]),
        ("mros", f"{EDFS}/visit1/mros-visit1-AA0021.EDF", "aa0021", "1", [f"{EVENTS}/visit1/mros-visit1-AA0021-nsrr.xml", f"{PROFUSION}/visit1/mros-visit1-AA0021-profusion.xml"]),
        ("shhs", f"{EDFS}/shhs1/shhs1-200001.edf", "200001", "1", [f"{EVENTS}/shhs1/shhs1-200001-nsrr.xml", f"{PROFUSION}/shhs1/shhs1-200001-profusion.xml"]),
        ("shhs", f"{EDFS}/shhs2/shhs2-200077.edf", "200077", "2", [f"{EVENTS}/shhs2/shhs2-200077-nsrr.xml", f"{PROFUSION}/shhs2/shhs2-200077-profusion.xml"]),
        ("mesa", f"{EDFS}/mesa-sleep-0001.edf", "0001", None, [f"{EVENTS}/mesa-sleep-0001-nsrr.xml", f"{PROFUSION}/mesa-sleep-0001-profusion.xml"]),
        ("cfs", f"{EDFS}/cfs-visit5-800002.edf", "800002", None, [f"{EVENTS}/cfs-visit5-800002-nsrr.xml", f"{PROFUSION}/cfs-visit5-800002-profusion.xml"]),
        ("cfs", f"{EDFS}/cfs-visit5-800002-famID715.edf", "800002", None, [f"{EVENTS}/cfs-visit5-800002-famID715-nsrr.xml", f"{EVENTS}/cfs-visit5-800002-nsrr.xml", f"{PROFUSION}/cfs-visit5-800002-famID715-profusion.xml", f"{PROFUSION}/cfs-visit5-800002-profusion.xml"]),
        ("chat", f"{EDFS}/baseline/chat-baseline-300001.edf", "300001", "baseline", [f"{EVENTS}/baseline/chat-baseline-300001-nsrr.xml", f"{PROFUSION}/baseline/chat-baseline-300001-profusion.xml"]),
        ("chat", f"{EDFS}/followup/chat-followup-300001.edf", "300001", "followup", [f"{EVENTS}/followup/chat-followup-300001-nsrr.xml", f"{PROFUSION}/followup/chat-followup-300001-profusion.xml"]),
        ("chat", f"{EDFS}/nonrandomized/chat-baseline-nonrandomized-300006.edf", "300006", "nonrandomized", [f"{EVENTS}/nonrandomized/chat-baseline-nonrandomized-300006-nsrr.xml", f"{PROFUSION}/nonrandomized/chat-baseline-nonrandomized-300006-profusion.xml"]),
        ("ccshs", f"{EDFS}/ccshs-trec-1800001.edf", "1800001", None, [f"{EVENTS}/ccshs-trec-1800001-nsrr.xml", f"{PROFUSION}/ccshs-trec-1800001-profusion.xml"]),
        ("sof", f"{EDFS}/sof-visit-8-00004.edf", "00004", None, [f"{EVENTS}/sof-visit-8-00004-nsrr.xml", f"{PROFUSION}/sof-visit-8-00004-profusion.xml"]),
        ("wsc", "polysomnography/wsc-visit1-10119-nsrr.edf", "10119", "1", [f"polysomnography/wsc-visit1-10119-nsrr.{end}" for end in ("allscore.txt", "stg.txt", "eannot")]),
        ("wsc", "polysomnography/wsc-visit5-10119-nsrr.edf", "10119", "5", [f"polysomnography/wsc-visit5-10119-nsrr.{end}" for end in ("allscore.txt", "stg.txt", "eannot")]),
        ("stages", f"{PSGS}/BOGN/BOGN00043.edf", "bogn00043", None, [f"{PSGS}/BOGN/BOGN00043.csv"]),
        ("stages", f"{PSGS}/STLK/STLK00122.edf", "stlk00122", None, [f"{PSGS}/STLK/STLK00122.csv"]),
        ("homepap", f"{EDFS}/lab/full/homepap-lab-full-1600001.edf", "1600001", None, [f"{EVENTS}/lab/full/homepap-lab-full-1600001-nsrr.xml", f"{PROFUSION}/lab/full/homepap-lab-full-1600001-profusion.xml"]),
        ("homepap", f"{EDFS}/lab/split/homepap-lab-split-1600366.edf", "1600366", None, [f"{EVENTS}/lab/split/homepap-lab-split-1600366-nsrr.xml", f"{PROFUSION}/lab/split/homepap-lab-split-1600366-profusion.xml"]),
        ("homepap", f"{EDFS}/home/homepap-home-1600002.edf", "1600002", None, [f"{EVENTS}/home/homepap-home-1600002-nsrr.xml"]),
        ("nchsdb", "sleep_data/10000_17728.edf", "10000", "17728", ["sleep_data/10000_17728.tsv"]),
        ("mnc", "ssc/ssc_1558_1-nsrr.edf", "ssc_1558", "1", ["ssc/ssc_1558_1-nsrr.xml", "ssc/ssc_1558_1-nsrr.eannot"]),
        ("mnc", "cnc/chc001-nsrr.edf", "chc001", None, ["cnc/chc001-nsrr.xml", "cnc/chc001-nsrr.eannot"]),
        ("mnc", "cnc/chp060-nsrr.edf", "chp060", None, ["cnc/chp060-nsrr.xml", "cnc/chp060-nsrr.eannot"]),
        ("mnc", "dhc/N0020-nsrr.edf", "n0020", None, ["dhc/N0020-nsrr.xml", "dhc/N0020-nsrr.eannot"]),
        ("mnc", "dhc/Sub94-nsrr.edf", "sub94", None, ["dhc/Sub94-nsrr.xml", "dhc/Sub94-nsrr.eannot"]),
        ("apples", "polysomnography/apples-130001.edf", "130001", None, ["polysomnography/apples-130001.annot"]),
        ("abc", f"{EDFS}/baseline/abc-baseline-900001.edf", "900001", "baseline", [f"{EVENTS}/baseline/abc-baseline-900001-nsrr.xml", f"{PROFUSION}/baseline/abc-baseline-900001-profusion.xml"]),
        ("abc", f"{EDFS}/month18/abc-month18-900001.edf", "900001", "month18", [f"{EVENTS}/month18/abc-month18-900001-nsrr.xml", f"{PROFUSION}/month18/abc-month18-900001-profusion.xml"]),
        ("hsp", f"{SUB}_eeg.edf", "s0001111189359", "1", [f"{SUB}_annotations.csv", f"{SUB}_annotations.tsv"]),
    ],
)  # fmt: skip
def test_documented_names(
    tmp_path: Path, cohort: str, path: str, person: str, visit: str | None, annotations: list[str]
) -> None:
    files = found(cohort, tmp_path, path)
    assert not files.excluded
    (file,) = files.recordings
    recording = Path(path).stem.partition("-famID")[0]
    assert (file.id, file.person, file.visit) == (recording, person, visit)
    assert annotation_paths(load_layout(cohort), file) == annotations


@pytest.mark.parametrize("cohort", CARDS)
def test_the_example_of_each_card_is_a_recording(tmp_path: Path, cohort: str) -> None:
    assert len(found(cohort, tmp_path, load_layout(cohort).layout.example).recordings) == 1


@pytest.mark.parametrize(
    ("cohort", "name"),
    [
        ("mros", "visit3/mros-visit3-aa0001"),
        ("mros", "visit1/mros-visit1-aa001"),
        ("mros", "visit1/mros-visit1-aa0001_2"),
        ("shhs", "shhs1/shhs1-100001"),
        ("shhs", "shhs3/shhs3-200001"),
        ("shhs", "shhs1/shhs1-2000011"),
        ("mesa", "mesa-sleep-001"),
        ("mesa", "mesa-sleep-00011"),
        ("cfs", "cfs-visit5-700002"),
        ("cfs", "cfs-visit5-800002-famID"),
        ("chat", "baseline/chat-nonrandomized-300006"),
        ("chat", "followup/chat-followup-nonrandomized-300006"),
        ("chat", "baseline/chat-baseline-baseline-300001"),
        ("chat", "baseline/chat-baseline-400001"),
        ("ccshs", "ccshs-trec-180001"),
        ("sof", "sof-visit-8-0004"),
        ("wsc", "wsc-visit6-10119-nsrr"),
        ("wsc", "wsc-visit1-10119"),
        ("stages", "GSSA/GSSA0002"),
        ("homepap", "lab/full/homepap-lab-1600001"),
        ("nchsdb", "10000"),
        ("nchsdb", "10000_17728_1"),
        ("mnc", "ssc/ssc_1558-nsrr"),
        ("mnc", "cnc/chc001_1-nsrr"),
        ("mnc", "other/chc001-nsrr"),
        ("mnc", "ssc/ssc_1558_1"),
        ("apples", "apples-13000"),
        ("abc", "month12/abc-month12-900001"),
        ("abc", "baseline/abc-baseline-910001"),
        ("hsp", "S0001/sub-S0001111189359_ses-1_task-psg_pre"),
        ("hsp", "X0001/sub-X0001111189359_ses-1_task-psg_eeg"),
    ],
)
def test_names_that_are_none_of_the_cohort(tmp_path: Path, cohort: str, name: str) -> None:
    signals = load_layout(cohort).layout.signals
    files = found(cohort, tmp_path, f"{signals}/{name}.edf".removeprefix("/"))
    assert not files.recordings
    assert len(files.excluded) == 1


@pytest.mark.parametrize("cohort", CARDS)
def test_shadows_of_an_archiver_and_names_of_other_cohorts_are_no_recordings(tmp_path: Path, cohort: str) -> None:
    layout = load_layout(cohort).layout
    example = Path(layout.example)
    shadows = [f"{example.parent}/._{example.name}", f"{layout.signals}/__MACOSX/._{example.name}".removeprefix("/")]
    others = [Path(load_layout(other).layout.example) for other in CARDS if other != cohort]
    below = [(Path(layout.signals) / other.parent.name / other.name).as_posix() for other in others]
    files = found(cohort, tmp_path, *shadows, *below)
    assert not files.recordings
    assert len(files.excluded) == len(others)


def test_a_repaired_copy_is_no_second_recording(tmp_path: Path) -> None:
    paths = [f"{EDFS}/baseline/chat-baseline-300001{end}.edf" for end in ("", "_fixed")]
    (file,) = found("chat", tmp_path, *paths).recordings
    assert (file.id, file.path.name) == ("chat-baseline-300001", "chat-baseline-300001_fixed.edf")


def test_stages_naps_and_further_segments_are_passed_over_with_a_reason(tmp_path: Path) -> None:
    names = ("GSSA/GSSA00022", "GSSA/GSSA00022_1", "GSSA/GSSA00022_6", "STLK/STLK001222", "BOGN/BOGN000431")
    files = found("stages", tmp_path, *(f"{PSGS}/{name}.edf" for name in names))
    assert [file.id for file in files.recordings] == ["GSSA00022"]
    # A person of whom nothing but a nap or a segment is there is not lost without a word.
    assert sorted(e.recording for e in files.excluded) == ["BOGN000431", "STLK001222"]
    assert all(e.reason.startswith("nothing but: a further segment or a nap") for e in files.excluded)
    assert sum(files.remarks.values()) == 4
    assert {"segment" in text or "nap" in text for text in files.remarks} == {True}


def test_stages_naps_of_a_person_whose_night_is_there_are_not_listed(tmp_path: Path) -> None:
    names = ("GSSA/GSSA00022", "GSSA/gssa00022_1", "STLK/STLK00122", "STLK/STLK001222")
    files = found("stages", tmp_path, *(f"{PSGS}/{name}.edf" for name in names))
    assert ([file.id for file in files.recordings], files.excluded) == (["GSSA00022", "STLK00122"], ())


def test_cfs_names_with_and_without_the_family_are_one_recording(tmp_path: Path) -> None:
    other = f"{EDFS}/cfs-visit5-800010-famID715.edf"
    files = found("cfs", tmp_path, f"{EDFS}/cfs-visit5-800002.edf", f"{EDFS}/cfs-visit5-800002-famID715.edf", other)
    assert [(file.id, file.groups["fam"]) for file in files.recordings] == [("cfs-visit5-800010", "715")]
    ((recording, reason),) = [(e.recording, e.reason) for e in files.excluded]
    assert recording == "cfs-visit5-800002"
    assert reason.startswith("found 2 times: ")
    assert "cfs-visit5-800002-famID715.edf" in reason


@pytest.mark.parametrize(
    ("cohort", "kinds"),
    [
        *((cohort, ["nsrr-xml", "profusion-xml"]) for cohort in ("mros", "shhs", "mesa", "cfs", "chat", "ccshs")),
        *((cohort, ["nsrr-xml", "profusion-xml"]) for cohort in ("sof", "homepap", "abc")),
        ("wsc", ["wsc-allscore", "wsc-stg", "luna-eannot"]),
        ("stages", ["stages-csv"]),
        ("nchsdb", ["nchsdb-tsv"]),
        ("mnc", ["nsrr-xml", "luna-eannot"]),
        ("apples", ["luna-annot"]),
        ("hsp", ["hsp-csv"]),
    ],
)
def test_fallback_order_of_annotations(cohort: str, kinds: list[str]) -> None:
    assert list(dict.fromkeys(annotation.kind for annotation in load_layout(cohort).annotations)) == kinds


def test_meaning_of_unsure_coding_of_epochs_and_companions() -> None:
    for cohort, meaning in {"mros": "hypopnea", "mesa": "hypopnea", "shhs": "hypopnea", "chat": "mixed-apnea"}.items():
        assert {a.options["unsure"] for a in load_layout(cohort).annotations} == {meaning}
    assert {a.options["desaturations"] for a in load_layout("shhs").annotations} == {"drop"}
    codings = [(a.when.get("site"), a.options["coding"]) for a in load_layout("mnc").annotations if a.options]
    assert codings == [("dhc", "mnc-dhc"), (None, "mnc")]
    assert load_layout("wsc").annotations[1].beside == {"log": "{dir}{stem}.log.txt"}


MROS_1 = ["C3", "C4", "A1", "A2", "LOC", "ROC", "ECG L", "ECG R", "L Chin", "R Chin", "Thoracic", "Abdominal", "SaO2"]
MROS_2 = ["C3", "C4", "M1", "M2", "E1", "E2", "ECGL", "ECGR", "LChin", "RChin", "Chest", "ABD", "SpO2", "CannulaFlow"]
CASE_WESTERN = ["C3", "C4", "A1", "A2", "LOC", "ROC", "ECG1", "ECG2", "EMG1", "EMG2", "EMG3"]
SHHS = ["SaO2", "H.R.", "EEG(sec)", "ECG", "EMG", "EOG(L)", "EOG(R)", "EEG", "THOR RES", "ABDO RES", "NEW AIR"]
BARE_AASM = ["C3", "C4", "M1", "M2", "E1", "E2", "F3", "F4", "O1", "O2"]
BARE = "C3-A2 C4-A1 LOC-A2 ROC-A1"

SETS: Sequence[tuple[str, str, Sequence[str], str]] = [
    ("mros", "visit 1", MROS_1, f"{BARE} | L Chin - R Chin | ECG L - ECG R | Abdominal | Thoracic"),
    ("mros", "visit 2", MROS_2, "C3-M2 C4-M1 E1-M2 E2-M1 | LChin - RChin | ECGL - ECGR | ABD | Chest"),
    ("mros", "referenced", ["C3-A2", "C4-A1", "LOC", "ROC", "L Chin-R Chin", "ECG L-ECG R", "Thoracic", "Abdominal"], "= C3-A2 C4-A1 LOC ROC | L Chin-R Chin | ECG L-ECG R | Abdominal | Thoracic"),
    ("mros", "aa4113", ["C3", "C4", "M1", "M2", "LOC", "ROC", "ECG L", "ECG R", "L Chin", "R Chin", "Thoracic", "Abdominal"], "C3-M2 C4-M1 LOC-M2 ROC-M1 | L Chin - R Chin | ECG L - ECG R | Abdominal | Thoracic"),
    *(("shhs", label, [label if x == "EEG(sec)" else x for x in SHHS], f"= {label.replace(' ', '~')} EEG EOG(L) EOG(R) | EMG | ECG | ABDO RES | THOR RES") for label in ("EEG(sec)", "EEG 2", "EEG2", "EEG sec", "EEG(SEC)")),
    ("mesa", "all", ["EKG", "EOG-L", "EOG-R", "EMG", "EEG1", "EEG2", "EEG3", "Pleth", "Thor", "Abdo", "SpO2", "HR", "EKG_Off", "EOG-L_Off", "EEG3_Off"], "= - EEG3 EOG-L EOG-R | EMG | EKG | Abdo | Thor"),
    ("cfs", "A1, A2", [*CASE_WESTERN, "THOR EFFORT", "ABDO EFFORT"], f"{BARE} | EMG2 - EMG3 | ECG1 - ECG2 | ABDO EFFORT | THOR EFFORT"),
    ("cfs", "M1, M2", ["C3", "C4", "M1", "M2", "LOC", "ROC", "ECG1", "EMG1", "EMG2"], "C3-M2 C4-M1 LOC-M2 ROC-M1 | EMG1 - EMG2 | ECG1 | - | -"),
    ("ccshs", "all", [*CASE_WESTERN, "THOR EFFORT", "ABDO EFFORT"], f"{BARE} | EMG2 - EMG3 | ECG1 - ECG2 | ABDO EFFORT | THOR EFFORT"),
    ("chat", "all", [*BARE_AASM, "T3", "T4", "Lchin", "Rchin", "Cchin", "ECG1", "ECG2", "ECG3", "CHEST", "ABD", "SAO2"], "C3-M2 C4-M1 E1-M2 E2-M1 | Lchin - Rchin | ECG1 - ECG3 | ABD | CHEST"),
    ("chat", "no third lead", [*BARE_AASM, "LCHIN", "CCHIN", "ECG1", "ECG2", "Chest"], "C3-M2 C4-M1 E1-M2 E2-M1 | LCHIN - CCHIN | ECG1 - ECG2 | - | Chest"),
    ("sof", "documented", [*CASE_WESTERN[:8], "L Chin", "R Chin", "Thoracic", "Abdominal"], f"{BARE} | L Chin - R Chin | ECG1 - ECG2 | Abdominal | Thoracic"),
    ("sof", "EMG/L", [*CASE_WESTERN[:8], "EMG/L", "EMG/R", "Thoracic", "Abdominal"], f"{BARE} | EMG/L - EMG/R | ECG1 - ECG2 | Abdominal | Thoracic"),
    ("wsc", "no C4", ["C3_M2", "F3_M2", "Fz_M2", "Cz_M2", "Pz_M2", "O1_M2", "E1", "E2", "chin", "ECG", "thorax", "abdomen"], "= C3_M2 - E1 E2 | chin | ECG | abdomen | thorax"),
    ("wsc", "average", ["C3_AVG", "C4_AVG", "E1", "E2", "cchin_l", "rchin_l", "ECG", "thorax", "abdomen"], "= C3_AVG C4_AVG E1 E2 | cchin_l | ECG | abdomen | thorax"),
    ("wsc", "C4", ["C3_M1", "C4_M1", "E1", "E2", "rchin_l", "ECG"], "= C3_M1 C4_M1 E1 E2 | rchin_l | ECG | - | -"),
    ("stages", "Grael", ["EEG_C3-A2", "EEG_C4-A1", "EOG_LOC-A2", "EOG_ROC-A2", "EMG_Chin", "ECG_I", "ECG_II", "ECG_IIHF", "Effort_THO", "Effort_ABD"], "= EEG_C3-A2 EEG_C4-A1 EOG_LOC-A2 EOG_ROC-A2 | EMG_Chin | ECG_II | Effort_ABD | Effort_THO"),
    ("stages", "MSMI twice", ["EEG_C3-A2", "EEG_C3-A22", "EEG_C4-A1", "EEG_C4-A12", "EOG_LOC-A2", "EOG_LOC-A22", "EOG_ROC-A2"], "= EEG_C3-A2 EEG_C4-A1 EOG_LOC-A2 EOG_ROC-A2 | - | - | - | -"),
    ("stages", "older, blanks", ["EEG C3-A2", "EEG C4-A1", "EOG LOC-A2", "EOG ROC-A2", "EMG Chin", "EKG #1", "EKG #2"], "= EEG~C3-A2 EEG~C4-A1 EOG~LOC-A2 EOG~ROC-A2 | EMG Chin | EKG #1 - EKG #2 | - | -"),
    ("stages", "BOGN", ["C3M2", "C4M1", "E1M2", "E2M2", "CHIN", "EKG", "THOR", "ABDM"], "= C3M2 C4M1 E1M2 E2M2 | CHIN | EKG | ABDM | THOR"),
    ("stages", "STLK", ["C3-M2", "C4-M1", "E1", "E2", "Chin", "SUB-R_-_V5", "Chest", "Abdomen"], "= C3-M2 C4-M1 E1 E2 | Chin | SUB-R_-_V5 | Abdomen | Chest"),
    ("stages", "STNF", ["C3", "C4", "M1", "M2", "E1", "E2", "Chin", "Chin2", "ECG", "ECG_2", "Chest", "Abd"], "C3-M2 C4-M1 E1-M2 E2-M1 | Chin - Chin2 | ECG | Abd | Chest"),
    ("stages", "STNF A1, A2", ["C3", "C4", "A1", "A2", "EOG1", "EOG2", "Chin", "Chin2", "ECG_II", "ECG", "ChestDC", "AbdDC"], "C3-A2 C4-A1 EOG1-A2 EOG2-A1 | Chin - Chin2 | ECG_II | AbdDC | ChestDC"),
    ("stages", "MSTR", ["C3", "C4", "M1", "M2", "L-EOG", "R-EOG", "EMG1", "EMG2", "EMG3", "ECG1", "ECG2", "CHEST", "Abdomen"], "C3-M2 C4-M1 L-EOG:M2 R-EOG:M1 | EMG1 - EMG2 | ECG1 - ECG2 | Abdomen | CHEST"),
    ("stages", "MSTH", ["C3", "C4", "M1", "M2", "E1_(LEOG)", "E2_(REOG)", "EMG1", "EMG2", "EMG3", "EKG1", "EKG2", "CHEST", "ABDOMEN"], "C3-M2 C4-M1 E1_(LEOG)-M2 E2_(REOG)-M1 | EMG1 - EMG2 | EKG1 - EKG2 | ABDOMEN | CHEST"),
    ("stages", "MSNF", ["C3", "C4", "M1", "M2", "L-EOG", "R-EOG", "EMG_#1", "EMG_#2", "EMG_#3", "EKG_#1", "EKG_#2", "Chest", "Abdomen"], "C3-M2 C4-M1 L-EOG:M2 R-EOG:M1 | EMG_#1 - EMG_#2 | EKG_#1 - EKG_#2 | Abdomen | Chest"),
    ("stages", "MSQW", ["C3", "C4", "M1", "M2", "LOC", "ROC", "CHIN1", "CHIN2", "CHIN3", "EKG1", "EKG2", "CHEST", "ABD"], "C3-M2 C4-M1 LOC-M2 ROC-M1 | CHIN1 - CHIN2 | EKG1 - EKG2 | ABD | CHEST"),
    ("homepap", "referenced", ["C3-M2", "C4-M1", "E_1-M2", "E_2-M1", "LCHIN-CCHIN", "ECG3-ECG1", "Chest", "Abd"], "= C3-M2 C4-M1 E_1-M2 E_2-M1 | LCHIN-CCHIN | ECG3-ECG1 | Abd | Chest"),
    ("homepap", "bare, typo", [*BARE_AASM, "Lchin", "Cchin", "Rchon", "ECG1", "ECG3", "Chest", "Abd"], "C3-M2 C4-M1 E1-M2 E2-M1 | Lchin - Cchin | ECG1 - ECG3 | Abd | Chest"),
    ("homepap", "one EOG", ["C3-M2", "C4-M1", "E1-E2", "Chin1-Chin2", "EKG"], "= C3-M2 C4-M1 E1-E2 - | Chin1-Chin2 | EKG | - | -"),
    ("homepap", "L-EOG", ["C3", "C4", "M1", "M2", "L-EOG", "R-EOG", "chin", "ECG1", "ECG2"], "C3-M2 C4-M1 L-EOG:M2 R-EOG:M1 | chin | ECG1 - ECG2 | - | -"),
    ("nchsdb", "usual", ["EEG C3-M2", "EEG C4-M1", "EOG LOC-M2", "EOG ROC-M1", "EMG Chin1-Chin2", "ECG EKG2-EKG", "Resp Thoracic", "Resp Abdominal"], "= EEG~C3-M2 EEG~C4-M1 EOG~LOC-M2 EOG~ROC-M1 | EMG Chin1-Chin2 | ECG EKG2-EKG | Resp Abdominal | Resp Thoracic"),
    ("nchsdb", "variants", ["EEG C3-EEG M2", "EEG C4-M2", "EEG E1", "EEG E2", "EEG Chin3-Chin2", "RESP THORACIC"], "= EEG~C3-EEG~M2 EEG~C4-M2 EEG~E1 EEG~E2 | EEG Chin3-Chin2 | - | - | RESP THORACIC"),
    ("mnc", "referenced", ["C3-M2", "C4-M1", "E1-M2", "E2-M1", "cchin_l", "chin", "ECG"], "= C3-M2 C4-M1 E1-M2 E2-M1 | cchin_l | ECG | - | -"),
    ("mnc", "bare", ["C3", "C4", "Cz", "E1", "E2", "cchin"], "= C3 C4 E1 E2 | cchin | - | - | -"),
    ("apples", "all", ["C3_M2", "C4_M1", "O1_M2", "O2_M1", "LOC", "ROC", "EMG", "ECG", "thorax", "abdomen", "nasal_pres"], "= C3_M2 C4_M1 LOC ROC | EMG | ECG | abdomen | thorax"),
    ("apples", "no EEG", ["LOC", "ROC", "EMG", "ECG", "thorax", "abdomen"], "= - - LOC ROC | EMG | ECG | abdomen | thorax"),
    ("abc", "all", [*BARE_AASM, "ECG1", "ECG2", "Chin1", "Chin2", "Chin3", "Abdo", "Thor"], "C3-M2 C4-M1 E1-M2 E2-M1 | Chin1 - Chin2 | ECG1 - ECG2 | Abdo | Thor"),
    ("abc", "Thorax", [*BARE_AASM, "ECG1", "Chin1", "Chin3", "Abdo", "Thorax"], "C3-M2 C4-M1 E1-M2 E2-M1 | Chin1 - Chin3 | ECG1 | Abdo | Thorax"),
    ("hsp", "S0001", ["C3-M2", "C4-M1", "E1-M2", "E2-M2", "CHIN1-CHIN2", "ECG-LA", "ABD", "CHEST"], "= C3-M2 C4-M1 E1-M2 E2-M2 | CHIN1-CHIN2 | ECG-LA | ABD | CHEST"),
    ("hsp", "others", ["C3-M2", "C4-M1", "E1-M2", "E2-M1", "CHIN1-CHIN2", "EKG", "Effort ABD", "Effort THO"], "= C3-M2 C4-M1 E1-M2 E2-M1 | CHIN1-CHIN2 | EKG | Effort ABD | Effort THO"),
]  # fmt: skip
"""Cohort, what is special, labels, and the montage: ``C3 C4 E1 E2 | Chin | ECG | ABD | THX``. The first four are
differences written ``a-b`` (``a:b`` where a label has a dash), or after ``=`` labels with ``~`` for a blank."""


def montage(text: str) -> dict[str, Derivation]:
    heads, *rest = (part.strip() for part in text.split(" | "))
    ready = heads.startswith("= ")
    made: dict[str, Derivation] = {}
    for channel, word in zip(("C3", "C4", "E1", "E2"), heads.removeprefix("= ").split(), strict=True):
        if word != "-":
            plus, _, minus = word.rpartition(":" if ":" in word else "-")
            made[channel] = Derivation(word.replace("~", " ")) if ready else Derivation(plus, minus)
    for channel, word in zip(("Chin", "ECG", "ABD", "THX"), rest, strict=True):
        if word != "-":
            plus, _, other = word.partition(" - ")
            made[channel] = Derivation(plus, other or None)
    return made


@pytest.mark.parametrize(
    ("cohort", "labels", "expected"), [pytest.param(c, x, e, id=f"{c} {t}") for c, t, x, e in SETS]
)
def test_documented_label_sets(cohort: str, labels: Sequence[str], expected: str) -> None:
    assert apply_rules(labels, load_layout(cohort).channels) == montage(expected)


@pytest.mark.parametrize("cohort", CARDS)
def test_flags_of_fallen_electrodes_never_resolve(cohort: str) -> None:
    channels = load_layout(cohort).channels
    labels = {label for rules in channels.values() for d in rules for label in (d.plus, d.minus) if label}
    assert apply_rules(sorted(labels), channels)
    assert apply_rules(sorted(f"{label}_Off" for label in labels), channels) == {}


def test_mains() -> None:
    assert {cohort: load_layout(cohort).mains_hz for cohort in CARDS} == dict.fromkeys(CARDS, 60.0)
    assert load_layout("mnc").mains_by == {"site": {"ssc": 60.0, "cnc": 50.0, "dhc": 50.0}}
