"""The demo cohort: written once, completed after an interruption, and read back as MrOS is."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Cohort, CohortOptions, Outcome
from hypnos_bench.cohorts.demo import CARD, DemoSource, default_cache
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.cohorts.simulator import build
from hypnos_bench.cohorts.simulator.build import MANIFEST, TREE, Settings, ensure_built, plans
from hypnos_bench.cohorts.simulator.night import simulate
from hypnos_bench.cohorts.simulator.outcomes import OUTCOMES, simulated_outcomes
from hypnos_bench.errors import DataError, IntegrityError, UsageError

SMALL = Settings(n_persons=2, n_second_visits=1, seed=3, n_cycles=1, cycle_min=20.0)
FIRST_EDF = "polysomnography/edfs/visit1/mros-visit1-aa0001.edf"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    ensure_built(folder, SMALL, workers=1)
    return folder


@pytest.fixture(scope="module")
def cohort(cache: Path) -> Cohort:
    return DemoSource(SMALL).open(CohortOptions(cache=cache))


def contents(home: Path) -> dict[str, bytes]:
    return {p.relative_to(home).as_posix(): p.read_bytes() for p in home.rglob("*") if p.is_file()}


def test_the_registry_knows_it_and_the_card_says_simulated() -> None:
    card = COHORTS.load("demo").card
    assert card == CARD
    assert card.simulated
    assert "simulated" in card.title.casefold()
    assert card.labels == ("stage", "events")
    assert card.encoders == ("hypnos-untrained", "features")


def test_the_card_tells_the_default_size() -> None:
    settings = Settings()
    nights = plans(settings)
    hours = [plan.hypnogram.duration_s / 3600 for plan in nights]
    assert f"{settings.n_persons} simulated men, {settings.n_second_visits} of them seen twice" in CARD.note
    assert len(nights) == settings.n_persons + settings.n_second_visits
    assert min(hours) >= 2.0
    assert max(hours) <= 3.5
    fibrillating = np.mean([plan.person.af for plan in nights if plan.person.visit == 1])
    assert 0.10 <= fibrillating <= 0.20


def test_the_default_hold_out_tests_enough_persons_and_one_of_them_twice() -> None:
    from hypnos_bench.splits import folds

    settings = Settings()
    fold = folds("demo", [f"aa{number:04d}" for number, _ in settings.visits()], CARD.split)[0]
    assert 6 <= len(fold.test) <= 9
    assert {f"aa{number:04d}" for number, visit in settings.visits() if visit == 2} & set(fold.test)


def test_recordings_carry_the_cohort_the_person_and_the_visit(cohort: Cohort) -> None:
    assert cohort.card == CARD
    assert cohort.excluded == ()
    assert [(r.id, r.person, r.visit) for r in cohort.recordings] == [
        ("mros-visit1-aa0001", "aa0001", "1"),
        ("mros-visit1-aa0002", "aa0002", "1"),
        ("mros-visit2-aa0002", "aa0002", "2"),
    ]
    assert {r.cohort for r in cohort.recordings} == {"demo"}
    assert {r.mains_hz for r in cohort.recordings} == {60.0}


def test_labels_come_back_through_the_mros_opener(cohort: Cohort) -> None:
    for plan, recording in zip(plans(SMALL), cohort.recordings, strict=True):
        assert recording.duration_s() == plan.hypnogram.duration_s
        assert np.array_equal(recording.stages(), plan.hypnogram.scored)
        assert list(recording.events()) == plan.events()
        assert len(plan.events()) > 0


def test_channels_come_back_referenced_within_one_step_of_16_bits(cohort: Cohort) -> None:
    for plan, recording in zip(plans(SMALL), cohort.recordings, strict=True):
        assert set(recording.montage) == set(CANONICAL_CHANNELS)
        made = {c.label: c.values for c in simulate(SMALL.seed, plan, {})}
        pairs = {"C3": ("C3", "A2"), "C4": ("C4", "A1"), "E1": ("LOC", "A2"), "E2": ("ROC", "A1")}
        pairs |= {"Chin": ("L Chin", "R Chin"), "ECG": ("ECG L", "ECG R")}
        for channel, (plus, minus) in pairs.items():
            signal = recording.signal(channel)
            assert signal is not None
            step = (np.abs(made[plus]).max() + np.abs(made[minus]).max()) / 32767
            assert np.abs(signal.values - (made[plus] - made[minus])).max() <= step
        belt = recording.signal("THX")
        assert belt is not None
        assert np.corrcoef(belt.values, made["Thoracic"])[0, 1] > 0.9999


def test_covariates_agree_with_what_was_simulated(cohort: Cohort) -> None:
    for plan, recording in zip(plans(SMALL), cohort.recordings, strict=True):
        assert recording.covariates["age"] == round(plan.person.age_years)
        assert recording.covariates["bmi"] == pytest.approx(plan.person.bmi_kg_m2, abs=0.06)
        assert recording.covariates["sex"] == "male"
        sleep_h = np.sum(recording.stages() > 0) / 120
        assert recording.covariates["tst_min"] == pytest.approx(60 * sleep_h, abs=0.5)
        events = recording.events()
        arousals = sum(e.kind == "arousal" for e in events)
        assert recording.covariates["arousals_per_h"] == pytest.approx(arousals / sleep_h, abs=0.01)
        apneas = sum(e.kind.endswith("apnea") for e in events)
        everything = apneas + sum(e.kind == "hypopnea" for e in events)
        assert apneas / sleep_h - 0.01 <= recording.covariates["ahi_a0h3"] <= everything / sleep_h + 0.01


def test_outcomes_are_those_of_the_person_counted_from_the_visit(cohort: Cohort) -> None:
    first, second = simulated_outcomes(SMALL.seed, 1, [1]), simulated_outcomes(SMALL.seed, 2, [1, 2])
    assert [dict(r.outcomes) for r in cohort.recordings] == [first[1], second[1], second[2]]
    assert {name for r in cohort.recordings for name in r.outcomes} == set(OUTCOMES)
    lived_on = {**cohort.recordings[0].outcomes, "death": Outcome(False, 12.5)}
    others = (replace(cohort.recordings[0], outcomes=lived_on), *cohort.recordings[1:])
    assert replace(cohort, recordings=others).people_fingerprint() != cohort.people_fingerprint()


def test_a_person_keeps_ids_over_visits_and_tables_hold_upper_case(cache: Path) -> None:
    datasets = cache / SMALL.name / TREE / "datasets"
    rows = {}
    for path in sorted(datasets.glob("*.csv")):
        with path.open(newline="") as handle:
            rows[path.name.split("-dataset")[0]] = list(csv.DictReader(handle))
    assert [row["nsrrid"] for row in rows["mros-visit1"]] == ["AA0001", "AA0002"]
    assert [row["nsrrid"] for row in rows["mros-visit2"]] == ["AA0002"]
    assert float(rows["mros-visit2"][0]["vs2age1"]) > float(rows["mros-visit1"][1]["vsage1"])


def test_a_second_opening_writes_nothing(cache: Path, cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("simulated again"))
    again = DemoSource(SMALL).open(CohortOptions(cache=cache))
    assert again.fingerprint() == cohort.fingerprint()


def test_equal_settings_give_equal_bytes_whatever_the_number_of_workers(cache: Path, tmp_path: Path) -> None:
    ensure_built(tmp_path, SMALL, workers=3)
    assert contents(tmp_path / SMALL.name) == contents(cache / SMALL.name)


def test_an_interrupted_build_is_completed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = build._write_night
    calls = []

    def stop_at_the_second(*job: object) -> None:
        calls.append(job)
        if len(calls) == 2:
            raise KeyboardInterrupt
        written(*job)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "_write_night", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        ensure_built(tmp_path, SMALL, workers=1)
    home = tmp_path / SMALL.name
    assert not (home / MANIFEST).exists()
    (kept,) = home.rglob("*.edf")
    before = kept.stat().st_mtime_ns
    assert not list(home.glob(".build-*"))
    monkeypatch.setattr(build, "_write_night", written)
    ensure_built(tmp_path, SMALL, workers=1)
    assert kept.stat().st_mtime_ns == before
    assert contents(home) == contents(cache / SMALL.name)


@pytest.mark.parametrize("damage", ["truncate", "delete", "no xml"])
def test_a_damaged_file_is_written_again(cache: Path, tmp_path: Path, damage: str) -> None:
    home = tmp_path / SMALL.name
    shutil.copytree(cache / SMALL.name, home)
    edf = home / TREE / FIRST_EDF
    if damage == "truncate":
        edf.write_bytes(edf.read_bytes()[:100_000])
    elif damage == "delete":
        edf.unlink()
    else:
        next(home.rglob("*aa0001-nsrr.xml")).unlink()
    ensure_built(tmp_path, SMALL, workers=1)
    assert contents(home) == contents(cache / SMALL.name)


def test_two_builders_at_once_agree(cache: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(ensure_built, tmp_path, SMALL, 1) for _ in range(2)]:
            assert future.result() == tmp_path / SMALL.name / TREE
    assert contents(tmp_path / SMALL.name) == contents(cache / SMALL.name)


def test_what_killed_builders_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    settings = replace(SMALL, n_persons=1, n_second_visits=0)
    ensure_built(tmp_path, settings, workers=1)
    old, young = (tmp_path / settings.name / name for name in (".build-old", ".build-young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "half.edf").write_bytes(b"0")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    ensure_built(tmp_path, settings, workers=1)
    assert not old.exists()
    assert young.exists()


def test_another_cohort_under_the_same_name_is_refused(cache: Path) -> None:
    with pytest.raises(IntegrityError, match=r"other settings under the same name; delete it"):
        ensure_built(cache, replace(SMALL, cycle_min=30.0))


@pytest.mark.parametrize("text", ["{", "[]", '{"sim_version": 1}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    home = tmp_path / SMALL.name
    home.mkdir()
    (home / MANIFEST).write_text(text)
    with pytest.raises(IntegrityError, match=r"manifest\.json: damaged .* delete"):
        ensure_built(tmp_path, SMALL)


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match=r"cannot be kept there \(.*\); make room or choose another --cache DIR"):
        DemoSource(SMALL).open(CohortOptions(cache=blocked))
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 60_000_000})())
    with pytest.raises(DataError, match=r"needs 0\.\d GB, 0\.1 GB are free; make room"):
        ensure_built(tmp_path, SMALL)


def test_the_manifest_lists_every_file(cache: Path) -> None:
    home = cache / SMALL.name
    manifest = json.loads((home / MANIFEST).read_text())
    assert manifest["settings"]["seed"] == SMALL.seed
    on_disk = {p.relative_to(home / TREE).as_posix(): p.stat().st_size for p in (home / TREE).rglob("*") if p.is_file()}
    assert manifest["files"] == on_disk


def test_root_and_person_pattern_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"takes no --root; .* --cache DIR"):
        DemoSource(SMALL).open(CohortOptions(root=tmp_path))
    with pytest.raises(UsageError, match="person pattern"):
        DemoSource(SMALL).open(CohortOptions(cache=tmp_path, person_pattern="(.*)"))


def test_the_default_cache_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    absolute = str(tmp_path / "xdg")
    assert default_cache({"HYPNOS_BENCH_CACHE": "~/here"}) == tmp_path / "here"
    assert default_cache({"XDG_CACHE_HOME": absolute}, "linux") == Path(absolute) / "hypnos-bench"
    assert default_cache({"XDG_CACHE_HOME": "relative"}, "linux") == tmp_path / ".cache" / "hypnos-bench"
    assert default_cache({}, "darwin") == tmp_path / "Library" / "Caches" / "hypnos-bench"
    assert default_cache({"LOCALAPPDATA": absolute}, "win32") == Path(absolute) / "hypnos-bench" / "Cache"
    monkeypatch.setenv("HYPNOS_BENCH_CACHE", absolute)
    assert default_cache() == Path(absolute)


def test_no_progress_bar_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ensure_built(tmp_path, replace(SMALL, n_persons=1), workers=1)
    assert capfd.readouterr() == ("", "")


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="3 second visits of 2 persons"):
        Settings(n_persons=2, n_second_visits=3)
