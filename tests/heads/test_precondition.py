"""Preconditioners against dense inverses: exact where they claim to be, and positive definite whatever happens."""

import numpy as np
import pytest

from hypnos_bench.heads.batch import Batch
from hypnos_bench.heads.precondition import Spectrum, Weighted, gram_step
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.heads.table import Labels, Table

PARTS = np.repeat([0, 1, 2], [30, 25, 35])
FOLDS = [(1, 2), (0, 2), (0, 1)]


def make(d, k=3, seed=0, part=PARTS):
    rng = np.random.default_rng(seed)
    y = np.arange(len(part)) % k
    x = rng.standard_normal((len(part), d)) * 10.0 ** rng.uniform(-2, 2, d) + 0.5 * y[:, None] + rng.standard_normal(d)
    x[:, 1] = np.where(part == 0, x[:, 1], 0.25)  # varies in one part only
    x = x.astype(np.float32)
    return Table.of(ArrayRows(x), [Labels(y, k)], part=part), x.astype(float), part


def batch_of(table, lams, folds):
    sets = {parts: table.row_set(table.sample.sums, 0, parts) for parts in folds}
    return Batch([sets[parts] for parts in folds for _ in lams], [lam for _ in folds for lam in lams])


def expected_blocks(x, part, batch, m, weights):
    """Inverse of each class block of the weighted normal matrix with intercept, from the definition."""
    s = batch.sets[m]
    z = x[np.isin(part, s.parts)]
    scale = np.where(s.constant, 1.0, z.std(axis=0))
    one = np.column_stack([np.where(s.constant, 0.0, (z - z.mean(axis=0)) / scale), np.ones(len(z))])
    penalty = np.diag(np.append(np.full(batch.d, batch.lams[m]), 0.0))
    return [np.linalg.inv((one * w[:, None]).T @ one / len(z) + penalty) for w in weights]


def row_weights(x, part, batch, m, theta):
    s = batch.sets[m]
    z = x[np.isin(part, s.parts)]
    z = np.where(s.constant, 0.0, (z - z.mean(axis=0)) / np.where(s.constant, 1.0, z.std(axis=0)))
    a = z @ theta[:, :-1].T + theta[:, -1]
    p = np.exp(a - a.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p * (1 - p) * np.minimum(2, 1 / (1 - (p**2).sum(axis=1, keepdims=True)))).T


@pytest.mark.parametrize("d", [7, 200])
def test_weighted_inverts_the_class_blocks(d):
    """Alone, a model has its own weights: exact by Gram matrices (narrow) and by the rows' kernel (wide)."""
    table, x, part = make(d)
    rng = np.random.default_rng(1)
    for parts in FOLDS:
        batch = batch_of(table, [1e-3], [parts])
        theta = rng.standard_normal(batch.shape) / np.sqrt(d)
        theta = batch.zero_sum(theta * np.append(batch.varies[0], True), np.arange(1))
        found = Weighted(batch, table.sample.every(1), np.arange(1), theta)
        blocks = expected_blocks(x, part, batch, 0, row_weights(x, part, batch, 0, theta[0]))
        g = rng.standard_normal(batch.shape) * np.append(batch.varies[0], True)
        wanted = np.stack([block @ own for block, own in zip(blocks, g[0])])
        assert batch.varies[0].sum() == d - (0 not in parts)
        np.testing.assert_allclose(found.apply(g, np.arange(1))[0], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("d", [7, 200])
def test_weights_are_shared_where_models_agree(d):
    """At theta = 0 all folds have the same weights, so sharing loses nothing; each keeps its own rows and units."""
    table, x, part = make(d)
    batch = batch_of(table, [1e-2, 1.0], FOLDS)
    models = np.arange(len(batch))
    found = Weighted(batch, table.sample.every(1), models, np.zeros(batch.shape))
    g = np.random.default_rng(2).standard_normal(batch.shape)
    g[:, :, :-1] *= batch.varies[:, None]
    out = found.apply(g, models)
    for m in models:
        s = batch.sets[m]
        n = int(np.isin(part, s.parts).sum())
        block = expected_blocks(x, part, batch, m, np.full((1, n), 2 / 9 * 1.5))[0]
        np.testing.assert_allclose(out[m], g[m] @ block, rtol=1e-3, atol=1e-3 * np.abs(out[m]).max())
    some = models[[3, 1]]
    np.testing.assert_array_equal(found.apply(g[some], some), out[some])


@pytest.mark.parametrize("d", [7, 200])
def test_positive_definite_and_symmetric_at_extreme_points(d):
    table, _, _ = make(d)
    batch = batch_of(table, [1e-6], FOLDS)
    models = np.arange(3)
    rng = np.random.default_rng(3)
    theta = batch.zero_sum(40 * rng.standard_normal(batch.shape), models)  # probabilities of 0 and 1
    found = Weighted(batch, table.sample.every(1), models, theta)
    free = np.append(batch.varies[0], True)
    for _ in range(5):
        a, b = (batch.zero_sum(rng.standard_normal(batch.shape) * free, models) for _ in range(2))
        left, right = (np.einsum("mkd,mkd->m", one, found.apply(two, models)) for one, two in ((a, b), (b, a)))
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6 * np.abs(left).max())
        assert (np.einsum("mkd,mkd->m", a, found.apply(a, models)) > 0).all()


def test_spectrum_of_fewer_rows_than_columns():
    """The same inverse as from the Gram matrix of all columns."""
    table, x, _ = make(200)
    s = table.row_set(table.sample.sums)
    spectrum = Spectrum.of(table.sample.every(1), s)
    assert spectrum.vectors.shape == (200, len(spectrum.values))
    assert len(spectrum.values) < len(x)
    batch = Batch([s], [1e-3])
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    g = np.random.default_rng(4).standard_normal(batch.shape)
    spread = np.array([[0.2, 0.1, 0.02]])
    out = spectrum.apply(batch, spread, g, np.arange(1))[0]
    for k in range(3):
        wanted = np.linalg.solve(spread[0, k] * z.T @ z / len(z) + 1e-3 * np.eye(200), g[0, k, :-1])
        np.testing.assert_allclose(out[k, :-1], wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
        assert out[k, -1] == pytest.approx(g[0, k, -1] / spread[0, k])


def test_price_grows_with_width_and_shrinks_with_company():
    table, _, _ = make(7)
    one, five = batch_of(table, [1.0], FOLDS[:1]), batch_of(table, [1.0], FOLDS)
    cheap, dear = (Weighted.rounds(b, 10_000, 10_000, np.arange(len(b))) for b in (five, one))
    assert 0 < cheap < dear < 10
    wide = batch_of(make(2000)[0], [1.0], FOLDS[:1])
    assert Weighted.rounds(wide, 10**6, 16_384, np.arange(1)) == np.inf  # gigabytes
    assert gram_step(10**6, 100) == 61
    assert gram_step(1000, 100) == 1
