"""What ``run`` prints: its plan, or its tables and pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypnos_bench.report import SideFiles
    from hypnos_bench.runner import CohortPlan, RunOutcome, RunRequest
    from hypnos_bench.store.cells import Cell, CellStore


def print_plan(plans: Sequence[CohortPlan], as_json: bool) -> None:
    """Cells with what is known of them; provisional keys are those of a run in which no encoder loses anything."""
    from hypnos_bench.spec import inputs_label

    cells = [
        {
            "key": cell.spec.key,
            "provisional": not part.settled,
            "state": cell.state,
            "task": cell.spec.task["id"],
            "cohort": part.cohort.card.id,
            "encoder": block.name,
            "inputs": inputs_label(cell.spec.inputs),
            "head": cell.spec.head.id,
            "shots": cell.spec.shots.label,
            "seed": cell.spec.seed,
        }
        for part in plans
        for block in part.blocks
        for cell in block.cells
    ]
    counts = {state: sum(c["state"] == state for c in cells) for state in ("done", "missing", "failed")}
    if as_json:
        print_json({**counts, "cells": cells})
        return
    header = ["cohort", "encoder", "inputs", "head", "shots", "seed", "state", "key"]
    print_table([[*(str(c[name]) for name in header[:-1]), c["key"][:12]] for c in cells], header)
    click.echo(f"{len(cells)} cells: {counts['done']} done, {counts['missing']} missing, {counts['failed']} failed")
    if not all(part.settled for part in plans):
        click.echo("keys may change: recordings in common are not known before embedding")


def print_outcome(request: RunRequest, outcome: RunOutcome, values: dict[str, Any]) -> list[str]:
    """Print tables and write pages; returns what stood against stored side files."""
    from hypnos_bench.report import SideFiles, terminal_tables
    from hypnos_bench.store.cells import CellStore

    store = CellStore(request.results)
    sides = SideFiles(store)  # read once, for the terminal and the pages
    cells = [cell for cell in map(store.get, outcome.specs) if cell is not None]
    if outcome.computed == outcome.elsewhere == 0:
        say(f"nothing to do: all {outcome.cached} cells are done in {request.results}")
    counts = f"{outcome.computed} computed, {outcome.cached} found done, {outcome.failed} failed"
    if outcome.elsewhere:
        counts += f", {outcome.elsewhere} left to other shards"
    try:
        if values["as_json"]:
            print_json([_summary(cell, store) for cell in cells])
        else:
            click.echo(terminal_tables(cells, color=sys.stdout.isatty(), width=_width(), store=sides))
    finally:  # a reader that has gone (head) does not cost the report
        pages = _write_reports(request, store, sides, values["reports"])
        say(f"cells: {counts}; report: {', '.join(map(str, pages))}")
    for problem in sides.problems:
        say(f"left out of the report: {problem}")
    return sides.problems


def _write_reports(request: RunRequest, store: CellStore, sides: SideFiles, folder: Path) -> list[Path]:
    """Pages on everything saved for these questions, by this run or an earlier one."""
    from hypnos_bench.report import write_across, write_report

    pages: list[Path] = []
    for cohort in request.cohorts:
        saved, problems = store.readable(cohort, request.task.id)
        for problem in problems:
            say(f"left out of the report: {problem}")
        pages += [path for path in write_report(saved, folder, sides) if path.suffix == ".md"]
    everywhere, _ = store.readable("*", request.task.id)
    return pages + [path for path in write_across(everywhere, folder) if path.suffix == ".md"]


def _summary(cell: Cell, store: CellStore) -> dict[str, Any]:
    from hypnos_bench.spec import Shots, inputs_label

    spec = cell.spec
    return {
        "key": cell.key,
        "path": str(store.path(spec, cell.key)),
        "status": cell.status,
        "message": cell.message,
        **{part: spec[part]["id"] for part in ("task", "cohort", "encoder", "head")},
        "shots": Shots(**spec["shots"]).label,
        "seed": spec["seed"],
        "inputs": inputs_label(spec["inputs"]),
        "encoder_settings": spec["encoder"]["settings"],
        "marks": cell.n.get("marks", []),
        "scores": cell.scores,
        **({"outcomes": cell.outcomes} if cell.outcomes else {}),
    }


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((110, 24)).columns
