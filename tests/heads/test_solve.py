"""The batched solver: derivatives, optimum and certificate against dense linear algebra and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hypnos_bench.errors import FitError
from hypnos_bench.heads import descent, solve
from hypnos_bench.heads.batch import Batch, Curvature
from hypnos_bench.heads.descent import Descent
from hypnos_bench.heads.precondition import Spectrum
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.heads.solve import Precision, Problem, losses_of_part, solve_many, solve_path
from hypnos_bench.heads.table import Labels, Table

TIGHT = Precision(1e-10, 1e-7)


def data(n=300, d=6, k=3, seed=0, scales=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return (
        rng.standard_normal((n, d)) * scales + 0.8 * min(1, (6 / d) ** 0.5) * rng.standard_normal((k, d))[y]
    ).astype(np.float32), y


def make(n=300, d=6, k=3, seed=0, scales=1.0, part=None, sample_rows=10**6):
    x, y = data(n, d, k, seed, scales)
    return Table.of(ArrayRows(x), [Labels(y, k)], part=part, sample_rows=sample_rows), x.astype(float), y


def standard(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def dense(z, y, theta, lam):
    """Objective and gradient straight from the definition, in float64."""
    a = z @ theta[:, :-1].T + theta[:, -1]
    p = np.exp(a - a.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    value = -np.log(p[np.arange(len(y)), y]).mean() + lam / 2 * (theta[:, :-1] ** 2).sum()
    residual = p - np.eye(len(theta))[y]
    gradient = np.column_stack([residual.T @ z / len(z) + lam * theta[:, :-1], residual.mean(axis=0)])
    return value, gradient, p


def dense_hessian(z, p, lam):
    n, k = p.shape
    one = np.column_stack([z, np.ones(n)])
    blocks = [[(one * (p[:, i] * ((i == j) - p[:, j]))[:, None]).T @ one / n for j in range(k)] for i in range(k)]
    penalty = np.tile(np.append(np.full(z.shape[1], lam), 0.0), k)
    return np.block(blocks) + np.diag(penalty)


def zero_sum(values):
    return values - values.mean(axis=0)


def fit_sklearn(z, y, lam):
    """scikit-learn's optimum of the same objective, as parameters with one row per class."""
    model = LogisticRegression(C=1 / (len(z) * lam), solver="newton-cholesky", tol=1e-12, max_iter=500).fit(z, y)
    return zero_sum(np.column_stack([model.coef_, model.intercept_]))


PARTS = np.repeat([0, 1, 2, 1], [40, 70, 90, 100])


@pytest.mark.parametrize("sample_rows", [10**6, 50])
@pytest.mark.parametrize("parts", [None, (0, 2), (1,)])
def test_derivatives_equal_the_definition(monkeypatch, parts, sample_rows):
    """Resident in float64 and streamed in float32, over parts that blocks cut anywhere."""
    monkeypatch.setattr("hypnos_bench.heads.batch._NARROW_ROWS", 32)
    table, x, y = make(part=PARTS, sample_rows=sample_rows)
    tolerance = 1e-12 if table.whole else 1e-6
    rowset = table.row_set(table.everything.sums, 0, parts)
    chosen = np.ones(300, bool) if parts is None else np.isin(PARTS, parts)
    z, own = standard(x[chosen]), y[chosen]
    np.testing.assert_allclose(table.shift + rowset.mean, x[chosen].mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(rowset.scale, x[chosen].std(axis=0), rtol=1e-6)
    rng = np.random.default_rng(1)
    batch = Batch([rowset, rowset], [0.03, 0.3])
    theta = np.stack([zero_sum(rng.standard_normal((3, 7))) for _ in range(2)])
    found = batch.evaluate(table.everything, np.arange(2), theta)
    for m, lam in enumerate((0.03, 0.3)):
        value, gradient, p = dense(z, own, theta[m], lam)
        assert found.value[m] == pytest.approx(value, rel=10 * tolerance)
        np.testing.assert_allclose(found.gradient[m], gradient, atol=10 * tolerance)
        np.testing.assert_allclose(found.spread[m], (p * (1 - p)).mean(axis=0), rtol=1e-5)
    if table.whole:
        direction = np.stack([zero_sum(rng.standard_normal((3, 7))) for _ in range(2)])
        product = Curvature(batch, table.sample.every(1), np.arange(2), theta).times(direction)
        for m, lam in enumerate((0.03, 0.3)):
            expected = dense_hessian(z, dense(z, own, theta[m], lam)[2], lam) @ direction[m].ravel()
            np.testing.assert_allclose(product[m].ravel(), expected, atol=1e-10)


def test_preconditioner_is_symmetric_positive_and_near_the_inverse():
    table, x, y = make(n=600, d=8)
    rowset = table.row_set(table.sample.sums)
    batch = Batch([rowset], [0.1])
    stand = Descent(batch, Spectrum.of(table.sample.every(1), rowset), batch.start(table.sample.sums))
    one = np.arange(1)
    stand.look(table.sample, one)
    rng = np.random.default_rng(2)
    a, b = zero_sum(rng.standard_normal((3, 9))), zero_sum(rng.standard_normal((3, 9)))
    left, right = np.vdot(a, stand.precondition(b[None], one)), np.vdot(b, stand.precondition(a[None], one))
    assert left == pytest.approx(right, rel=1e-9)
    assert np.vdot(a, stand.precondition(a[None], one)) > 0
    z = standard(x)
    hessian = dense_hessian(z, dense(z, y, stand.theta[0], 0.1)[2], 0.1)
    ratio = np.vdot(a, stand.precondition((hessian @ a.ravel()).reshape(1, 3, 9), one)) / np.vdot(a, a)
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("lam", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(
    ("n", "d", "k", "scales"), [(400, 5, 3, 1.0), (60, 90, 4, 1.0), (500, 20, 5, np.logspace(0, -3, 20))]
)
def test_reaches_sklearns_optimum(n, d, k, scales, lam):
    table, x, y = make(n, d, k, seed=n, scales=scales)
    solution = solve_many(table, [Problem(lam)])[0]
    z = standard(x)
    ours, gradient, p = dense(z, y, solution.theta, lam)
    reference = fit_sklearn(z, y, lam)
    theirs = dense(z, y, reference, lam)[0]
    assert solution.objective == pytest.approx(ours, rel=1e-9)
    assert ours <= theirs * (1 + 1e-6)
    assert theirs <= ours * (1 + 1e-5)  # and theirs is an optimum too: the comparison means something
    certificate = solution.certificate
    assert certificate.converged
    assert certificate.newton_decrement <= certificate.tolerance == 1e-7 * solution.objective
    assert f"Hessian from {n} of {n} rows" in certificate.criterion
    # The certificate is true: the decrement from a dense solve is what was stated.
    g = gradient.ravel()
    true = 0.5 * g @ np.linalg.lstsq(dense_hessian(z, p, lam), g, rcond=1e-14)[0]
    assert true <= 1.2 * certificate.newton_decrement + 1e-14
    assert certificate.gradient_norm == pytest.approx(np.abs(gradient).max(), rel=1e-4, abs=1e-12)
    if lam >= 1e-4:
        tight = solve_many(table, [Problem(lam)], TIGHT)[0]
        np.testing.assert_allclose(tight.theta, reference, atol=2e-4 * max(1.0, np.abs(reference).max()))


@pytest.mark.parametrize("sample_rows", [10**6, 1500])
def test_float32_rows_reach_the_optimum_too(monkeypatch, sample_rows):
    monkeypatch.setattr("hypnos_bench.heads.table._DOUBLE_VALUES", 0)
    table, x, y = make(n=4000, d=30, k=4, sample_rows=sample_rows)
    assert table.sample.dtype == np.float32
    assert table.whole == (sample_rows > 4000)
    solution = solve_many(table, [Problem(1e-4)])[0]
    z = standard(x)
    ours = dense(z, y, solution.theta, 1e-4)[0]
    assert ours <= dense(z, y, fit_sklearn(z, y, 1e-4), 1e-4)[0] * (1 + 1e-6)
    assert solution.objective == pytest.approx(ours, rel=1e-6)


@pytest.mark.parametrize("sample_rows", [10**6, 200])
def test_together_is_the_same_as_alone(sample_rows):
    """Penalties, folds and label families in one batch; one family lacks labels, one fold lacks a class."""
    rng = np.random.default_rng(5)
    x, y = data(n=600, d=5, k=4, seed=3)
    part = rng.integers(0, 3, 600)
    y = np.where((y == 3) & (part != 1), 0, y)
    binary = np.where(rng.random(600) < 0.3, -1, (x[:, 0] + rng.standard_normal(600) > 0).astype(np.int64))
    families = [Labels(y, 4), Labels(binary, 2)]
    table = Table.of(ArrayRows(x), families, part=part, sample_rows=sample_rows)
    problems = [Problem(lam, family, parts) for lam in (1e-3, 0.1) for family in (0, 1) for parts in (None, (0, 2))]
    together = solve_many(table, problems, TIGHT)
    for problem, found in zip(problems, together):
        alone = solve_many(table, [problem], TIGHT)[0]
        np.testing.assert_allclose(found.theta, alone.theta, atol=1e-4)
        assert found.objective == pytest.approx(alone.objective, rel=1e-7)
        code = (y, binary)[problem.family]
        kept = (code >= 0) & (np.isin(part, problem.parts) if problem.parts else True)
        z, own = standard(x[kept].astype(float)), np.searchsorted(found.rowset.classes, code[kept])
        np.testing.assert_array_equal(np.unique(code[kept]), found.rowset.classes)
        value, gradient, _ = dense(z, own, found.theta, problem.lam)
        assert found.objective == pytest.approx(value, rel=1e-6)
        assert np.abs(gradient).max() < 1e-5


def test_more_models_than_fit_into_one_batch(monkeypatch):
    table, _, _ = make()
    problems = [Problem(lam) for lam in np.logspace(-3, 0, 7)]
    expected = solve_many(table, problems, TIGHT)
    monkeypatch.setattr(solve, "_MODELS_AT_ONCE", 3)
    monkeypatch.setattr(solve, "_PROOFS_AT_ONCE", 2)
    for found, other in zip(solve_many(table, problems, TIGHT), expected):
        np.testing.assert_allclose(found.theta, other.theta, atol=1e-5)


def test_start_does_not_matter():
    table, _, _ = make(d=6)
    far = zero_sum(20 * np.random.default_rng(0).standard_normal((3, 7)))
    cold, warm = (solve_many(table, [Problem(1e-3, start=start)], TIGHT)[0] for start in (None, far))
    np.testing.assert_allclose(warm.theta, cold.theta, atol=1e-4)


def test_a_path_is_its_fits_one_by_one():
    """Warm starts along falling penalties, several selections of parts, uneven steps."""
    table, _, _ = make(d=8, part=PARTS)
    lambdas, parts = [1.0, 0.5, 1e-2, 1e-5, 1e-6], [(0, 2), (1,), (0, 1, 2)]
    fine = Precision(1e-10, 1e-7, proven=False)
    for lam, found in zip(lambdas, solve_path(table, lambdas, parts, fine), strict=True):
        for solution, alone in zip(
            found, solve_many(table, [Problem(lam, parts=p) for p in parts], TIGHT), strict=True
        ):
            assert solution.certificate.converged
            assert solution.lam == lam
            assert solution.objective == pytest.approx(alone.objective, rel=1e-8)
            assert solution.rowset.parts == alone.rowset.parts


def test_a_path_ends_where_a_fit_does_not_converge():
    table, _, _ = make(part=PARTS)
    few = Precision(1e-9, 1e-7, max_passes=9, proven=False)
    found = solve_path(table, [1.0, 1e-2, 1e-4, 1e-6], [(0, 1), (1, 2)], few)
    assert [all(s.certificate.converged for s in folds) for folds in found] == [True] * (len(found) - 1) + [False]
    assert 1 < len(found) < 4
    failed = [s for s in found[-1] if not s.certificate.converged]
    assert all(s.certificate.iterations >= 9 for s in failed)


@pytest.mark.parametrize(("n", "d", "gap", "limit"), [(2000, 30, 3.0, 100), (150, 300, 1.0, 220)])
def test_few_passes_where_classes_separate(n, d, gap, limit):
    """A few correlated directions, long tails, next to no penalty: the Gram matrix alone took 160 and 450 passes."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 4
    latent = rng.standard_normal((n, 8)) + gap * rng.standard_normal((4, 8))[y]
    x = (latent * np.logspace(0, -1.5, 8)) @ rng.standard_normal((8, d)) + 0.02 * rng.standard_normal((n, d))
    table = Table.of(ArrayRows((2 * np.sinh(x / 2)).astype(np.float32)), [Labels(y, 4)])
    found = solve_path(table, list(np.logspace(0, -6, 7)), [(0,)], Precision(3e-6, 1e-3, proven=False))
    assert len(found) == 7
    assert sum(s.certificate.iterations for (s,) in found) < limit
    assert all(s.certificate.converged for (s,) in found)
    alone = solve_many(table, [Problem(1e-6)], TIGHT)[0]
    assert alone.objective <= found[-1][0].objective <= alone.objective * (1 + 1e-4)


def test_unconverged_is_an_error_never_a_number():
    table, _, _ = make()
    with pytest.raises(FitError, match=r"did not converge at lambda=0.0001: .*larger lambda") as caught:
        solve_many(table, [Problem(1e-4)], Precision(1e-12, max_passes=2))
    assert "\n" not in str(caught.value)


def test_numbers_that_are_not_finite_never_pass():
    table, _, _ = make()
    with np.errstate(invalid="ignore"), pytest.raises(FitError, match="did not converge"):
        solve_many(table, [Problem(1e-2, start=np.full((3, 7), np.nan))])


def test_one_class_is_an_error():
    x, _ = data()
    table = Table.of(ArrayRows(x), [Labels(np.ones(300, dtype=np.int64), 3)])
    with pytest.raises(FitError, match="fewer than two classes"):
        solve_many(table, [Problem(1e-2)])


def test_an_unsolved_system_certifies_nothing(monkeypatch):
    monkeypatch.setattr(descent, "_MAX_CG", 0)
    table, _, _ = make()
    with pytest.raises(FitError, match="did not converge"):
        solve_many(table, [Problem(1e-3)], Precision(1e3, 1e3, max_passes=30))


def test_newton_steps_finish_what_lbfgs_cannot(monkeypatch):
    """Without any quasi-Newton step, the steps from certificates alone reach the optimum."""
    monkeypatch.setattr(solve, "_BURST", 1)
    table, x, y = make(n=200, d=10)
    solution = solve_many(table, [Problem(1e-3)])[0]
    z = standard(x)
    assert dense(z, y, solution.theta, 1e-3)[0] <= dense(z, y, fit_sklearn(z, y, 1e-3), 1e-3)[0] * (1 + 1e-6)


def test_held_out_losses_equal_the_definition():
    table, x, y = make(part=PARTS)
    solutions = solve_many(table, [Problem(lam, parts=(0, 2)) for lam in (1e-2, 1.0)])
    losses, index, known = losses_of_part(table, solutions, 1)
    assert known.all()
    np.testing.assert_array_equal(np.sort(index), np.flatnonzero(PARTS == 1))
    mean, scale = x[PARTS != 1].mean(axis=0), x[PARTS != 1].std(axis=0)
    for row, solution in zip(losses, solutions):
        a = (x[index] - mean) / scale @ solution.theta[:, :-1].T + solution.theta[:, -1]
        expected = np.log(np.exp(a).sum(axis=1)) - a[np.arange(len(index)), y[index]]
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-9)
