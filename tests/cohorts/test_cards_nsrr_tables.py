"""What the cards of NSRR cohorts and of HSP make of tables: flags, covariates, outcomes, persons, exclusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import Cohort, CohortOptions
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.covariates import covariates_of, flags_of
from hypnos_bench.cohorts.gaps import unknown_values
from hypnos_bench.cohorts.opener import CardCohort
from hypnos_bench.cohorts.outcomes import outcomes_of
from hypnos_bench.errors import RecordingError

NSRR = (
    *("mros", "shhs", "mesa", "cfs", "chat", "ccshs", "sof", "wsc", "stages", "homepap"),
    *("nchsdb", "mnc", "apples", "abc"),
)
EDFS = "polysomnography/edfs"
SUB = "PSG/bids/S0001/sub-S0001111189359/ses-1/eeg/sub-S0001111189359_ses-1_task-psg"
PSGS = "original/STAGES PSGs"


def tree(base: Path, *paths: str) -> Path:
    """Empty files, and tables where a path is followed by ``=`` and their text."""
    for path in paths:
        name, _, text = path.partition("=")
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    return base


def opened(cohort: str, base: Path, *paths: str) -> Cohort:
    return CardCohort(cohort).open(CohortOptions(root=tree(base, *paths)))


SLEEP_WAKE = ("stage", "arousal")
COMPUMEDICS = {
    "slewake": SLEEP_WAKE, "wakslepr": ("stage",), "remnrempr": ("stage",), "stg1stg2pr": (), "stg2stg3pr": (),
    "arunrel": ("arousal",), "remarunrel": (), "aroign": ("arousal",), "apnhyppr": ("respiratory",),
    "respevpr": ("respiratory",), "recbeaw": (),
}  # fmt: skip
QUALITY: Mapping[tuple[str, str | None], Mapping[str, Sequence[str]]] = {
    ("shhs", "1"): {
        "staging5": SLEEP_WAKE, "staging8": ("stage",), "staging2": ("stage",), "staging3": ("stage",),
        "staging4": ("arousal",), "staging7": (),
    },
    ("shhs", "2"): COMPUMEDICS,
    ("cfs", None): COMPUMEDICS,
    ("mesa", None): {f"{column}5": scope for column, scope in COMPUMEDICS.items() if column != "aroign"},
    ("mros", "1"): {
        "poprstag": SLEEP_WAKE, "poprslp": ("stage",), "poprrem": ("stage",), "postg12u": (), "postg23u": (),
        "poarunr": ("arousal",), "poremunr": (), "poaphyun": ("respiratory",), "porespun": ("respiratory",),
        "podlbw": (),
    },
}  # fmt: skip


@pytest.mark.parametrize(("cohort", "visit"), list(QUALITY))
def test_scoring_quality_flags(cohort: str, visit: str | None) -> None:
    layout = load_layout(cohort)
    for column, scope in QUALITY[cohort, visit].items():
        unusable, remarks = flags_of([{column: "1"}], layout.flags, visit)
        assert tuple(unusable) == scope, column
        assert len(remarks) == (not scope), column
        assert all(column in reason for reason in (*unusable.values(), *remarks))
        assert flags_of([{column: "0"}], layout.flags, visit) == ({}, ())
        assert flags_of([{column: "8"}], layout.flags, visit) == ({}, ())  # unknown


@pytest.mark.parametrize(
    ("cohort", "column"),
    [
        *((cohort, column) for (cohort, _), columns in QUALITY.items() for column in columns),
        *((cohort, "slewake") for cohort in ("chat", "ccshs", "sof")),
        *(("ccshs", column) for column in ("remnrempr", "stg1stg2pr", "arunrel", "respevpr")),
    ],
)
def test_a_code_of_a_quality_flag_that_the_dictionary_lacks_is_a_gap(cohort: str, column: str) -> None:
    layout = load_layout(cohort)
    assert not unknown_values(layout, [[{column: cell}] for cell in ("0", "1", "1.0", "8", "", ".")])
    (gap,) = unknown_values(layout, [[{column: "7"}]])
    assert f"{column} holds '7'" in gap
    assert f"[[{cohort}.flags]]" in gap


@pytest.mark.parametrize("cohort", NSRR)
def test_another_word_in_the_harmonised_flag_is_a_gap(cohort: str) -> None:
    layout = load_layout(cohort)
    words = ("full scoring", "Sleep/wake only", "unknown", "")
    assert not unknown_values(layout, [[{"nsrr_flag_spsw": word}] for word in words])
    assert len(unknown_values(layout, [[{"nsrr_flag_spsw": "partial scoring"}]])) == 1


def test_flags_that_no_documentation_promises_are_optional() -> None:
    optional = {
        (cohort, flag.column) for cohort in (*NSRR, "hsp") for flag in load_layout(cohort).flags if flag.optional
    }
    assert optional == {(cohort, "nsrr_flag_spsw") for cohort in ("mnc", "abc", "nchsdb")}


def test_a_table_without_the_flags_of_the_documentation_is_told(tmp_path: Path) -> None:
    table = "datasets/sof-visit-8-dataset-0.8.0.csv=sofid,v8age\n4,84\n"
    gaps = opened("sof", tmp_path, f"{EDFS}/sof-visit-8-00004.edf", table).gaps
    assert [gap for gap in gaps if gap.startswith("flag (") and gap.endswith(" slewake")]


@pytest.mark.parametrize("cohort", NSRR)
def test_sleep_or_wake_only_is_no_staging_and_no_arousals(cohort: str) -> None:
    flags = load_layout(cohort).flags
    assert tuple(flags_of([{"nsrr_flag_spsw": "sleep/wake only"}], flags)[0]) == SLEEP_WAKE
    assert flags_of([{"nsrr_flag_spsw": "full scoring"}], flags) == ({}, ())


@pytest.mark.parametrize(
    ("cohort", "male", "female"),
    [
        ("shhs", {"gender": "1"}, {"gender": "2"}),
        ("mesa", {"gender1": "1"}, {"gender1": "0"}),
        ("cfs", {"male": "1"}, {"male": "0"}),
        ("cfs", {"sex": "1"}, {"sex": "0"}),
        ("chat", {"male": "1"}, {"male": "0"}),
        ("ccshs", {"male": "1"}, {"male": "0"}),
        ("abc", {"gender": "1"}, {"gender": "2"}),
        ("wsc", {"sex": "M"}, {"sex": "F"}),
        ("stages", {"sex": "M"}, {"sex": "F"}),
        ("apples", {"gender": "0) male"}, {"gender": "1) female"}),
        ("hsp", {"sexdsc": "Male"}, {"sexdsc": "Female"}),
        *((c, {"nsrr_sex": "male"}, {"nsrr_sex": "female"}) for c in NSRR if c not in ("mros", "sof", "mnc")),
    ],
)
def test_codings_of_sex(cohort: str, male: dict[str, str], female: dict[str, str]) -> None:
    spec = load_layout(cohort).covariates
    assert (covariates_of([male], spec)[0]["sex"], covariates_of([female], spec)[0]["sex"]) == ("male", "female")
    assert covariates_of([dict.fromkeys(male, "not reported")], spec)[0].get("sex") is None


def test_cohorts_of_one_sex_need_no_table() -> None:
    assert covariates_of([], load_layout("mros").covariates)[0] == {"sex": "male"}
    assert covariates_of([], load_layout("sof").covariates)[0] == {"sex": "female"}


def test_mros_questions_and_letters_that_mean_missing() -> None:
    spec = load_layout("mros").covariates
    row = {"mhafib": "1", "mhmi": "0", "mhstrk": "A", "mhchf": "D", "mhbp": "K", "mhdiab": "M", "pounhro": "5"}
    told = covariates_of([row], spec)[0]
    assert told == {"sex": "male", "prevalent_af": 1.0, "prevalent_mi": 0.0, "af_at_scoring": 1.0}
    rhythms = [covariates_of([{"pounhro": str(code)}], spec)[0]["af_at_scoring"] for code in range(7)]
    assert rhythms == [0, 0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("cohort", "row", "house"),
    [
        ("mros", {"poahi3": "1", "poahi3a": "2", "poahi4": "3", "poahi4a": "4"}, [1, 2, 3, 4]),
        *((c, {"ahi_a0h3": "1", "ahi_a0h3a": "2", "ahi_a0h4": "3", "ahi_a0h4a": "4"}, [1, 2, 3, 4]) for c in ("shhs", "mesa", "cfs", "chat", "ccshs", "sof", "abc")),
        *((c, {"nsrr_ahi_hp3u": "1", "nsrr_ahi_hp3r_aasm15": "2", "nsrr_ahi_hp4u_aasm15": "3", "nsrr_ahi_hp4r": "4"}, [1, 2, 3, 4]) for c in ("mros", "shhs", "mesa", "cfs", "chat", "ccshs", "sof", "homepap")),
        ("wsc", {"ahi3": "1", "ahi": "3"}, [1, None, 3, None]),
    ],
)  # fmt: skip
def test_house_names_of_the_apnea_hypopnea_index(cohort: str, row: dict[str, str], house: list[float | None]) -> None:
    told = covariates_of([row], load_layout(cohort).covariates)[0]
    assert [told.get(name) for name in ("ahi_a0h3", "ahi_a0h3a", "ahi_a0h4", "ahi_a0h4a")] == house


def test_shhs_follow_up_counted_from_each_visit() -> None:
    layout = load_layout("shhs")
    row = {
        "vital": "0", "censdate": "3652.5", "cvd_death": "0", "cvd_dthdt": "", "stroke": "2", "stk_date": "730.5", "prev_stk": "0",
        "chf": "0", "chf_date": "", "prev_chf": "0", "mi": "1", "mi_date": "2191.5", "prev_mi": "0", "angina": "0", "prev_ang": "1",
        "any_cvd": "1", "any_chd": "1", "afibincident": "1", "afibprevalent": "0",
    }  # fmt: skip
    first = outcomes_of([row], layout.clock, layout.outcomes, "1").outcomes
    told = {name: (outcome.event, outcome.time_years, outcome.prevalent) for name, outcome in first.items()}
    assert told == {
        "death": (True, 10.0, False),
        "cvd-death": (False, 10.0, False),
        "stroke": (True, 2.0, False),
        "heart-failure": (False, 10.0, False),
        "mi": (True, 6.0, False),
        "angina": (False, None, True),
        "any-cvd": (False, None, True),
        "any-chd": (False, None, True),
        "af-incident": (True, None, False),
    }
    second = outcomes_of([row, {"stdatep": "1826.25"}], layout.clock, layout.outcomes, "2").outcomes
    assert (second["death"].event, second["death"].time_years) == (True, 5.0)
    assert (second["mi"].event, second["mi"].time_years) == (True, 1.0)
    assert second["stroke"].prevalent  # it happened before the second night
    alive = outcomes_of([{"vital": "1", "censdate": "365.25"}], layout.clock, layout.outcomes, "1").outcomes
    assert (alive["death"].event, alive["death"].time_years) == (False, 1.0)


def test_shhs_any_cvd_takes_the_earliest_date_of_the_person() -> None:
    layout = load_layout("shhs")
    row = {
        "any_cvd": "1",
        "censdate": "3000",
        "mi_date": "1461",
        "stk_date": "730.5",
        "cvd_dthdt": "2000",
        "prev_mi": "0",
    }
    outcome = outcomes_of([row], layout.clock, layout.outcomes, "1").outcomes["any-cvd"]
    assert (outcome.event, outcome.time_years) == (True, 2.0)


@pytest.mark.parametrize("endpoint", ["any-cvd", "any-chd"])
def test_shhs_infarctions_at_a_procedure_count_as_coronary_disease(endpoint: str) -> None:
    """Event 6 has a date of its own, and who had one before is prevalent."""
    layout = load_layout("shhs")
    row = {"any_cvd": "1", "any_chd": "1", "mip_date": "730.5", "mi_date": "1461", "censdate": "3000", "prev_mip": "0"}
    told = outcomes_of([row], layout.clock, layout.outcomes, "1").outcomes[endpoint]
    assert (told.event, told.time_years) == (True, 2.0)
    before = outcomes_of([{**row, "prev_mip": "2"}], layout.clock, layout.outcomes, "1").outcomes[endpoint]
    assert before.prevalent


def test_shhs_desaturations_are_ruled_out_for_both_visits(tmp_path: Path) -> None:
    cohort = opened("shhs", tmp_path, f"{EDFS}/shhs1/shhs1-200001.edf", f"{EDFS}/shhs2/shhs2-200001.edf")
    assert [set(recording.unusable) for recording in cohort.recordings] == [{"desaturation"}] * 2
    assert len({recording.person for recording in cohort.recordings}) == 1


def test_shhs_visit_two_keeps_its_own_age(tmp_path: Path) -> None:
    cohort = opened(
        "shhs",
        tmp_path,
        f"{EDFS}/shhs1/shhs1-200001.edf",
        f"{EDFS}/shhs2/shhs2-200001.edf",
        "datasets/shhs1-dataset-0.21.0.csv=nsrrid,age_s1,staging4\n200001,50,1\n",
        "datasets/shhs2-dataset-0.21.0.csv=nsrrid,age_s2,stdatep\n200001,55,1826\n",
        "datasets/shhs-harmonized-dataset-0.21.0.csv=nsrrid,visitnumber,nsrr_race\n200001,1,white\n200001,2,white\n",
        "datasets/shhs-cvd-summary-dataset-0.21.0.csv=nsrrid,age_s1,gender,vital,censdate\n200001,50,2,1,3652\n",
    )
    one, two = cohort.recordings
    assert [(r.covariates["age"], r.covariates["sex"], r.covariates["race"]) for r in (one, two)] == [
        (50.0, "female", "white"),
        (55.0, "female", "white"),
    ]
    assert ("arousal" in one.unusable, "arousal" in two.unusable) == (True, False)
    assert one.outcomes["death"].time_years == pytest.approx(3652 / 365.25)
    assert two.outcomes["death"].time_years == pytest.approx(1826 / 365.25)


def test_mros_tables_join_in_upper_case_and_lists_hold_for_visit_one(tmp_path: Path) -> None:
    cohort = opened(
        "mros",
        tmp_path / "r",
        f"mros/{EDFS}/visit1/mros-visit1-aa0236.edf",
        f"mros/{EDFS}/visit2/mros-visit2-aa0236.edf",
        f"mros/{EDFS}/visit1/mros-visit1-aa2033.edf",
        "mros/datasets/mros-visit1-dataset-0.6.0.csv=nsrrid,vsage1,gierace\nAA0236,70,2\nAA2033,71,1\n",
        "mros/datasets/mros-visit2-dataset-0.6.0.csv=nsrrid,vs2age1\nAA0236,76\n",
    )
    told = {r.id: (r.covariates["age"], set(r.unusable)) for r in cohort.recordings}
    assert told == {
        "mros-visit1-aa0236": (70.0, {"events"}),
        "mros-visit2-aa0236": (76.0, set()),
        "mros-visit1-aa2033": (71.0, {"stage"}),
    }
    assert cohort.recordings[0].covariates["race"] == "black or african american"


def test_mros_lists_are_complete() -> None:
    no_events, wrong_staging, no_annotation = load_layout("mros").exclude
    counts = [len(set(rule.persons)) for rule in (no_events, wrong_staging, no_annotation)]
    assert counts == [12, 8, 3]


def test_mesa_ids_are_padded_in_file_names_only(tmp_path: Path) -> None:
    for key, folder in (("mesaid", "a"), ("nsrrid", "b")):
        table = f"datasets/mesa-sleep-dataset-0.8.0.csv={key},sleepage5c,gender1\n12,66,0\n1738,70,1\n"
        paths = (f"{EDFS}/mesa-sleep-0012.edf", f"{EDFS}/mesa-sleep-1738.edf")
        padded, differs = opened("mesa", tmp_path / folder, *paths, table).recordings
        assert (padded.covariates, dict(padded.unusable)) == ({"age": 66.0, "sex": "female"}, {})
        assert set(differs.unusable) == {"stage"}


def test_cfs_families_stay_together(tmp_path: Path) -> None:
    table = "datasets/cfs-visit5-dataset-0.7.0.csv=nsrrid,familyi,male,dead\n800002,715,1,0\n800010,715,0,1\n"
    paths = (f"{EDFS}/cfs-visit5-800002.edf", f"{EDFS}/cfs-visit5-800010-famID715.edf")
    one, two = opened("cfs", tmp_path, *paths, table).recordings
    assert one.split_unit == two.split_unit
    assert one.person != two.person
    assert [(r.outcomes["death"].event, r.outcomes["death"].time_years) for r in (one, two)] == [
        (False, None),
        (True, None),
    ]


def test_chat_harmonised_rows_by_visit_and_files_that_cannot_be_trusted(tmp_path: Path) -> None:
    cohort = opened(
        "chat",
        tmp_path,
        f"{EDFS}/baseline/chat-baseline-300051.edf",
        f"{EDFS}/followup/chat-followup-300051.edf",
        f"{EDFS}/baseline/chat-baseline-300001.edf",
        f"{EDFS}/followup/chat-followup-300927.edf",
        f"{EDFS}/nonrandomized/chat-baseline-nonrandomized-300006.edf",
        "datasets/chat-harmonized-dataset-0.14.0.csv=nsrrid,vnum,nsrr_age,nsrr_sex\n300051,3,6,male\n300051,10,7,male\n300001,3,8,female\n",
        "datasets/chat-nonrandomized-dataset-0.14.0.csv=nsrrid,age_nr,ref4\n300006,9.5,5\n",
    )
    told = {(r.person, r.visit): dict(r.covariates) for r in cohort.recordings}
    assert told == {
        ("300051", "followup"): {"age": 7.0, "sex": "male"},
        ("300001", "baseline"): {"age": 8.0, "sex": "female"},
        ("300006", "nonrandomized"): {"age": 9.5, "race": "white"},
    }
    assert [e.recording for e in cohort.excluded] == ["chat-baseline-300051", "chat-followup-300927"]


def test_sof_ids_are_padded_in_file_names_only(tmp_path: Path) -> None:
    table = "datasets/sof-visit-8-dataset-0.8.0.csv=sofid,v8age\n4,84\n"
    (recording,) = opened("sof", tmp_path, f"{EDFS}/sof-visit-8-00004.edf", table).recordings
    assert recording.covariates == {"age": 84.0, "sex": "female"}


def test_wsc_rows_by_visit_and_nights_with_cpap(tmp_path: Path) -> None:
    cohort = opened(
        "wsc",
        tmp_path,
        *(f"polysomnography/wsc-visit{visit}-10119-nsrr.edf" for visit in (1, 2, 3)),
        "datasets/wsc-dataset-0.8.0.csv=wsc_id,wsc_vst,age,sex,psg_cpap\n10119,1,50,M,\n10119,2,54,M,1\n10119,3,58,M,2\n",
        "datasets/wsc-harmonized-dataset-0.8.0.csv=nsrrid,nsrr_visit,wsc_vst,nsrr_race\n10119,S1,0,a\n10119,S2,0,b\n10119,1,1,white\n",
    )
    assert [recording.covariates["age"] for recording in cohort.recordings] == [50.0, 58.0]
    assert [(e.recording, e.reason) for e in cohort.excluded] == [
        ("wsc-visit2-10119-nsrr", "CPAP was used during the night (psg_cpap = 1)")
    ]
    assert [len(recording.quality) for recording in cohort.recordings] == [0, 1]
    assert cohort.recordings[0].covariates["race"] == "white"
    assert {recording.person for recording in cohort.recordings} == {"10119"}
    assert not [gap for gap in cohort.gaps if "psg_cpap" in gap]


def test_wsc_another_kind_of_treatment_is_a_gap(tmp_path: Path) -> None:
    table = "datasets/wsc-dataset-0.8.0.csv=wsc_id,wsc_vst,psg_cpap\n10119,1,3\n10120,1,0\n"
    names = (f"polysomnography/wsc-visit1-{person}-nsrr.edf" for person in (10119, 10120))
    gaps = [gap for gap in opened("wsc", tmp_path, *names, table).gaps if "psg_cpap" in gap]
    assert len(gaps) == 1
    assert "holds '3'" in gaps[0]


def test_wsc_desaturations_have_no_duration_and_are_ruled_out(tmp_path: Path) -> None:
    (night,) = opened("wsc", tmp_path, "polysomnography/wsc-visit1-10119-nsrr.edf").recordings
    with pytest.raises(RecordingError, match="desaturations have no duration"):
        night.events("desaturation")
    assert set(night.unusable) == {"desaturation"}


def test_stages_last_row_of_a_code_and_the_workbook(tmp_path: Path) -> None:
    cohort = opened(
        "stages",
        tmp_path,
        f"{PSGS}/GSSA/GSSA00022.edf",
        "datasets/stages-harmonized-dataset-0.3.0.csv=subject_code,nsrr_age\nGSSA00022,30\nGSSA00022,31\n",
        # A workbook saved as CSV stands for it.
        "original/De-identified Data/PSG SRBD Variables/STAGESPSGKeySRBDVariables2020-08-29 Deidentified.csv=s_code,ahi,sex\nGSSA00022,12.5,F\n",
    )
    assert cohort.recordings[0].covariates == {"age": 31.0, "ahi_as_reported": 12.5, "sex": "female"}


def test_stages_persons_without_a_row_in_the_main_table_were_excluded_by_the_authors(tmp_path: Path) -> None:
    cohort = opened(
        "stages",
        tmp_path,
        *(f"{PSGS}/GSSA/GSSA0002{n}.edf" for n in (2, 3)),
        "datasets/stages-dataset-0.3.0.csv=subject_code,age\nGSSA00022,30\n",
        "datasets/stages-harmonized-dataset-0.3.0.csv=subject_code,nsrr_age\nGSSA00022,30\nGSSA00023,31\n",
    )
    assert [recording.id for recording in cohort.recordings] == ["GSSA00022"]
    ((recording, reason),) = [(e.recording, e.reason) for e in cohort.excluded]
    assert recording == "GSSA00023"
    assert "stages-dataset-0.3.0.csv" in reason


def test_homepap_uses_full_nights_only(tmp_path: Path) -> None:
    cohort = opened(
        "homepap",
        tmp_path,
        f"{EDFS}/lab/full/homepap-lab-full-1600001.edf",
        f"{EDFS}/lab/split/homepap-lab-split-1600366.edf",
        f"{EDFS}/home/homepap-home-1600001.edf",
    )
    assert [recording.id for recording in cohort.recordings] == ["homepap-lab-full-1600001"]
    assert {e.recording: e.reason for e in cohort.excluded} == {
        "homepap-home-1600001": "recorded at home without EEG",
        "homepap-lab-split-1600366": "split night: it switches to CPAP",
    }


def test_nchsdb_children_and_studies(tmp_path: Path) -> None:
    table = "datasets/nchsdb-dataset-harmonized-0.3.0.csv=study_pat_id,filename_id,nsrr_age\n10000,10000_17728,7\n10000,10000_20000,9\n"
    one, two = opened("nchsdb", tmp_path, "sleep_data/10000_17728.edf", "sleep_data/10000_20000.edf", table).recordings
    assert (one.person, two.person) == ("10000", "10000")
    assert (one.covariates["age"], two.covariates["age"]) == (7.0, 9.0)


def test_mnc_mains_by_country(tmp_path: Path) -> None:
    names = ("ssc/ssc_1558_1-nsrr", "cnc/chc001-nsrr", "dhc/N0020-nsrr")
    cohort = opened("mnc", tmp_path, *(f"{name}.edf" for name in names))
    assert {r.id: r.mains_hz for r in cohort.recordings} == {
        "ssc_1558_1-nsrr": 60.0,
        "chc001-nsrr": 50.0,
        "N0020-nsrr": 50.0,
    }


def test_apples_row_of_the_recording_among_visits(tmp_path: Path) -> None:
    cohort = opened(
        "apples",
        tmp_path,
        "polysomnography/apples-130001.edf",
        "datasets/apples-dataset-0.1.0.csv=appleid,visitn,fileid,gender,esstotalscoreqc\nA1,1,,1) female,3\nA1,3,apples-130001,1) female,9\n",
        "datasets/apples-harmonized-dataset-0.1.0.csv=nsrrid,visitn,fileid,nsrr_ahi_chicago1999\nA1,1,,\nA1,3,apples-130001,33.5\n",
    )
    assert cohort.recordings[0].covariates == {"sex": "female", "ess": 9.0, "ahi_chicago1999": 33.5}


def test_apples_files_of_one_appleid_are_of_one_person(tmp_path: Path) -> None:
    cohort = opened(
        "apples",
        tmp_path,
        *(f"polysomnography/apples-13000{n}.edf" for n in (1, 2, 3)),
        "datasets/apples-dataset-0.1.0.csv=appleid,visitn,fileid\nA1,3,apples-130001\nA1,4,apples-130002\n",
    )
    one, two, alone = cohort.recordings
    assert one.person == two.person != alone.person
    assert any("appleid" in gap for gap in cohort.gaps)


def test_hsp_recordings_need_a_row_in_one_of_the_metadata_tables(tmp_path: Path) -> None:
    """Sessions of one folder are of one person, whether the metadata know them or not."""
    second = SUB.replace("ses-1", "ses-2")
    head, row = "BidsFolder,SessionID,BDSPPatientID,StudyType", "sub-S0001111189359,{},111189359,PSG Diagnostic"
    names = (f"{SUB}_eeg.edf", f"{second}_eeg.edf")
    master = f"bdsp_psg_master_20231101.csv={head}\n{row.format(1)}\n"
    site = f"psg-metadata/I0001_psg_metadata_2025-05-06.csv={head}\n{row.format(2)}\n"
    other = f"psg-metadata/I0002_psg_metadata_2025-05-06.csv={head}\nsub-I00021,1,1,PSG Diagnostic\n"
    both = opened("hsp", tmp_path / "a", *names, master, site, other)
    assert not [gap for gap in both.gaps if "without a row" in gap]
    lacking = opened("hsp", tmp_path / "b", *names, master, other)
    assert len([gap for gap in lacking.gaps if "without a row" in gap]) == 1
    assert [gap for gap in opened("hsp", tmp_path / "c", *names).gaps if "no such table was found" in gap]
    assert {recording.person for cohort in (both, lacking) for recording in cohort.recordings} == {"s0001111189359"}


def test_hsp_takes_the_latest_metadata_of_a_site(tmp_path: Path) -> None:
    tables = [
        f"psg-metadata/I0001_psg_metadata_{day}.csv=BidsFolder,SessionID,AgeAtVisit\nsub-S0001111189359,1,{age}\n"
        for day, age in (("2024-12-20", 60), ("2025-05-06", 61))
    ]
    (recording,) = opened("hsp", tmp_path, f"{SUB}_eeg.edf", *tables).recordings
    assert recording.covariates["age"] == 61.0


def test_hsp_metadata_by_folder_and_session(tmp_path: Path) -> None:
    second = SUB.replace("ses-1", "ses-2")
    cohort = opened(
        "hsp",
        tmp_path,
        f"{SUB}_eeg.edf",
        f"{second}_eeg.edf",
        "bdsp_psg_master_20231101.csv=BidsFolder,SessionID,AgeAtVisit,SexDSC,StudyType\nsub-S0001111189359,1,60,Male,PSG Diagnostic \nsub-S0001111189359,2,61,Male,PSG all night CPAP\n",
    )
    (one,), (two,) = cohort.recordings, cohort.excluded
    assert one.covariates == {"age": 60.0, "sex": "male", "study_type": "PSG Diagnostic"}
    assert not one.unusable
    assert two.reason == "not diagnostic: CPAP (StudyType)"
