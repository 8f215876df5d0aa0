"""The batched solver against Newton's method, and what must not matter to it."""

import numpy as np
import pytest

from hypnos_bench.heads.cox import solver
from hypnos_bench.heads.cox.exact import newton
from hypnos_bench.heads.cox.features import fold_scales, standardise
from hypnos_bench.heads.cox.likelihood import RiskSets, loss_at
from hypnos_bench.heads.cox.solver import Features, Problem, minimise

TOLERANCE = 1e-4


def problems_of(rows, lams, ties="efron", scale=None):
    z = standardise(rows.x).z
    scale = np.ones(z.shape[1]) if scale is None else scale
    return z, [
        Problem(
            RiskSets.of(rows.time[:, m], rows.event[:, m], rows.at_risk[:, m], ties), lam, scale, np.zeros(z.shape[1])
        )
        for m in range(len(rows.names))
        for lam in lams
    ]


def limits_of(problems, tolerance=TOLERANCE):
    return np.array([p.lam * tolerance**2 / 2 for p in problems])


def solved(z, problems, **changes):
    given = {"limits": limits_of(problems), "max_evaluations": 500, "certify": True} | changes
    return minimise(Features.of(z), problems, **given)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize(
    "case",
    [
        {"n": 400, "d": 30, "m": 4},
        {"n": 400, "d": 30, "m": 4, "days": True, "excluded": 0.2},
        {"n": 60, "d": 90, "m": 3},  # more features than rows
        {"n": 300, "d": 12, "m": 3, "signal": 4.0},
    ],
    ids=["plain", "ties-and-exclusions", "wide", "strong"],
)
def test_reaches_newtons_optimum(make_survival, case, ties):
    rows = make_survival(**case)
    z, problems = problems_of(rows, [10.0, 0.3, 1e-2, 1e-3], ties)
    found = solved(z, problems)
    assert found.converged.all()
    for i, problem in enumerate(problems):
        best, *_ = newton(z.astype(np.float64), problem.sets, problem.lam, problem.start)
        assert np.abs(found.theta[i] - best).max() <= TOLERANCE
        assert found.loss[i] == pytest.approx(
            loss_at(problem.sets, z @ found.theta[i]) / problem.sets.n_events, rel=1e-5
        )


def test_the_proof_holds(make_survival):
    """Gradient by definition, from central differences of the loss, in float64."""
    rows = make_survival(n=200, d=5, m=2, days=True)
    z, problems = problems_of(rows, [0.05])
    found = solved(z, problems)
    z = z.astype(np.float64)
    for i, p in enumerate(problems):

        def objective(theta, p=p):
            return loss_at(p.sets, z @ theta) / p.sets.n_events + p.lam / 2 * theta @ theta

        bumps = 1e-4 * np.eye(5)
        gradient = [(objective(found.theta[i] + b) - objective(found.theta[i] - b)) / 2e-4 for b in bumps]
        assert np.linalg.norm(gradient) / p.lam <= TOLERANCE * 1.01
        assert found.gap[i] == pytest.approx(np.square(gradient).sum() / (2 * p.lam), rel=0.1, abs=1e-13)
        best, *_ = newton(z, p.sets, p.lam, p.start)
        assert objective(found.theta[i]) - objective(best) <= found.gap[i] * 1.001 + 1e-14


def test_a_batch_gives_what_each_gives_alone(make_survival):
    rows = make_survival(n=250, d=10, m=4, excluded=0.1)
    z, problems = problems_of(rows, [0.5, 0.02])
    together = solved(z, problems)
    for i, problem in enumerate(problems):
        alone = solved(z, [problem])
        np.testing.assert_allclose(together.theta[i], alone.theta[0], atol=2 * TOLERANCE)
        assert abs(int(together.evaluations[i]) - int(alone.evaluations[0])) <= 2


def test_the_same_input_gives_the_same_bits(make_survival):
    z, problems = problems_of(make_survival(n=250, d=10, m=3), [0.1])
    np.testing.assert_array_equal(solved(z, problems).theta, solved(z, problems).theta)


def test_without_proof_in_float64_it_is_still_near(make_survival):
    z, problems = problems_of(make_survival(n=250, d=10, m=3), [1.0, 0.1])
    quick = solved(z, problems, limits=np.full(6, 1e-6), certify=False)
    exact = solved(z, problems)
    assert quick.converged.all()
    assert (quick.gap <= 1e-6).all()
    np.testing.assert_allclose(quick.theta, exact.theta, atol=1e-2)
    assert quick.evaluations.sum() < exact.evaluations.sum()


def test_float64_takes_over_where_float32_cannot_tell(make_survival):
    z, problems = problems_of(make_survival(n=300, d=20, m=2), [1e-4])
    strict = limits_of(problems, 1e-7)
    found = solved(z, problems, limits=strict)
    assert found.converged.all()
    best, *_ = newton(z.astype(np.float64), problems[0].sets, 1e-4, problems[0].start)
    np.testing.assert_allclose(found.theta[0], best, atol=1e-7)


def test_too_few_evaluations_are_told(make_survival):
    z, problems = problems_of(make_survival(n=300, d=20, m=2), [1e-3])
    found = solved(z, problems, max_evaluations=3)
    assert not found.converged.any()
    assert (found.evaluations <= 4).all()


def test_a_start_far_away_comes_back(make_survival):
    z, problems = problems_of(make_survival(n=300, d=6, m=2), [0.01])
    far = [Problem(p.sets, p.lam, p.scale, np.full(6, 40.0)) for p in problems]
    found = solved(z, far)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, solved(z, problems).theta, atol=2 * TOLERANCE)


def test_a_folds_scale_is_that_of_standardising_its_rows(make_survival):
    rows = make_survival(n=240, d=6, m=1)
    z = standardise(rows.x).z
    fold = np.arange(240) % 5
    scale = fold_scales(z, fold, 5)[2]
    kept = fold != 2
    np.testing.assert_allclose(scale, z[kept].astype(float).std(axis=0), rtol=1e-6)
    masked = RiskSets.of(rows.time[:, 0], rows.event[:, 0], kept, "efron")
    found = solved(z, [Problem(masked, 0.1, scale, np.zeros(6))])
    own = standardise(rows.x[kept]).z
    dropped = RiskSets.of(rows.time[kept, 0], rows.event[kept, 0], np.ones(kept.sum(), dtype=bool), "efron")
    best, *_ = newton(own.astype(float), dropped, 0.1, np.zeros(6))
    np.testing.assert_allclose(found.theta[0], best, atol=TOLERANCE)


def test_a_feature_that_varies_in_the_held_out_fold_only_keeps_scale_one():
    z = np.zeros((20, 2), dtype=np.float32)
    z[:, 0] = np.arange(20)
    z[:4, 1] = [1, -1, 2, -2]
    scales = fold_scales(z, np.repeat(np.arange(5), 4), 5)
    assert scales[0, 1] == 1.0
    assert scales[1, 1] == pytest.approx(z[np.r_[0:4, 8:20], 1].std())


def test_chunks_do_not_matter(make_survival, monkeypatch):
    z, problems = problems_of(make_survival(n=300, d=6, m=2), [0.01])
    whole = solved(z, problems)
    monkeypatch.setattr(solver, "_CHUNK_ROWS", 37)
    np.testing.assert_allclose(solved(z, problems).theta, whole.theta, atol=1e-9)


def test_the_metric_spares_evaluations_where_features_are_alike():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 40)) * np.arange(1, 41) ** -1.5 @ np.linalg.qr(rng.standard_normal((40, 40)))[0]
    z = standardise(x.astype(np.float32)).z
    time = rng.exponential(size=500) * np.exp(-z @ rng.standard_normal(40) / 6)
    sets = RiskSets.of(time, rng.random(500) < 0.4, np.ones(500, dtype=bool), "efron")
    features, problem = Features.of(z), Problem(sets, 1e-2, np.ones(40), np.zeros(40))
    limits = limits_of([problem])
    with_it = minimise(features, [problem], limits, max_evaluations=500, certify=True)
    plain = Features(z, np.eye(40), np.ones(40))
    without = minimise(plain, [problem], limits, max_evaluations=500, certify=True)
    assert with_it.converged.all()
    assert with_it.evaluations[0] < 0.5 * without.evaluations[0]
    np.testing.assert_allclose(with_it.theta, without.theta, atol=2 * TOLERANCE)
