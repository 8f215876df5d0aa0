from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Cohort, CohortOptions, Outcome, Recording, Scoring
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.labelling.people import LATER, read_people_labels
from hypnos_bench.taskfiles import load_task

Make = Callable[..., Recording]
MakeCohort = Callable[..., Cohort]

AGE, SEX, OSA, SEVERITY, AHI, STROKE, RECORD, DISEASE, PHECODES = (
    load_task(name)
    for name in ("age", "sex", "osa-15", "osa-severity", "ahi", "stroke", "af-record", "disease-prevalent", "phecodes")
)
BEFORE = Outcome(False, None, prevalent=True)


@pytest.fixture
def people(make_recording: Make, make_cohort: MakeCohort) -> Callable[..., Cohort]:
    """A cohort of recordings r0, r1 ... with these covariates, each of its own person."""

    def make(*covariates: dict[str, object], **outcomes: Outcome) -> Cohort:
        return make_cohort(*(make_recording(f"r{i}", covariates=told) for i, told in enumerate(covariates)))

    return make


def test_numbers_as_they_stand_and_missing_ones_with_their_reason(people: Callable[..., Cohort]) -> None:
    cohort = people({"age": 61.0}, {}, {"age": 70}, {"age": float("nan")}, {"age": "old"})
    labels = read_people_labels(AGE, cohort)
    assert (labels.recordings, labels.persons, labels.column) == (("r0", "r2"), ("r0", "r2"), "age")
    assert labels.y is not None
    assert labels.y.dtype == np.float64
    assert labels.y.tolist() == [61.0, 70.0]
    assert labels.outcomes == ()
    assert labels.time.shape == labels.event.shape == labels.at_risk.shape == (2, 0)
    assert {e.recording: e.reason for e in labels.excluded} == {
        "r1": "age is missing", "r3": "age is missing", "r4": "age is 'old', not a number",
    }  # fmt: skip


def test_cuts_belong_to_the_class_above(people: Callable[..., Cohort]) -> None:
    values = [0.0, 4.99, 5.0, 14.9, 15.0, 29.9, 30.0, 90.0]
    cohort = people(*({"ahi_a0h3a": value} for value in values))
    labels = read_people_labels(SEVERITY, cohort)
    assert labels.y is not None
    assert labels.y.dtype == np.int64
    assert labels.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert read_people_labels(OSA, cohort).y.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]  # type: ignore[union-attr]


def test_one_column_is_used_for_all_recordings(people: Callable[..., Cohort]) -> None:
    cohort = people({"ahi_a0h4": 10.0}, {"ahi_a0h4": 12.0, "ahi_a0h3a": 20.0}, {"ahi_as_reported": 8.0})
    labels = read_people_labels(AHI, cohort)
    assert (labels.column, labels.recordings) == ("ahi_a0h3a", ("r1",))
    labels = read_people_labels(AHI, people({"ahi_a0h4": 10.0}, {"ahi_as_reported": 8.0}))
    assert (labels.column, labels.recordings) == ("ahi_a0h4", ("r0",))


def test_the_first_visit_with_a_label_counts(make_recording: Make, make_cohort: MakeCohort) -> None:
    ages = {("p1", "2"): 60.0, ("p1", "10"): 69.0, ("p2", "1"): None, ("p2", "2"): 55.0, ("p2", "3"): 56.0}
    recordings = [
        make_recording(f"{person}-{visit}", person=person, visit=visit, covariates={"age": age} if age else {})
        for (person, visit), age in ages.items()
    ]
    labels = read_people_labels(AGE, make_cohort(*recordings))
    assert dict(zip(labels.recordings, labels.persons)) == {"p1-2": "p1", "p2-2": "p2"}
    assert labels.y.tolist() == [60.0, 55.0]  # type: ignore[union-attr]
    assert labels.dropped == {LATER: 2}
    assert [e.recording for e in labels.excluded] == ["p2-1"]
    every = read_people_labels(replace(AGE, unit="recording"), make_cohort(*recordings))
    assert every.recordings == ("p1-10", "p1-2", "p2-2", "p2-3")
    assert every.dropped == {}


def test_visits_without_a_name_are_taken_by_id(make_recording: Make, make_cohort: MakeCohort) -> None:
    recordings = [make_recording(f"n{i}", person="p", covariates={"age": 50.0 + i}) for i in (2, 1, 3)]
    assert read_people_labels(AGE, make_cohort(*recordings)).recordings == ("n1",)


def test_words_and_numbers_of_a_class_map_in_any_spelling(people: Callable[..., Cohort]) -> None:
    told = ["Yes", " no ", 1.0, 0, True, False, "1", "maybe", 2.0, None]
    task = replace(DISEASE, columns=("x",))
    labels = read_people_labels(task, people(*({"x": value} for value in told)))
    assert labels.y.tolist() == [1, 0, 1, 0, 1, 0, 1]  # type: ignore[union-attr]
    assert [e.reason for e in labels.excluded] == [
        "x is 'maybe', which is of no class of the task", "x is '2', which is of no class of the task", "x is missing",
    ]  # fmt: skip
    sexes = read_people_labels(SEX, people({"sex": "male"}, {"sex": "female"}))
    assert sexes.y.tolist() == [1, 0]  # type: ignore[union-attr]


def test_a_disease_may_be_told_by_its_outcome(make_recording: Make, make_cohort: MakeCohort) -> None:
    found = [BEFORE, Outcome(True, 2.0), Outcome(False, None), Outcome(True, 0.0), Outcome(True, None)]
    told = [*({"stroke": outcome} for outcome in found), {"stroke": Outcome(True, float("nan"))}, {}]
    cohort = make_cohort(*(make_recording(f"r{i}", outcomes=o, covariates={"age": 1.0}) for i, o in enumerate(told)))
    labels = read_people_labels(replace(DISEASE, columns=("stroke",)), cohort)
    assert labels.recordings == ("r0", "r1", "r2", "r3")
    assert labels.y.tolist() == [1, 0, 0, 1]  # type: ignore[union-attr]
    unknown = "stroke happened, before or after the recording: when is not known"
    assert [e.reason for e in labels.excluded] == [unknown, unknown, "stroke is missing"]
    with pytest.raises(UsageError, match="has no column stroke"):  # a number is never a prevalence
        read_people_labels(replace(AGE, columns=("stroke",)), cohort)


def test_follow_up_of_one_outcome(make_recording: Make, make_cohort: MakeCohort) -> None:
    told = {
        "a-1": Outcome(True, 2.0), "a-2": BEFORE, "b-1": BEFORE, "b-2": BEFORE, "c-1": Outcome(True, None),
        "c-2": Outcome(False, 5.0), "d-1": None, "e-1": Outcome(False, 7.5), "e-2": Outcome(False, 1.5),
    }  # fmt: skip
    cohort = make_cohort(
        *(
            make_recording(name, person=name[0], visit=name[2:], outcomes={"stroke": told[name]} if told[name] else {})
            for name in told
        )
    )
    labels = read_people_labels(STROKE, cohort)
    assert labels.recordings == ("a-1", "c-2", "e-1")
    assert (labels.outcomes, labels.column, labels.y) == (("stroke",), "stroke", None)
    assert labels.time.tolist() == [[2.0], [5.0], [7.5]]
    assert labels.event.tolist() == [[True], [False], [False]]
    assert labels.at_risk.all()
    # Of each person one recording counts: b is prevalent, of d nothing is told.
    assert labels.dropped == {LATER: 1, "prevalent: had it before the recording": 1, "not told": 1}
    assert {e.recording: e.reason for e in labels.excluded} == {
        "a-2": "stroke: prevalent: had it before the recording",
        "b-1": "stroke: prevalent: had it before the recording",
        "b-2": "stroke: prevalent: had it before the recording",
        "c-1": "stroke: known without a time",
        "d-1": "stroke: not told",
    }
    every = read_people_labels(replace(STROKE, unit="recording"), cohort)
    assert every.recordings == ("a-1", "c-2", "e-1", "e-2")
    assert every.dropped == {"prevalent: had it before the recording": 3, "known without a time": 1, "not told": 1}


def test_all_outcomes_of_a_cohort_with_those_at_risk_for_any(make_recording: Make, make_cohort: MakeCohort) -> None:
    cohort = make_cohort(
        make_recording("r0", outcomes={"8.5": Outcome(True, 2.0), "death": Outcome(False, 4.0)}),
        make_recording("r1", outcomes={"8.5": BEFORE, "death": Outcome(True, 3.0)}),
        make_recording("r2", outcomes={"8.5": BEFORE}),
    )
    labels = read_people_labels(PHECODES, cohort)
    assert (labels.recordings, labels.outcomes) == (("r0", "r1"), ("8.5", "death"))
    assert labels.column == "2 outcomes"
    np.testing.assert_array_equal(labels.time, [[2.0, 4.0], [np.nan, 3.0]])
    assert labels.event.tolist() == [[True, False], [False, True]]
    assert labels.at_risk.tolist() == [[True, True], [False, True]]
    assert labels.dropped == {"prevalent: had it before the recording": 2, "not told": 1}
    assert [e.reason for e in labels.excluded] == ["at risk for none of the 2 outcomes"]


def test_labels_of_recordings(make_recording: Make, make_cohort: MakeCohort) -> None:
    codes = {"r1": ("A",), "r2": ("N",), "r3": ("~",), "r4": ("NORM", "AFLT"), "r5": ()}
    cohort = make_cohort(
        *(make_recording(name, scoring=Scoring(record=told)) for name, told in codes.items()),
        make_recording("r6", scoring=Scoring(record=("A",)), unusable={"record": "too noisy"}),
    )
    labels = read_people_labels(RECORD, cohort)
    assert (labels.recordings, labels.column) == (("r1", "r2", "r4"), "record")
    assert labels.y.tolist() == [1, 0, 1]  # type: ignore[union-attr]
    reasons = {e.recording: e.reason for e in labels.excluded}
    assert reasons["r3"] == "labelled ~, which the task ignores"
    assert "carries no label" in reasons["r5"]
    assert reasons["r6"] == "too noisy"


def test_what_a_cohort_lacks_is_told_with_what_it_has(people: Callable[..., Cohort]) -> None:
    cohort = people({"age": 60.0, "sleepiness": 3.0})
    with pytest.raises(UsageError, match=r"task sex: own has no column sex\. own has age, sleepiness$"):
        read_people_labels(SEX, cohort)
    with pytest.raises(
        UsageError, match=r"own has none of the columns ahi_a0h3a, ahi_a0h4, .* own has age, sleepiness$"
    ):
        read_people_labels(AHI, cohort)
    with pytest.raises(UsageError, match=r"has no column sleepines\. Did you mean 'sleepiness'\?"):
        read_people_labels(replace(DISEASE, columns=("sleepines",)), cohort)
    with pytest.raises(UsageError, match=r"asks about a column that you name \(--column\)\. own has age, sleep"):
        read_people_labels(DISEASE, cohort)
    with pytest.raises(UsageError, match=r"has no outcome stroke\. own has no outcome; .*cohort settings"):
        read_people_labels(STROKE, cohort)
    with pytest.raises(UsageError, match=r"own has no outcome\. own has no outcome; outcomes of"):
        read_people_labels(PHECODES, cohort)


def test_a_long_list_is_cut(make_recording: Make, make_cohort: MakeCohort) -> None:
    cohort = make_cohort(make_recording(outcomes={f"{k}": Outcome(False, 1.0) for k in range(1065)}))
    with pytest.raises(UsageError, match=r"own has 0, 1, 2, .*, 39 and 1,025 more; ") as caught:
        read_people_labels(STROKE, cohort)
    assert len(str(caught.value)) < 500


def test_no_label_at_all_is_an_error_with_reasons(people: Callable[..., Cohort]) -> None:
    with pytest.raises(DataError, match=r"no recording of own has a label for task age \(2 x age is missing\)"):
        read_people_labels(AGE, people({"age": None}, {"age": None}))
    task = replace(DISEASE, columns=("x",))
    with pytest.raises(DataError, match="1 x x is 'T1N', which is of no class of the task"):
        read_people_labels(task, people({"x": "T1N"}))


def test_labels_of_stretches_are_not_of_people(people: Callable[..., Cohort]) -> None:
    with pytest.raises(UsageError, match="task staging has labels of stretches of a recording"):
        read_people_labels(load_task("staging"), people({}))


def test_the_real_challenge_records(shared_data: Path) -> None:
    cohort = card_cohort("cinc2017").open(CohortOptions(root=shared_data / "cinc2017-6"))
    labels = read_people_labels(RECORD, cohort)
    truth = {"A00001": 0, "A00002": 0, "A00004": 1, "A00005": 1, "A00008": 0, "A00013": 0}
    assert dict(zip(labels.recordings, labels.y.tolist())) == truth  # type: ignore[union-attr]


def test_real_records_of_cpsc2021(shared_data: Path) -> None:
    cohort = card_cohort("cpsc2021").open(CohortOptions(root=shared_data / "cpsc2021-af"))
    labels = read_people_labels(RECORD, cohort)
    by_person = {p: {int(y) for q, y in zip(labels.persons, labels.y) if q == p} for p in labels.persons}  # type: ignore[arg-type]
    assert by_person == {"101": {1}, "21": {0}, "84": {1}}
    first = read_people_labels(replace(RECORD, unit="person"), cohort)
    assert first.recordings == ("data_101_6", "data_21_7", "data_84_1")
    assert first.dropped == {LATER: 6}
