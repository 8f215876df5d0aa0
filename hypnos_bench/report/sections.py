"""What a page shows of each kind of task beyond its scores: confusion, predictions, risk groups, outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.metrics.survival.risk_groups import HazardRatio
from hypnos_bench.report.comparison import Comparison, Row, printed
from hypnos_bench.report.figures import Panel, confusion_figure
from hypnos_bench.report.outcomes import outcomes_section
from hypnos_bench.report.predicted import Scatter, predicted_figure
from hypnos_bench.report.risk import CalibrationPanel, RiskPanel, calibration_figure, drawn, risk_figure, ticks
from hypnos_bench.report.tables import escape, markdown_label, markdown_table
from hypnos_bench.report.verdicts import p_value
from hypnos_bench.scoring.survival import SurvivalPredictions, outcome_risk_groups
from hypnos_bench.significance import Kept, SideFiles
from hypnos_bench.store.atomic import safe_name
from hypnos_bench.store.cells import Cell
from hypnos_bench.store.side import RegressionSide, SurvivalSide

Shown = TypeVar("Shown")
Made = dict[str, bytes]


def kind_section(comparison: Comparison, sides: SideFiles | None, made: Made) -> str:
    """The part of a page that depends on the kind of task; its files go into `made`."""
    if comparison.kind == "regression":
        return f"### Predicted and true\n\n{_predicted(comparison, sides, made)}"
    if comparison.kind != "survival":
        return f"### Confusion\n\n{_confusion(comparison, sides, made)}"
    names = {str(told["name"]) for cell in comparison.cells for told in cell.outcomes}
    if len(names) > 1:
        return outcomes_section(comparison, f"{safe_name(f'{comparison.slug}-outcomes')}.csv", made)
    outcome = names.pop() if names else comparison.column or comparison.task
    parts = [f"### Risk groups\n\n{_risk_groups(comparison, outcome, sides, made)}"]
    parts += [f"### Calibration\n\n{text}"] if (text := _calibration(comparison, outcome, made)) else []
    return "\n\n".join(parts)


def picture(stem: str, words: str, files: Mapping[str, bytes], made: Made) -> str:
    """Put an SVG and a PNG into `made` and link them."""
    names = {kind: f"{safe_name(stem)}.{kind}" for kind in files}
    made.update({names[kind]: content for kind, content in files.items()})
    return f"![{words}]({names['svg']})\n\n[PNG]({names['png']})"


def bullets(items: Sequence[str]) -> str:
    """Markdown list."""
    return "\n".join(f"- {item}" for item in items)


NOT_GIVEN = "Not shown: side files, which hold {}, were not given."


def _each(
    comparison: Comparison, what: str, panel: Callable[[Row, list[Cell]], Shown]
) -> tuple[list[Shown], list[str]]:
    """A panel per row at the fullest label budget, and a line on each row that has none."""
    panels, lacking = [], []
    for row in comparison.rows:
        cells = comparison.finished(row, comparison.fullest)
        if not cells:
            lacking.append(escape(f"{row.name}: no {what} (no result at {comparison.fullest})"))
            continue
        try:
            panels.append(panel(row, cells))
        except DataError as error:
            # Person-level files may be kept apart from results that are passed on.
            lacking.append(escape(f"{row.name}: no {what} ({error})"))
    return panels, lacking


def _side(sides: SideFiles, cell: Cell) -> Kept:
    try:
        return sides.of(cell)
    except DataError as error:
        raise DataError(f"side file of cell {cell.key[:12]} is not there") from error
    except IntegrityError as error:  # `sides.problems` keeps the message
        raise DataError(f"side file of cell {cell.key[:12]} is damaged") from error


def _confusion(comparison: Comparison, sides: SideFiles | None, made: Made) -> str:
    if sides is None:
        return NOT_GIVEN.format("the counts")

    def panel(row: Row, cells: list[Cell]) -> Panel:
        counts = [kept.confusion for cell in cells if (kept := _side(sides, cell)).confusion is not None]
        return Panel(row, np.mean(counts, axis=0), len(cells))

    panels, lacking = _each(comparison, "confusion matrix", panel)
    if not panels:
        return bullets(lacking)
    shots = comparison.fullest
    files = confusion_figure(comparison, shots, panels)
    text = f"At {escape(shots)}, summed over test recordings and averaged over seeds; rows are the true class."
    parts = [picture(f"{comparison.slug}-confusion", "confusion matrices", files, made), text, bullets(lacking)]
    return "\n\n".join(part for part in parts if part)


def _words(comparison: Comparison) -> str:
    """Which cells a picture of single cells shows."""
    cells = [found[0] for row in comparison.rows if (found := comparison.finished(row, comparison.fullest))]
    seeds = sorted({int(cell.spec["seed"]) for cell in cells})
    several = any(len(comparison.finished(row, comparison.fullest)) > 1 for row in comparison.rows)
    return f"at {comparison.fullest}" + (f", seed {' or '.join(map(str, seeds))}" if several else "")


def _predicted(comparison: Comparison, sides: SideFiles | None, made: Made) -> str:
    if sides is None:
        return NOT_GIVEN.format("the predictions")
    main = comparison.metrics[0]

    def panel(row: Row, cells: list[Cell]) -> Scatter:
        side = _side(sides, cells[0]).side
        assert isinstance(side, RegressionSide), "the side file of a regression task"
        value = cells[0].scores.get(main, {}).get("value")
        return Scatter(row, side.y_true, side.y_pred, math.nan if value is None else float(value))

    panels, lacking = _each(comparison, "predictions", panel)
    if not panels:
        return bullets(lacking)
    files = predicted_figure(comparison, _words(comparison), panels)
    return "\n\n".join(
        part
        for part in (picture(f"{comparison.slug}-predicted", "predicted and true", files, made), bullets(lacking))
        if part
    )


def _risk_groups(comparison: Comparison, outcome: str, sides: SideFiles | None, made: Made) -> str:
    if sides is None:
        return NOT_GIVEN.format("the predicted risks")

    def read(row: Row, cells: list[Cell]) -> tuple[Row, SurvivalSide]:
        side = _side(sides, cells[0]).side
        assert isinstance(side, SurvivalSide), "the side file of a survival task with one outcome"
        if not (side.at_risk.astype(bool) & ~np.isnan(side.risk)).any():
            raise DataError("nobody at risk has a predicted risk")
        return row, side

    read_sides, lacking = _each(comparison, "risk groups", read)
    if not read_sides:
        return bullets(lacking)
    times = ticks(max(float(side.time[side.at_risk.astype(bool)].max()) for _, side in read_sides))
    panels = [
        RiskPanel(row, outcome_risk_groups(SurvivalPredictions.of_side(side), 0, times=times))
        for row, side in read_sides
    ]
    head = ["row", "group", "n", "events", "hazard ratio", "p", "log-rank p"]
    lines = [line for panel in panels for line in _group_lines(panel)]
    files = risk_figure(comparison, outcome, _words(comparison), panels, times)
    text = (
        "Thirds of the test persons by predicted risk (cut within folds). Hazard ratios: of the middle and the high "
        "third against the low one, and per sd of predicted risk."
    )
    parts = [
        picture(f"{comparison.slug}-risk-groups", "Kaplan-Meier curves by risk group", files, made),
        text,
        markdown_table(head, lines, keys=2),
        bullets(lacking),
    ]
    return "\n\n".join(part for part in parts if part)


def _group_lines(panel: RiskPanel) -> list[list[str]]:
    groups = panel.groups
    ratios = {ratio.of.partition(" vs ")[0]: ratio for ratio in groups.against_lowest}
    log_rank = "–" if groups.log_rank_p is None else escape(p_value(groups.log_rank_p))
    lines = [
        [
            markdown_label(panel.row),
            curve.name,
            f"{curve.n:,}",
            f"{curve.events:,}",
            *_ratio(ratios.get(curve.name)),
            "",
        ]
        for curve in groups.curves
    ]
    total = [f"{sum(getattr(curve, name) for curve in groups.curves):,}" for name in ("n", "events")]
    return [*lines, [markdown_label(panel.row), "per sd", *total, *_ratio(groups.per_sd), log_rank]]


def _ratio(ratio: HazardRatio | None) -> list[str]:
    if ratio is None:
        return ["1", ""]
    if ratio.value is None or ratio.low is None or ratio.high is None or ratio.p is None:
        return [escape(f"none: {ratio.reason}"), "–"]
    return [f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]", escape(p_value(ratio.p))]


def _calibration(comparison: Comparison, outcome: str, made: Made) -> str:
    """Empty where no cell predicted survival."""
    shown = [(row, found[0]) for row in comparison.rows if (found := comparison.finished(row, comparison.fullest))]
    told = [(row, cell.outcomes[0]) for row, cell in shown if cell.outcomes and cell.outcomes[0].get("calibration")]
    if not told:
        return ""
    head = ["row", "years", "predicted risk", "observed risk", "E/O", "ICI", "slope of the risk"]
    lines = [
        [
            markdown_label(row),
            f"{horizon['years']:g}",
            _value(horizon["predicted"]),
            _interval(horizon["observed"], horizon["observed_low"], horizon["observed_high"]),
            _expected(horizon),
            _value(horizon["ici"]) if horizon["ici"] is not None else escape(f"none: {horizon.get('ici_reason')}"),
            _slope(outcome_told["calibration_slope"]) if k == 0 else "",
        ]
        for row, outcome_told in told
        for k, horizon in enumerate(outcome_told["calibration"])
    ]
    panels = [
        CalibrationPanel(row, outcome_told["calibration"])
        for row, outcome_told in told
        if any(drawn(horizon) for horizon in outcome_told["calibration"])
    ]
    text = (
        "Observed risk: one minus Kaplan-Meier; E/O: predicted over observed, best at 1; ICI: mean distance of "
        "predicted risk from the smoothed observed one; slope: of a Cox regression on the predicted log hazard, best "
        f"at 1. {escape(_words(comparison)[0].upper() + _words(comparison)[1:])}."
    )
    parts = [text, markdown_table(head, lines)]
    if panels:
        files = calibration_figure(comparison, outcome, _words(comparison), panels)
        parts.insert(0, picture(f"{comparison.slug}-calibration", "calibration", files, made))
    return "\n\n".join(parts)


def _value(value: float | None) -> str:
    return "–" if value is None else printed(value)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    bounds = "" if low is None or high is None else f" [{printed(low)}, {printed(high)}]"
    return _value(value) + bounds


def _expected(horizon: Mapping[str, Any]) -> str:
    predicted, observed = horizon["predicted"], horizon["observed"]
    return printed(predicted / observed, 2) if predicted is not None and observed else "–"


def _slope(slope: Mapping[str, Any]) -> str:
    if slope["value"] is None:
        return escape(f"none: {slope.get('reason')}")
    return _interval(slope["value"], slope["low"], slope["high"])
