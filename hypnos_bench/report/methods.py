"""How the numbers came about: hyper-parameters chosen, proof of convergence, and provenance, read from cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypnos_bench.metrics.registry import metrics_for
from hypnos_bench.report.comparison import Comparison, printed
from hypnos_bench.report.notes import short, span
from hypnos_bench.report.tables import escape, markdown_label, markdown_table
from hypnos_bench.store.cells import Cell

# Of what a head states about its fit, these describe the data or the objective; they were not chosen.
_NOT_CHOSEN = {"n_rows", "n_recordings", "n_persons", "objective", "at_edge", "certificate", "fold"}


def head_table(comparison: Comparison) -> str:
    """Per encoder and label budget: what was chosen, how often at an edge of the sweep, and how well converged."""
    head = [
        "encoder",
        "shots",
        "fits",
        "chosen",
        "at edge",
        "classes missing",
        "max. decrement",
        "max. gradient",
        "max. steps",
    ]
    lines = []
    for row in comparison.rows:
        for shots in comparison.shots:
            fits = [fit for c in comparison.cells_of(row, shots) if c.status == "ok" for fit in c.selected]
            if not fits:
                continue
            edge = sum(bool(fit.get("at_edge")) for fit in fits)
            lacking = sum(bool(fit.get("classes_missing")) for fit in fits)
            proof = [fit.get("certificate", {}) for fit in fits]
            worst = [_largest(proof, name) for name in ("newton_decrement", "gradient_norm", "iterations")]
            lines.append(
                [
                    markdown_label(row),
                    escape(shots),
                    str(len(fits)),
                    escape(chosen(fits)),
                    str(edge),
                    str(lacking),
                    *worst,
                ]
            )
    return markdown_table(head, lines, keys=4) if lines else ""


def chosen(fits: Sequence[Mapping[str, Any]]) -> str:
    """Chosen hyper-parameters over fits: ranges of numbers, counts of words."""
    parts = []
    for name in sorted({key for fit in fits for key in fit} - _NOT_CHOSEN):
        values = [fit[name] for fit in fits if name in fit]
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            low, high = min(values), max(values)
            if low == high == 0:
                continue  # a count of nothing
            parts.append(f"{name} {low:.3g}" + (f" to {high:.3g}" if high != low else ""))
        elif all(isinstance(v, str) for v in values):
            counts = sorted(Counter(values).items())
            parts.append(f"{name} {', '.join(word if len(counts) == 1 else f'{word} ({n} x)' for word, n in counts)}")
    return "; ".join(parts) or "–"


def convergence(comparison: Comparison) -> str:
    """One sentence on the certificates of all fits."""
    proof = [fit["certificate"] for cell in _done(comparison) for fit in cell.selected if "certificate" in fit]
    if not proof:
        return "No fit states a certificate of convergence."
    reached = sum(bool(p.get("converged")) for p in proof)
    rules = sorted({str(p.get("criterion", "criterion not stated")) for p in proof})
    decrement, tolerance = _largest(proof, "newton_decrement"), _largest(proof, "tolerance")
    return (
        f"{reached} of {len(proof)} fits carry a certificate of convergence ({'; '.join(rules)}; largest decrement "
        f"{decrement}, largest tolerance {tolerance}). A fit that does not converge is a failed cell, not a number."
    )


def definitions(comparison: Comparison) -> list[str]:
    """What each metric means, in the words of the room that computes it."""
    task = comparison.spec["task"]
    known = metrics_for(task["classes"], task.get("positive"))
    lines = [f"Unless said otherwise, scores are pooled over the {comparison.unit} of all test recordings."]
    for name in comparison.metrics:
        # A metric may be gone, or renamed, since the cell was made: its number stays, unexplained.
        metric = known.get(name)
        lines.append(
            f"{name} ({metric.title}): {metric.definition}" if metric else f"{name}: not known to this version"
        )
    if task.get("positive"):
        lines.append(f"The positive class is {task['positive']}.")
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
        done = [[c for c in comparison.cells_of(row, shots) if c.status == "ok"] for row in comparison.rows]
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
    """Per encoder: version, settings, weights."""
    lines = []
    for row in comparison.rows:
        spec = comparison.cells_of(row)[0].spec["encoder"]
        settings = short(spec.get("settings", {}))
        weights = spec.get("weights")
        lines.append(
            [
                markdown_label(row),
                escape(str(spec.get("version", "?"))),
                f"`{weights}`" if weights else "none",
                escape(settings),
            ]
        )
    return markdown_table(["encoder", "version", "weights (SHA-256)", "settings"], lines, keys=4)


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


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
