"""Figures hold what they should; how they look was judged by eye."""

import re
import struct

import matplotlib as mpl
import numpy as np
import pytest

from hypnos_bench.report.comparison import comparisons
from hypnos_bench.report.figures import PNG_DPI, Panel, confusion_figure, few_shot_curve


def words(files):
    """Texts of an SVG: drawn as paths, each with its text in a comment."""
    return [w.strip() for w in re.findall(r"<!--(.*?)-->", files["svg"].decode(), re.S)]


def png_size(files):
    assert files["png"][:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", files["png"][16:24])


def panels(comparison, n=5):
    rng = np.random.default_rng(0)
    return [Panel(row, rng.integers(1, 99, (n, n)).astype(float), 2) for row in comparison.rows]


@pytest.fixture
def curve_cells(make):
    return [*make.few_shot(simulated=True), *make.few_shot(("u",), simulated=True, marks=("untrained",))]


def test_curve_names_budgets_encoders_marks_and_both_uncertainties(curve_cells):
    files = few_shot_curve(comparisons(curve_cells)[0])
    found = words(files)
    for word in ("1%", "1 person", "10%", "3 persons", "100%", "29 persons", "kappa", "features", "hypnos"):
        assert word in found
    assert "simulated" in found
    assert "(untrained)" in found
    assert any("sd over seeds" in w and "bootstrap interval over test persons" in w for w in found)
    assert png_size(files) == (round(6.4 * PNG_DPI), round(3.9 * PNG_DPI))


def test_one_budget_is_a_row_of_points_per_encoder(make):
    cells = [make("a", simulated=True), make("b", status="failed", simulated=True), make("c", test=3, simulated=True)]
    found = words(few_shot_curve(comparisons(cells)[0]))
    assert {"a", "b", "c", "simulated", "no value: see the table"} <= set(found)
    assert any("1% = 1 training person" in w for w in found)
    assert any("far too few for a result" in w for w in found)


def test_budgets_of_equally_many_persons_share_a_tick(make):
    cells = [make(shots=s, seed=k, train=t) for s, t in (("1%", 1), ("3%", 1), ("10%", 3)) for k in range(2)]
    assert "1%/3%" in words(few_shot_curve(comparisons(cells)[0]))


def test_curve_without_any_interval_or_value_still_draws(make):
    bare = {"kappa": {"value": 0.6, "low": None, "high": None, "higher_is_better": True}}
    cells = [make("a", s, scores=bare) for s in ("1%", "10%")] + [make("b", s, status="failed") for s in ("1%", "10%")]
    assert "no value: see the table" in words(few_shot_curve(comparisons(cells)[0]))
    failed = [make("b", s, status="failed", n={"folds": []}) for s in ("1%", "10%")]
    assert few_shot_curve(comparisons(failed)[0])["png"]


def test_confusion_shows_per_cent_of_the_true_class_and_counts(make):
    comparison = comparisons([make(task={"classes": ["non-AF", "AF"]}, simulated=True)])[0]
    counts = np.array([[30.0, 10.0], [0.0, 0.0]])
    files = confusion_figure(comparison, "1%", [Panel(comparison.rows[0], counts, 1)])
    found = words(files)
    assert {"75", "30", "25", "10", "–", "non-AF", "AF", "true", "predicted", "features", "simulated"} <= set(found)
    assert "nan" not in found


def test_confusion_has_a_panel_per_encoder_each_stamped(curve_cells):
    comparison = comparisons(curve_cells)[0]
    files = confusion_figure(comparison, "10%", panels(comparison))
    found = words(files)
    assert found.count("predicted") == 3
    assert found.count("simulated") == 3
    assert any("means over 2 seeds" in w for w in found)
    width, height = png_size(files)
    assert width > height > 500


def test_real_persons_carry_no_stamp(make):
    comparison = comparisons(make.few_shot())[0]
    assert "simulated" not in words(few_shot_curve(comparison))
    assert "simulated" not in words(confusion_figure(comparison, "1%", panels(comparison)))


def test_same_cells_same_bytes_whatever_the_users_style(curve_cells):
    comparison = comparisons(curve_cells)[0]
    expected = few_shot_curve(comparison)
    assert b"<dc:date>" not in expected["svg"]
    with mpl.rc_context(
        {"font.size": 20, "axes.edgecolor": "red", "xtick.labelsize": 30, "svg.fonttype": "none", "savefig.dpi": 30}
    ):
        assert few_shot_curve(comparison) == expected
        assert mpl.rcParams["font.size"] == 20
    assert few_shot_curve(comparisons(curve_cells[::-1])[0]) == expected
