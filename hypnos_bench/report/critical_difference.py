"""Critical-difference figure: encoders on an axis of average ranks, those that do not differ joined by bars."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hypnos_bench.report.figures import COLORS, _render, _style
from hypnos_bench.stats.ranks import CriticalDifference

_HEAD = 0.8  # inches above the axis, for its numbers and the critical difference
_BAR = 0.16  # inches per bar
_NAME = 0.24  # inches per row of names
_NEMENYI: dict[str, Any] = {"color": COLORS[0], "linestyle": "-", "lw": 4.0, "solid_capstyle": "butt"}
_WILCOXON: dict[str, Any] = {"color": COLORS[1], "linestyle": (0, (3, 1)), "lw": 2.2, "dash_capstyle": "butt"}


def critical_difference_figure(
    result: CriticalDifference, *, title: str = "", simulated: bool = False, notes: Sequence[str] = ()
) -> dict[str, bytes]:
    """Draw average ranks, best to the left; ``{"svg": ..., "png": ...}``.

    Solid bars join encoders whose average ranks differ by less than the critical difference, dashed ones those that no
    pairwise signed-rank test tells apart (Holm). The caption says how many data sets stand behind it, which were left
    out, whether the encoders differ at all, and when the pairwise tests cannot tell anything apart.

    Parameters
    ----------
    result : CriticalDifference
    title : str
    simulated : bool
        Print *simulated* across the figure; to be set when any data set is.
    notes : sequence of str
        Lines that end the caption, such as marks of encoders.
    """
    with _style():
        caption = [
            line for text in (*_caption(result), *notes) for line in textwrap.wrap(text, 112, break_on_hyphens=False)
        ]
        n_bars = len(result.nemenyi_groups) + len(result.wilcoxon_groups)
        n_rows = (len(result.encoders) + 1) // 2
        depth = 0.2 + _BAR * n_bars + _NAME * (n_rows + 0.5)
        height = _HEAD + depth + 0.35 * bool(title) + 0.17 * len(caption) + 0.1
        figure = Figure(figsize=(6.9, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(1, len(result.encoders))
        axes.set_ylim(depth, -_HEAD)  # inches, downwards from the axis of ranks
        _axis(axes, result)
        _bars(axes, result)
        _names(axes, result, 0.2 + _BAR * n_bars + _NAME / 2)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
        figure.supxlabel("\n".join(caption), x=0.01, ha="left", fontsize=7.5, color="0.25")
        if simulated:
            middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
            axes.text(0.5, 0.4, "simulated", rotation=15, fontsize=34, color="0.5", alpha=0.22, zorder=10, **middle)
        return _render(figure)


def _axis(axes: Axes, result: CriticalDifference) -> None:
    k = len(result.encoders)
    line: dict[str, Any] = {"color": "black", "lw": 1.0, "clip_on": False}
    axes.plot([1, k], [0, 0], **line)
    for rank in range(1, k + 1):
        axes.plot([rank, rank], [-0.07, 0], **line)
        axes.text(rank, -0.11, str(rank), ha="center", va="bottom", fontsize=8.5)
    length = result.critical_difference
    words = f"critical difference {length:.2f}"
    if length <= k - 1:
        axes.plot([1, 1 + length], [-0.45, -0.45], **line)
        for end in (1, 1 + length):
            axes.plot([end, end], [-0.51, -0.39], **line)
        axes.text(1, -0.57, words, ha="left", va="bottom", fontsize=8.5)
    else:
        # No two encoders can be that far apart; a bar would only squeeze the ranks.
        axes.text(1, -0.45, f"{words}: longer than the axis", ha="left", va="bottom", fontsize=8.5)
    axes.text(k, -0.57, "average rank (1 is best)", ha="right", va="bottom", fontsize=8.5)


def _bars(axes: Axes, result: CriticalDifference) -> None:
    place = dict(zip(result.encoders, result.average_ranks.tolist(), strict=True))
    drawn = [(group, _NEMENYI) for group in result.nemenyi_groups]
    drawn += [(group, _WILCOXON) for group in result.wilcoxon_groups]
    # Encoders of one average rank would leave a bar without length.
    over = 0.012 * (len(result.encoders) - 1)
    for row, (group, look) in enumerate(drawn):
        y = 0.16 + _BAR * row
        axes.plot([place[group[0]] - over, place[group[-1]] + over], [y, y], zorder=4, clip_on=False, **look)


def _names(axes: Axes, result: CriticalDifference, top: float) -> None:
    """Better half to the left, best on top; worse half to the right, worst on top: no line crosses another."""
    k = len(result.encoders)
    half = (k + 1) // 2
    beyond = 0.04 * (k - 1)
    for i, (encoder, rank) in enumerate(zip(result.encoders, result.average_ranks.tolist(), strict=True)):
        left = i < half
        y = top + _NAME * (i if left else k - 1 - i)
        edge = 1 - beyond if left else k + beyond
        axes.plot([rank, rank, edge], [0, y, y], color="0.35", lw=0.8, clip_on=False, zorder=2)
        axes.plot([rank], [0], marker="o", markersize=3.5, color="black", clip_on=False, zorder=5)
        words = f"{encoder}  {rank:.2f} " if left else f" {rank:.2f}  {encoder}"
        axes.text(edge, y, words, ha="right" if left else "left", va="center", fontsize=8.5)


def _caption(result: CriticalDifference) -> list[str]:
    test, n = result.friedman, len(result.datasets)
    finer = (
        f"Iman–Davenport F({test.df}, {test.df * (n - 1)}) = {test.iman_davenport:.2f}, p = {test.iman_davenport_p:.2g}"
        if math.isfinite(test.iman_davenport)
        else "all data sets rank the encoders alike"  # F is infinite, and its p of zero means nothing
    )
    lines = [f"{n} data sets. Friedman chi-squared({test.df}) = {test.statistic:.2f}, p = {test.p:.2g}; {finer}."]
    if test.iman_davenport_p > result.level:
        lines.append(f"No difference among the encoders is shown at {result.level:g}: read no pair from this figure.")
    lines.append(
        f"Solid: average ranks closer than the critical difference (Nemenyi, {result.level:g}); "
        f"dashed: no pair told apart by signed-rank tests (Holm, {result.level:g}). Neither shows equality."
    )
    if min(pair.min_p for pair in result.pairs) * len(result.pairs) > result.level:
        lines.append(
            f"With {n} data sets no signed-rank test can reach {result.level:g} after Holm: dashed says nothing."
        )
    if result.dropped:
        lines.append(f"Left out, as some encoder has no value there: {', '.join(result.dropped)}.")
    return lines
