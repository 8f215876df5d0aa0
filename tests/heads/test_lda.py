"""Closed-form baselines against scikit-learn and their definitions."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.base import FittedHead, TrainingRows
from hypnos_bench.heads.lda import LDA_SETTINGS, RIDGE_CLASSES_SETTINGS, fit_lda, fit_ridge_classes
from hypnos_bench.heads.rows import ArrayRows

BOTH = [fit_lda, fit_ridge_classes]


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("case", [{"n_classes": 5, "d": 16}, {"n_classes": 2}, {"unscaled": True}])
def test_lda_equals_sklearn(make_rows, solver, case):
    rows = make_rows(**case)
    z = StandardScaler().fit_transform(rows.x.astype(float))
    expected = LinearDiscriminantAnalysis(solver=solver).fit(z, rows.y).predict_proba(z)
    head = fit_lda(rows, {"ridge": 1e-10})
    np.testing.assert_allclose(head.predict_proba(rows.x), expected, atol=1e-4)
    np.testing.assert_allclose(fit_lda(rows, {}).predict_proba(rows.x), expected, atol=1e-2)
    assert head.certificate.criterion.startswith("closed form")


def test_ridge_equals_sklearn(make_rows):
    rows = make_rows(n_classes=4)
    z = StandardScaler().fit_transform(rows.x.astype(float))
    scores = Ridge(alpha=len(z) * 1e-2).fit(z, np.eye(4)[rows.y]).predict(z)
    clipped = np.maximum(scores, 0)
    head = fit_ridge_classes(rows, {"lambda": 1e-2})
    np.testing.assert_allclose(head.predict_proba(rows.x), clipped / clipped.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(head.predict_proba(rows.x).argmax(axis=1), scores.argmax(axis=1))
    assert (scores < 0).any()  # the clipping had something to do


@pytest.mark.parametrize("fit", BOTH)
def test_what_every_head_keeps(make_rows, fit):
    rows = make_rows(n_classes=4, d=6)
    kept = rows.y != 1
    x = np.column_stack([rows.x, np.full(len(rows.y), 3.3)]).astype(np.float32)[kept]
    fewer = TrainingRows(x, rows.y[kept], rows.person[kept], rows.recording[kept], 4)
    head: FittedHead = fit(fewer, {})
    proba = head.predict_proba(x)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(proba[:, 1], 0)
    assert proba.min() >= 0
    assert head.selected["classes_missing"] == [1]
    assert head.selected["constant_features"] == [6]
    assert head.certificate.converged
    assert head.certificate.gradient_norm <= head.certificate.tolerance
    json.dumps(dict(head.selected), allow_nan=False)
    np.testing.assert_array_equal(head.predict_proba(ArrayRows(x)), proba)
    moved = dataclasses.replace(fewer, x=(x - 7) * np.float32(0.125))
    np.testing.assert_allclose(fit(moved, {}).predict_proba(moved.x), proba, atol=1e-4)
    twice = np.repeat(np.arange(len(x)), 2)
    double = TrainingRows(x[twice], fewer.y[twice], fewer.person[twice], fewer.recording[twice], 4)
    np.testing.assert_allclose(fit(double, {}).predict_proba(x), proba, atol=1e-5)
    swapped = dataclasses.replace(fewer, y=3 - fewer.y)
    np.testing.assert_allclose(fit(swapped, {}).predict_proba(x)[:, ::-1], proba, atol=1e-6)


@pytest.mark.parametrize("fit", BOTH)
def test_streamed_rows_give_the_same(make_rows, monkeypatch, fit):
    rows = make_rows(per_person=200)
    expected = fit(rows, {}).predict_proba(rows.x)
    monkeypatch.setattr("hypnos_bench.heads.lda.SAMPLE_ROWS", 100)
    np.testing.assert_allclose(fit(rows, {}).predict_proba(rows.x), expected, atol=5e-3)


@pytest.mark.parametrize("fit", BOTH)
def test_more_features_than_rows(make_rows, fit):
    rows = make_rows(n_persons=4, per_person=12, d=80)
    assert np.isfinite(fit(rows, {}).predict_proba(rows.x)).all()


@pytest.mark.parametrize("fit", BOTH)
def test_refusals(make_rows, fit):
    rows = make_rows()
    with pytest.raises(FitError, match="have the same class"):
        fit(dataclasses.replace(rows, y=np.zeros_like(rows.y)), {})
    with pytest.raises(UsageError, match="no setting 'shrinkage'"):
        fit(rows, {"shrinkage": 1})
    with pytest.raises(UsageError, match="positive number"):
        fit(rows, {"ridge" if fit is fit_lda else "lambda": 0.0})
    x = rows.x.copy()
    x[0, 0] = np.nan
    with pytest.raises(FitError, match="NaN or infinity"):
        fit(dataclasses.replace(rows, x=x), {})
    with pytest.raises(DataError, match="non-finite"):
        fit(rows, {}).predict_proba(x)
    assert set(LDA_SETTINGS) == {"ridge"}
    assert set(RIDGE_CLASSES_SETTINGS) == {"lambda"}
