"""Fake trees of the cohorts with a layout of their own: WSC, NCHSDB, MNC, APPLES and HSP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.hsp_csv import Site, write_hsp_csv
from hypnos_bench.cohorts.writers.luna import write_luna_annot, write_luna_eannot
from hypnos_bench.cohorts.writers.nchsdb_tsv import write_nchsdb_tsv
from hypnos_bench.cohorts.writers.nsrr_trees import NSRR
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.tree_parts import KINDS, START, Night, Scored, Scorer, Tree, referenced, rows
from hypnos_bench.cohorts.writers.tree_tables import Table, coded, harmonised, write_xlsx
from hypnos_bench.cohorts.writers.wsc import write_wsc_allscore, write_wsc_log, write_wsc_stg

CERTAIN = tuple(kind for kind in KINDS if kind != "unsure")
"""Event kinds that formats other than NSRR's have words for."""

# --- WSC: Gamma with .stg.txt at the first visit, Twin with .allscore.txt at the second ---


def _wsc_gamma(path: Path, scored: Scored) -> None:
    """Stages with or without a header line, by the name; the log has an earlier start that was given up."""
    name = path.name.removesuffix(".stg.txt")
    write_wsc_stg(path, scored.stages, header=name.endswith(("0-nsrr", "9-nsrr")), rk=True)
    write_wsc_log(path.with_name(f"{name}.log.txt"), ["23:50:00", scored.start])
    path.with_name(f"{name}.sco.txt").write_text("1\tA\n", encoding="utf-8")


def _wsc_twin(path: Path, scored: Scored) -> None:
    write_wsc_allscore(path, scored.stages, scored.events, scored.start)


_GAMMA = Scorer("{dir}/{stem}.stg.txt", _wsc_gamma, kinds=())
_TWIN = Scorer("{dir}/{stem}.allscore.txt", _wsc_twin, CERTAIN)


def _wsc_nights(n_persons: int) -> list[Night]:
    others = {"E1": "E1", "E2": "E2", "ECG": "ECG", "ABD": "abdomen", "THX": "thorax"}
    nights = []
    for i in range(n_persons):
        eeg = ({"C3": "C3_M2"}, {"C3": "C3_M1", "C4": "C4_M1"}, {"C3": "C3_AVG", "C4": "C4_AVG"})[i % 3]
        chin = ("chin", "cchin_l", "cchin_r", "rchin_l")[i % 4]
        for visit, scorer, rate_hz in (("1", _GAMMA, 200.0), ("2", _TWIN, 100.0)):
            montage = referenced(rate_hz, rate_hz, **eeg, **others, Chin=chin)
            more = rows("eeg", rate_hz, "F3_M2", "Fz_M2", "Cz_M2", "O1_M2")
            edf = f"polysomnography/wsc-visit{visit}-{10119 + i}-nsrr.edf"
            nights.append(Night(edf, str(10119 + i), montage.plus({}, more), (scorer,), visit))
    return nights


def _wsc_row(w: Written) -> dict[str, object]:
    c = w.covariates
    told = {"wsc_id": int(w.person), "wsc_vst": w.visit, "age": c["age"], "sex": coded(w, male="M", female="F")}
    indices = {"ahi": c["ahi_a0h4"], "ahi3": c["ahi_a0h3"]}
    return {**told, "race": 5, "bmi": c["bmi"], **indices, "tst": 371.0, "any_cvd": "N", "psg_cpap": 0}


WSC = Tree(
    "wsc",
    _wsc_nights,
    (
        Table("datasets/wsc-dataset-{version}.csv", "0.8.0", "0.7.0", _wsc_row),
        Table(
            "datasets/wsc-harmonized-dataset-{version}.csv",
            "0.8.0",
            "0.7.0",
            lambda w: {"nsrrid": int(w.person), "wsc_vst": w.visit, "nsrr_file_prefix": w.id, **harmonised(w)},
        ),
    ),
    ("age", "sex", "bmi", "ahi_a0h3", "ahi_a0h4"),
)

# --- NCHSDB: children, the first of them with a second study; labels differ between recorders ---


def _nchsdb_tsv(path: Path, scored: Scored) -> None:
    remarks = [(12.0, "Lights Off"), (31.0, "crying, mother in bed")]
    write_nchsdb_tsv(path, scored.stages, scored.events, start_recording_s=0.0, remarks=remarks)


def _nchsdb_tsv_off_grid(path: Path, scored: Scored) -> None:
    """Scoring begins 7.5 s after the signals."""
    write_nchsdb_tsv(path, scored.stages, scored.events, first_s=7.5)


_NCHSDB_BELTS = {"ABD": "Resp Abdominal", "THX": "Resp Thoracic"}
_NCHSDB_MONTAGES = (
    referenced(
        256,
        256,
        C3="EEG C3-M2",
        C4="EEG C4-M1",
        E1="EOG LOC-M2",
        E2="EOG ROC-M1",
        Chin="EMG Chin1-Chin2",
        ECG="ECG EKG2-EKG",
        **_NCHSDB_BELTS,
    ),
    referenced(
        400,
        400,
        C3="EEG C3-EEG M2",
        C4="EEG C4-M2",
        E1="EEG E1",
        Chin="EEG Chin1-Chin2",
        ECG="ECG EKG2-EKG",
        **_NCHSDB_BELTS,
    ),
    referenced(
        512,
        512,
        C3="EEG c3-m2",
        C4="EEG c4-m1",
        E1="EOG loc-m2",
        E2="EOG roc-m1",
        Chin="EEG Chin3-Chin2",
        ECG="ECG ekg2-ekg",
        **_NCHSDB_BELTS,
    ),
)


def _nchsdb_nights(n_persons: int) -> list[Night]:
    nights = []
    for i in range(n_persons):
        person, study = str(10000 + 3 * i), 17728 + 2 * i
        for visit in (str(study), str(study + 1))[: 2 if i == 0 else 1]:
            scorer = Scorer("{dir}/{stem}.tsv", _nchsdb_tsv_off_grid if i % 2 else _nchsdb_tsv, CERTAIN)
            edf = f"sleep_data/{person}_{visit}.edf"
            nights.append(Night(edf, person, _NCHSDB_MONTAGES[i % 3], (scorer,), visit))
    return nights


def _nchsdb_health(base: Path, written: Sequence[Written]) -> None:
    studies = [{"STUDY_PAT_ID": w.person, "SLEEP_STUDY_ID": w.visit} for w in written]
    write_csv(base / "health_data/SLEEP_STUDY.csv", studies)
    write_csv(base / "health_data/DEMOGRAPHIC.csv", [{"STUDY_PAT_ID": row["STUDY_PAT_ID"]} for row in studies])


def _nchsdb_row(w: Written) -> dict[str, object]:
    told = {"filename_id": w.id, "study_pat_id": w.person, "nsrr_age": w.covariates["age"]}
    return {**told, "nsrr_sex": w.covariates["sex"], "nsrr_bmipct": 61.5}


NCHSDB = Tree(
    "nchsdb",
    _nchsdb_nights,
    (Table("datasets/nchsdb-dataset-harmonized-{version}.csv", "0.3.0", "0.2.0", _nchsdb_row),),
    ("age", "sex"),
    ages=(1, 18),
    more=_nchsdb_health,
)

# --- MNC: XML at SSC, where a person has two nights; XML or numbers at CNC; numbers of its own at DHC ---


def _mnc_numbers(path: Path, scored: Scored) -> None:
    write_luna_eannot(path, scored.stages, "mnc")


def _mnc_numbers_dhc(path: Path, scored: Scored) -> None:
    write_luna_eannot(path, scored.stages, "mnc-dhc")


_XML = replace(NSRR, path="{dir}/{stem}.xml")
_NUMBERS = Scorer("{dir}/{stem}.eannot", _mnc_numbers, kinds=())
_NUMBERS_DHC = replace(_NUMBERS, write=_mnc_numbers_dhc, unscored=False)


def _mnc_nights(n_persons: int) -> list[Night]:
    """Persons take turns in the sites and name forms."""
    full = referenced(
        256,
        32,
        C3="C3-M2",
        C4="C4-M1",
        E1="E1-M2",
        E2="E2-M1",
        Chin="cchin_l",
        ECG="ECG",
        ABD="abdomen",
        THX="thorax",
    ).plus({}, rows("eeg", 256, "Cz"))
    short = referenced(200, 25, C3="C3", C4="C4", E1="E1", E2="E2", Chin="chin", ECG="EKG")
    nights = []
    for i in range(n_persons):
        site, code, scorer = (
            ("ssc", f"ssc_{1558 + i}", _XML),
            ("dhc", f"N{20 + i:04d}", _NUMBERS_DHC),
            ("cnc", f"chc{i:03d}", _XML),
            ("cnc", f"chp{60 + i:03d}", _NUMBERS),
            ("dhc", f"Sub{94 + i}", _NUMBERS_DHC),
        )[i % 5]
        montage = short if site == "dhc" else full
        for visit in ("1", "2") if site == "ssc" else (None,):
            stem = f"{code}_{visit}" if visit else code
            nights.append(Night(f"{site}/{stem}-nsrr.edf", code, montage, (scorer,), visit))
    return nights


def _mnc_diagnoses(base: Path, written: Sequence[Written]) -> None:
    sites = {"s": "SSC", "c": "CNC"}  # by the first letter of a name
    rows_of = ({"ID": w.id.removesuffix("-nsrr"), "cohort": sites.get(w.id[0], "DHC")} for w in written)
    write_xlsx(base / "cohorts_deid.xlsx", [{**row, "diagnosis": "T1N"} for row in rows_of])


MNC = Tree("mnc", _mnc_nights, tells=(), more=_mnc_diagnoses)

# --- APPLES: Luna's .annot with times of day; several rows per person, one of which names the file ---


def _apples_annot(path: Path, scored: Scored) -> None:
    """The second of two epochs of N3 is scored N4, by Rechtschaffen and Kales."""
    write_luna_annot(path, scored.stages, scored.events, start=START.time())
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"(?m)(^N3\t.*\n)N3\t", r"\1N4\t", text), encoding="utf-8")


def _apples_nights(n_persons: int) -> list[Night]:
    """The third person is one of those without EEG."""
    others = {"E1": "LOC", "E2": "ROC", "Chin": "EMG", "ECG": "ECG", "ABD": "abdomen", "THX": "thorax"}
    nights = []
    for i in range(n_persons):
        rate_hz = 200 if i % 2 else 100
        eegs = {} if i == 2 else {"C3": "C3_M2", "C4": "C4_M1"}
        more = rows("effort", rate_hz, "nasal_pres", "thermistor", "SpO2", "snore", "LEG", "pulse")
        person = "240043" if i == 2 else str(130001 + i)
        montage = referenced(rate_hz, rate_hz, **eegs, **others).plus({}, more)
        scorer = Scorer("{dir}/{stem}.annot", _apples_annot, CERTAIN)
        nights.append(Night(f"polysomnography/apples-{person}.edf", person, montage, (scorer,)))
    return nights


def _apples_rows(base: Path, written: Sequence[Written]) -> None:
    """Rows of the baseline visit, of the diagnostic night, and of a night with CPAP."""
    for version, right in (("0.1.0", True), ("0.0.9", False)):
        cells, same = [], []
        for w in written:
            c = w.covariates
            sex = coded(w, male="0) male", female="1) female")
            for visit, number in (("BL", 1), ("DX", 3), ("CPAP", 4)):
                fileid = w.id if visit == "DX" else ""
                key = {"appleid": int(w.person), "visit": visit, "visitn": number, "fileid": fileid}
                told = {"age": c["age"] if right and visit == "DX" else 1, "gender": sex, "bmiblquan": c["bmi"]}
                cells.append({**key, **told, "esstotalscoreqc": 11, "bditotalscore": 4})
                index = {"nsrr_ahi_chicago1999": c["ahi_chicago1999"]}
                same.append({"nsrrid": int(w.person), **key, **harmonised(w), **index})
        write_csv(base / f"datasets/apples-dataset-{version}.csv", cells)
        write_csv(base / f"datasets/apples-harmonized-dataset-{version}.csv", same)


APPLES = Tree("apples", _apples_nights, tells=("age", "sex", "bmi", "ahi_chicago1999"), more=_apples_rows)

# --- HSP: BIDS folders of sites with words of their own; the first person has two sessions ---


def _hsp(path: Path, scored: Scored, site: Site) -> None:
    remarks = [(3.0, "Lights off"), (40.0, "Post-arousal")]
    write_hsp_csv(path, scored.stages, scored.events, scored.start, site=site, remarks=remarks)


_HSP_SCORERS = (
    Scorer("{dir}/{base}_annotations.csv", lambda path, scored: _hsp(path, scored, "S0001-natus"), CERTAIN, 1.0),
    Scorer("{dir}/{base}_annotations.tsv", lambda path, scored: _hsp(path, scored, "I0004"), CERTAIN, 1.0),
    Scorer("{dir}/{base}_annotations.csv", lambda path, scored: _hsp(path, scored, "S0001-grass"), CERTAIN, 1.0),
)
_HSP_MONTAGES = (
    referenced(200, 200, C3="C3-M2", C4="C4-M1", E1="E1-M2", E2="E2-M1", Chin="CHIN1-CHIN2", ECG="ECG").plus(
        {"ABD": "ABD", "THX": "CHEST"}, rows("effort", 200, "ABD", "CHEST")
    ),
    referenced(512, 512, C3="C3-M2", C4="C4-M1", E1="E1-M2", E2="E2-M2", Chin="CHIN1-CHIN2", ECG="ECG-LA").plus(
        {"ABD": "Abdomen", "THX": "Thorax"}, rows("effort", 32, "Abdomen", "Thorax")
    ),
    referenced(256, 256, C3="C3-M2", C4="C4-M1", E1="E1-M2", E2="E2-M1", Chin="CHIN1-CHIN2", ECG="EKG").plus(
        {"ABD": "Effort ABD", "THX": "Effort THO"}, rows("effort", 32, "Effort ABD", "Effort THO")
    ),
)


def _hsp_nights(n_persons: int) -> list[Night]:
    nights = []
    for i in range(n_persons):
        site, number = ("S0001", "I0004", "S0001")[i % 3], 111189359 + i
        for session in ("1", "2")[: 2 if i == 0 else 1]:
            subject = f"sub-{site}{number}"
            base = f"{subject}_ses-{session}_task-psg"
            edf = f"PSG/bids/{site}/{subject}/ses-{session}/eeg/{base}_eeg.edf"
            beside = {"{dir}/{base}_channels.tsv": "name\ttype\tunits\n", "{dir}/{base}_eeg.json": "{}"}
            nights.append(
                Night(
                    edf,
                    f"{site}{number}",
                    _HSP_MONTAGES[i % 3],
                    (_HSP_SCORERS[i % 3],),
                    session,
                    groups={"base": base},
                    beside=beside,
                )
            )
    return nights


def _hsp_row(w: Written) -> dict[str, object]:
    site, number = w.person[:5], w.person[5:]
    ids = {"SiteID": site.replace("S", "I"), "BidsFolder": f"sub-{w.person}", "SessionID": w.visit}
    told = {"AgeAtVisit": w.covariates["age"], "SexDSC": coded(w, male="Male", female="Female")}
    return {**ids, "BDSPPatientID": number, "StudyType": "PSG Diagnostic", **told, "HasAnnotations": "Y"}


HSP = Tree(
    "hsp",
    _hsp_nights,
    (Table("bdsp_psg_master_{version}.csv", "20231101", "20221101", _hsp_row),),
    ("age", "sex"),
)
