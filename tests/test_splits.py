"""Splits: persons are never cut in two, hold-outs never move, budgets nest."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import UsageError
from hypnos_bench.exposure import read_split_lists
from hypnos_bench.leakage import assert_disjoint
from hypnos_bench.spec import Shots, SplitSpec
from hypnos_bench.splits import draw, epoch_split, folds, in_holdout, listed_split, recording_split

HOLDOUT = SplitSpec()
CV5 = SplitSpec(kind="cv5")
persons_lists = st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


def people(n, prefix="p"):
    return [f"{prefix}{i:05d}" for i in range(n)]


def test_holdout_is_the_stated_hash():
    # Written out by hand from the rule: a change of rule moves every published number.
    text = "14:hypnos-bench-1" + "7:holdout" + "4:mros" + "4:p001"
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    for fraction in (value - 1e-9, value + 1e-9):
        assert in_holdout("mros", "p001", SplitSpec(test_fraction=fraction)) is (value < fraction)


def test_holdout_takes_about_its_fraction():
    taken = sum(in_holdout("mros", p, HOLDOUT) for p in people(5000))
    assert 900 < taken < 1100  # 4.4 standard deviations around 1000


@settings(max_examples=50, deadline=None)
@given(persons_lists, st.lists(st.text(min_size=1, max_size=6), max_size=10))
def test_adding_persons_moves_nobody_in_the_holdout(persons, more):
    def side(everyone):
        return {p: in_holdout("c", p, HOLDOUT) for p in everyone}

    assert side(persons).items() <= side([*persons, *more]).items()
    try:
        before, after = folds("c", persons, HOLDOUT)[0], folds("c", [*persons, *more], HOLDOUT)[0]
    except UsageError:
        return
    assert set(before.test) <= set(after.test)
    assert set(before.train) <= set(after.train)


def test_salt_and_cohort_change_the_holdout():
    def test_side(cohort, spec):
        return [p for p in people(200) if in_holdout(cohort, p, spec)]

    assert test_side("a", HOLDOUT) != test_side("b", HOLDOUT)
    assert test_side("a", HOLDOUT) != test_side("a", SplitSpec(salt="other"))


@settings(max_examples=50, deadline=None)
@given(persons_lists, st.integers(0, 10**6))
def test_cv_tests_every_person_once_in_balanced_folds(persons, shuffle):
    divided = folds("c", persons, CV5)
    assert len(divided) == min(5, len(persons))
    assert sorted(p for fold in divided for p in fold.test) == sorted(persons)
    sizes = [len(fold.test) for fold in divided]
    assert max(sizes) - min(sizes) <= 1
    for fold in divided:
        assert set(fold.train) | set(fold.test) == set(persons)
        assert not set(fold.train) & set(fold.test)
    rotated = persons[shuffle % len(persons) :] + persons[: shuffle % len(persons)]
    assert folds("c", rotated, CV5) == divided


def test_cv_folds_are_frozen():
    by_hand = sorted(people(7), key=lambda p: hashlib.sha256(f"14:hypnos-bench-12:cv4:mros6:{p}".encode()).digest())
    assert [set(fold.test) for fold in folds("mros", people(7), CV5)] == [set(by_hand[k::5]) for k in range(5)]


def test_visits_of_a_person_stay_together():
    recordings = [(f"{p}-v{visit}", p) for p in people(40) for visit in (1, 2, 3)]
    for spec in (HOLDOUT, CV5):
        divided = folds("c", [person for _, person in recordings], spec)
        for fold in divided:
            sides = {r: ("test" if person in fold.test else "train") for r, person in recordings}
            for p in people(40):
                assert len({sides[f"{p}-v{v}"] for v in (1, 2, 3)}) == 1
        assert divided == folds("c", people(40), spec)  # naming a person per recording changes nothing


def test_too_few_persons_is_one_clear_line():
    with pytest.raises(UsageError, match="at least 2 persons, found 1"):
        folds("c", ["p", "p"], CV5)
    with pytest.raises(UsageError, match="found 0"):
        folds("c", [], HOLDOUT)


@pytest.mark.parametrize(("fraction", "side"), [(1e-12, "test"), (1.0, "training")])
def test_an_empty_side_suggests_cross_validation(fraction, side):
    with pytest.raises(UsageError, match=f"no {side} person out of 3; use --split cv5") as caught:
        folds("c", people(3), SplitSpec(test_fraction=fraction))
    assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(persons_lists, st.integers(0, 50))
def test_budgets_nest_and_ignore_order(persons, seed):
    budgets = [set(draw(persons, Shots.parse(text), seed)) for text in ("1%", "5%", "20%", "60%", "100%")]
    for small, large in itertools.pairwise(budgets):
        assert small <= large
    assert budgets[-1] == set(persons)
    assert draw(persons[::-1], Shots.parse("20%"), seed) == draw(persons, Shots.parse("20%"), seed)


def test_draws_have_the_stated_size_and_differ_by_seed():
    everyone = people(290)
    assert len(draw(everyone, Shots.parse("1%"), 0)) == 3
    assert len(draw(everyone, Shots.parse("7p"), 0)) == 7
    assert len({draw(everyone, Shots.parse("1%"), seed) for seed in range(10)}) == 10
    assert len({draw(everyone, Shots.parse("100%"), seed) for seed in range(10)}) == 1


def test_draws_are_uniform_over_persons():
    everyone = people(10)
    counts = dict.fromkeys(everyone, 0)
    for seed in range(2000):
        for p in draw(everyone, Shots.parse("3p"), seed):
            counts[p] += 1
    assert all(500 < count < 700 for count in counts.values())  # 600 expected, sd 20


def test_draws_are_frozen():
    # A golden value: a change here changes every few-shot number ever saved.
    assert draw(people(100), Shots.parse("3p"), 0) == ("p00041", "p00076", "p00087")
    by_hand = sorted(people(100), key=lambda p: hashlib.sha256(f"19:hypnos-bench-draw-11:06:{p}".encode()).digest())
    assert sorted(by_hand[:3]) == ["p00041", "p00076", "p00087"]


def test_nobody_to_draw_from():
    with pytest.raises(UsageError, match="no training person"):
        draw([], Shots.parse("1%"), 0)
    with pytest.raises(UsageError, match="5p needs 5 training persons, but there are 3"):
        draw(people(3), Shots.parse("5p"), 0)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=8, max_size=40), kind=st.sampled_from([HOLDOUT, CV5]))
def test_families_stay_on_one_side(sizes, kind):
    family_of = {f"p{f}-{k}": f"family {f}" for f, size in enumerate(sizes) for k in range(size)}
    try:
        divided = folds("cfs", [*family_of], kind, family_of)
    except UsageError:
        assert kind is HOLDOUT  # few families can all fall on one side
        return
    for fold in divided:
        assert not {family_of[p] for p in fold.train} & {family_of[p] for p in fold.test}
        assert sorted([*fold.train, *fold.test]) == sorted(family_of)
    assert divided == folds("cfs", [*reversed(family_of)], kind, family_of)


def test_persons_without_family_are_divided_as_if_there_were_none():
    everyone = people(40)
    assert folds("c", everyone, CV5, {}) == folds("c", everyone, CV5)
    assert folds("c", everyone, HOLDOUT, {p: p for p in everyone}) == folds("c", everyone, HOLDOUT)


def test_one_family_cannot_be_split():
    with pytest.raises(UsageError, match="at least 2 families, found 1"):
        folds("cfs", ["a", "b"], CV5, {"a": "family 1", "b": "family 1"})


# Leaky on purpose: by file and by unit.


def test_files_are_tested_once_and_persons_ignored():
    recordings = [f"{p}-v{visit}" for p in people(20) for visit in (1, 2)]
    divided = recording_split("c", recordings, CV5)
    assert sorted(r for fold in divided for r in fold.test) == sorted(recordings)
    for fold in divided:
        assert set(fold.train) == set(recordings) - set(fold.test)
        assert len(fold.test) == 8
    torn = {p for p in people(20) for fold in divided if len({f"{p}-v1", f"{p}-v2"} & set(fold.test)) == 1}
    assert len(torn) > 10
    assert recording_split("c", recordings[::-1], CV5) == divided
    assert recording_split("other", recordings, CV5) != divided


def test_files_are_dealt_in_the_stated_order():
    recordings = people(7, "r")
    by_hand = sorted(recordings, key=lambda r: hashlib.sha256(f"14:hypnos-bench-14:file4:mros6:{r}".encode()).digest())
    assert [set(fold.test) for fold in recording_split("mros", recordings, CV5)] == [
        set(by_hand[k::5]) for k in range(5)
    ]


@settings(max_examples=50, deadline=None)
@given(n=st.integers(5, 500), n_folds=st.integers(2, 5), salt=st.text(max_size=5))
def test_units_are_tested_once_in_balanced_folds(n, n_folds, salt):
    spec = SplitSpec(kind="epoch", folds=n_folds, salt=salt)
    tested = epoch_split(n, spec)
    sizes = np.bincount(tested, minlength=n_folds)
    assert tested.shape == (n,)
    assert sizes.sum() == n
    assert len(sizes) == n_folds
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(epoch_split(n, spec), tested)


def test_neighbouring_epochs_fall_on_both_sides():
    tested = epoch_split(10_000, CV5)
    assert np.mean(tested[1:] == tested[:-1]) == pytest.approx(0.2, abs=0.02)  # 4/5 of them next to a training epoch
    assert not np.array_equal(epoch_split(10_000, SplitSpec(salt="other")), tested)


def test_unit_folds_are_frozen():
    seed = int.from_bytes(hashlib.sha256(b"14:hypnos-bench-15:epoch").digest(), "big")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(23)
    assert [set(np.flatnonzero(epoch_split(23, CV5) == k)) for k in range(5)] == [set(order[k::5]) for k in range(5)]


def test_too_little_to_divide():
    with pytest.raises(UsageError, match="units needs at least 5 of them, found 4"):
        epoch_split(4, CV5)
    with pytest.raises(UsageError, match="recordings needs at least 2 of them, found 1"):
        recording_split("c", ["r", "r"], CV5)
    for divide in (lambda spec: epoch_split(9, spec), lambda spec: recording_split("c", ["a", "b"], spec)):
        with pytest.raises(UsageError, match="at least 2 folds, got 1"):
            divide(SplitSpec(folds=1))


def osf_lists(folder, **ids):
    for name, several in ids.items():
        (folder / f"patient_downstream_{name}_ids.csv").write_text("patient_id\n" + "\n".join(several))
    return read_split_lists([folder], "osf")


def mros(*visits):
    return {f"mros-visit{v}-aa{k:04d}": f"aa{k:04d}" for v, k in visits}


def test_a_published_split_as_published_and_by_person(tmp_path):
    lists = osf_lists(
        tmp_path,
        train=["mros-visit1-AA0001", "mros-visit1-AA0002", "mros-visit1-AA0009"],
        test=["mros-visit2-AA0001", "mros-visit1-AA0003", "mros-visit2-AA0009", "mros-visit1-AA0008"],
        valid=["mros-visit1-AA0004"],
    )
    here = mros((1, 1), (1, 2), (2, 1), (1, 3), (1, 4), (2, 4), (2, 9))
    leaky = listed_split("mros", here, lists, "recording")
    assert leaky.train == ("mros-visit1-aa0001", "mros-visit1-aa0002")
    assert leaky.test == ("mros-visit1-aa0003", "mros-visit2-aa0001", "mros-visit2-aa0009")
    assert leaky.overlap == {"recordings": 3, "persons": 3, "recordings_in_train": 2, "persons_in_train": 2}
    assert leaky.absent == {"train": 1, "test": 1}
    assert leaky.excluded == {
        "mros-visit1-aa0004": "downstream_valid of the osf lists: neither learned from nor tested",
        "mros-visit2-aa0004": "in none of the osf lists",
    }
    clean = listed_split("mros", here, lists, "person")
    # aa0009's recording in train is not at hand: who is tested does not depend on that.
    assert (clean.train, clean.test) == (leaky.train, ("mros-visit1-aa0003",))
    assert clean.overlap == leaky.overlap
    assert clean.excluded["mros-visit2-aa0009"] == "the person is in the training list"
    assert clean.facts["excluded"] == {
        "downstream_valid of the osf lists: neither learned from nor tested": 1,
        "in none of the osf lists": 1,
        "the person is in the training list": 2,
    }
    related = listed_split(
        "mros", {**here, "mros-visit1-aa0008": "aa0008"}, lists, "person", {"aa0003": "f", "aa0002": "f"}
    )
    assert related.test == ("mros-visit1-aa0008",)
    assert related.excluded["mros-visit1-aa0003"] == "a relative is in the training list"


def test_recordings_are_found_under_the_suites_own_names(tmp_path):
    lists = osf_lists(tmp_path, train=["wsc-visit1-10119"], test=["wsc-visit1-10120"])
    made = listed_split("wsc", {"wsc-visit1-10119-nsrr": "10119", "wsc-visit1-10120-nsrr": "10120"}, lists, "person")
    assert (made.train, made.test) == (("wsc-visit1-10119-nsrr",), ("wsc-visit1-10120-nsrr",))
    with pytest.raises(UsageError, match="of 1 recordings at hand the osf lists leave 1 to learn from and 0 to test"):
        listed_split("wsc", {"wsc-visit1-10119-nsrr": "10119"}, lists, "recording")


def test_a_test_side_without_a_training_side(tmp_path):
    (tmp_path / "dataset_split.json").write_text('{"external_validation": ["SHHS/shhs1/shhs1-200001.hdf5"]}')
    lists = read_split_lists([tmp_path], "sleepfm")
    here = {"shhs1-200001": "200001", "shhs2-200001": "200001", "shhs1-200002": "200002", "shhs1-200003": "200003"}
    for variant in ("recording", "person"):
        made = listed_split("shhs", here, lists, variant)
        assert (made.train, made.test) == (("shhs1-200002", "shhs1-200003"), ("shhs1-200001",))
        assert "is tested; the sleepfm lists name no training side" in made.excluded["shhs2-200001"]
    made = listed_split("shhs", here, lists, "person", {"200001": "f", "200003": "f"})
    assert made.train == ("shhs1-200002",)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sides=st.dictionaries(
        st.tuples(st.integers(1, 2), st.integers(1, 9)), st.sampled_from(["train", "test", "valid"]), min_size=4
    ),
    gone=st.sets(st.tuples(st.integers(1, 2), st.integers(1, 9)), max_size=5),
)
def test_every_recording_has_a_side_or_a_reason_and_nobody_is_on_both(tmp_path, sides, gone):
    assume({"train", "test", "valid"} == {*sides.values()})
    named = {side: [*mros(*(key for key in sides if sides[key] == side))] for side in ("train", "test", "valid")}
    lists = osf_lists(tmp_path, **named)
    here = mros(*({(v, k) for v in (1, 2) for k in range(1, 10)} - gone))
    learned = {person for (_, person), side in sides.items() if side == "train"}
    tested = {person for (visit, person), side in sides.items() if side == "test" and (visit, person) not in gone}
    for variant, left in (("recording", tested), ("person", tested - learned)):
        if not left or {*named["train"]}.isdisjoint(here):
            with pytest.raises(UsageError, match=" leave "):
                listed_split("mros", here, lists, variant)
            continue
        made = listed_split("mros", here, lists, variant)
        parts = [{*made.train}, {*made.test}, {*made.excluded}]
        assert sum(map(len, parts)) == len(here)
        assert set.union(*parts) == {*here}
        assert {*made.train} <= {*named["train"]}
        assert {*made.test} <= {*named["test"]}
        assert {int(here[r][2:]) for r in made.test} == left
        assert made.overlap["persons_in_train"] == len(tested & learned)


def test_the_published_splits_of_mros(shared_data):
    for source, leaky, clean in (("osf", 381, 227), ("sleepfm", 286, 279)):
        lists = read_split_lists([shared_data / "splits"], source)
        here = {e.recording: e.person for e in lists.entries if e.cohort == "mros"}
        assert len(listed_split("mros", here, lists, "recording").test) == leaky
        made = listed_split("mros", here, lists, "person")
        assert len(made.test) == clean
        assert made.overlap["recordings_in_train"] == leaky - clean
        assert_disjoint({here[r] for r in made.train}, {here[r] for r in made.test})
