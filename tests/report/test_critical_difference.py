"""The critical-difference figure holds what it should; how it looks was judged by eye."""

import re

import numpy as np

from hypnos_bench.report.critical_difference import critical_difference_figure
from hypnos_bench.stats.ranks import critical_difference


def words(files):
    """Texts of an SVG: drawn as paths, each with its text in a comment."""
    return [w.strip() for w in re.findall(r"<!--(.*?)-->", files["svg"].decode(), re.S)]


def said(files):
    return " ".join(words(files))


def result(n=12, k=5, spread=2.0, holes=()):
    scores = np.random.default_rng(0).standard_normal((n, k)) + np.linspace(0, spread, k)
    for hole in holes:
        scores[hole] = np.nan
    return critical_difference(
        scores, [f"cohort-{i}" for i in range(n)], [f"e{i}" for i in range(k)], higher_is_better=True
    )


def test_names_ranks_and_tests_are_there():
    found = result()
    text = words(critical_difference_figure(found, title="staging · kappa"))
    for encoder, rank in zip(found.encoders, found.average_ranks, strict=True):
        assert any(encoder in w and f"{rank:.2f}" in w for w in text)
    assert {"1", "2", "3", "4", "5", "staging · kappa", f"critical difference {found.critical_difference:.2f}"} <= set(
        text
    )
    assert f"Friedman chi-squared(4) = {found.friedman.statistic:.2f}" in " ".join(text)
    assert "12 data sets." in " ".join(text)
    assert "Left out" not in " ".join(text)
    assert "simulated" not in text


def test_bars_follow_the_groups():
    """One thick line per group, over the ranks of its members."""
    found = result()
    svg = critical_difference_figure(found)["svg"].decode()
    place = dict(zip(found.encoders, found.average_ranks, strict=True))
    lengths, spans = [], []
    for color, groups in (("#0072b2", found.nemenyi_groups), ("#d55e00", found.wilcoxon_groups)):
        drawn = re.findall(rf'<path d="M ([\d.]+) [\d.]+ *\nL ([\d.]+) [\d.]+[^>]*?stroke: {color}', svg, re.S)
        assert len(drawn) == len(groups) > 0
        lengths += [float(stop) - float(start) for start, stop in drawn]
        spans += [place[g[-1]] - place[g[0]] + 2 * 0.012 * 4 for g in groups]
    assert len(set(spans)) > 2
    np.testing.assert_allclose(lengths, np.array(spans) * lengths[0] / spans[0], rtol=1e-3)
    assert lengths[0] > 50  # points


def test_what_a_reader_must_know_is_said():
    holed = critical_difference_figure(result(n=6, holes=[(2, 1)]), simulated=True)
    assert "Left out, as some encoder has no value there: cohort-2." in said(holed)
    assert "With 5 data sets no signed-rank test can reach 0.05 after Holm: dashed says nothing." in said(holed)
    assert "simulated" in words(holed)
    flat = critical_difference_figure(result(spread=0.0))
    assert "No difference among the encoders is shown at 0.05" in said(flat)
    assert "No difference" not in said(critical_difference_figure(result()))
    few = critical_difference_figure(result(n=3, k=2))
    assert "longer than the axis" in said(few)
    same = critical_difference_figure(result(n=9, k=2, spread=50.0))
    assert "all data sets rank the encoders alike" in said(same)


def test_same_result_same_bytes():
    found = result()
    files = critical_difference_figure(found)
    assert files == critical_difference_figure(found)
