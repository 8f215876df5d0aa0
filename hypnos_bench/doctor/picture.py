"""The overview of a cohort as a picture: which channels each recording has, and what it is labelled with.

One column per recording, or per stretch of recordings where there are more of them than the picture can show: there
the rarest way of making a channel is drawn, and the mean of the labels, and what cannot be used is marked in full.
"""

from __future__ import annotations

import io
import itertools
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.doctor.checkup import SIGNALS, UNSCORED, Checkup
from hypnos_bench.doctor.diagnosis import MISSING, Diagnosis
from hypnos_bench.doctor.text import counted

# Okabe & Ito (2008): colour-blind-safe, told apart in grey print by lightness. Vermilion is kept for faults.
_STAGE_COLORS = {
    "W": "#E69F00",
    "N1": "#56B4E9",
    "N2": "#0072B2",
    "N3": "#00334D",
    "R": "#CC79A7",
    UNSCORED: "#D9D9D9",
}
_WAYS = {
    "as named on the left": "#0072B2",
    "second way": "#56B4E9",
    "third way": "#009E73",
    "fourth way": "#E69F00",
    "another way": "#CC79A7",
}
_OTHERS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
_REST = "#7F7F7F"
_ABSENT, _RULED_OUT, _FAULT, _EDGE = "#FFFFFF", "#FFFFFF", "#D55E00", "#7F7F7F"
_TITLES = {
    "stage": "Sleep stages",
    "rhythm": "Heart rhythm",
    "minutes": "Apnea minutes",
    "record": "Label",
    "events": "Events",
}
_NAMED = 40  # recordings whose ids stand below
_COLUMNS = 900  # about one per pixel of the axes
_HEIGHT = 200  # rows of the raster in which shares of labels are drawn
_DPI = 150
_STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 9.0, "text.parse_math": False}

Columns = Sequence[Sequence[Checkup]]
"""Recordings by the column of the picture that shows them."""


def draw(diagnosis: Diagnosis) -> bytes:
    """Give the overview as PNG; the same bytes for the same diagnosis."""
    order = sorted(diagnosis.checkups, key=lambda c: (c.visit or "", c.recording))
    edges = np.linspace(0, len(order), min(len(order), _COLUMNS) + 1).astype(int)
    columns = [order[first:last] for first, last in itertools.pairwise(edges)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, height_ratios=[1, 1.1], sharex=True)
        _montage(upper, columns, diagnosis.montage)
        _labels(lower, columns, diagnosis)
        for axes in (upper, lower):
            axes.set_xlim(0, max(len(columns), 1))
        _name_recordings(lower, order, len(columns))
        figure.suptitle(_title(diagnosis), fontsize=11)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _title(d: Diagnosis) -> str:
    hours = f"{d.hours:,.1f}" if d.hours < 10 else f"{d.hours:,.0f}"
    numbers = f"{counted(d.n_recordings, 'recording')} of {counted(d.n_persons, 'person')}, {hours} hours"
    assumed = "; persons assumed: a recording without one counts as its own" if d.persons_assumed else ""
    left_out = f"; {len(d.excluded):,} left out" if d.excluded else ""
    mark = ["SIMULATED: nobody was recorded"] if d.simulated else []
    return "\n".join([*mark, *textwrap.wrap(d.title, 110), f"{numbers}{left_out}{assumed}"])


def _name_recordings(axes: Axes, order: Sequence[Checkup], n_columns: int) -> None:
    sorting = "by visit, then id" if len({c.visit for c in order}) > 1 else "by id"
    axes.set_xlabel(f"recordings, {sorting}")
    if len(order) <= _NAMED:
        ids = [_shortened(c.recording, 24) for c in order]
        axes.set_xticks(np.arange(len(order)) + 0.5, ids, rotation=90, fontsize=7)
        return
    ticks = [tick for tick in MaxNLocator(8, integer=True).tick_values(0, len(order)) if 0 <= tick <= len(order)]
    axes.set_xticks([tick * n_columns / len(order) for tick in ticks], [f"{tick:,.0f}" for tick in ticks])


def _montage(axes: Axes, columns: Columns, montage: Mapping[str, Mapping[str, int]]) -> None:
    """One row per canonical channel, coloured by the rank of the way in which it is made."""
    names, colors = [*_WAYS], {**_WAYS, MISSING: _ABSENT, SIGNALS: _FAULT}
    image = np.ones((len(CANONICAL_CHANNELS), max(len(columns), 1), 3))
    seen: set[str] = set()
    for row, channel in enumerate(CANONICAL_CHANNELS):
        rank = {way: names[min(i, len(names) - 1)] for i, way in enumerate(_ways(montage, channel))}
        states = [
            [SIGNALS if SIGNALS in c.problems else rank.get(c.montage.get(channel, ""), MISSING) for c in column]
            for column in columns
        ]
        overall = Counter(state for column in states for state in column)
        for i, column in enumerate(states):
            image[row, i] = to_rgb(colors[min(column, key=lambda state: (overall[state], state))])
        seen.update(overall)
    height = len(CANONICAL_CHANNELS)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, max(len(columns), 1), height, 0))
    axes.set_yticks(np.arange(height) + 0.5, [_row_label(channel, montage) for channel in CANONICAL_CHANNELS])
    axes.tick_params(bottom=False)
    axes.hlines(range(1, height), 0, max(len(columns), 1), colors="#BFBFBF", linewidth=0.8)
    axes.set_title("Channels", loc="left", fontsize=10)
    words = {MISSING: "absent", SIGNALS: "header cannot be read"}
    _legend(axes, [(words.get(state, state), color) for state, color in colors.items() if state in seen])


def _ways(montage: Mapping[str, Mapping[str, int]], channel: str) -> list[str]:
    return [way for way in montage.get(channel, {}) if way != MISSING]


def _row_label(channel: str, montage: Mapping[str, Mapping[str, int]]) -> str:
    ways = _ways(montage, channel)
    more = f" (+{len(ways) - 1})" if len(ways) > 1 else ""
    return f"{channel}: {_shortened(ways[0], 22)}{more}" if ways else f"{channel}: absent"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _labels(axes: Axes, columns: Columns, diagnosis: Diagnosis) -> None:
    """Shares of each label per recording, stacked; recordings that have none are marked."""
    kind = next((k for k in _TITLES if k in diagnosis.n_labelled), "stage")
    colors = _colors(kind, diagnosis.labels.get(kind, {}))
    image = np.ones((_HEIGHT, max(len(columns), 1), 3))
    for i, column in enumerate(columns):
        image[:, i] = _column(_mean_shares([c.labels.get(kind, {}) for c in column]), colors)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=(0, max(len(columns), 1), 0, 1))
    every = [c for column in columns for c in column]
    faults = [i for i, column in enumerate(columns) if any(_is_fault(c, kind) for c in column)]
    axes.bar(faults, 1, width=1, align="edge", color=_FAULT, linewidth=0, antialiased=False)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_title(f"{_TITLES[kind]} per recording", loc="left", fontsize=10)
    shown = [(_shortened(name, 24), color) for name, color in colors.items()]
    marks = [("none, or not to be used", _RULED_OUT)] if any(not _usable(c, kind) for c in every) else []
    marks += [("cannot be used", _FAULT)] if faults else []
    _legend(axes, [*shown, *marks])


def _usable(c: Checkup, kind: str) -> bool:
    return bool(c.labels.get(kind)) or _is_fault(c, kind)


def _is_fault(c: Checkup, kind: str) -> bool:
    return bool(c.problems) and (kind in c.problems or not c.labels.get(kind))


def _colors(kind: str, totals: Mapping[str, float]) -> dict[str, str]:
    """Label to colour, most frequent first; what goes beyond the palette is grey together."""
    if kind == "stage":
        return {name: color for name, color in _STAGE_COLORS.items() if totals.get(name)}
    names = sorted(totals, key=lambda name: (-totals[name], name))
    colors = dict(zip(names, _OTHERS, strict=False))
    return {**colors, "others": _REST} if len(names) > len(colors) else colors


def _mean_shares(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over recordings of each label's share; nothing where none has any."""
    sums = [sum(amounts.values()) for amounts in found]
    labelled = [(amounts, whole) for amounts, whole in zip(found, sums, strict=True) if whole > 0]
    shares: dict[str, float] = {}
    for amounts, whole in labelled:
        for name, amount in amounts.items():
            shares[name] = shares.get(name, 0.0) + amount / whole / len(labelled)
    return shares


def _column(shares: Mapping[str, float], colors: Mapping[str, str]) -> NDArray[np.float64]:
    """Raster of one column, top to bottom, shape (_HEIGHT, 3); the first label lies at the bottom."""
    if not shares:
        return np.tile(to_rgb(_RULED_OUT), (_HEIGHT, 1))
    parts = [shares.get(name, 0.0) for name in colors]
    if "others" in colors:
        parts[-1] = 1 - sum(parts[:-1])
    edges = np.round(np.cumsum(parts) * _HEIGHT).astype(int)
    which = np.minimum(np.searchsorted(edges, np.arange(_HEIGHT), side="right"), len(parts) - 1)
    table = np.array([to_rgb(color) for color in colors.values()])
    column: NDArray[np.float64] = table[which][::-1]
    return column


def _legend(axes: Axes, entries: Sequence[tuple[str, str]]) -> None:
    handles = [Patch(facecolor=color, edgecolor=_EDGE, linewidth=0.5, label=name) for name, color in entries]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, fontsize=8)
