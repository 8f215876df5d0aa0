"""What a line per label budget claims, and above all what it does not claim."""

import math

import pytest

from hypnos_bench import significance
from hypnos_bench.report import verdicts
from hypnos_bench.report.comparison import comparisons
from hypnos_bench.report.tables import terminal_tables
from hypnos_bench.report.verdicts import lines, needed, p_value, untested

NAN = float("nan")


def pair(a="hypnos", b="features", better=None, shots="10%", **given):
    o = {"difference": 0.041, "low": 0.02, "high": 0.06, "n_persons": 580, "p": 0.001, "p_bh": 0.003, "min_p": 1e-9}
    return significance.Tested(shots, given.pop("outcome", ""), a, b, "signed-rank", better=better, **{**o, **given})


def test_the_better_row_comes_first_with_difference_interval_p_and_persons():
    said = "at 10%: hypnos better than features (difference 0.041 [0.020, 0.060], p_BH = 0.003, n = 580 persons)"
    assert lines([pair(better="hypnos")]) == [said]
    turned = pair("features", "hypnos", better="hypnos", difference=-0.041, low=-0.06, high=-0.02)
    assert lines([turned]) == [said]


def test_the_row_that_wins_most_is_named_first_and_the_rest_is_counted():
    names = "abcd"
    found = [
        pair(x, y, better=y, p=0.01 * i)
        for i, (x, y) in enumerate((x, y) for i, x in enumerate(names) for y in names[i + 1 :])
    ]
    line = lines(found)[0]
    assert line.startswith("at 10%: d better than a (")
    assert line.count("d better than") == 3
    assert line.endswith("; and 3 more pairs")


def test_each_budget_has_its_line_and_nothing_shown_is_said_so():
    found = [
        pair(shots="1%", p=0.4, p_bh=0.5),
        pair(shots="1%", b="x", p=NAN, reason="x has no finished cell"),
        pair(better="hypnos"),
    ]
    assert lines(found)[0] == "at 1%: no pair shown to differ at FDR 0.05 (1 tested, 1 not)"
    assert lines(found)[1].startswith("at 10%: hypnos better")


def test_a_test_that_cannot_reach_the_level_is_no_evidence_of_equality():
    blind = pair(shots="1%", p=0.125, p_bh=0.125, min_p=0.125, n_persons=4)
    assert lines([blind]) == ["at 1%: nothing can be shown with 4 persons: no p below 0.12 can come out"]


def test_nothing_tested_gives_the_reason():
    found = [pair(p=NAN, min_p=NAN, reason="too few"), pair(b="x", p=NAN, min_p=NAN, reason="too few")]
    assert lines(found) == ["at 10%: not tested: too few (2 x)"]
    assert untested([*found, pair(b="y", p=NAN, reason="gone")]) == ["too few (2 x)", "gone"]


def test_bootstrap_resolution_is_told_where_many_tests_share_it():
    found = [pair(outcome=f"o{k}", p=0.002, p_bh=0.9, min_p=0.002) for k in range(100)]
    assert needed(found) == 4  # 0.002 x 100 / k <= 0.05
    assert lines(found) == [
        "at 10%: no pair shown to differ at FDR 0.05 (100 tested; 4 tests would have to reach the smallest p)"
    ]
    assert needed(found[:25]) == needed([]) == 0


def test_many_outcomes_are_counted_by_pair():
    found = [pair(outcome=f"o{k}", better="hypnos" if k < 7 else "features" if k < 9 else None) for k in range(20)]
    assert lines(found) == ["at 10%: hypnos better than features for 7 of 20 outcomes, worse for 2"]


@pytest.mark.parametrize(
    ("p", "text"), [(NAN, "–"), (0.0, "<0.0001"), (9e-5, "<0.0001"), (0.00123, "0.0012"), (1.0, "1")]
)
def test_p_is_never_printed_as_zero(p, text):
    assert p_value(p) == text


@pytest.fixture
def nights(make, tmp_path):
    """Two rows on 12 nights of 12 persons, one of them better on every night."""
    import numpy as np

    from hypnos_bench.store.cells import CellStore
    from hypnos_bench.store.side import ClassificationSide

    def build(n=12):
        store = CellStore(tmp_path / f"results{n}")
        cells = []
        for e, hits in (("features", 8), ("hypnos", 14)):
            confusion = np.stack([np.full((5, 5), 2) + np.eye(5, dtype=int) * (hits + i % 3) for i in range(n)]).astype(
                np.int64
            )
            code = np.repeat(np.arange(n * 25), confusion.ravel())
            side = ClassificationSide(
                [f"r{i}" for i in range(n)], [f"p{i}" for i in range(n)], confusion, (code // 25).astype(np.int32),
                (code // 5 % 5).astype(np.int8), (code % 5).astype(np.int8), proba=np.eye(5, dtype=np.float16)[code % 5],
            )  # fmt: skip
            for seed in range(2):
                cells.append(make(e, seed=seed))
                store.save(cells[-1], side)
        return cells, store

    return build


def test_a_terminal_table_says_who_is_better_where_it_is_given_side_files(nights):
    cells, store = nights()
    text = " ".join(terminal_tables(cells, color=False, width=110, store=store).split())
    assert (
        "paired tests on kappa, p adjusted over 1 test (Benjamini-Hochberg) - at 1%: hypnos better than features"
        in text
    )
    assert "p_BH = 0.00049, n = 12 persons)" in text  # 2 / 2**12
    assert "better than" not in terminal_tables(cells, color=False, width=110)
    assert "paired tests" not in terminal_tables(cells[:2], color=False, width=110, store=store)


def test_a_terminal_table_claims_nothing_with_four_persons(nights):
    cells, store = nights(4)
    text = " ".join(terminal_tables(cells, color=False, width=200, store=significance.SideFiles(store)).split())
    assert "- at 1%: nothing can be shown with 4 persons: no p below 0.12 can come out" in text
    assert "better than" not in text


def test_tests_of_a_table_leave_out_failed_cells(nights, make):
    cells, store = nights()
    failed = [make("features", seed=7, status="failed"), make("broken", status="failed")]
    found = verdicts.tests_of(comparisons([*cells, *failed])[0], significance.SideFiles(store))
    assert [(t.a, t.b, math.isnan(t.p)) for t in found] == [
        ("broken", "features", True), ("broken", "hypnos", True), ("features", "hypnos", False)
    ]  # fmt: skip
