"""The leakage guard: whoever is on both sides is named, and what an encoder has seen is marked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.registry import CARD_IDS, COHORTS
from hypnos_bench.errors import IntegrityError, UsageError
from hypnos_bench.leakage import (
    ALIASES,
    COLLECTIONS,
    FOREIGN,
    PRETRAINED_MARK,
    assert_disjoint,
    seen_in_pretraining,
    unrecognised,
)
from hypnos_bench.spec import Shots, SplitSpec
from hypnos_bench.splits import draw, folds


def test_disjoint_sides_pass():
    assert_disjoint(["a", "b"], ["c"], {"a": "f1", "b": "f1", "c": "f2"}, [("a", "b"), ("x", "c")])
    assert_disjoint([], [])


def test_a_person_on_both_sides_is_named():
    with pytest.raises(
        IntegrityError, match="shhs fold 2: person on both the training and the test side: b, c;"
    ) as caught:
        assert_disjoint(["a", "c", "b"], ["b", "c", "d"], where="shhs fold 2")
    assert "\n" not in str(caught.value)


def test_a_family_on_both_sides_is_named():
    with pytest.raises(IntegrityError, match="family on both the training and the test side: smith;"):
        assert_disjoint(["a"], ["b"], {"a": "smith", "b": "smith"})
    with pytest.raises(IntegrityError, match="family .*: b;"):  # a family may be called as a person alone is
        assert_disjoint(["a"], ["b"], {"a": "b"})


def test_a_night_on_both_sides_is_named():
    with pytest.raises(IntegrityError, match="duplicate recording on both .*: a = b; merge"):
        assert_disjoint(["b"], ["a"], {}, [("b", "a"), ("c", "d")])
    assert_disjoint(["a", "b"], ["c"], {}, [("a", "b")])
    assert_disjoint(["a"], ["c"], {}, [("a", "b")])  # the copy takes no part


def test_duplicates_may_come_from_an_iterator():
    with pytest.raises(IntegrityError, match="a = b"):
        assert_disjoint(iter(["a"]), iter(["b"]), None, iter([{"a", "b"}]))


def test_many_are_counted():
    people = [f"p{k:02d}" for k in range(20)]
    with pytest.raises(IntegrityError, match="p00, p01, p02, p03, p04 and 15 more;"):
        assert_disjoint(people, people)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=6, max_size=25),
    kind=st.sampled_from(["holdout", "cv5"]),
    seed=st.integers(0, 5),
)
def test_the_suites_own_splits_pass_and_their_mutilations_do_not(sizes, kind, seed):
    family_of = {f"p{f}-{k}": f"f{f}" for f, size in enumerate(sizes) for k in range(size)}
    try:
        divided = folds("toy", [*family_of], SplitSpec(kind=kind), family_of)
    except UsageError:
        return
    for fold in divided:
        assert_disjoint(fold.train, fold.test, family_of)
        shown = draw(fold.train, Shots.parse("20%"), seed)
        assert_disjoint(shown, fold.test, family_of)
        with pytest.raises(IntegrityError):
            assert_disjoint([*shown, fold.test[0]], fold.test, family_of)
        relative = {**family_of, "new": family_of[fold.test[-1]]}
        with pytest.raises(IntegrityError, match="family"):
            assert_disjoint([*shown, "new"], fold.test, relative)


@pytest.mark.parametrize(
    ("stated", "cohort"),
    [
        ("shhs", "shhs"), ("SHHS", "shhs"), ("shhs1", "shhs"), ("SHHS-visit2", "shhs"), ("MrOS_visit1", "mros"),
        ("sleep-edf-78", "sleep-edf"), ("SleepEDFx", "sleep-edf"), ("PTBXL", "ptb-xl"), ("phys2018", "physionet-2018"),
        ("mass-ss3", "mass"), ("DODH", "dod-h"), ("dreem", "dod-o"), ("ssc", "mnc"), ("NSRR", "mesa"),
        ("chat-baseline", "chat"), ("capslpdb", "cap"), ("MrOS Sleep Study", "mros"), ("nsrr/shhs", "shhs"),
        ("Sleep Heart Health Study", "shhs"), ("NSRR SHHS", "shhs"), ("mesa-sleep", "mesa"), ("stanford", "mnc"),
        ("stanford", "stages"), ("Wisconsin Sleep Cohort", "wsc"), ("physionet/sleep-edfx", "sleep-edf"),
    ],
)  # fmt: skip
def test_pretraining_is_marked_under_usual_names(stated, cohort):
    assert seen_in_pretraining(("other", stated), cohort) == PRETRAINED_MARK


@pytest.mark.parametrize(
    ("stated", "cohort"),
    [
        ("shhs", "mros"), ("dodh", "dod-o"), ("cinc2017", "physionet-2018"), ("cfs", "ccshs"), ("mesa", "mass"),
        ("nsrr", "sleep-edf"), ("capture", "cap"), ("mitdb", "afdb"), ("shhs-like", "shhs"), ("", "shhs"),
    ],
)  # fmt: skip
def test_other_cohorts_are_not_marked(stated, cohort):
    assert seen_in_pretraining((stated,), cohort) is None


@pytest.mark.parametrize("stated", [*CARD_IDS, "nsrr", "BioSerenity", "TUH EEG", "shhs1", "Cleveland Family Study"])
def test_names_that_are_known(stated):
    assert unrecognised((stated,), CARD_IDS) == ()


def test_names_that_could_be_any_cohorts():
    stated = ("shhs", "our own nights", "shhs-1 and 2", "physionet", "")
    assert unrecognised(stated, CARD_IDS) == stated[1:]
    assert unrecognised(("theirs",), [*CARD_IDS, "theirs"]) == ()


def test_nothing_stated_is_no_mark():
    assert seen_in_pretraining((), "shhs") is None


def test_every_cohort_knows_itself_and_no_other():
    for stated in CARD_IDS:
        marked = {cohort for cohort in CARD_IDS if seen_in_pretraining((stated,), cohort)}
        assert marked == {stated}


def test_tables_name_cohorts_that_exist():
    assert set(ALIASES) <= set(CARD_IDS)
    assert not any(seen_in_pretraining((name,), cohort) for name in FOREIGN for cohort in CARD_IDS)
    assert COLLECTIONS["nsrr"] == {cohort for cohort in CARD_IDS if COHORTS.load(cohort).card.access == "nsrr"}
