"""Which penalty of a path is taken."""

import numpy as np
import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.heads.rule import RULES, check_rule, pick


def test_the_best_or_the_strongest_that_is_hardly_worse():
    mean, error = np.array([5.0, 4.1, 4.0, 4.3]), np.array([0.9, 0.2, 0.0, 0.2])
    assert (pick(mean, error, "min"), pick(mean, error, "one-se")) == (2, 1)
    assert pick(mean, np.array([1.0, 0.2, 0.0, 0.2]), "one-se") == 0  # one standard error is still within
    assert pick(mean, np.zeros(4), "one-se") == 2


def test_of_equals_the_strongest():
    for rule in RULES:
        assert pick(np.full(3, 0.7), np.zeros(3), rule) == 0


def test_other_rules_are_refused():
    for rule in RULES:
        check_rule("ridge", rule)
    for wrong in ("cv-min", "", None):
        with pytest.raises(UsageError, match="ridge head: rule must be one of min, one-se"):
            check_rule("ridge", wrong)
