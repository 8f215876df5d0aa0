"""Fake trees of clinical trials in NSRR's layout, with several nights of a person: CHAT, HomePAP and ABC."""

from __future__ import annotations

from hypnos_bench.cohorts.writers.nsrr_trees import NSRR, PROFUSION, against_fpz, harmonised_row, nsrr_night
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.tree_parts import Montage, Night, Tree, rows
from hypnos_bench.cohorts.writers.tree_tables import AHIS, Table, ahis, coded, harmonised

_TOLD = ("age", "sex", "bmi", *AHIS)

# --- CHAT: three parts; a child of the first may come back in the second ---


def _chat_montage(variant: int) -> Montage:
    """Case of labels and leads of the ECG vary; the recorder's second snoring channel has no range."""
    leads, chest = (("ECG1", "ECG2", "ECG3"), "Chest") if variant == 0 else (("ECG1", "ECG2"), "CHEST")
    makes = {"Chin": "Lchin - Rchin", "ECG": f"ECG1 - {leads[-1]}", "ABD": "ABD", "THX": chest}
    rate_hz = 200.0 if variant == 0 else 512.0
    others = rows("eeg", rate_hz, "F3", "O1", "T3"), rows("effort", rate_hz, "SNORE 2")
    return against_fpz(rate_hz, "M1", "M2", ("E1", "E2")).plus(
        makes,
        rows("emg", rate_hz, "Lchin", "Rchin", "Cchin"),
        rows("ecg", rate_hz, *leads),
        rows("effort", 32, chest, "ABD"),
        *others,
        rows("effort", 1, "SAO2" if variant else "SaO2"),
    )


def _chat_nights(n_persons: int) -> list[Night]:
    """Each person is a child with two nights; half as many were not randomised. Every third has Profusion XML alone."""
    nights = []
    for i in range(n_persons):
        montage, person = _chat_montage(i % 2), str(300001 + i)
        for part in ("baseline", "followup"):
            stem = f"chat-{part}-{person}"
            scorers = (PROFUSION,) if i % 3 == 1 else (NSRR, PROFUSION)
            nights.append(nsrr_night(f"{part}/", stem, person, montage, *scorers, visit=part, no_range="SNORE 2"))
    for i in range((n_persons + 1) // 2):
        person, part = str(300506 + i), "nonrandomized"
        stem = f"chat-baseline-nonrandomized-{person}"
        nights.append(nsrr_night(f"{part}/", stem, person, _chat_montage(0), visit=part, tells=("age",)))
    return nights


_CHAT_VISITS = ("baseline", "followup")


def _chat_row(w: Written) -> dict[str, object]:
    return {"nsrrid": int(w.person), "vnum": 3 if w.visit == "baseline" else 10, "unittype": 1}


CHAT = Tree(
    "chat",
    _chat_nights,
    (
        Table(
            "datasets/chat-baseline-dataset-{version}.csv",
            "0.14.0",
            "0.9.0",
            lambda w: {**_chat_row(w), "ageyear_at_meas": w.covariates["age"], "male": coded(w, male=1, female=0)},
            _CHAT_VISITS[:1],
        ),
        Table("datasets/chat-followup-dataset-{version}.csv", "0.14.0", "0.9.0", _chat_row, _CHAT_VISITS[1:]),
        Table(
            "datasets/chat-nonrandomized-dataset-{version}.csv",
            "0.14.0",
            "0.9.0",
            lambda w: {"nsrrid": int(w.person), "age_nr": w.covariates["age"], "ref9": 1},
            ("nonrandomized",),
        ),
        Table(
            "datasets/chat-harmonized-dataset-{version}.csv",
            "0.14.0",
            "0.9.0",
            lambda w: {**_chat_row(w), **harmonised(w)},
            _CHAT_VISITS,
        ),
    ),
    _TOLD,
    ages=(5, 10),
)

# --- HomePAP: full and split nights in the laboratory, and nights at home without EEG, some of one person ---

_BELTS = rows("effort", 32, "Chest", "Abd")


def _homepap_montages() -> tuple[Montage, ...]:
    belts = {"ABD": "Abd", "THX": "Chest"}
    eegs = {"C3": "C3-M2", "C4": "C4-M1"}
    bare = against_fpz(256, "M1", "M2", ("E1", "E2")).plus(belts, _BELTS)
    goggles = against_fpz(256, "M1", "M2", ("L-EOG", "R-EOG")).plus(belts, _BELTS)
    made = Montage(rows("eeg", 256, "C3-M2", "C4-M1"), {**eegs, **belts}).plus({}, _BELTS)
    return (
        made.plus(
            {"E1": "E1-M2", "E2": "E2-M1", "Chin": "LCHIN-CCHIN", "ECG": "ECG3-ECG1"},
            rows("eog", 256, "E1-M2", "E2-M1"),
            rows("emg", 256, "LCHIN-CCHIN"),
            rows("ecg", 256, "ECG3-ECG1"),
        ),
        bare.plus(
            {"Chin": "Lchin - Cchin", "ECG": "ECG1 - ECG3"},
            rows("emg", 256, "Lchin", "Cchin", "Rchin"),
            rows("ecg", 256, "ECG1", "ECG3"),
        ),
        goggles.plus(
            {"Chin": "Lchin - Cchin", "ECG": "EKG"},
            rows("emg", 256, "Lchin", "Cchin", "Rchon"),
            rows("ecg", 256, "EKG"),
        ),
        made.plus(
            {"E1": "E_1-M2", "E2": "E_2-M1", "Chin": "chin", "ECG": "EKG"},
            rows("eog", 256, "E_1-M2", "E_2-M1"),
            rows("emg", 256, "chin"),
            rows("ecg", 256, "EKG"),
        ),
        made.plus(
            {"E1": "E1-E2", "Chin": "Chin1-Chin2", "ECG": "EKG"},
            rows("eog", 256, "E1-E2"),
            rows("emg", 256, "Chin1-Chin2"),
            rows("ecg", 256, "EKG"),
        ),
    )


def _homepap_nights(n_persons: int) -> list[Night]:
    montages = _homepap_montages()
    home = Montage((*rows("ecg", 256, "EKG"), *_BELTS), {})
    nights = []
    for i in range(n_persons):
        person = str(1600001 + i)
        nights.append(nsrr_night("lab/full/", f"homepap-lab-full-{person}", person, montages[i % len(montages)]))
        if i == 0:
            stem = f"homepap-home-{person}"
            nights.append(nsrr_night("home/", stem, person, home, NSRR, used=False, not_ascii=True))
    for person in ("1600001", "1600366"):
        nights.append(nsrr_night("lab/split/", f"homepap-lab-split-{person}", person, montages[0], used=False))
    return nights


def _homepap_row(w: Written) -> dict[str, object]:
    ahi = w.covariates["ahi_a0h4"]
    told = {"nsrrid": int(w.person), "age": w.covariates["age"], "gender": coded(w, male=1, female=2)}
    return {**told, "bmi": w.covariates["bmi"], "ahi": ahi, "ahige15": int(ahi >= 15), "diagtype": 2}


HOMEPAP = Tree(
    "homepap",
    _homepap_nights,
    (
        Table("datasets/homepap-baseline-dataset-{version}.csv", "0.2.0", "0.1.0", _homepap_row, once=True),
        Table(
            "datasets/homepap-baseline-harmonized-dataset-{version}.csv", "0.2.0", "0.1.0", harmonised_row, once=True
        ),
    ),
)

# --- ABC: a person before treatment, and 9 and 18 months later ---

_ABC_PARTS = ("baseline", "month09", "month18")


def _abc_nights(n_persons: int) -> list[Night]:
    nights = []
    for i in range(n_persons):
        chest = "Thorax" if i % 2 else "Thor"
        makes = {"Chin": "Chin1 - Chin2", "ECG": "ECG1 - ECG2", "ABD": "Abdo", "THX": chest}
        montage = against_fpz(256, "M1", "M2", ("E1", "E2")).plus(
            makes,
            rows("eeg", 256, "F3", "F4", "O1", "O2"),
            rows("ecg", 256, "ECG1", "ECG2"),
            rows("emg", 256, "Chin1", "Chin2", "Chin3"),
            rows("effort", 32, "Abdo", chest),
        )
        person = str(900001 + i)
        for part in _ABC_PARTS:
            nights.append(nsrr_night(f"{part}/", f"abc-{part}-{person}", person, montage, visit=part))
    return nights


def _abc_row(w: Written) -> dict[str, object]:
    c = w.covariates
    told = {"nsrrid": int(w.person), "age": c["age"], "gender": coded(w, male=1, female=2), "bmi": c["bmi"]}
    return {**told, **ahis(w), "race": 1, "slpprdp": 371.0}


ABC = Tree(
    "abc",
    _abc_nights,
    tuple(
        Table(f"datasets/abc-{part}-dataset-{{version}}.csv", "0.4.0", "0.3.0", _abc_row, (part,))
        for part in _ABC_PARTS
    ),
    _TOLD,
)
