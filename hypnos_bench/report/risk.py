"""Figures of predicted risk: how groups of rising risk fare, and whether predicted risks come true."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hypnos_bench.metrics.survival.risk_groups import HazardRatio, RiskGroups
from hypnos_bench.report.comparison import Comparison, Row
from hypnos_bench.report.figures import (
    COLORS,
    MARKERS,
    _render,
    _stamp,
    _style,
    _tested,
    _title,
    _wrapped,
    footline,
    panels_figure,
    square,
)

# By rising risk: calm to alarming, apart in brightness too.
_GROUP_COLORS = {
    2: (COLORS[0], COLORS[1]),
    3: (COLORS[0], COLORS[4], COLORS[1]),
    4: (COLORS[0], *COLORS[4:1:-2], COLORS[1]),
}
_GROUP_LINES = ("-", "--", "-.", ":")
_TICKS = 7


@dataclass(frozen=True)
class RiskPanel:
    """Curves of a row's risk groups; numbers at risk are those at the times asked for."""

    row: Row
    groups: RiskGroups


@dataclass(frozen=True)
class CalibrationPanel:
    """Calibration of a row by horizon, as its cell states it."""

    row: Row
    horizons: Sequence[Mapping[str, Any]]


def ticks(longest: float) -> tuple[float, ...]:
    """Round years from 0 to the longest follow-up, seven at most: where people at risk are counted."""
    if not longest > 0:
        return (0.0,)
    scale = 10.0 ** math.floor(math.log10(longest / _TICKS))
    counts = {s * scale: math.floor(longest / (s * scale) + 1e-9) + 1 for s in (1, 2, 5, 10, 20)}
    step = next(step for step, count in counts.items() if count <= _TICKS)
    return tuple(step * k for k in range(counts[step]))


def risk_figure(
    comparison: Comparison, outcome: str, words: str, panels: Sequence[RiskPanel], times: Sequence[float]
) -> dict[str, bytes]:
    """Kaplan-Meier curves by risk group, the numbers at risk below them; ``{"svg": ..., "png": ...}``."""
    with _style():
        figure, columns = panels_figure(len(panels), 3.3, 3.5)
        lowest = min((min(curve.low, default=1.0) for p in panels for curve in p.groups.curves), default=0.0)
        bottom = max(0.0, math.floor(10 * lowest - 0.2) / 10)
        end = max([curve.last for p in panels for curve in p.groups.curves], default=1.0)
        grid = figure.add_gridspec(
            2 * math.ceil(len(panels) / columns), columns, height_ratios=[3.0, 1.0] * math.ceil(len(panels) / columns)
        )
        for i, panel in enumerate(panels):
            row, column = 2 * (i // columns), i % columns
            axes, below = figure.add_subplot(grid[row, column]), figure.add_subplot(grid[row + 1, column])
            _curves(axes, panel)
            axes.set_xlim(0, end * 1.02)
            axes.set_ylim(bottom, 1.02 - 0.02 * bottom)
            axes.set_xticks(times, [f"{t:g}" for t in times])
            axes.set_xlabel("years", labelpad=1)
            axes.set_ylabel("" if column else "free of the event")
            _numbers(below, panel, times, end * 1.02)
            _stamp(axes, comparison, 24)
        _title(figure, comparison, f"{outcome}; {words}; {_tested(comparison)}")
        short = "" if bottom == 0 else f"; the axis starts at {bottom:g}"
        caption = f"Kaplan-Meier by group of predicted risk, with 95 % bands; hazard ratio per sd of risk{short}"
        footline(figure, caption)
        return _render(figure)


def _curves(axes: Axes, panel: RiskPanel) -> None:
    curves = panel.groups.curves
    colors = _GROUP_COLORS.get(len(curves), COLORS)
    for curve, color, line in zip(curves, colors, _GROUP_LINES, strict=False):
        time = [*curve.time, curve.last]
        survival, low, high = ([*values, values[-1]] for values in (curve.survival, curve.low, curve.high))
        axes.fill_between(time, low, high, step="post", color=color, alpha=0.15, lw=0)
        axes.step(time, survival, where="post", color=color, linestyle=line, lw=1.4, label=curve.name)
    p = panel.groups.log_rank_p
    tested = f"log-rank p {_p(p)}" if p is not None else f"no log-rank test: {panel.groups.log_rank_reason}"
    # Broken, or a long reason would squeeze the panel.
    words = "\n".join(line for text in (ratio_words(panel.groups.per_sd), tested) for line in textwrap.wrap(text, 44))
    box = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1.5}
    axes.text(0.03, 0.04, words, transform=axes.transAxes, fontsize=7.5, va="bottom", bbox=box)
    axes.set_title(_wrapped(panel.row))


def ratio_words(ratio: HazardRatio) -> str:
    """``HR per sd 1.52 [1.31, 1.77]``."""
    if ratio.value is None:
        return f"no hazard ratio: {ratio.reason}"
    return f"HR per sd {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def _numbers(axes: Axes, panel: RiskPanel, times: Sequence[float], end: float) -> None:
    """People at risk at every tick, a line per group in its colour."""
    curves = panel.groups.curves
    colors = _GROUP_COLORS.get(len(curves), COLORS)
    axes.set_xlim(0, end)
    axes.set_ylim(len(curves) + 0.2, -1.0)
    for k, (curve, color) in enumerate(zip(curves, colors, strict=False)):
        for t, count in zip(times, curve.at_risk, strict=True):
            axes.text(t, k + 0.3, f"{count:,}", ha="center", va="center", fontsize=7, color=color)
    names = [curve.name for curve in curves]
    axes.set_yticks([-0.6, *(k + 0.3 for k in range(len(curves)))], ["at risk", *names], fontsize=7.5)
    for k, (label, color) in enumerate(zip(axes.get_yticklabels()[1:], colors, strict=False)):
        label.set_color(color)
        line: dict[str, Any] = {"color": color, "linestyle": _GROUP_LINES[k], "lw": 1.4, "clip_on": False}
        axes.plot([-0.33, -0.24], [k + 0.3] * 2, transform=axes.get_yaxis_transform(), **line)
    axes.tick_params(length=0, pad=10)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)


def calibration_figure(
    comparison: Comparison, outcome: str, words: str, panels: Sequence[CalibrationPanel]
) -> dict[str, bytes]:
    """Observed over predicted risk in groups of rising prediction, by horizon; ``{"svg": ..., "png": ...}``."""
    with _style():
        figure, columns = panels_figure(len(panels), 3.0, 3.1)
        highest = max(
            (max(group["predicted"], group["high"]) for p in panels for h in p.horizons for group in drawn(h)),
            default=1.0,
        )
        top = min(1.0, math.ceil(10.5 * highest) / 10)
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(math.ceil(len(panels) / columns), columns, i + 1)
            axes.plot([0, top], [0, top], color="0.4", lw=0.9, linestyle="--", zorder=1)
            for k, horizon in enumerate(panel.horizons):
                _series(axes, horizon, k, len(panel.horizons))
            axes.set_xlim(0, top)
            axes.set_ylim(0, top)
            square(axes)
            axes.set_title(_wrapped(panel.row))
            axes.set_xlabel("predicted risk")
            axes.set_ylabel("" if i % columns else "observed risk")
            axes.legend(loc="upper left", fontsize=7.5, handlelength=1.2)
            _stamp(axes, comparison, 24)
        _title(figure, comparison, f"{outcome}; {words}; {_tested(comparison)}")
        caption = "groups of rising predicted risk; observed: one minus Kaplan-Meier, 95 % intervals; dashed: equal"
        footline(figure, caption)
        return _render(figure)


def drawn(horizon: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Groups of a horizon that have both numbers and an interval."""
    names = ("predicted", "observed", "low", "high")
    return [group for group in horizon.get("groups", ()) if all(group[name] is not None for name in names)]


def _series(axes: Axes, horizon: Mapping[str, Any], k: int, n: int) -> None:
    groups = drawn(horizon)
    x, y = (np.array([group[name] for group in groups], dtype=np.float64) for name in ("predicted", "observed"))
    low, high = (np.array([group[name] for group in groups], dtype=np.float64) for name in ("low", "high"))
    label = f"{horizon['years']:g} years" + ("" if groups else ": none")
    axes.errorbar(
        x, y, yerr=np.maximum([y - low, high - y], 0) if groups else None, color=COLORS[k % len(COLORS)],
        marker=MARKERS[k % len(MARKERS)], markersize=4, lw=1.0, elinewidth=0.9, capsize=2, label=label,
        zorder=3 + n - k,
    )  # fmt: skip
