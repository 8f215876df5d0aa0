"""Families: persons with a night in common are one, whatever the order, and nobody else moves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.duplicates import Pair, common_persons, merge_families
from hypnos_bench.errors import UsageError
from hypnos_bench.spec import SplitSpec
from hypnos_bench.splits import folds

PERSON_OF = {"r1": "a", "r2": "b", "r3": "c", "r4": "c", "r5": "d"}


def pair(a, b):
    return Pair(a, b, 1.0, 0.0, 60)


def test_persons_with_a_common_night_are_one_family():
    assert merge_families({}, PERSON_OF, [pair("r2", "r5")]) == {"a": "a", "b": "b", "c": "c", "d": "b"}


def test_chains_and_families_are_followed():
    merged = merge_families({"a": "smith", "b": "smith", "c": "jones"}, PERSON_OF, [pair("r2", "r3"), pair("r4", "r5")])
    assert set(merged.values()) == {"d"}  # smith, jones and d are one now; the first name in order is kept
    assert merged == {"a": "d", "b": "d", "c": "d", "d": "d"}


def test_a_chain_linked_from_its_end_is_one_family():
    person_of = {f"r{k}": f"p{k}" for k in range(9)}
    family_of = {f"p{k}": f"f{9 - k}" for k in range(9)}  # each link puts the family before it under a new head
    links = [pair(f"r{k}", f"r{k + 1}") for k in range(8)]
    assert set(merge_families(family_of, person_of, links).values()) == {"f1"}


def test_two_nights_of_one_person_change_nothing():
    assert merge_families({"c": "jones"}, PERSON_OF, [pair("r3", "r4")])["c"] == "jones"
    assert common_persons(PERSON_OF, [pair("r3", "r4")]) == ()


def test_common_persons_are_sorted_and_single():
    assert common_persons(PERSON_OF, [pair("r5", "r1"), pair("r1", "r5"), pair("r2", "r3")]) == (("a", "d"), ("b", "c"))


def test_a_recording_nobody_knows():
    with pytest.raises(UsageError, match="'r9' belongs to no person"):
        merge_families({}, PERSON_OF, [pair("r1", "r9")])


@settings(max_examples=50, deadline=None)
@given(
    links=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25),
    shuffled=st.randoms(use_true_random=False),
)
def test_families_are_the_connected_components(links, shuffled):
    person_of = {f"r{k:02d}": f"p{k:02d}" for k in range(20)}
    family_of = {f"p{k:02d}": f"f{k // 2}" for k in range(10)}
    pairs = [pair(f"r{a:02d}", f"r{b:02d}") for a, b in links]
    merged = merge_families(family_of, person_of, pairs)
    # By hand: repeat until nothing changes.
    group = {
        p: {q for q in person_of.values() if family_of.get(p, p) == family_of.get(q, q)} for p in person_of.values()
    }
    changed = True
    while changed:
        changed = False
        for a, b in links:
            joined = group[f"p{a:02d}"] | group[f"p{b:02d}"]
            for member in joined:
                if group[member] != joined:
                    group[member], changed = joined, True
    for p in group:
        assert {q for q in group if merged[q] == merged[p]} == group[p]
        assert merged[p] == min(family_of.get(q, q) for q in group[p])
    shuffled.shuffle(pairs)
    assert merge_families(family_of, person_of, pairs) == merged


def test_copies_never_straddle_a_split():
    person_of = {f"r{k}": f"p{k:02d}" for k in range(40)}
    pairs = [pair(f"r{k}", f"r{k + 20}") for k in range(10)]
    families = merge_families({}, person_of, pairs)
    for spec in (SplitSpec(kind="cv5"), SplitSpec()):
        for fold in folds("toy", [*families], spec, families):
            for k in range(10):
                assert (f"p{k:02d}" in fold.test) == (f"p{k + 20:02d}" in fold.test)
