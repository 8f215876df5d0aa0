"""Every cohort, from a tree as its documentation lays it out to recordings: what is written is what is read."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Cohort, CohortOptions, Event, Recording
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.registry import CARD_IDS, COHORTS
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.trees import TREES, write_tree
from hypnos_bench.errors import RecordingError
from hypnos_bench.spec import SplitSpec
from hypnos_bench.splits import folds

ALL = sorted(TREES)

PERSONS = {"stages": 10, "shhs": 5, "homepap": 5, "mnc": 5, "wsc": 4, "chat": 3, "cfs": 3, "nchsdb": 3, "apples": 3}
PERSONS |= {"hsp": 3, "cap": 4, "mitdb": 4}
"""Persons that show every variant of a cohort; 2 in the others."""

MANY = {"mass": 3, "isruc": 4, "sleep-edf": 6, "abc": 8, "dod-h": 8, "dod-o": 8}
"""Persons for splits; 12 in the others, as far as the set has them."""

NEEDS = {"stages": "openpyxl", "mnc": "openpyxl", "dod-h": "h5py", "dod-o": "h5py"}
"""Optional package without which a cohort's tables or signals cannot be read."""

LEFT_OUT = {
    "homepap": {"homepap-home-1600001", "homepap-lab-split-1600001", "homepap-lab-split-1600366"},
    "afdb": {"00735", "03665"},
}
UNSURE = {"chat": "mixed-apnea"}
"""What the scorers of a cohort marked with the concept ``Unsure``; a hypopnea in the others."""

RULED_OUT = {"wsc": {"desaturation"}}
"""Kinds of events that files hold and the cohort rules out for all recordings."""

NOT_TOLD = {"slpdb": {"age"}, "mitdb": {"age"}, "apnea-ecg": {"ahi"}}
"""Covariates that files hold and the cohort does not read, or under another name."""

MEANT = {"M": "male", "F": "female", 300.0: 90.0}
"""Cells that stand for something else; PTB-XL hides ages above 89 behind 300."""

ECG = {"ECG"}
CHANNELS = {
    "mros": set(CANONICAL_CHANNELS),
    "ucddb": set(CANONICAL_CHANNELS),
    "dod-o": {"C3", "C4", "E1", "E2", "Chin", "ECG"},
    "dod-h": {"C3", "E1", "E2", "Chin", "ECG"},
    "hmc": {"C3", "C4", "E1", "E2", "Chin", "ECG"},
    "physionet-2018": set(CANONICAL_CHANNELS) - {"E2"},
    **dict.fromkeys(("afdb", "ltafdb", "shdb-af", "mitdb", "cinc2017", "ptb-xl", "cpsc2021", "apnea-ecg"), ECG),
}
"""Channels of all recordings, where the writer does not say them for each."""


class Case(NamedTuple):
    root: Path
    written: dict[str, Written]
    cohort: Cohort

    def pairs(self) -> Iterable[tuple[Written, Recording]]:
        return [(self.written[r.id], r) for r in self.cohort.recordings]


def by_read_id(written: Sequence[Written]) -> dict[str, Written]:
    """CFS: the family is part of some names, and of no id."""
    return {w.id: w for w in (replace(w, id=w.id.partition("-famID")[0]) for w in written)}


def opened(cohort_id: str, root: Path) -> Cohort:
    if package := NEEDS.get(cohort_id):
        pytest.importorskip(package, reason=f"the optional package {package} is not installed")
    cohort: Cohort = COHORTS.load(cohort_id).open(CohortOptions(root=root))
    return cohort


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    @cache
    def made(cohort_id: str) -> Case:
        root = tmp_path_factory.mktemp(cohort_id)
        written = write_tree(cohort_id, root, n_persons=PERSONS.get(cohort_id, 2))
        return Case(root, by_read_id(written), opened(cohort_id, root))

    return made


def sides(cohort: Cohort, spec: SplitSpec) -> Iterable[tuple[set[str], set[str]]]:
    """Recordings for training and for testing, of each fold."""
    units = {r.person: r.split_unit for r in cohort.recordings}
    for fold in folds(cohort.card.id, [r.person for r in cohort.recordings], spec, units):
        train, test = ({r.id for r in cohort.recordings if r.person in side} for side in (fold.train, fold.test))
        yield train, test


def test_every_card_has_a_tree() -> None:
    assert set(TREES) == set(CARD_IDS)


@pytest.mark.parametrize("cohort_id", ALL)
def test_every_recording_is_found_with_its_person_and_visit(case: Callable[[str], Case], cohort_id: str) -> None:
    made = case(cohort_id)
    assert {r.id for r in made.cohort.recordings} == set(made.written)
    assert {e.recording for e in made.cohort.excluded} == LEFT_OUT.get(cohort_id, set())
    assert [r.visit for _, r in made.pairs()] == [w.visit for w, _ in made.pairs()]
    persons = {(w.person, r.person) for w, r in made.pairs()}
    assert len(persons) == len({a for a, _ in persons}) == len({b for _, b in persons})
    families = {(w.family, r.family) for w, r in made.pairs()}
    assert len(families) == len({a for a, _ in families}) == len({b for _, b in families})


@pytest.mark.parametrize("cohort_id", ALL)
def test_nothing_is_missing(case: Callable[[str], Case], cohort_id: str) -> None:
    # What a card asks of tables beyond what the fake ones hold is no gap of this tree: they have few of the flags.
    gaps = [gap for gap in case(cohort_id).cohort.gaps if not gap.startswith(("covariate ", "flag (scor", "flag (the"))]
    assert gaps == []


@pytest.mark.parametrize("cohort_id", ALL)
def test_stages(case: Callable[[str], Case], cohort_id: str) -> None:
    made = case(cohort_id)
    for w, r in made.pairs():
        assert r.duration_s() == pytest.approx(w.duration_s, abs=1)
        if not w.stages:
            with pytest.raises(RecordingError):
                r.stages()
            continue
        assert tuple(r.stages()) == w.stages
        assert set(w.stages) >= {0, 1, 2, 3, 4}


@pytest.mark.parametrize("cohort_id", ALL)
def test_events(case: Callable[[str], Case], cohort_id: str) -> None:
    made = case(cohort_id)
    for w, r in made.pairs():
        if not w.events:
            with pytest.raises(RecordingError):
                r.events()
            continue
        unsure = UNSURE.get(cohort_id, "hypopnea")
        scored = [e for e in w.events if e.kind not in RULED_OUT.get(cohort_id, set())]
        meant = [Event(unsure if e.kind == "unsure" else e.kind, e.start_s, e.duration_s) for e in scored]
        assert [e.kind for e in r.events()] == [e.kind for e in sorted(meant, key=lambda e: e.start_s)]
        times = [(e.start_s, e.duration_s) for e in r.events()]
        assert times == [
            pytest.approx((e.start_s, e.duration_s), abs=2e-3) for e in sorted(meant, key=lambda e: e.start_s)
        ]


@pytest.mark.parametrize("cohort_id", ALL)
def test_rhythm_minutes_and_labels_of_the_whole(case: Callable[[str], Case], cohort_id: str) -> None:
    for w, r in case(cohort_id).pairs():
        for truth, read in ((w.rhythm, r.rhythm), (w.minutes, r.minutes), (w.record, r.record_codes)):
            if truth:
                assert sorted(map(str, read())) == sorted(map(str, truth))
            else:
                with pytest.raises(RecordingError):
                    read()


@pytest.mark.parametrize("cohort_id", ALL)
def test_covariates(case: Callable[[str], Case], cohort_id: str) -> None:
    for w, r in case(cohort_id).pairs():
        names = {name for name in w.covariates if name in ("age", "sex", "bmi") or name.startswith("ahi")}
        names -= NOT_TOLD.get(cohort_id, set())
        told = {name: r.covariates.get(name) for name in names}
        assert told == {name: MEANT.get(w.covariates[name], w.covariates[name]) for name in names}, r.id


@pytest.mark.parametrize("cohort_id", ALL)
def test_channels(case: Callable[[str], Case], cohort_id: str) -> None:
    made = case(cohort_id)
    for w, r in made.pairs():
        if w.channels:
            assert {name: str(derivation) for name, derivation in r.montage.items()} == dict(w.channels), r.id
        elif cohort_id in CHANNELS:
            assert set(r.montage) == CHANNELS[cohort_id], r.id
        assert r.montage
    for r in made.cohort.recordings[:2]:
        for name in CANONICAL_CHANNELS:
            signal = r.signal(name)
            assert (signal is None) == (name not in r.montage)
            if signal is not None:
                assert np.isfinite(signal.values).all()
                assert signal.values.std() > 0
                assert len(signal.values) / signal.rate_hz == pytest.approx(r.duration_s(), abs=1)


@pytest.mark.parametrize("cohort_id", ALL)
def test_recordings_travel_to_other_processes(case: Callable[[str], Case], cohort_id: str) -> None:
    for w, r in case(cohort_id).pairs():
        back = pickle.loads(pickle.dumps(r))
        assert (back.id, back.person, back.split_unit, back.visit) == (r.id, r.person, r.split_unit, w.visit)
        assert dict(back.montage) == dict(r.montage)
        assert dict(back.covariates) == dict(r.covariates)
        assert back.label_fingerprint() == r.label_fingerprint()


@pytest.mark.parametrize("cohort_id", ALL)
def test_what_lies_between_recordings_changes_nothing(cohort_id: str, tmp_path: Path) -> None:
    """Also without the cohort's own folder."""
    write_tree(cohort_id, tmp_path, n_epochs=2, folder=False)
    before = opened(cohort_id, tmp_path)
    layout = load_layout(cohort_id).layout
    twin = layout.format == "edf"
    for r in before.recordings[:2]:
        path = r.signals.path
        suffix = next(s for s in layout.suffixes if path.name.endswith(s))
        hidden = [path.with_name(f"._{path.name}"), path.parent / "__MACOSX" / f"._{path.name}"]
        decoys = [*hidden, path.parent / "__MACOSX" / path.name, path.with_name("README.txt")]
        if twin:
            decoys.append(path.with_name(f"{path.name.removesuffix(suffix)}_fixed{suffix}"))
        for decoy in decoys:
            decoy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, decoy)
    foreign = ("shhs1-200001" if cohort_id == "mros" else "mros-visit1-aa0001") + suffix
    shutil.copyfile(path, path.with_name(foreign))
    after = opened(cohort_id, tmp_path)
    assert [(r.id, r.person, r.visit) for r in after.recordings] == [
        (r.id, r.person, r.visit) for r in before.recordings
    ]
    assert [r.label_fingerprint() for r in after.recordings] == [r.label_fingerprint() for r in before.recordings]
    new = {e.recording for e in after.excluded} - {e.recording for e in before.excluded}
    assert new == {Path(foreign).stem}
    assert len(after.excluded) == len(before.excluded) + 1
    assert any("_fixed" in remark for remark in after.remarks) == twin


@pytest.mark.parametrize("cohort_id", ALL)
def test_a_person_is_never_on_both_sides_of_a_split(cohort_id: str, tmp_path: Path) -> None:
    written = by_read_id(write_tree(cohort_id, tmp_path, n_persons=MANY.get(cohort_id, 12), n_epochs=2)).values()
    cohort = opened(cohort_id, tmp_path)
    units: dict[str, set[str]] = {}
    for w in written:
        units.setdefault(w.family or w.person, set()).add(w.id)
    for salt in ("a", "b", "c"):
        for spec in (SplitSpec("cv5", salt=salt), SplitSpec("holdout", salt=salt, test_fraction=0.5)):
            tested: list[str] = []
            for train, test in sides(cohort, spec):
                assert train
                assert test
                assert train | test == {r.id for r in cohort.recordings}
                assert all(unit <= train or unit <= test for unit in units.values())
                tested += test
            assert len(tested) == len(set(tested))
            assert spec.kind == "holdout" or set(tested) == {w.id for w in written}


def test_desaturations_of_shhs_are_copies_and_refused(case: Callable[[str], Case]) -> None:
    for _, r in case("shhs").pairs():
        assert "desaturation" not in {e.kind for e in r.events()}
        with pytest.raises(RecordingError, match="copies"):
            r.events("desaturation")


def test_mains_of_mnc_by_country(case: Callable[[str], Case]) -> None:
    mains = {r.signals.path.parent.name: r.mains_hz for r in case("mnc").cohort.recordings}
    assert mains == {"ssc": 60.0, "cnc": 50.0, "dhc": 50.0}


def test_other_nights_of_homepap_belong_to_the_same_person(case: Callable[[str], Case], tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[homepap]\nreplace = ["exclude"]\nexclude = []\n', encoding="utf-8")
    cohort: Cohort = COHORTS.load("homepap").open(CohortOptions(root=case("homepap").root, settings=settings))
    assert not cohort.excluded
    persons = {r.id: r.person for r in cohort.recordings}
    one = {persons[f"homepap-{part}-1600001"] for part in ("lab-full", "lab-split", "home")}
    assert len(one) == 1
    assert len(set(persons.values())) == len(persons) - 2
    home = next(r for r in cohort.recordings if r.id.startswith("homepap-home"))
    assert set(home.montage) == {"ECG", "ABD", "THX"}
    assert home.signals.repairs()
