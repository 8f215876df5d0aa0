"""Cells as a tidy frame, one row per cell and metric, and its summary over seeds. Nothing is scored here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from hypnos_bench.errors import IntegrityError
from hypnos_bench.spec import Shots, canonical_json, digest
from hypnos_bench.store.cells import Cell

VARIED = ("encoder", "inputs", "shots", "seed")
"""Parts of a spec that one table varies; all else must be equal for two numbers to be comparable."""

GROUP = ["task", "cohort", "head", "split", "context", "encoder", "variant", "shots", "metric"]
"""What :func:`summarise` keeps apart; seeds are what it averages over."""

_COUNTS = ("persons_train", "persons_available", "persons_test", "recordings_test", "units_test", "persons_total")


def unique_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without repeats, in an order that depends on their content alone.

    Raises
    ------
    IntegrityError
        When two cells carry the same key but different results: one of them must be wrong.
    """
    found: dict[str, Cell] = {}
    for cell in cells:
        other = found.setdefault(cell.key, cell)
        if _result(other) != _result(cell):
            raise IntegrityError(
                f"cell {cell.key[:12]}: found twice with different results; rerun it with --recompute and keep one"
            )
    return sorted(found.values(), key=lambda cell: (canonical_json([_ids(cell), cell.spec["seed"]]), cell.key))


def context_id(cell: Cell) -> str:
    """Digest of everything two comparable cells share."""
    return digest({part: value for part, value in cell.spec.items() if part not in VARIED})[:12]


def variant_id(cell: Cell) -> str:
    """Digest of the encoder and of what the head saw: version, weights, settings and pooling included."""
    return digest([cell.spec["encoder"], cell.spec.get("inputs")])[:12]


def row_name(cell: Cell) -> str:
    """Encoder id, with what stood beside the plain mean of its embedding: ``hypnos mean-sd + demographics``.

    Modalities follow where others were masked: ``hypnos [eeg, eog]`` with the head fitted on what is left, and
    ``hypnos [eeg, eog at test only]`` with a head that has learned from all of them.
    """
    inputs, name = cell.spec.get("inputs") or {}, str(cell.spec["encoder"]["id"])
    if not inputs.get("embedding", True):
        return name
    if kept := kept_modalities(cell):
        name += f" [{', '.join(kept)}]"
    if tested := inputs.get("tested_on"):
        name += f" [{', '.join(tested)} at test only]"
    pooling = f" {inputs['pooling']}" if inputs.get("pooling", "mean") != "mean" else ""
    return f"{name}{pooling}{' + demographics' if inputs.get('demographics') else ''}"


def kept_modalities(cell: Cell) -> list[str]:
    """Modalities that the encoder was shown, in training and test alike; none: all of them."""
    return [str(name) for name in cell.spec["encoder"].get("settings", {}).get("keep", ())]


def shots_label(cell: Cell) -> str:
    """Label budget as it is typed."""
    return Shots(**cell.spec["shots"]).label


def cells_frame(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per cell and metric; a failed cell keeps its rows, with NaN and its message.

    Parameters
    ----------
    cells : iterable of Cell
        In any order; repeats are dropped.

    Returns
    -------
    DataFrame
        Identity (``key``, ``task``, ``cohort``, ``head``, ``split``, ``context``, ``encoder``, ``variant``, ``shots``,
        ``seed``, ``metric``), result (``status``, ``message``, ``value``, ``low``, ``high``, ``higher_is_better``,
        ``target``, and a ``reason`` where a score has no value),
        counts of persons, recordings and units (``persons_train_max`` is the largest fold), and ``marks``.

    Raises
    ------
    IntegrityError
        As :func:`unique_cells`.
    """
    rows = [row for cell in unique_cells(cells) for row in _rows(cell)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Aggregate over seeds: one row per task, cohort, head, split, encoder, label budget and metric.

    Encoders of one id but other weights or settings, and cells over other data, are never averaged together:
    `variant` and `context` keep them apart.

    Returns
    -------
    DataFrame
        The columns of :data:`GROUP` and

        - ``mean``; ``sd`` over seeds (n - 1 in the denominator; NaN for one seed); ``seeds`` that gave a number;
          ``n_ok``, how many; ``n_planned``, the seeds that any encoder has at this budget in this context;
        - ``low``, ``high``: **mean of the seeds' bounds** of the 95 % bootstrap interval over test persons. Each seed's
          interval holds that draw's fit fixed, so this is the test-sampling uncertainty of a typical draw; the spread
          over draws is ``sd``, and the two are never mixed. NaN when any seed lacks its bounds;
        - ``undefined``, seeds whose fit succeeded but whose score has no value, and the ``reasons`` they state;
        - ``failures``: (message, count) pairs, most frequent first;
        - counts as (least, most) pairs, and ``marks``.
    """
    if frame.empty:
        return pd.DataFrame(columns=[*GROUP, *_SUMMARY])
    planned: dict[tuple[str, str], set[int]] = {}
    for name, seeds in frame.groupby(["context", "shots"])["seed"]:
        planned[name] = set(seeds)
    ordered = frame.sort_values([*GROUP, "seed", "key"], kind="stable")
    rows = []
    for names, group in ordered.groupby(GROUP, sort=True):
        row = dict(zip(GROUP, names, strict=True))
        rows.append({**row, **_summary(group, len(planned[row["context"], row["shots"]]))})
    return pd.DataFrame(rows, columns=[*GROUP, *_SUMMARY])


_IDENTITY = [
    "key", "task", "cohort", "head", "split", "context", "encoder", "variant", "shots", "shots_order", "seed",
    "metric", "metric_order",
]  # fmt: skip
_RESULT = ["status", "message", "value", "low", "high", "higher_is_better", "target", "reason"]
_COLUMNS = [*_IDENTITY, *_RESULT, *_COUNTS, "persons_train_max", "persons_available_max", "marks"]
_SUMMARY = [
    "shots_order", "metric_order", "mean", "sd", "seeds", "n_ok", "n_planned", "low", "high", "higher_is_better",
    "target", "undefined", "reasons", "failures", *_COUNTS, "marks",
]  # fmt: skip


def _result(cell: Cell) -> Any:
    return [cell.status, {m: dict(s) for m, s in cell.scores.items()}]


def _ids(cell: Cell) -> list[Any]:
    spec = cell.spec
    return [spec["task"]["id"], spec["cohort"]["id"], spec["head"]["id"], spec["encoder"]["id"], spec["shots"]]


def metrics_of(cells: Sequence[Cell]) -> list[str]:
    """Metrics of cells of one task, the task's own order first."""
    named = dict.fromkeys(m for cell in cells for m in cell.spec["task"].get("metrics", ()))
    return [*named, *sorted({m for cell in cells for m in cell.scores} - set(named))]


def _rows(cell: Cell) -> list[dict[str, Any]]:
    spec, n = cell.spec, cell.n
    shared: dict[str, Any] = {
        "key": cell.key,
        "task": spec["task"]["id"],
        "cohort": spec["cohort"]["id"],
        "head": spec["head"]["id"],
        "split": spec["split"]["kind"],
        "context": context_id(cell),
        "encoder": row_name(cell),
        "variant": variant_id(cell),
        "shots": shots_label(cell),
        # Shares among themselves and counts among themselves; a count of persons is the smaller budget as a rule.
        "shots_order": (spec["shots"]["kind"] == "percent", float(spec["shots"]["value"])),
        "seed": int(spec["seed"]),
        "status": cell.status,
        "message": " ".join((cell.message or "").split()),
        "marks": marks_of(cell),
        **{name: n.get(name, _from_folds(n, name)) for name in _COUNTS},
    }
    for name in ("persons_train", "persons_available"):
        shared[f"{name}_max"] = n.get(f"{name}_max", shared[name])
    rows = []
    for order, metric in enumerate(metrics_of([cell])):
        score: Mapping[str, Any] = cell.scores.get(metric, {})
        numbers = {k: _number(score.get(k)) for k in ("value", "low", "high")}
        way = {name: score.get(name) for name in ("higher_is_better", "target", "reason")}
        rows.append({**shared, "metric": metric, "metric_order": order, **numbers, **way})
    return rows


def marks_of(cell: Cell) -> tuple[str, ...]:
    """Words every table must carry, sorted; the cohort's own statement counts even where the counts lack it."""
    simulated = ["simulated"] if cell.spec["cohort"].get("simulated") else []
    return tuple(sorted({*cell.n.get("marks", ()), *simulated}))


def _from_folds(n: Mapping[str, Any], name: str) -> int | None:
    # A failed cell may know its first folds only; the count of the first is better than none.
    known = [fold[name] for fold in n.get("folds", ()) if name in fold]
    return known[0] if known and name in ("persons_train", "persons_available") else None


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _summary(group: pd.DataFrame, n_planned: int) -> dict[str, Any]:
    done = group[group["status"] == "ok"]
    known = done[done["value"].notna()]
    failed = Counter(group.loc[group["status"] == "failed", "message"])
    values, bounded = known["value"], len(known) > 0 and bool(known[["low", "high"]].notna().all(axis=None))
    better = {bool(b) for b in done["higher_is_better"] if b is not None}
    targets = {float(t) for t in done["target"] if not pd.isna(t)}
    if len(better) > 1 or len(targets) > 1:
        raise IntegrityError(
            f"metric {group['metric'].iloc[0]!r}: cells disagree on which way is better; rerun them with one version"
        )
    return {
        "shots_order": group["shots_order"].iloc[0],
        "metric_order": group["metric_order"].min(),
        "mean": values.mean() if len(values) else float("nan"),
        "sd": values.std(ddof=1) if len(values) > 1 else float("nan"),
        "seeds": tuple(int(seed) for seed in known["seed"]),
        "n_ok": len(known),
        "n_planned": n_planned,
        "low": known["low"].mean() if bounded else float("nan"),
        "high": known["high"].mean() if bounded else float("nan"),
        "higher_is_better": better.pop() if better else None,
        "target": targets.pop() if targets else None,
        "undefined": len(done) - len(known),
        "reasons": tuple(sorted({str(r) for r in done.loc[done["value"].isna(), "reason"] if not pd.isna(r)})),
        "failures": tuple(sorted(failed.items(), key=lambda pair: (-pair[1], pair[0]))),
        **{name: _range(group, name) for name in _COUNTS},
        "marks": tuple(sorted({mark for marks in group["marks"] for mark in marks})),
    }


def _range(group: pd.DataFrame, name: str) -> tuple[int, int] | None:
    values = [group[column].dropna() for column in (name, f"{name}_max") if column in group]
    known = [int(v) for column in values for v in column]
    return (min(known), max(known)) if known else None
