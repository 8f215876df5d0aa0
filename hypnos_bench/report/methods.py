"""How the numbers came about: hyper-parameters chosen, proof of convergence, and provenance, read from cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypnos_bench.metrics.registry import find_metric
from hypnos_bench.report.comparison import Comparison, printed
from hypnos_bench.report.notes import short, span
from hypnos_bench.report.tables import escape, markdown_label, markdown_table
from hypnos_bench.spec import inputs_label
from hypnos_bench.store.cells import Cell

# Of what a head states about its fit, these describe the data, the objective or its course; they were not chosen.
_NOT_CHOSEN = {
    "at_edge", "best_lambda", "best_penalty", "certificate", "cv_unconverged", "demographics_filled", "events",
    "excluded", "fitted", "fold", "loss", "message", "n", "name", "null_loss", "objective", "passes_planned",
    "rule_reason", "seed", "status",
}  # fmt: skip
_NOT_CHOSEN_STEMS = ("n_", "training_")


def head_table(comparison: Comparison) -> str:
    """Per row and label budget: what was chosen, how often at an edge of the sweep, and how well converged."""
    odd = {"classification": "classes missing", "survival": "not fitted"}.get(comparison.kind)
    head = [
        "row", "shots", "models", "chosen", "at edge", *([odd] if odd else []), "max. decrement", "max. gradient",
        "max. steps",
    ]  # fmt: skip
    lines = []
    for row in comparison.rows:
        for shots in comparison.shots:
            fits = [fit for c in comparison.finished(row, shots) for fit in c.selected]
            if not fits:
                continue
            made, lost = models(fits)
            lacking = len(lost) if comparison.kind == "survival" else sum(bool(f.get("classes_missing")) for f in fits)
            proof = [fit.get("certificate", {}) for fit in fits]
            worst = [_largest(proof, name) for name in ("newton_decrement", "gradient_norm", "iterations")]
            edge = sum(bool(fit.get("at_edge")) for fit in made)
            lines.append(
                [
                    markdown_label(row),
                    escape(shots),
                    f"{len(made):,}",
                    escape(chosen(made)),
                    f"{edge:,}",
                    *([f"{lacking:,}"] if odd else []),
                    *worst,
                ]
            )
    return markdown_table(head, lines, keys=4) if lines else ""


def models(fits: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Models behind fits, and outcomes without one: a fit of many outcomes has a model for each that allows it.

    What a fit states beside its outcomes (ties, passes of a network) holds for every model.
    """
    made: list[Mapping[str, Any]] = []
    lost: list[Mapping[str, Any]] = []
    for fit in fits:
        shared = {name: value for name, value in fit.items() if name not in ("outcomes", "statuses", "penalty_scale")}
        if "outcomes" not in fit:
            made.append(shared)
            continue
        for outcome in fit["outcomes"]:
            (made if outcome.get("fitted") else lost).append({**shared, **outcome})
    return made, lost


def not_fitted(comparison: Comparison) -> list[str]:
    """Why outcomes have no model, with counts over all fits."""
    fits = [fit for cell in _done(comparison) for fit in cell.selected]
    counts = Counter(str(outcome.get("message") or outcome.get("status")) for outcome in models(fits)[1])
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{count:,} x {reason}" for reason, count in ordered[:5]]
    rest = sum(count for _, count in ordered[5:])
    if not said:
        return []
    return [f"Outcomes without a model, over all fits: {'; '.join([*said, *([f'{rest:,} x other'] if rest else [])])}"]


def chosen(fits: Sequence[Mapping[str, Any]]) -> str:
    """Chosen hyper-parameters over fits: ranges of numbers, counts of words."""
    names = {key for fit in fits for key in fit if not key.startswith(_NOT_CHOSEN_STEMS)} - _NOT_CHOSEN
    parts = []
    for name in sorted(names):
        values = [fit[name] for fit in fits if fit.get(name) is not None]
        if values and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            low, high = min(values), max(values)
            if low == high == 0:
                continue  # a count of nothing
            parts.append(f"{name} {_number(low, 3)}" + (f" to {_number(high, 3)}" if high != low else ""))
        elif values and all(isinstance(v, str) for v in values):
            counts = sorted(Counter(values).items())
            parts.append(f"{name} {', '.join(word if len(counts) == 1 else f'{word} ({n} x)' for word, n in counts)}")
    return "; ".join(parts) or "–"


def convergence(comparison: Comparison) -> str:
    """One sentence on the certificates of all fits."""
    proof = [fit["certificate"] for cell in _done(comparison) for fit in cell.selected if "certificate" in fit]
    if not proof:
        return "No fit states a certificate of convergence."
    reached = [p for p in proof if p.get("converged")]
    rules = sorted({str(p.get("criterion", "criterion not stated")) for p in proof})
    said = rules if len(rules) <= 3 else [*rules[:3], f"and {len(rules) - 3} more"]
    decrement, tolerance = _largest(proof, "newton_decrement"), _largest(proof, "tolerance")
    tested = "" if decrement == "–" else f"; largest decrement {decrement}, largest tolerance {tolerance}"
    several = any(len(fit.get("outcomes", ())) > 1 for cell in _done(comparison) for fit in cell.selected)
    nearest = ", that of the outcome nearest to its tolerance" if several else ""
    if comparison.kind == "survival":
        otherwise = "An outcome whose fit does not converge has no model and no score."
    else:
        otherwise = "A fit that does not converge is a failed cell, not a number."
    return (
        f"{len(reached)} of {len(proof)} fits carry a certificate of convergence{nearest} ({'; '.join(said)}{tested}). "
        f"{otherwise}"
    )


def task_line(comparison: Comparison) -> str:
    """What was asked: classes, number or outcomes, of which stretch."""
    task = comparison.spec["task"]
    if comparison.kind == "classification":
        asked = f"classes {', '.join(task['classes'])}"
    elif comparison.kind == "regression":
        asked = f"a number{f' ({comparison.column})' if comparison.column else ''}"
    else:
        horizons = ", ".join(f"{h:g}" for h in task.get("horizons", ()))
        asked = f"time to {comparison.column or 'an event'}{f', looked at {horizons} years' if horizons else ''}"
    if comparison.by_person:
        row = f"one row per {task['unit']}, pooled over the whole recording"
    else:
        row = f"one {task.get('unit', 'unit')} = {task.get('unit_s', '?')} s"
    return f"Task: {comparison.task}, {asked}, {row}, alignment {task.get('alignment', 'not stated')}"


def definitions(comparison: Comparison) -> list[str]:
    """What each metric means, in the words of the room that computes it."""
    task = comparison.spec["task"]
    classes, positive = task.get("classes", ()), task.get("positive")
    pooled = "test recordings" if comparison.by_person else f"{comparison.unit} of all test recordings"
    lines = [f"Unless said otherwise, scores are taken over the {pooled} together."]
    for name in comparison.metrics:
        # A metric may be gone, or renamed, since the cell was made: its number stays, unexplained.
        metric = find_metric(name, classes, positive, task.get("kind", "classification"))
        lines.append(
            f"{name} ({metric.title}): {metric.definition}" if metric else f"{name}: not known to this version"
        )
    if positive:
        lines.append(f"The positive class is {positive}.")
    if any(score.get("n_outcomes", 1) > 1 for cell in _done(comparison) for score in cell.scores.values()):
        lines.append("Of many outcomes a score is the unweighted mean over those in which it is defined.")
    return [*lines, *_thin_bootstraps(comparison)]


def _thin_bootstraps(comparison: Comparison) -> list[str]:
    wanted = comparison.spec.get("bootstrap", 0)
    lines = []
    for name in comparison.metrics:
        valid = [s["n_boot"] for c in _done(comparison) if "n_boot" in (s := c.scores.get(name, {}))]
        if valid and min(valid) < wanted:
            lines.append(
                f"{name} is undefined in some resamples: its interval rests on {min(valid)} of {wanted} at least"
            )
    return lines


def per_recording(comparison: Comparison) -> str:
    """Scores taken per recording, as cells state them, averaged over seeds; empty when none does."""
    tables = []
    for shots in comparison.shots:
        done = [comparison.finished(row, shots) for row in comparison.rows]
        lines = [[escape(m), *(_per_recording(cells, m) or "–" for cells in done)] for m in comparison.metrics]
        if any(text != "–" for line in lines for text in line[1:]):
            tables.append(markdown_table([escape(shots), *map(markdown_label, comparison.rows)], lines))
    if not tables:
        return ""
    head = "Over recordings, each scored by itself (averaged over seeds; n recordings where the score exists):"
    return "\n\n".join([head, *tables])


def _per_recording(cells: Sequence[Cell], metric: str) -> str:
    """``mean 0.681, sd 0.080 (n 16)``; a statistic that any seed lacks is left out."""
    blocks = [block for c in cells if (block := c.scores.get(metric, {}).get("per_recording"))]
    if not blocks:
        return ""
    names = [n for n in ("mean", "sd", "median") if all(isinstance(b.get(n), (int, float)) for b in blocks)]
    parts = [f"{name} {printed(sum(b[name] for b in blocks) / len(blocks))}" for name in names]
    counts = sorted(b["n"] for b in blocks if isinstance(b.get("n"), int))
    return ", ".join(parts) + (f" (n {span((counts[0], counts[-1]))})" if counts and parts else "")


def encoder_table(comparison: Comparison) -> str:
    """Per row: version, weights and settings of the encoder, and what the head saw."""
    lines = []
    for row in comparison.rows:
        spec = comparison.cells_of(row)[0].spec
        encoder, weights = spec["encoder"], spec["encoder"].get("weights")
        lines.append(
            [
                markdown_label(row),
                escape(str(encoder.get("version", "?"))),
                f"`{weights}`" if weights else "none",
                escape(short(encoder.get("settings", {}))),
                *([escape(inputs_label(spec["inputs"]))] if comparison.by_person else []),
            ]
        )
    head = ["row", "version", "weights (SHA-256)", "settings", *(["inputs"] if comparison.by_person else [])]
    return markdown_table(head, lines, keys=len(head))


def provenance(comparison: Comparison) -> list[str]:
    """Lines on versions, commit, machine, cohort and commands; all that differs between cells is listed."""
    origins = [cell.provenance for cell in comparison.cells]
    versions: dict[str, set[str]] = {}
    for origin in origins:
        for package, version in (origin.get("versions") or {}).items():
            versions.setdefault(package, set()).add(str(version))
    commits = {_commit(origin["git"]) for origin in origins if origin.get("git")}
    utc = sorted(str(origin["utc"]) for origin in origins if origin.get("utc"))
    machines = {name: _distinct(origin.get(name) for origin in origins) for name in ("platform", "device")}
    splits = _distinct(cell.provenance.get("split_hash") for cell in _done(comparison))
    lines = [
        f"Cells: {len(comparison.cells)}, hash `{comparison.hash}` (over their keys)",
        f"Cohort fingerprint: `{comparison.spec['cohort'].get('fingerprint', 'not stated')}`",
        f"Split hash: {', '.join(f'`{s}`' for s in splits)}" if splits else "",
        "Versions: " + ", ".join(f"{name} {' and '.join(sorted(v))}" for name, v in sorted(versions.items())),
        f"Commit: {', '.join(sorted(commits))}" if commits else "",
        *(f"{name.capitalize()}: {', '.join(map(escape, v))}" for name, v in machines.items() if v),
        f"Computed: {utc[0]}" + (f" to {utc[-1]}" if utc[-1] != utc[0] else "") if utc else "",
        *(f"Command: {code(command)}" for command in _distinct(o.get("command") for o in origins)),
    ]
    return [line for line in lines if line]


def code(text: str) -> str:
    """Inline code, whatever backticks the text holds."""
    fence = "`" * (1 + max((len(run) for run in _runs(text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def _runs(text: str) -> list[str]:
    return ["`" * len(part) for part in "".join(c if c == "`" else " " for c in text).split()]


def _commit(git: Mapping[str, Any]) -> str:
    return f"`{git.get('commit')}`" + (" with uncommitted changes" if git.get("dirty") else "")


def _distinct(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value})


def _done(comparison: Comparison) -> list[Cell]:
    return [cell for cell in comparison.cells if cell.status == "ok"]


def _largest(proof: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [p[name] for p in proof if isinstance(p.get(name), (int, float)) and not math.isnan(p[name])]
    return _number(max(values, default=None))


def _number(value: float | None, digits: int = 2) -> str:
    """Whole numbers in full, others with some significant digits."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"
