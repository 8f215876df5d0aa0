"""What cross-validation hands on: a start close to the optimum of all rows."""

import dataclasses

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.heads import choose as module
from hypnos_bench.heads.choose import choose
from hypnos_bench.heads.persons import fold_of_rows
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.heads.solve import Precision, Problem, solve_many, solve_path
from hypnos_bench.heads.table import Labels, Table

FINE = Precision(1e-10, 1e-6, proven=False)


def scores(x, table, rowset, theta):
    z = (x - table.shift.astype(float) - rowset.mean) / rowset.scale
    return z @ theta[:, :-1].T + theta[:, -1]


def test_the_mean_of_the_folds_is_nearly_the_fit_to_all_rows(make_rows):
    rows = make_rows(n_persons=10, per_person=100, unscaled=True)
    table = Table.of(ArrayRows(rows.x), [Labels(rows.y, 3)], part=fold_of_rows(rows.person, 5))
    choice = choose(table, rows.person, 5, [1e-2, 1e-1], FINE)
    others = [tuple(j for j in range(5) if j != k) for k in range(5)]
    problems = [Problem(lam, parts=parts) for parts in others for lam in (1e-1, 1e-2)]
    folds = [s for s in solve_many(table, problems, FINE) if s.lam == choice.lam]
    whole = table.row_set(table.sample.sums)
    expected = np.mean([scores(rows.x, table, s.rowset, s.theta) for s in folds], axis=0)
    np.testing.assert_allclose(scores(rows.x, table, whole, choice.start), expected, atol=1e-4)
    optimum = solve_many(table, [Problem(choice.lam)])[0]
    assert np.abs(choice.start - optimum.theta).max() < 0.05 * np.abs(optimum.theta).max()
    warm = solve_many(table, [Problem(choice.lam, start=choice.start)])[0]
    assert warm.certificate.iterations < optimum.certificate.iterations
    np.testing.assert_allclose(warm.theta, optimum.theta, atol=1e-3)


def test_no_start_when_a_fold_lacks_a_class(make_rows):
    rows = make_rows(n_persons=6)
    y = np.where((rows.y == 2) & (rows.person != 3), 0, rows.y)
    table = Table.of(ArrayRows(rows.x), [Labels(y, 3)], part=fold_of_rows(rows.person, 5))
    assert choose(table, rows.person, 5, [1e-2, 1e-1], FINE).start is None


def test_nothing_to_choose_from(make_rows):
    rows = make_rows(n_persons=5, n_classes=2)
    y = np.where(rows.person == 2, 1, 0)  # one fold alone has the second class: the others cannot score it
    table = Table.of(ArrayRows(rows.x), [Labels(y, 2)], part=fold_of_rows(rows.person, 5))
    found = choose(table, rows.person, 5, [1e-2, 1e-1], FINE)
    assert found.record["folds_skipped"] == 1
    alone = np.where(rows.person == 2, rows.y, 0)
    lonely = Table.of(ArrayRows(rows.x[:120]), [Labels(alone[:120], 2)], part=np.zeros(120, dtype=np.int64))
    assert choose(lonely, rows.person[:120], 5, [1e-2, 1e-1], FINE) is None


def test_penalties_that_do_not_converge_are_not_eligible(make_rows, monkeypatch):
    """Their fits are no evidence: the others decide, and the weakest of those is an edge of the grid."""
    rows = make_rows(n_persons=10, d=4, flip=0.0, gap=6.0)  # separable: the weaker the better
    table = Table.of(ArrayRows(rows.x), [Labels(rows.y, 3)], part=fold_of_rows(rows.person, 5))
    path = [1.0, 1e-1, 1e-2, 1e-4, 1e-8]
    every = choose(table, rows.person, 5, path, FINE).record
    assert every["cv_unconverged"] == 0
    assert all(step["converged"] for step in every["sweep"])
    assert every["best_lambda"] <= 1e-4
    spent = []

    def counted(*given):
        found = solve_path(*given)
        spent.extend([max(s.certificate.iterations for s in folds) for folds in found])
        return found

    monkeypatch.setattr(module, "solve_path", counted)
    few = dataclasses.replace(FINE, max_passes=14)
    record = choose(table, rows.person, 5, path, few).record
    n = sum(step["converged"] for step in record["sweep"])
    assert 0 < n < 4
    assert record["cv_unconverged"] == 5 - n
    assert len(spent) == n + 1  # what is weaker than the first failure is not tried
    assert max(spent) <= 14 + 1
    assert [step["lambda"] for step in record["sweep"]] == path
    assert [step["converged"] for step in record["sweep"]] == [True] * n + [False] * (5 - n)
    for step, other in zip(record["sweep"][:n], every["sweep"]):
        assert step["cross_entropy"] == pytest.approx(other["cross_entropy"], rel=1e-6)
    assert all(step["cross_entropy"] is None for step in record["sweep"][n:])
    assert record["lambda"] == record["best_lambda"] == path[n - 1]
    assert record["at_edge"]


def test_no_penalty_that_converges_is_an_error(make_rows):
    rows = make_rows()
    table = Table.of(ArrayRows(rows.x), [Labels(rows.y, 3)], part=fold_of_rows(rows.person, 5))
    with pytest.raises(FitError, match=r"5 folds did not converge at lambda=0.01 within 2 passes"):
        choose(table, rows.person, 5, [1e-2, 1e-3], dataclasses.replace(FINE, max_passes=2))
