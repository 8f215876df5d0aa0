from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Hypnogram, Span
from hypnos_bench.encoders.base import Embedding
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.labelling.pooling import make_units, pool, pool_recording
from hypnos_bench.labelling.units import UnitLabels, read_unit_labels
from hypnos_bench.taskfiles import load_task

STAGING, AF = load_task("staging"), load_task("af")


def embedding(x, step_s=1.0, start_s=0.0):
    return Embedding({"mean": np.asarray(x, dtype=np.float16)}, start_s, step_s, {})


def staged(codes, first_s=0.0):
    scored = Hypnogram(first_s + 30.0 * np.arange(len(codes)), np.asarray(codes, dtype=np.int8))
    return SimpleNamespace(id="r1", hypnogram=lambda: scored)


def with_rhythm(duration_s, *spans):
    return SimpleNamespace(id="r1", duration_s=lambda: duration_s, rhythm=lambda: tuple(Span(*s) for s in spans))


def test_reference_alignment_is_the_authors_reshape():
    x = np.random.default_rng(0).normal(size=(95, 3)).astype(np.float16)
    starts = np.arange(4) * 30.0
    pooled = pool(embedding(x), starts, 30.0, 0)
    expected = x[:90].astype(np.float32).reshape(3, 30, 3).mean(axis=1)
    np.testing.assert_allclose(pooled[:3], expected, rtol=1e-6)
    assert np.isnan(pooled[3]).all()  # five seconds are no epoch


def test_covered_alignment_shifts_by_the_lag():
    x = np.arange(91, dtype=np.float32)[:, None]
    recording = staged([0, 1, 2])
    labels = read_unit_labels(STAGING, recording)
    reference = make_units(STAGING, recording, labels, embedding(x), lag_rows=1)
    covered = make_units(replace(STAGING, alignment="covered"), recording, labels, embedding(x), lag_rows=1)
    np.testing.assert_allclose(reference.x[:, 0], [14.5, 44.5, 74.5])
    np.testing.assert_allclose(covered.x[:, 0], [15.5, 45.5, 75.5])


def test_covered_alignment_drops_the_unit_whose_last_row_is_missing():
    recording = staged([0, 1, 2])
    units = make_units(
        replace(STAGING, alignment="covered"),
        recording,
        read_unit_labels(STAGING, recording),
        embedding(np.zeros((90, 2))),
        lag_rows=1,
    )
    assert units.y.tolist() == [0, 1]
    assert units.dropped["without embedding rows"] == 1


def test_modalities_are_averaged_first():
    a, b = np.full((30, 2), 1.0, np.float16), np.full((30, 2), 3.0, np.float16)
    both = Embedding({"eeg_c3": a, "ecg": b}, 0.0, 1.0, {})
    assert pool(both, np.array([0.0]), 30.0, 0).tolist() == [[2.0, 2.0]]
    with pytest.raises(UsageError, match="different shapes"):
        pool(Embedding({"a": a, "b": b[:, :1]}, 0.0, 1.0, {}), np.array([0.0]), 30.0, 0)


@pytest.mark.parametrize("step_s", [1.0, 5.0, 30.0, 0.5])
def test_rows_of_any_divisor_land_in_their_epoch(step_s):
    per_epoch = round(30 / step_s)
    x = np.repeat(np.arange(4), per_epoch)[:, None]
    assert pool(embedding(x, step_s), np.arange(4) * 30.0, 30.0, 0)[:, 0].tolist() == [0, 1, 2, 3]


def test_rows_that_do_not_divide_units_are_refused():
    for step_s in (4.0, 60.0):
        with pytest.raises(UsageError, match="do not divide"):
            pool(embedding(np.zeros((100, 1)), step_s), np.array([0.0]), 30.0, 0)


def test_embedding_that_starts_late_loses_the_first_epochs_only():
    x = np.arange(60)[:, None]
    pooled = pool(embedding(x, start_s=30.0), np.arange(3) * 30.0, 30.0, 0)
    assert np.isnan(pooled[0]).all()
    assert pooled[1:, 0].tolist() == [14.5, 44.5]


def test_non_finite_rows_are_dropped_and_counted():
    x = np.zeros((60, 1))
    x[3] = np.nan
    recording = staged([0, 1])
    units = make_units(STAGING, recording, read_unit_labels(STAGING, recording), embedding(x), 0)
    assert units.y.tolist() == [1]
    assert units.dropped["without embedding rows"] == 1


def test_no_unit_left_is_an_error_with_counts():
    labels = UnitLabels(np.array([300.0]), np.array([0]), {})
    with pytest.raises(RecordingError, match="covers none of the 1 labelled epochs"):
        make_units(STAGING, staged([0]), labels, embedding(np.zeros((60, 1))), 0)


def test_epochs_stay_where_the_scorer_put_them():
    """A hypnogram that begins 17 s into the signals takes the rows from there, not those of a grid from 0."""
    labels = read_unit_labels(STAGING, staged([0, 2], first_s=17.0))
    assert labels.start_s.tolist() == [17.0, 47.0]
    units = make_units(STAGING, staged([0, 2]), labels, embedding(np.arange(80.0)[:, None]), lag_rows=0)
    assert units.x[:, 0].tolist() == [np.arange(17, 47).mean(), np.arange(47, 77).mean()]


def test_the_af_fraction_of_every_kept_window_is_stored():
    recording = with_rhythm(120.0, ("N", 0.0, 42.0), ("AFIB", 42.0, 90.0))
    labels = read_unit_labels(replace(AF, mixed="majority"), recording)
    assert labels.start_s.tolist() == [0.0, 30.0, 60.0]
    assert labels.share is not None
    assert labels.share.tolist() == pytest.approx([0.0, 0.6, 1.0])
    units = make_units(AF, recording, labels, embedding(np.arange(95.0)[:, None]), lag_rows=0)
    assert units.share is not None
    assert units.share.tolist() == pytest.approx([0.0, 0.6, 1.0])


def test_a_recording_is_the_mean_of_its_finite_rows_over_modalities():
    a, b = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 9.0]]), np.array([[3.0, 2.0], [5.0, np.nan], [np.inf, 9.0]])
    both = Embedding({"eeg_c3": a.astype(np.float32), "ecg": b.astype(np.float32)}, 0.0, 1.0, {})
    # Row 0 is the mean of both, row 1 that of the first alone, row 2 is not finite.
    assert pool_recording(both, "mean").tolist() == [2.5, 0.5]
    assert pool_recording(both).dtype == np.float32
    mean_sd = pool_recording(both, "mean-sd")
    assert mean_sd.tolist() == [2.5, 0.5, 0.5, 0.5]
    assert mean_sd.dtype == np.float32


@pytest.mark.parametrize("n", [1, 4095, 4096, 9000])
def test_spread_over_a_night_agrees_with_numpy(n):
    x = np.random.default_rng(n).normal(3, 2, (n, 5)).astype(np.float16)
    expected = np.concatenate([x.astype(np.float64).mean(axis=0), x.astype(np.float64).std(axis=0)])
    np.testing.assert_allclose(pool_recording(embedding(x), "mean-sd"), expected, rtol=1e-6, atol=1e-9)


def test_a_recording_without_a_finite_row_is_refused_by_name():
    empty = embedding(np.full((3, 2), np.nan))
    with pytest.raises(RecordingError, match="r7: none of its 3 embedding rows is finite"):
        pool_recording(empty, "mean", "r7")
