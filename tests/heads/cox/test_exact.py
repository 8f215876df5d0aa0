"""Newton's method against published Cox models, and what it refuses."""

import pickle

import numpy as np
import pytest

from hypnos_bench.errors import FitError
from hypnos_bench.heads.cox import NotEstimableError, exact_cox
from hypnos_bench.heads.cox.likelihood import RiskSets, loss_at


def columns(data, *names):
    return np.column_stack([data[name] for name in names])


def concordance(time, risk, event):
    lifelines = pytest.importorskip("lifelines.utils", reason="lifelines is not installed")
    return lifelines.concordance_index(time, -risk, event)


def test_therneaus_first_example():
    time, event = np.array([1.0, 1, 6, 6, 8, 9]), np.array([1, 0, 1, 1, 0, 1], dtype=bool)
    x = np.array([1.0, 1, 1, 0, 0, 0])[:, None]
    breslow, efron = (exact_cox(x, time, event, ties=ties) for ties in ("breslow", "efron"))
    assert breslow.coefficients[0] == pytest.approx(np.log((3 + np.sqrt(33)) / 2), abs=1e-10)
    assert breslow.log_likelihood == pytest.approx(-3.824750, abs=5e-7)
    assert efron.coefficients[0] == pytest.approx(1.676857, abs=5e-7)
    assert efron.log_likelihood == pytest.approx(-3.358975, abs=5e-7)


def test_example_of_rs_coxph():
    time, event = np.array([4.0, 3, 1, 1, 2, 2, 3]), np.array([1, 1, 1, 0, 1, 1, 0], dtype=bool)
    fit = exact_cox(np.array([0.0, 2, 1, 1, 1, 0, 0])[:, None], time, event)
    assert fit.coefficients[0] == pytest.approx(0.460778, abs=5e-7)
    assert np.exp(fit.coefficients[0]) == pytest.approx(1.59, abs=5e-3)


ROSSI = ("fin", "age", "race", "wexp", "mar", "paro", "prio")


def test_rossi_efron(table):
    data = table("lifelines_rossi.csv")
    x, time, event = columns(data, *ROSSI), data["week"], data["arrest"] == 1
    fit = exact_cox(x, time, event)
    expected = [-0.379422, -0.057438, 0.313900, -0.149796, -0.433704, -0.084871, 0.091497]
    np.testing.assert_allclose(fit.coefficients, expected, atol=5e-7)
    errors = [0.19138, 0.02200, 0.30799, 0.21222, 0.38187, 0.19576, 0.02865]
    np.testing.assert_allclose(fit.standard_errors, errors, atol=5e-6)
    assert fit.log_likelihood == pytest.approx(-658.7477, abs=5e-5)
    assert fit.likelihood_ratio == pytest.approx(33.266, abs=5e-4)
    assert (fit.n, fit.n_events, fit.constant_features) == (432, 114, [])
    assert concordance(time, x @ fit.coefficients, event) == pytest.approx(0.640329, abs=5e-7)


def test_rossi_breslow(table):
    data = table("lifelines_rossi.csv")
    fit = exact_cox(columns(data, *ROSSI), data["week"], data["arrest"] == 1, ties="breslow")
    expected = [-0.379022, -0.057246, 0.314130, -0.151115, -0.432783, -0.084983, 0.091112]
    np.testing.assert_allclose(fit.coefficients, expected, atol=5e-7)


def test_lung(table):
    data = table("lifelines_lung.csv")
    time, event = data["time"], data["status"] == 1
    fit = exact_cox(columns(data, "age", "sex"), time, event)
    # R stops an iteration early: lifelines at full precision gives -0.51321852 as well.
    np.testing.assert_allclose(fit.coefficients, [0.017045, -0.513217], atol=2e-6)
    assert fit.coefficients[1] == pytest.approx(-0.51321852, abs=5e-9)
    np.testing.assert_allclose(fit.standard_errors, [0.009223, 0.167458], atol=5e-7)
    assert fit.log_likelihood == pytest.approx(-742.848, abs=5e-4)
    known = np.isfinite(data["ph.ecog"])
    fit = exact_cox(columns(data, "age", "sex", "ph.ecog")[known], time[known], event[known])
    np.testing.assert_allclose(fit.coefficients, [0.011067, -0.552612, 0.463728], atol=5e-7)


def test_gbsg2(table):
    data = table("sksurv_GBSG2.arff")
    x = np.column_stack(
        [
            data["horTh"] == "yes",
            data["age"],
            data["menostat"] == "Pre",
            data["tsize"],
            data["tgrade"] == "II",
            data["tgrade"] == "III",
            data["pnodes"],
            data["progrec"],
            data["estrec"],
        ]
    ).astype(float)
    event = data["cens"] == "1"
    fit = exact_cox(x, data["time"], event)
    expected = [-0.346278, 0.636112, 0.779654, 0.048789, -0.002217]
    np.testing.assert_allclose(fit.coefficients[[0, 4, 5, 6, 7]], expected, atol=5e-7)
    assert concordance(data["time"], x @ fit.coefficients, event) == pytest.approx(0.691851, abs=5e-7)


def test_veterans_breslow(table):
    data = table("sksurv_veteran.arff")
    cells = [data["Celltype"] == kind for kind in ("large", "smallcell", "squamous")]
    x = np.column_stack(
        [
            data["Age_in_years"],
            *cells,
            data["Karnofsky_score"],
            data["Months_from_Diagnosis"],
            data["Prior_therapy"] == "yes",
            data["Treatment"] == "test",
        ]
    ).astype(float)
    time, event = data["Survival_in_days"], data["Status"] == "dead"
    fit = exact_cox(x, time, event, ties="breslow")
    np.testing.assert_allclose(fit.coefficients[[4, 7, 3]], [-0.032622, 0.289936, -1.188299], atol=5e-7)
    assert concordance(time, x @ fit.coefficients, event) == pytest.approx(0.7362562471603816, abs=1e-12)


def test_whas500_breslow(table):
    data = table("sksurv_whas500.arff")
    names = [name for name in data if name not in ("lenfol", "fstat")]
    x = np.column_stack([data[name].astype(float) for name in names])
    event = data["fstat"] == "1"
    fit = exact_cox(x, data["lenfol"], event, ties="breslow")
    assert x.shape == (500, 14)
    assert concordance(data["lenfol"], x @ fit.coefficients, event) == pytest.approx(0.784215, abs=5e-7)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_standard_errors_are_the_curvature_of_the_loss(make_survival, ties):
    rows = make_survival(n=120, d=3, m=1, days=True)
    x, time, event = rows.x.astype(float), rows.time[:, 0], rows.event[:, 0]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    fit = exact_cox(x, time, event, ties=ties)
    sets = RiskSets.of(time, event, np.ones(len(x), dtype=bool), ties)

    def loss(move):
        return loss_at(sets, x @ (fit.coefficients + move))

    steps = 1e-3 * np.eye(3)
    curvature = [[(loss(a + b) - loss(a - b) - loss(b - a) + loss(-a - b)) / 4e-6 for b in steps] for a in steps]
    np.testing.assert_allclose(fit.standard_errors, np.sqrt(np.diag(np.linalg.inv(curvature))), rtol=1e-4)


def test_scale_and_shift_change_raw_coefficients_only_as_they_must(make_survival):
    rows = make_survival(n=150, d=4, m=1)
    x, time, event = rows.x.astype(float), rows.time[:, 0], rows.event[:, 0]
    factor = np.array([1e-4, 1.0, 1e3, -7.0])
    for penalty in (0.0, 0.1):
        one = exact_cox(x, time, event, penalty=penalty)
        other = exact_cox(x * factor + 5, time, event, penalty=penalty)
        np.testing.assert_allclose(other.coefficients * factor, one.coefficients, rtol=1e-6)
        np.testing.assert_allclose(np.abs(other.standard_errors * factor), one.standard_errors, rtol=1e-6)
        assert one.gradient_norm < 1e-9


def test_a_constant_feature_gets_zero(make_survival):
    rows = make_survival(n=100, d=3, m=1)
    x = np.column_stack([rows.x[:, 0], np.full(100, 3.3), rows.x[:, 1:]])
    fit = exact_cox(x, rows.time[:, 0], rows.event[:, 0])
    assert fit.constant_features == [1]
    assert fit.coefficients[1] == 0
    assert np.isnan(fit.standard_errors[1])
    plain = exact_cox(rows.x, rows.time[:, 0], rows.event[:, 0])
    np.testing.assert_allclose(fit.coefficients[[0, 2, 3]], plain.coefficients, rtol=1e-9)


def test_collinear_features_are_refused_without_a_penalty_and_shared_with_one(make_survival):
    rows = make_survival(n=100, d=3, m=1)
    x = np.column_stack([rows.x, rows.x[:, 0]]).astype(float)
    with pytest.raises(NotEstimableError, match=r"only 3 independent.*\[0, 3\]") as refused:
        exact_cox(x, rows.time[:, 0], rows.event[:, 0])
    assert refused.value.status == "collinear"
    assert pickle.loads(pickle.dumps(refused.value)).status == "collinear"
    fit = exact_cox(x, rows.time[:, 0], rows.event[:, 0], penalty=0.01)
    assert fit.coefficients[0] == pytest.approx(fit.coefficients[3], rel=1e-8)


def test_more_features_than_rows(make_survival):
    rows = make_survival(n=30, d=50, m=1)
    with pytest.raises(NotEstimableError, match="collinear|independent"):
        exact_cox(rows.x, rows.time[:, 0], rows.event[:, 0])
    assert exact_cox(rows.x, rows.time[:, 0], rows.event[:, 0], penalty=0.1).gradient_norm < 1e-9


@pytest.mark.parametrize("n", [20, 400])
def test_separation_is_refused_without_a_penalty_and_fitted_with_one(n):
    rng = np.random.default_rng(0)
    time = np.arange(1.0, n + 1)
    x = np.column_stack([-time, rng.standard_normal(n)])  # the first feature tells the order without error
    event = np.ones(n, dtype=bool)
    with pytest.raises(NotEstimableError, match="infinite") as refused:
        exact_cox(x, time, event)
    assert refused.value.status == "separated"
    fit = exact_cox(x, time, event, penalty=0.01)
    assert np.isfinite(fit.coefficients).all()
    assert fit.coefficients[0] > 0


def test_a_group_without_events_is_separation(make_survival):
    rows = make_survival(n=200, d=2, m=1)
    event = rows.event[:, 0]
    group = np.zeros(200)
    group[np.flatnonzero(~event)[:15]] = 1.0
    with pytest.raises(NotEstimableError, match="infinite"):
        exact_cox(np.column_stack([rows.x, group]), rows.time[:, 0], event)


def test_a_strong_effect_is_not_taken_for_separation():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 1))
    time = rng.exponential(size=500) * np.exp(-6 * x[:, 0])
    fit = exact_cox(x, time, np.ones(500, dtype=bool))
    assert fit.coefficients[0] == pytest.approx(6, rel=0.15)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": np.array([1.0, np.nan, 3])}, "times positive"),
        ({"time": np.array([1.0, 0, 3])}, "times positive"),
        ({"event": np.zeros(3, dtype=bool)}, "none of 3 rows has an event"),
        ({"event": np.array([False, False, True])}, "nothing to compare"),
        ({"x": np.array([[1.0], [np.inf], [2]])}, "finite"),
        ({"x": np.ones((2, 1))}, "differ"),
        ({"penalty": -1.0}, "not negative"),
        ({"ties": "exact"}, "efron, breslow"),
    ],
)
def test_nonsense_is_refused(change, words):
    given = {"x": np.array([[1.0], [0], [2]]), "time": np.array([1.0, 2, 3]), "event": np.array([True, True, False])}
    given |= change
    with pytest.raises(FitError, match=words):
        exact_cox(given.pop("x"), given.pop("time"), given.pop("event"), **given)
