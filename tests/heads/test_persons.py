"""Who is held out: whole persons, within the budget, and never the last of a class."""

import numpy as np
import pytest

from hypnos_bench.heads.persons import fold_of_rows, hold_out, person_weights

RULE = {"share": 0.2, "min_persons": 5}


def people(n, per=3):
    return np.repeat(np.arange(n) * 7 + 100, per)


def test_folds_are_whole_persons_of_even_number():
    person = np.random.default_rng(0).permutation(people(13, 4))
    fold = fold_of_rows(person, 5)
    assert all(len(np.unique(fold[person == p])) == 1 for p in person)
    sizes = [len(np.unique(person[fold == k])) for k in range(5)]
    assert sorted(sizes) == [2, 2, 3, 3, 3]


def test_folds_depend_on_the_codes_alone():
    person = people(20)
    once = dict(zip(person, fold_of_rows(person, 5)))
    again = dict(zip(person[::-1], fold_of_rows(np.repeat(person[::-1], 2), 5)[::2]))
    assert once == again


@pytest.mark.parametrize(("n", "held"), [(5, 1), (7, 1), (8, 2), (10, 2), (100, 20)])
def test_a_share_of_the_persons_is_held_out_whole(n, held):
    person = np.random.default_rng(1).permutation(people(n, 3))
    part = hold_out(person, seed=0, **RULE)
    assert part.reason == ""
    np.testing.assert_array_equal(np.sort(np.concatenate([part.training, part.validation])), np.arange(3 * n))
    assert not set(person[part.training]) & set(person[part.validation])
    assert len(set(person[part.validation])) == held
    assert (np.diff(part.training) > 0).all()
    assert (np.diff(part.validation) > 0).all()


def test_somebody_is_always_left_to_train_on():
    part = hold_out(people(2), seed=0, share=0.99, min_persons=2)
    assert len(part.training) == len(part.validation) == 3


def test_too_few_persons_hold_out_nobody():
    for n in (1, 2, 4):
        part = hold_out(people(n), seed=0, **RULE)
        assert len(part.training) == 3 * n
        assert part.validation.size == 0
        assert part.reason == f"{n} person(s), fewer than the 5 for early stopping"


def test_seeds_hold_out_other_persons_and_repeat():
    person = people(30)
    chosen = [frozenset(person[hold_out(person, seed=seed, **RULE).validation]) for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 3


def test_the_last_person_of_a_class_is_kept():
    person = people(10, 4)
    for rare in range(10):
        classes = np.tile([0, 1, 1, 0], 10)
        classes[4 * rare] = 2
        for seed in range(20):
            part = hold_out(person, seed=seed, **RULE, classes=classes)
            assert set(classes[part.training]) == {0, 1, 2}
            assert len(part.validation) == 8


def test_nobody_is_held_out_when_everybody_is_needed():
    person = people(6, 2)
    part = hold_out(person, seed=0, **RULE, classes=np.repeat(np.arange(6), 2))
    assert part.validation.size == 0
    assert part.reason == "no person can be spared without losing a class"


def test_weights_make_persons_equal():
    person = np.array([5, 5, 5, 9, 7, 7])
    weights = person_weights(person)
    assert weights.mean() == pytest.approx(1)
    assert [weights[person == p].sum() for p in (5, 7, 9)] == pytest.approx([2, 2, 2])
    assert person_weights(person[:0]).shape == (0,)
