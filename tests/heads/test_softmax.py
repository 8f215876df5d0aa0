"""The solver: derivatives, optimum and certificate against dense linear algebra and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hypnos_bench.errors import FitError
from hypnos_bench.heads import softmax
from hypnos_bench.heads.softmax import Affine, Rows, Spectrum, solve


def make(n=300, d=6, k=3, seed=0, spans=None, affine=None, scales=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    z = (rng.standard_normal((n, d)) * scales + 0.8 * rng.standard_normal((k, d))[y]).astype(np.float32)
    spans = spans or [(0, n)]
    affine = affine or Affine(np.zeros(d), np.ones(d))
    index = np.concatenate([np.arange(a, b) for a, b in spans])
    x = (z[index].astype(float) - affine.mean) / affine.scale
    return Rows(z, y, spans, k, affine, Spectrum.of(x.T @ x / len(x))), x, y[index]


def dense(x, y, theta, lam):
    """Objective and gradient straight from the definition, in float64."""
    a = x @ theta[:, :-1].T + theta[:, -1]
    p = np.exp(a - a.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    value = -np.log(p[np.arange(len(y)), y]).mean() + lam / 2 * (theta[:, :-1] ** 2).sum()
    residual = p - np.eye(len(theta))[y]
    gradient = np.column_stack([residual.T @ x / len(x) + lam * theta[:, :-1], residual.mean(axis=0)])
    return value, gradient, p


def dense_hessian(x, p, lam):
    n, k = p.shape
    one = np.column_stack([x, np.ones(n)])
    blocks = [[(one * (p[:, i] * ((i == j) - p[:, j]))[:, None]).T @ one / n for j in range(k)] for i in range(k)]
    penalty = np.tile(np.append(np.full(x.shape[1], lam), 0.0), k)
    return np.block(blocks) + np.diag(penalty)


def zero_sum(values):
    return values - values.mean(axis=0)


AFFINE = Affine(np.array([0.3, -1.0, 0.0, 2.0, 0.1, -0.2]), np.array([1.0, 0.5, 2.0, 1.5, 0.7, 3.0]))


@pytest.mark.parametrize("chunk", [7, 1024])
@pytest.mark.parametrize(
    ("spans", "affine"), [(None, None), ([(0, 40), (110, 300)], AFFINE), ([(0, 0), (30, 300)], AFFINE)]
)
def test_derivatives_equal_the_definition(monkeypatch, chunk, spans, affine):
    monkeypatch.setattr(softmax, "CHUNK_ROWS", chunk)
    rows, x, y = make(spans=spans, affine=affine)
    rng = np.random.default_rng(1)
    theta, direction = zero_sum(rng.standard_normal((3, 7))), zero_sum(rng.standard_normal((3, 7)))
    value, gradient, spread = rows.evaluate(theta, 0.03)
    expected, expected_gradient, p = dense(x, y, theta, 0.03)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)
    np.testing.assert_allclose(spread, (p * (1 - p)).mean(axis=0), rtol=1e-10)
    product = dense_hessian(x, p, 0.03) @ direction.ravel()
    # float32 products: they shape steps, not the optimum
    np.testing.assert_allclose(rows.curvature(direction, 0.03).ravel(), product, atol=1e-5)


def test_preconditioner_is_symmetric_positive_and_near_the_inverse():
    rows, x, y = make(n=600, d=8)
    theta = rows.start()
    _, _, spread = rows.evaluate(theta, 0.1)
    rng = np.random.default_rng(2)
    a, b = zero_sum(rng.standard_normal((3, 9))), zero_sum(rng.standard_normal((3, 9)))
    left = np.vdot(a, rows.precondition(b, spread, 0.1))
    assert left == pytest.approx(np.vdot(rows.precondition(a, spread, 0.1), b), rel=1e-4)
    assert np.vdot(a, rows.precondition(a, spread, 0.1)) > 0
    hessian = dense_hessian(x, dense(x, y, theta, 0.1)[2], 0.1)
    ratio = np.vdot(a, rows.precondition((hessian @ a.ravel()).reshape(a.shape), spread, 0.1)) / np.vdot(a, a)
    assert 0.5 < ratio < 2


def fit_sklearn(x, y, lam, tol=1e-12):
    """scikit-learn's optimum of the same objective, as parameters with one row per class."""
    model = LogisticRegression(C=1 / (len(x) * lam), solver="newton-cholesky", tol=tol, max_iter=500)
    model.fit(x, y)
    return zero_sum(np.column_stack([model.coef_, model.intercept_]))


@pytest.mark.parametrize("lam", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(
    ("n", "d", "k", "scales"), [(400, 5, 3, 1.0), (60, 90, 4, 1.0), (500, 20, 5, np.logspace(0, -3, 20))]
)
def test_reaches_sklearns_optimum(n, d, k, scales, lam):
    rows, x, y = make(n, d, k, seed=n, scales=scales)
    solution = solve(rows, lam, rows.start(), tolerance=1e-8)
    ours, gradient, p = dense(x, y, solution.theta, lam)
    theirs = dense(x, y, fit_sklearn(x, y, lam), lam)[0]
    assert solution.objective == pytest.approx(ours, rel=1e-12)
    assert ours <= theirs * (1 + 1e-6)
    assert theirs <= ours * (1 + 1e-5)  # and theirs is an optimum too: the comparison means something
    certificate = solution.certificate
    assert certificate.converged
    assert certificate.newton_decrement <= certificate.tolerance == 1e-8 * solution.objective
    # The certificate is true: the decrement from a dense solve is what was stated.
    g = gradient.ravel()
    true = 0.5 * g @ np.linalg.lstsq(dense_hessian(x, p, lam), g, rcond=1e-14)[0]
    assert true <= 1.2 * certificate.newton_decrement + 1e-16
    assert certificate.gradient_norm == pytest.approx(np.abs(gradient).max(), rel=1e-6, abs=1e-15)


def test_start_does_not_matter():
    rows, _, _ = make(d=6)
    far = zero_sum(20 * np.random.default_rng(0).standard_normal((3, 7)))
    cold, warm = (solve(rows, 1e-3, start, tolerance=1e-10) for start in (rows.start(), far))
    np.testing.assert_allclose(warm.theta, cold.theta, atol=1e-4)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)


def test_unconverged_is_an_error_never_a_number():
    rows, _, _ = make(d=6)
    with pytest.raises(FitError, match=r"did not converge at lambda=0.0001: the iteration limit .*larger lambda") as e:
        solve(rows, 1e-4, rows.start(), tolerance=1e-12, max_iterations=1)
    assert "\n" not in str(e.value)


def test_an_unsolved_system_certifies_nothing(monkeypatch):
    monkeypatch.setattr(softmax, "_MAX_CG", 0)
    rows, _, _ = make(d=6)
    with pytest.raises(FitError, match="did not converge"):
        solve(rows, 1e-3, rows.start(), tolerance=1e3, gradient_tolerance=1e3, max_iterations=3)


def test_held_out_losses_equal_the_definition():
    rows, _, _ = make(n=200, spans=[(0, 150)], affine=AFFINE)
    theta = zero_sum(np.random.default_rng(3).standard_normal((3, 7)))
    index = np.arange(150, 200)
    x = (rows.z[index].astype(float) - AFFINE.mean) / AFFINE.scale
    a = x @ theta[:, :-1].T + theta[:, -1]
    truth = index % 3
    expected = np.log(np.exp(a).sum(axis=1)) - a[np.arange(50), truth]
    np.testing.assert_allclose(rows.losses(theta, index, truth), expected, rtol=1e-10, atol=1e-12)
