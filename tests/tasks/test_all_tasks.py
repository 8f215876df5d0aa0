"""Every packaged task gives labels on every cohort that it lists, and they are those that were written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hypnos_bench.cohorts.base import STAGES, Cohort, CohortOptions
from hypnos_bench.cohorts.demo import DemoSource
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.cohorts.simulator.build import Settings
from hypnos_bench.cohorts.writers.array_folder import write_array_folder
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.trees import write_tree
from hypnos_bench.errors import RecordingError
from hypnos_bench.heads.registry import HEADS, head_kind
from hypnos_bench.labelling.people import PeopleLabels, read_people_labels
from hypnos_bench.labelling.units import read_unit_labels
from hypnos_bench.metrics.registry import check_metrics
from hypnos_bench.spec import TaskSpec
from hypnos_bench.taskfiles import load_task, task_paths

TASKS = {name: load_task(name) for name in sorted(task_paths())}
PAIRS = sorted(((name, cohort) for name, task in TASKS.items() for cohort in task.cohorts), key=lambda p: (p[1], p[0]))

PERSONS = {"stages": 4, "mitdb": 4, "cinc2017": 4, "ptb-xl": 4, "cpsc2021": 3, "wsc": 4, "homepap": 4, "apnea-ecg": 6}
EPOCHS = {"mros": 28, "ucddb": 28, "shdb-af": 28, "slpdb": 44, "physionet-2018": 44}
"""Epochs that hold an event of every kind, or half a minute of every rhythm."""

NEEDS = {"stages": "openpyxl", "mnc": "openpyxl", "dod-h": "h5py", "dod-o": "h5py"}
"""Optional package without which a cohort's tables or signals cannot be read."""

DEMO = Settings(n_persons=6, n_second_visits=1, seed=2, n_cycles=1, cycle_min=20.0)
PREVALENT = {"demo": "prevalent_af", "mros": "prevalent_diabetes", "shhs": "stroke", "wsc": "prevalent_cvd"}
"""What disease-prevalent is asked about; stroke is an outcome of SHHS."""

CERTAIN = ("arousal", "desaturation", "central-apnea")
"""Event tasks about kinds that no scorer's ``Unsure`` could be."""


class Case(NamedTuple):
    cohort: Cohort
    written: dict[str, Written]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    @cache
    def made(cohort_id: str) -> Case:
        if package := NEEDS.get(cohort_id):
            pytest.importorskip(package, reason=f"the optional package {package} is not installed")
        root = tmp_path_factory.mktemp(cohort_id)
        if cohort_id == "demo":
            return Case(DemoSource(DEMO).open(CohortOptions(cache=root)), {})
        options, written = CohortOptions(root=root), _write(cohort_id, root)
        if cohort_id == "stages":
            options = replace(options, settings=_wide_settings(root, written))
        cohort: Cohort = COHORTS.load(cohort_id).open(options)
        return Case(cohort, {w.id.partition("-famID")[0]: w for w in written})

    return made


def _write(cohort_id: str, root: Path) -> tuple[Written, ...]:
    if cohort_id == "edf-folder":
        return write_edf_folder(root, n_epochs=24)  # an event of each kind takes four epochs of sleep
    if cohort_id == "array-folder":
        return write_array_folder(root, n_persons=2, nights=1)
    return write_tree(cohort_id, root, n_persons=PERSONS.get(cohort_id, 2), n_epochs=EPOCHS.get(cohort_id, 14))


def _wide_settings(root: Path, written: Iterable[Written]) -> Path:
    """Tables as SleepFM lays them out; every recording has 8.5 later or before, and dies or not."""
    ids = [w.id for w in written]
    rows = [(i % 2, 400 if i % 3 else -3, i % 2) for i in range(len(ids))]
    write_csv(
        root / "is_event.csv",
        [{"Study ID": name, "8.5": 1, "death": died} for name, (_, _, died) in zip(ids, rows)],
    )
    write_csv(
        root / "time_to_event.csv",
        [{"Study ID": name, "8.5": day, "death": 3000} for name, (_, day, _) in zip(ids, rows)],
    )
    settings = root / "settings.toml"
    tables = f"is_event = '{root / 'is_event.csv'}'\ntime_to_event = '{root / 'time_to_event.csv'}'\nunit = 'days'\n"
    settings.write_text(f"[stages.wide_outcomes]\n{tables}", encoding="utf-8")
    return settings


def asked(name: str, cohort_id: str) -> TaskSpec:
    task = TASKS[name]
    return replace(task, columns=(PREVALENT[cohort_id],)) if name == "disease-prevalent" else task


@pytest.mark.parametrize(("name", "cohort_id"), PAIRS)
def test_every_task_has_labels_on_every_cohort_that_it_lists(
    case: Callable[[str], Case], name: str, cohort_id: str
) -> None:
    task, made = asked(name, cohort_id), case(cohort_id)
    if task.by_person:
        _check_people(task, made, read_people_labels(task, made.cohort))
    else:
        _check_units(task, made)


def _check_units(task: TaskSpec, made: Case) -> None:
    seen: set[int] = set()
    for recording in made.cohort.recordings:
        try:
            labels = read_unit_labels(task, recording)
        except RecordingError:
            continue
        assert (np.diff(labels.start_s) > 0).all()
        assert labels.start_s[-1] + task.unit_s <= recording.duration_s() + 5  # pages of 20 s are padded by 5
        seen |= set(labels.y.tolist())
        written = made.written.get(recording.id)
        if written is not None and task.label == "stage" and written.stages:
            assert labels.y.tolist() == [expected_class(task, code) for code in written.stages if code >= 0]
        if written is not None and task.id in CERTAIN:
            assert labels.y.tolist() == expected_events(task, written, recording.hypnogram().start_s)
    assert seen == set(range(len(task.classes)))


def expected_class(task: TaskSpec, code: int) -> int:
    name = task.class_map.get(STAGES[code], task.class_map.get("*"))
    return task.classes.index(str(name))


def expected_events(task: TaskSpec, written: Written, start_s: Iterable[float]) -> list[int]:
    """Epoch by epoch, as the task file words the rule."""
    labels = []
    for start, code in zip(start_s, written.stages):
        if code < 0:
            continue
        touched = [
            min(e.start_s + e.duration_s, start + 30) - max(e.start_s, start)
            for e in written.events
            if e.kind in task.events
        ]
        labels.append(int(any(overlap >= task.overlap_s - 2e-3 for overlap in touched)))
    return labels


def _check_people(task: TaskSpec, made: Case, labels: PeopleLabels) -> None:
    persons = {r.id: r.person for r in made.cohort.recordings}
    assert [persons[recording] for recording in labels.recordings] == list(labels.persons)
    if task.unit == "person":
        assert len(set(labels.persons)) == len(labels.persons)
    if task.kind == "survival":
        assert labels.at_risk.any()
        assert (labels.time[labels.at_risk] > 0).all()
        assert not labels.event[~labels.at_risk].any()
        return
    assert labels.y is not None
    assert np.isfinite(labels.y).all()
    if task.kind == "classification":
        assert set(labels.y.tolist()) <= set(range(len(task.classes)))
    if task.id == "sex":
        assert set(labels.y.tolist()) == {0, 1}
    if task.label == "record":
        assert set(labels.y.tolist()) == {0, 1}
    for recording, value in zip(labels.recordings, labels.y.tolist()):
        told = made.written[recording].covariates if recording in made.written else {}
        if task.id in told and task.kind == "regression":
            assert value == (90 if told[task.id] == 300 else told[task.id])


@pytest.mark.parametrize("name", TASKS)
def test_heads_and_metrics_fit_the_kind_of_the_task(name: str) -> None:
    task = TASKS[name]
    assert set(task.heads) <= set(HEADS.ids())
    assert {head_kind(head) for head in task.heads} == {task.kind}
    check_metrics(task)
    assert set(task.cohorts) <= set(COHORTS.ids())


def test_every_kind_of_label_is_asked_about() -> None:
    assert {task.label for task in TASKS.values()} == {
        "stage", "events", "rhythm", "minutes", "record", "covariate", "outcome",
    }  # fmt: skip
    assert {task.unit for task in TASKS.values()} == {"epoch", "window", "recording", "person"}
