"""Predicted against true numbers: one panel per row, with the line on which a perfect prediction lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hypnos_bench.report.comparison import Comparison, Row, printed
from hypnos_bench.report.figures import (
    COLORS,
    _render,
    _stamp,
    _style,
    _tested,
    _title,
    _wrapped,
    footline,
    panels_figure,
    square,
    unit_of,
)

F64 = NDArray[np.float64]

BINS, LEAST = 10, 10
"""Tenths of the predictions, fewer where one would hold less than so many recordings."""


@dataclass(frozen=True)
class Scatter:
    """Truth and prediction of a row's test recordings, and the score that its cell states (NaN without one)."""

    row: Row
    y_true: F64
    y_pred: F64
    score: float


def predicted_figure(comparison: Comparison, words: str, panels: Sequence[Scatter]) -> dict[str, bytes]:
    """Draw truth over prediction; ``{"svg": ..., "png": ...}``.

    Points are drawn as pixels in the SVG too: nobody's exact values can be read from the file.
    """
    with _style():
        figure, columns = panels_figure(len(panels), 2.9, 3.1)
        everything = np.concatenate([np.concatenate([p.y_true, p.y_pred]) for p in panels])
        margin = 0.04 * float(np.ptp(everything)) or 1.0
        low, high = float(everything.min()) - margin, float(everything.max()) + margin
        column = comparison.column or comparison.task
        name = f"{column} ({unit})" if (unit := unit_of(comparison)) else column
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(math.ceil(len(panels) / columns), columns, i + 1)
            _panel(axes, panel, (low, high), f"{comparison.metrics[0]} {printed(panel.score)}")
            axes.set_xlabel(f"predicted {name}")
            axes.set_ylabel("" if i % columns else f"true {name}")
            _stamp(axes, comparison, 24)
        _title(figure, comparison, f"{words}; {_tested(comparison)}")
        caption = "grey: one test recording each; dashed: prediction and truth are equal"
        if any(_bins(p.y_pred.size) for p in panels):
            caption += "; line with markers: mean truth in groups of rising prediction"
        footline(figure, caption)
        return _render(figure)


def _panel(axes: Axes, panel: Scatter, limits: tuple[float, float], score: str) -> None:
    axes.plot(limits, limits, color="0.4", lw=0.9, linestyle="--", zorder=2)
    alpha = float(np.clip(60 / max(panel.y_true.size, 1), 0.12, 0.6))
    axes.scatter(panel.y_pred, panel.y_true, s=9, color="0.35", alpha=alpha, lw=0, rasterized=True, zorder=1)
    n_bins = _bins(panel.y_pred.size)
    if n_bins:
        groups = np.array_split(np.argsort(panel.y_pred, kind="stable"), n_bins)
        x, y = ([float(values[group].mean()) for group in groups] for values in (panel.y_pred, panel.y_true))
        axes.plot(x, y, color=COLORS[0], marker="o", markersize=4, lw=1.4, zorder=3)
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    square(axes)
    axes.text(0.04, 0.96, score, transform=axes.transAxes, ha="left", va="top", fontsize=8.5)
    axes.set_title(_wrapped(panel.row))


def _bins(n: int) -> int:
    """How many groups of recordings; one says nothing about a course."""
    found = min(BINS, n // LEAST)
    return found if found > 1 else 0
