"""Fake trees of the cohorts that keep NSRR's own layout: SHHS, MESA, CFS, CCSHS and SOF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.cohorts.writers.profusion_xml import write_profusion_xml
from hypnos_bench.cohorts.writers.shhs_tables import random_persons, write_shhs_tables
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.tree_parts import KINDS, Montage, Night, Scored, Scorer, Tree, rows
from hypnos_bench.cohorts.writers.tree_tables import AHIS, Table, ahis, coded, harmonised

_EDFS = "polysomnography/edfs"
_TOLD = ("age", "sex", "bmi", *AHIS)
_RPOINTS = {"polysomnography/annotations-rpoints/{part}{stem}-rpoint.csv": "Type,seconds\n0,0.81\n0,1.64\n"}


def _nsrr(path: Path, scored: Scored) -> None:
    write_nsrr_xml(path, scored.stages, scored.events, scored.duration_s, scored.start.replace(":", "."))


def _nsrr_rk(path: Path, scored: Scored) -> None:
    write_nsrr_xml(path, scored.stages, scored.events, scored.duration_s, scored.start.replace(":", "."), rk=True)


def _nsrr_shhs(path: Path, scored: Scored) -> None:
    """Desaturations are copies of respiratory events, 30 s later: none of them is reported as written."""
    breaths = [event for event in scored.events if event.kind.endswith("apnea")]
    copies = [Event("desaturation", event.start_s + 30.0, event.duration_s) for event in breaths]
    _nsrr_rk(path, replace(scored, events=(*scored.events, *copies)))


def _profusion(path: Path, scored: Scored) -> None:
    write_profusion_xml(path, scored.stages, scored.events)


NSRR = Scorer("polysomnography/annotations-events-nsrr/{part}{stem}-nsrr.xml", _nsrr)
NSRR_RK = replace(NSRR, write=_nsrr_rk)
PROFUSION = Scorer("polysomnography/annotations-events-profusion/{part}{stem}-profusion.xml", _profusion)


def nsrr_night(part: str, stem: str, person: str, montage: Montage, *scorers: Scorer, **more: object) -> Night:
    """A night in NSRR's tree; `part` is the folder that signals and annotations share, with a closing slash."""
    night = Night(f"{_EDFS}/{part}{stem}.edf", person, montage, scorers or (NSRR, PROFUSION), groups={"part": part})
    return replace(night, **more)  # type: ignore[arg-type]  # names and types of Night's fields


def against_fpz(rate_hz: float, left: str = "A1", right: str = "A2", eyes: Sequence[str] = ("LOC", "ROC")) -> Montage:
    """Electrodes against Fpz, which are referenced by subtraction."""
    labels = ("C3", "C4", *eyes)
    channels = rows("eeg", rate_hz, "C3", "C4"), rows("reference", rate_hz, left, right), rows("eog", rate_hz, *eyes)
    pairs = zip(("C3", "C4", "E1", "E2"), labels, (right, left, right, left), strict=True)
    return Montage(tuple(chain.from_iterable(channels)), {name: f"{plus} - {minus}" for name, plus, minus in pairs})


# --- SHHS: referenced by the recorder; the label of the second EEG varies at visit 1, and so does the order ---


def _shhs_montage(second: str, ecg_hz: float, slow: tuple[float, float, float], pulse: str, swapped: bool) -> Montage:
    eeg_hz, eog_hz, belts_hz = slow
    eegs = ("EEG", second) if swapped else (second, "EEG")
    makes = {"C3": second, "C4": "EEG", "E1": "EOG(L)", "E2": "EOG(R)", "Chin": "EMG", "ECG": "ECG"}
    return Montage((*rows("effort", 1, "SaO2", pulse), *rows("eeg", eeg_hz, eegs[0])), makes).plus(
        {"ABD": "ABDO RES", "THX": "THOR RES"},
        rows("ecg", ecg_hz, "ECG"),
        rows("emg", eeg_hz, "EMG"),
        rows("eog", eog_hz, "EOG(L)", "EOG(R)"),
        rows("eeg", eeg_hz, eegs[1]),
        rows("effort", belts_hz, "THOR RES", "ABDO RES", *(["AIRFLOW", "AIRFLOW"] if swapped else ["NEW AIR"])),
    )


def _shhs_nights(n_persons: int) -> list[Night]:
    seconds = ("EEG(sec)", "EEG 2", "EEG2", "EEG sec", "EEG(SEC)")
    nights = []
    for i in range(n_persons):
        # 200087 is one of those with swapped EEGs.
        person = "200087" if i == 1 else str(200001 + i)
        first = _shhs_montage(seconds[i % 5], 125, (125, 50, 10), "H.R.", swapped=i == 1)
        ecg_hz, slow = (250, (125, 50, 10)) if i % 2 == 0 else (256, (128, 64, 8))
        second = _shhs_montage("EEG(sec)", ecg_hz, slow, "PR", swapped=False)
        for visit, montage in (("1", first), ("2", second)):
            scorer = replace(NSRR_RK, write=_nsrr_shhs, kinds=tuple(kind for kind in KINDS if kind != "desaturation"))
            stem = f"shhs{visit}-{person}"
            night = nsrr_night(f"shhs{visit}/", stem, person, montage, scorer, visit=visit, beside=_RPOINTS)
            nights.append(night)
    return nights


def _shhs_tables(base: Path, written: Sequence[Written]) -> None:
    """Outcomes and covariates; 0.9.0 is older than 0.21.0, and its ages are wrong."""
    first = {int(w.person): w.covariates for w in written if w.visit == "1"}
    drawn = random_persons(list(first))
    persons = [replace(p, age=int(first[p.nsrrid]["age"]), sex=first[p.nsrrid]["sex"], day_2=365) for p in drawn]
    write_shhs_tables(base / "datasets", persons)
    write_shhs_tables(base / "datasets", [replace(p, age=1) for p in persons], version="0.9.0")


SHHS = Tree("shhs", _shhs_nights, tells=("age", "sex"), more=_shhs_tables)

# --- MESA: no C3; labels that end in _Off are flags of electrodes ---

_MESA = Montage(
    (
        *rows("ecg", 256, "EKG"),
        *rows("eog", 256, "EOG-L", "EOG-R"),
        *rows("emg", 256, "EMG"),
        *rows("eeg", 256, "EEG1", "EEG2", "EEG3"),
        *rows("effort", 256, "Pleth"),
        *rows("effort", 32, "Thor", "Abdo"),
        *rows("effort", 1, "SpO2", "HR", "EKG_Off", "EOG-L_Off", "EOG-R_Off", "EMG_Off", "EEG1_Off", "EEG3_Off"),
    ),
    {"C4": "EEG3", "E1": "EOG-L", "E2": "EOG-R", "Chin": "EMG", "ECG": "EKG", "ABD": "Abdo", "THX": "Thor"},
)


def _mesa_nights(n_persons: int) -> list[Night]:
    actigraphy = {"actigraphy/{stem}.csv": "mesaid,line\n1,1\n"}
    persons = [f"{i + 1:04d}" for i in range(n_persons)]
    beside = {**_RPOINTS, **actigraphy}
    return [
        nsrr_night("", f"mesa-sleep-{person}", person, _MESA, NSRR_RK, PROFUSION, beside=beside) for person in persons
    ]


def _mesa_row(w: Written) -> dict[str, object]:
    c = w.covariates
    sex = coded(w, male=1, female=0)
    told = {"mesaid": int(w.person), "sleepage5c": c["age"], "gender1": sex, "race1c": 1, "bmi5c": c["bmi"], **ahis(w)}
    return {**told, "slpprdp5": 371.0, "ai_all5": 20.5, "slewake5": 0, "overall5": 5, "cucmcn1c": 1}


MESA = Tree(
    "mesa",
    _mesa_nights,
    (
        Table("datasets/mesa-sleep-dataset-{version}.csv", "0.7.0", "0.6.0", _mesa_row),
        Table(
            "datasets/mesa-sleep-harmonized-dataset-{version}.csv",
            "0.7.0",
            "0.6.0",
            lambda w: {"mesaid": int(w.person), **harmonised(w)},
        ),
    ),
    _TOLD,
)

# --- CFS and CCSHS: chin electrodes are EMG1 centre, EMG2 left, EMG3 right ---


def _case_western(montage: Montage, ecg_hz: float) -> Montage:
    makes = {"Chin": "EMG2 - EMG3", "ECG": "ECG1 - ECG2", "ABD": "ABDO EFFORT", "THX": "THOR EFFORT"}
    fast = rows("emg", 256, "EMG1", "EMG2", "EMG3"), rows("ecg", ecg_hz, "ECG1", "ECG2")
    return montage.plus(makes, *fast, rows("effort", 32, "THOR EFFORT", "ABDO EFFORT"))


def _cfs_nights(n_persons: int) -> list[Night]:
    """Two persons per family; some names carry the family, and some mastoids are M1 and M2."""
    nights = []
    for i in range(n_persons):
        person, family = str(800002 + i), str(715 + i // 2)
        stem = f"cfs-visit5-{person}"
        montage = against_fpz(128, *(("M1", "M2") if i % 3 == 1 else ()))
        scorer = replace(NSRR_RK, path=NSRR.path.replace("{stem}", stem))
        named = f"{stem}-famID{family}" if i % 3 == 2 else stem
        nights.append(
            nsrr_night("", named, person, _case_western(montage, 512 if i % 2 else 256), scorer, family=family)
        )
    return nights


def _cfs_row(w: Written) -> dict[str, object]:
    c = w.covariates
    sex = coded(w, male=1, female=0)
    told = {"nsrrid": int(w.person), "familyi": w.family, "age": c["age"], "male": sex, "bmi": c["bmi"], **ahis(w)}
    return {**told, "race": 1, "slpprdp": 371.0, "ai_all": 20.5, "slewake": 0, "overall": 5, "dead": 0, "icdcode1": ""}


def harmonised_row(w: Written) -> dict[str, object]:
    """A row of a harmonised table that joins by nsrrid."""
    return {"nsrrid": int(w.person), **harmonised(w)}


CFS = Tree(
    "cfs",
    _cfs_nights,
    (
        Table("datasets/cfs-visit5-dataset-{version}.csv", "0.7.0", "0.6.0", _cfs_row),
        Table("datasets/cfs-visit5-harmonized-dataset-{version}.csv", "0.7.0", "0.6.0", harmonised_row),
    ),
    _TOLD,
)


def _ccshs_nights(n_persons: int) -> list[Night]:
    montage = _case_western(against_fpz(128), 256)
    return [nsrr_night("", f"ccshs-trec-{1800001 + i}", str(1800001 + i), montage) for i in range(n_persons)]


def _ccshs_row(w: Written) -> dict[str, object]:
    return {"nsrrid": int(w.person), "age": w.covariates["age"], "male": coded(w, male=1, female=0)}


CCSHS = Tree(
    "ccshs",
    _ccshs_nights,
    (
        Table("datasets/ccshs-trec-dataset-{version}.csv", "0.7.0", "0.6.0", _ccshs_row),
        Table("datasets/ccshs-trec-harmonized-{version}.csv", "0.8.0", "0.7.0", harmonised_row),
    ),
    _TOLD,
    ages=(16, 20),
)

# --- SOF: women; ids have leading zeros in file names alone ---


def _sof_nights(n_persons: int) -> list[Night]:
    nights = []
    for i in range(n_persons):
        left, right = ("EMG/L", "EMG/R") if i % 2 else ("L Chin", "R Chin")
        makes = {"Chin": f"{left} - {right}", "ECG": "ECG1 - ECG2", "ABD": "Abdominal", "THX": "Thoracic"}
        fast = rows("emg", 128, left, right), rows("ecg", 256, "ECG1", "ECG2")
        montage = against_fpz(128).plus(makes, *fast, rows("effort", 16, "Thoracic", "Abdominal"))
        nights.append(nsrr_night("", f"sof-visit-8-{4 + i:05d}", f"{4 + i:05d}", montage))
    return nights


SOF = Tree(
    "sof",
    _sof_nights,
    (
        Table(
            "datasets/sof-visit-8-dataset-{version}.csv",
            "0.8.0",
            "0.7.0",
            lambda w: {"sofid": int(w.person), "v8age": w.covariates["age"], "gender": 1},
        ),
        Table(
            "datasets/sof-visit-8-harmonized-dataset-{version}.csv",
            "0.8.0",
            "0.7.0",
            lambda w: {"sofid": int(w.person), **harmonised(w)},
        ),
    ),
    _TOLD,
    ages=(76, 90),
    sex="female",
)
