"""A fake STAGES tree: one person per site, each with the site's own montage, beside naps and further segments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.stages_csv import Layout, write_stages_csv
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.tree_parts import KINDS, Montage, Night, Row, Scored, Scorer, Tree, referenced, rows
from hypnos_bench.cohorts.writers.tree_tables import coded, harmonised, write_xlsx

_RECORDED = "original/STAGES PSGs"
_KEY = "original/De-identified Data/PSG SRBD Variables/STAGESPSGKeySRBDVariables2020-08-29 Deidentified.xlsx"


def _scorer(layout: Layout, beginning: bool) -> Scorer:
    def write(path: Path, scored: Scored) -> None:
        remarks = [(5.0, "Awake, talking"), (47.0, "REM, eyes moving, I think")]
        events = (path, scored.stages, scored.events, scored.start)
        write_stages_csv(*events, layout=layout, beginning=beginning, remarks=remarks)

    return Scorer("{dir}/{stem}.csv", write, tuple(kind for kind in KINDS if kind != "unsure"), 1.0)


def _bare(rate_hz: float, eyes: tuple[str, str], makes: dict[str, str], *more: tuple[Row, ...]) -> Montage:
    """Electrodes with mastoids beside them."""
    left, right = eyes
    referenced_to = {"C3": "C3 - M2", "C4": "C4 - M1", "E1": f"{left} - M2", "E2": f"{right} - M1"}
    eegs = rows("eeg", rate_hz, "C3", "C4"), rows("reference", rate_hz, "M1", "M2"), rows("eog", rate_hz, *eyes)
    return Montage((), {}).plus({**referenced_to, **makes}, *eegs, *more)


_GRAEL = referenced(
    200,
    50,
    C3="EEG_C3-A2",
    C4="EEG_C4-A1",
    E1="EOG_LOC-A2",
    E2="EOG_ROC-A2",
    Chin="EMG_Chin",
    ABD="Effort_ABD",
    THX="Effort_THO",
).plus({"ECG": "ECG_II"}, rows("ecg", 1000, "ECG_I", "ECG_II", "ECG_IIHF"))
_TWICE = ("EEG_C3-A2", "EEG_C4-A1", "EOG_LOC-A2", "EOG_ROC-A2", "EMG_Chin")

# Site, layout of its table, and montage.
_SITES: tuple[tuple[str, Layout, Montage], ...] = (
    ("GSSA", "stretches", _GRAEL),
    (
        "BOGN",
        "points",
        referenced(
            200, 200, C3="C3M2", C4="C4M1", E1="E1M2", E2="E2M2", Chin="CHIN", ECG="EKG", ABD="ABDM", THX="THOR"
        ),
    ),
    (
        "STLK",
        "epochs",
        referenced(
            500, 50, C3="C3-M2", C4="C4-M1", E1="E1", E2="E2", Chin="Chin", ECG="SUB-R_-_V5", ABD="Abdomen", THX="Chest"
        ),
    ),
    (
        "STNF",
        "epochs",
        _bare(
            256,
            ("E1", "E2"),
            {"Chin": "Chin - Chin2", "ECG": "ECG_II", "ABD": "Abd", "THX": "Chest"},
            rows("emg", 256, "Chin", "Chin2"),
            rows("ecg", 512, "ECG", "ECG_2", "ECG_II"),
            rows("effort", 32, "Chest", "Abd"),
        ),
    ),
    (
        "MSTR",
        "epochs",
        _bare(
            256,
            ("L-EOG", "R-EOG"),
            {"Chin": "EMG1 - EMG2", "ECG": "EKG1 - EKG2", "ABD": "Abdomen", "THX": "CHEST"},
            rows("emg", 256, "EMG1", "EMG2", "EMG3"),
            rows("ecg", 512, "EKG1", "EKG2"),
            rows("effort", 32, "CHEST", "Abdomen"),
        ),
    ),
    (
        "MSTH",
        "epochs",
        _bare(
            256,
            ("E1_(LEOG)", "E2_(REOG)"),
            {"Chin": "EMG1 - EMG2", "ECG": "EKG1 - EKG2", "ABD": "ABDOMEN", "THX": "CHEST"},
            rows("emg", 256, "EMG1", "EMG2", "EMG3"),
            rows("ecg", 256, "EKG1", "EKG2"),
            rows("effort", 32, "CHEST", "ABDOMEN"),
        ),
    ),
    (
        "MSNF",
        "stretches",
        _bare(
            256,
            ("L-EOG", "R-EOG"),
            {"Chin": "EMG_#1 - EMG_#2", "ECG": "EKG_#1 - EKG_#2", "ABD": "Abdomen", "THX": "Chest"},
            rows("emg", 256, "EMG_#1", "EMG_#2", "EMG_#3"),
            rows("ecg", 256, "EKG_#1", "EKG_#2"),
            rows("effort", 32, "Chest", "Abdomen"),
        ),
    ),
    (
        "MSQW",
        "stretches",
        _bare(
            200,
            ("LOC", "ROC"),
            {"Chin": "CHIN1 - CHIN2", "ECG": "EKG1 - EKG2", "ABD": "ABD", "THX": "CHEST"},
            rows("emg", 200, "CHIN1", "CHIN2", "CHIN3"),
            rows("ecg", 200, "EKG1", "EKG2"),
            rows("effort", 25, "CHEST", "ABD"),
        ),
    ),
    # The montage stands there twice, the second time with a 2 appended.
    ("MSMI", "stretches", _GRAEL.plus({}, rows("eeg", 200, *(f"{label}2" for label in _TWICE)))),
    (
        "STNF",
        "epochs",
        Montage((), {}).plus(
            {"C3": "C3 - A2", "C4": "C4 - A1", "E1": "EOG1 - A2", "E2": "EOG2 - A1"}
            | {"Chin": "Chin - Chin2", "ECG": "ECG", "ABD": "AbdDC", "THX": "ChestDC"},
            rows("eeg", 256, "C3", "C4"),
            rows("reference", 256, "A1", "A2"),
            rows("eog", 256, "EOG1", "EOG2"),
            rows("emg", 256, "Chin", "Chin2"),
            rows("ecg", 512, "ECG", "ECG_2"),
            rows("effort", 32, "ChestDC", "AbdDC"),
        ),
    ),
)


def _nights(n_persons: int) -> list[Night]:
    """Persons take turns in the sites; the first two have a nap each, with and without an underscore in the name."""
    nights = []
    for i in range(n_persons):
        site, layout, montage = _SITES[i % len(_SITES)]
        scorers = (_scorer(layout, beginning=i % 2 == 0),)
        person = f"{site}{i + 1:05d}"
        nights.append(Night(f"{_RECORDED}/{site}/{person}.edf", person, montage, scorers))
        if i < 2:
            nap = f"{_RECORDED}/{site}/{person}{'_1' if i == 0 else '1'}.edf"
            nights.append(Night(nap, person, Montage(montage.channels[:1], {}), scorers, used=False))
    return nights


def _tables(base: Path, written: Sequence[Written]) -> None:
    """The harmonised table has two rows of the first person, of which the last counts; 0.2.0 is wrong throughout."""
    persons = {w.person: w for w in reversed(written)}
    told = [{"subject_code": person, **harmonised(w)} for person, w in sorted(persons.items())]
    wrong = [{**row, "nsrr_age": 1, "nsrr_bmi": 11} for row in told]
    first = next(row for row in wrong if row["subject_code"] == written[0].person)
    for version, cells in (("0.3.0", [first, *told]), ("0.2.0", wrong)):
        write_csv(base / f"datasets/stages-harmonized-dataset-{version}.csv", cells)
        codes = [{"subject_code": row["subject_code"]} for row in cells]
        write_csv(base / f"datasets/stages-dataset-{version}.csv", codes)
    keys = []
    for person, w in persons.items():
        index = {"ahi": w.covariates["ahi_a0h4"], "sleep_time": 371, "sex": coded(w, male="M", female="F")}
        keys.append({"s_code": person, **index, "age": w.covariates["age"], "bmi": w.covariates["bmi"]})
    write_xlsx(base / _KEY, keys)


STAGES = Tree("stages", _nights, more=_tables)
