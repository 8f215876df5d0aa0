"""Few-shot curve and confusion matrices: colour-blind-safe, readable in print, the same bytes for the same cells."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from hypnos_bench.report.comparison import FEW_PERSONS, Comparison, Row, Value
from hypnos_bench.report.notes import span
from hypnos_bench.report.tables import label

# Okabe & Ito (2008), without the yellow that vanishes on paper; black last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
PNG_DPI = 200

_UNITS = {"age": "years", "bmi": "kg/m²"}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # ids and class names mean themselves
    "svg.fonttype": "path",  # glyphs travel inside the file
    "svg.hashsalt": "hypnos-bench",
}


@dataclass(frozen=True)
class Panel:
    """Confusion matrix of one encoder: counts[true, predicted], summed over recordings and averaged over seeds."""

    row: Row
    counts: NDArray[np.float64]
    n_seeds: int


def panels_figure(n: int, width: float, height: float, columns: int = 3) -> tuple[Figure, int]:
    """A figure with room for `n` panels, and how many stand side by side."""
    side_by_side = min(n, columns)
    size = (max(width * side_by_side, 5.2), height * math.ceil(n / side_by_side) + 0.8)
    return Figure(figsize=size, layout="constrained"), side_by_side


def square(axes: Axes) -> None:
    """Both axes at one scale, with the same few ticks."""
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def unit_of(comparison: Comparison) -> str:
    """Unit of a predicted number, as far as its column tells; empty where it does not."""
    if comparison.kind != "regression":
        return ""
    return "events per hour" if comparison.column.startswith("ahi") else _UNITS.get(comparison.column, "")


def _metric(comparison: Comparison) -> str:
    """Main metric, with the unit of those that have that of the quantity."""
    main, unit = comparison.metrics[0], unit_of(comparison)
    return f"{main} ({unit})" if unit and main in ("mae", "rmse", "bias") else main


def few_shot_curve(comparison: Comparison) -> dict[str, bytes]:
    """Main metric against training persons, one line per encoder; ``{"svg": ..., "png": ...}``.

    Thin bars with caps are sd over seeds, the light band is the bootstrap interval over test persons. With one label
    budget there is no curve: encoders stand below each other as points, with a light bar instead of the band.
    """
    with _style():
        single = len(comparison.shots) == 1 or not _persons(comparison)
        height = 1.7 + 0.42 * len(comparison.rows) if single else 3.9
        figure = Figure(figsize=(6.4, height), layout="constrained")
        axes = figure.add_subplot()
        (_points if single else _curves)(axes, comparison)
        _caption(figure, axes, comparison)
        return _render(figure)


def confusion_figure(comparison: Comparison, shots: str, panels: Sequence[Panel]) -> dict[str, bytes]:
    """One row-normalised confusion matrix per encoder, with per cent and counts; ``{"svg": ..., "png": ...}``."""
    with _style():
        n_columns = min(len(panels), 3)
        n_rows = math.ceil(len(panels) / n_columns)
        classes = list(comparison.spec["task"]["classes"])
        side = max(2.6, 0.62 * len(classes) + 0.7)
        figure = Figure(figsize=(max(side * n_columns, 5.2), (side + 0.45) * n_rows + 0.7), layout="constrained")
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(n_rows, n_columns, i + 1)
            _matrix(axes, panel, classes)
            axes.set_ylabel("" if i % n_columns else "true")
            _stamp(axes, comparison, 24)
        seeds = {panel.n_seeds for panel in panels}
        mean = f"; counts are means over {span((min(seeds), max(seeds)))} seeds" if max(seeds) > 1 else ""
        _title(figure, comparison, f"{_budget(comparison, shots)}; {_tested(comparison)}")
        footline(figure, f"per cent of the true class, {comparison.unit} below{mean}")
        return _render(figure)


def _curves(axes: Axes, comparison: Comparison) -> None:
    persons = _persons(comparison)
    metric = comparison.metrics[0]
    offsets = _dodge(len(comparison.rows), min(_ratios(list(persons.values())), default=2.0))
    for i, (row, offset) in enumerate(zip(comparison.rows, offsets, strict=True)):
        known = _places(comparison, row, metric, persons)
        if not known:
            axes.plot([], [], " ", label=f"{_wrapped(row)}\nno value: see the table")
            continue
        x, values = [k * offset for k in known], list(known.values())
        color = COLORS[i % len(COLORS)]
        _line(axes, x, values, row, i, color)
        bounded = [not math.isnan(v.low) for v in values]
        axes.fill_between(
            x, [v.low for v in values], [v.high for v in values], where=bounded, color=color, alpha=0.15, lw=0
        )
        # A point without neighbours spans no band, but still has its interval.
        axes.vlines(x, [v.low for v in values], [v.high for v in values], color=color, alpha=0.3, lw=4)
    axes.set_xscale("log")
    ticks = _merged(persons)
    axes.set_xticks(list(ticks), [f"{'/'.join(names)}\n{_count(comparison, names[0])}" for names in ticks.values()])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(ticks) / 1.35, max(ticks) * 1.35)
    axes.set_xlabel("label budget (training persons, log scale)")
    axes.set_ylabel(_metric(comparison))
    axes.grid(axis="y", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), handlelength=3.2)


def _line(axes: Axes, x: Sequence[float], values: Sequence[Value], row: Row, i: int, color: str) -> None:
    spread = [0.0 if math.isnan(v.sd) else v.sd for v in values]
    axes.errorbar(
        x,
        [v.mean for v in values],
        yerr=spread if any(spread) else None,
        color=color,
        marker=MARKERS[i % len(MARKERS)],
        linestyle=LINES[i % len(LINES)],
        markersize=5,
        lw=1.4,
        elinewidth=1.0,
        capsize=3,
        label=_wrapped(row),
        zorder=3,
    )


def _points(axes: Axes, comparison: Comparison) -> None:
    shots, metric = comparison.shots[0], comparison.metrics[0]
    places = list(range(len(comparison.rows)))[::-1]
    for i, (row, y) in enumerate(zip(comparison.rows, places, strict=True)):
        value = _value(comparison, row, shots, metric)
        if value is None:
            axes.text(
                0.02, y, "no value: see the table", transform=axes.get_yaxis_transform(), va="center", color="0.35"
            )
            continue
        color = COLORS[i % len(COLORS)]
        axes.hlines([y], [value.low], [value.high], color=color, alpha=0.25, lw=9)
        axes.errorbar(
            value.mean,
            y,
            xerr=None if math.isnan(value.sd) else value.sd,
            color=color,
            marker=MARKERS[i % len(MARKERS)],
            markersize=6,
            elinewidth=1.2,
            capsize=4,
            zorder=3,
        )
    axes.set_yticks(places, [label(row) for row in comparison.rows])
    axes.set_ylim(-0.6, len(places) - 0.4)
    axes.margins(x=0.12)
    axes.set_xlabel(f"{_metric(comparison)} with {_budget(comparison, shots)}")
    axes.grid(axis="x", color="0.9", lw=0.6)
    axes.set_axisbelow(True)


def _matrix(axes: Axes, panel: Panel, classes: Sequence[str]) -> None:
    totals = panel.counts.sum(axis=1, keepdims=True)
    share = np.divide(panel.counts, totals, out=np.zeros_like(panel.counts), where=totals > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(share.shape):
        text = f"{100 * share[true, predicted]:.0f}" if totals[true, 0] else "–"
        tone = "white" if share[true, predicted] > 0.55 else "black"
        axes.text(predicted, true - 0.12, text, ha="center", va="center", color=tone, fontsize=8.5)
        count = f"{panel.counts[true, predicted]:,.0f}"
        axes.text(predicted, true + 0.25, count, ha="center", va="center", color=tone, fontsize=6)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_title(_wrapped(panel.row))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _places(comparison: Comparison, row: Row, metric: str, persons: Mapping[str, float]) -> dict[float, Value]:
    """Values of a row by number of persons; of budgets with the same number, the one with most seeds."""
    found: dict[float, Value] = {}
    for shots, place in persons.items():
        value = _value(comparison, row, shots, metric)
        if value and (place not in found or len(value.seeds) > len(found[place].seeds)):
            found[place] = value
    return found


def _title(figure: Figure, comparison: Comparison, second: str) -> None:
    """Title across the figure, broken where it would be cut off."""
    columns = int(figure.get_figwidth() * 13)
    lines = [line for text in (comparison.title, second) for line in textwrap.wrap(text, columns)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=9.5)


def _caption(figure: Figure, axes: Axes, comparison: Comparison) -> None:
    _title(figure, comparison, _tested(comparison))
    shown = [v for (_, _, metric), v in comparison.values.items() if metric == comparison.metrics[0]]
    parts = ["bars with caps: sd over seeds"] if any(v.sd > 0 for v in shown) else []
    parts += ["light: 95 % bootstrap interval over test persons"] if any(v.high >= v.low for v in shown) else []
    footline(figure, "; ".join(parts))
    _stamp(axes, comparison, 34)


def _stamp(axes: Axes, comparison: Comparison, size: float) -> None:
    """Print across every panel what nobody may cut off it."""
    if comparison.simulated:
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "simulated", rotation=25, fontsize=size, color="0.5", alpha=0.22, zorder=10, **middle)


def _tested(comparison: Comparison) -> str:
    count = comparison.count("persons_test")
    few = ": far too few for a result" if count is not None and count[0] < FEW_PERSONS else ""
    return f"{span(count)} test person{'' if count == (1, 1) else 's'}{few}"


def _persons(comparison: Comparison) -> dict[str, float]:
    """Label budgets that have a place on the axis: mean of the smallest and largest number of persons."""
    counts = {shots: comparison.count("persons_train", shots) for shots in comparison.shots}
    return {shots: (c[0] + c[1]) / 2 for shots, c in sorted(counts.items(), key=lambda i: i[1] or (0, 0)) if c}


def _merged(persons: Mapping[str, float]) -> dict[float, list[str]]:
    """Budgets by place: in a small cohort 1 % and 5 % may be the same person."""
    ticks: dict[float, list[str]] = {}
    for shots, x in persons.items():
        ticks.setdefault(x, []).append(shots)
    return ticks


def _count(comparison: Comparison, shots: str) -> str:
    count = comparison.count("persons_train", shots)
    return f"{span(count)} person{'' if count == (1, 1) else 's'}"


def _budget(comparison: Comparison, shots: str) -> str:
    count = comparison.count("persons_train", shots)
    persons = f"{span(count)} training person{'' if count == (1, 1) else 's'}"
    return f"{shots} = {persons}" if shots.endswith("%") else persons


def _ratios(places: Sequence[float]) -> list[float]:
    ordered = sorted(set(places))
    return [high / low for low, high in pairwise(ordered)]


def _dodge(n: int, ratio: float) -> list[float]:
    """Factors around 1 that keep markers of n encoders apart, within a third of the way to the next budget."""
    width = min(math.log(ratio) / 3, 0.05 * (n - 1))
    return [math.exp(width * (i / (n - 1) - 0.5)) if n > 1 else 1.0 for i in range(n)]


def _value(comparison: Comparison, row: Row, shots: str, metric: str) -> Value | None:
    value = comparison.values.get((row.id, shots, metric))
    return None if value is None or math.isnan(value.mean) else value


def _wrapped(row: Row) -> str:
    """Name and marks of a row in lines that fit above a panel or into a legend."""
    texts = [row.name, *([f"({', '.join(row.marks)})"] if row.marks else [])]
    return "\n".join(line for text in texts for line in textwrap.wrap(text, 34))


def footline(figure: Figure, text: str) -> None:
    """What a reader must know about a figure, below it, broken where it would be cut off."""
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 16))
    figure.supxlabel("\n".join(lines), fontsize=7.5, color="0.25")


@contextmanager
def _style() -> Iterator[None]:
    """Our own settings, whatever the user's matplotlibrc says, and theirs again afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _render(figure: Figure) -> dict[str, bytes]:
    svg, png = io.BytesIO(), io.BytesIO()
    FigureCanvasSVG(figure)
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return {"svg": svg.getvalue(), "png": png.getvalue()}
