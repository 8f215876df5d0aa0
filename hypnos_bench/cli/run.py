"""``hypnos-bench run``: the main job, end to end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.options import (
    choose_device,
    choose_workers,
    cohort_options,
    config_option,
    encoder_options,
    json_option,
    make_cohort_options,
    make_encoder_options,
    reports_option,
    results_option,
    tasks_dir_option,
)
from hypnos_bench.cli.output import announce_work, print_json, print_table, progress, say
from hypnos_bench.cli.settings import apply_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypnos_bench.report import SideFiles
    from hypnos_bench.runner import RunOutcome
    from hypnos_bench.runner.plan import Block, RunRequest
    from hypnos_bench.spec import TaskSpec
    from hypnos_bench.store.cells import Cell, CellStore


@click.command(
    "run",
    epilog="""\b
Examples:
  hypnos-bench run staging --cohort demo --shots 1%
  hypnos-bench run staging --cohort mros --root ~/nsrr --shots 1% --shots 100% --encoder hypnos --encoder features
  hypnos-bench run arousal --cohort shhs --root ~/nsrr/shhs --head linear --head mlp --shots 10%
  hypnos-bench run mortality --cohort shhs --root ~/nsrr/shhs --pooling mean-sd
  hypnos-bench run disease-prevalent --column prevalent_diabetes --cohort mros --root ~/nsrr/mros
  hypnos-bench run af --cohort cpsc2021 --root ~/physionet/cpsc2021 --split cv5
  hypnos-bench run staging --cohort edf-folder --root nights/ --person-pattern '^(P\\d+)' --encoder features
  hypnos-bench run staging --cohort mros --config run.toml --dry-run

What is done already is not done again: cells and embeddings are looked up by a hash of every setting that can
change a number.""",
)
@click.argument("task")
@click.option("--cohort", "cohort", multiple=True, help="Cohort id; repeat for several.")
@click.option("--encoder", "encoder", multiple=True, help="Encoder id; repeat for several (default: the cohort's own).")
@click.option(
    "--shots",
    multiple=True,
    default=["100%"],
    show_default=True,
    help="Label budget: '1%' or '10p' of training persons; repeat.",
)
@click.option("--head", multiple=True, help="Head id; repeat for several (default: the task's first).")
@click.option(
    "--inputs",
    type=click.Choice(["embedding", "embedding+demographics"]),
    multiple=True,
    help="Whole recordings: what a head sees; repeat (default: both, and demographics alone beside them).",
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "mean-sd"]),
    multiple=True,
    help="Whole recordings: mean over the night, or mean and sd side by side; repeat (default: mean).",
)
@click.option(
    "--column", multiple=True, help="Column that a task without columns of its own asks about; outcomes may be several."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Few-shot draws (default: 10 below 5% and for counts, 5 below 100%, 1 at 100%).",
)
@click.option(
    "--split",
    type=click.Choice(["holdout", "cv5", "recording", "epoch"]),
    help="Default: the cohort's own. 'recording' and 'epoch' leak, to show how much: their cells are marked.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["check", "off"]),
    help="Find nearly equal recordings first and keep them on one side (default: the cohort's own).",
)
@cohort_options
@encoder_options
@results_option
@reports_option
@tasks_dir_option
@config_option
@click.option("--recompute", is_flag=True, help="Compute cells again even when they are saved.")
@click.option("--dry-run", is_flag=True, help="List the cells with done and missing counts; compute nothing.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Ask TASK of encoders on cohorts and print the table."""
    values = apply_settings(ctx)
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.errors import IntegrityError
    from hypnos_bench.runner import execute, plan

    request, line = make_request(values)
    for cohort_id in request.cohorts:
        announce_work(COHORTS.load(cohort_id), request.cohort_options[cohort_id])
    blocks = plan(request)
    if values["dry_run"]:
        _print_plan(blocks, values["as_json"])
        return 0
    if line and any(block.todo() for block in blocks):
        say(line)
    outcome = execute(request, blocks, progress=progress, say=say)
    if _print_outcome(request, outcome, values):
        return IntegrityError.exit_code
    return 1 if outcome.failed else 0


def make_request(values: dict[str, Any]) -> tuple[RunRequest, str | None]:
    """The request behind the options, and the line that names the device."""
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.encoders.registry import ENCODERS
    from hypnos_bench.errors import UsageError
    from hypnos_bench.provenance import command_line
    from hypnos_bench.runner.plan import RunRequest
    from hypnos_bench.spec import Shots
    from hypnos_bench.taskfiles import load_task

    task = with_columns(load_task(values["task"], values["tasks_dir"]), values["column"])
    if not values["cohort"]:
        raise UsageError(f"run {task.id} needs --cohort, for example --cohort {task.cohorts[0]}")
    cohorts = tuple(dict.fromkeys(values["cohort"]))
    encoders = tuple(dict.fromkeys(values["encoder"]))
    for name in encoders:
        ENCODERS.load(name)
    used = encoders or tuple(e for c in cohorts for e in COHORTS.load(c).card.encoders)
    options, line = choose_device(make_encoder_options(values), any(e.startswith("hypnos") for e in used))
    shots = tuple(dict.fromkeys(Shots.parse(text) for text in values["shots"]))
    request = RunRequest(
        task=task,
        cohorts=cohorts,
        encoders=encoders,
        shots=shots,
        results=values["results"],
        heads=tuple(dict.fromkeys(values["head"])),
        seeds=values["seeds"],
        split=values["split"],
        duplicates=values["duplicates"],
        **{name: tuple(dict.fromkeys(values[name])) for name in ("inputs", "pooling") if values[name]},
        cohort_options={c: make_cohort_options(values, c) for c in cohorts},
        encoder_options=options,
        workers=choose_workers(values),
        recompute=values["recompute"],
        command=command_line(),
    )
    return request, line


def with_columns(task: TaskSpec, columns: Sequence[str]) -> TaskSpec:
    """The task asking about the columns that the user names."""
    from dataclasses import replace

    from hypnos_bench.errors import UsageError

    if not columns:
        return task
    if task.label not in ("covariate", "outcome"):
        raise UsageError(f"--column is for tasks about tables; {task.id} asks about {task.label} labels")
    if task.columns and task.columns != ("*",):
        raise UsageError(f"task {task.id} has its own columns ({', '.join(task.columns)}); leave --column out")
    if task.label == "covariate" and len(set(columns)) > 1:
        raise UsageError(f"{task.id} asks about one column at a time; run it once per --column")
    return replace(task, columns=tuple(dict.fromkeys(columns)))


def _print_plan(blocks: list[Block], as_json: bool) -> None:
    from hypnos_bench.spec import inputs_label

    cells = [
        {
            "key": cell.spec.key,
            "state": cell.state,
            "task": cell.spec.task["id"],
            "cohort": block.cohort.card.id,
            "encoder": block.encoder.id,
            "inputs": inputs_label(cell.spec.inputs),
            "head": cell.spec.head.id,
            "shots": cell.spec.shots.label,
            "seed": cell.spec.seed,
        }
        for block in blocks
        for cell in block.cells
    ]
    counts = {state: sum(c["state"] == state for c in cells) for state in ("done", "missing", "failed")}
    if as_json:
        print_json({**counts, "cells": cells})
        return
    header = ["cohort", "encoder", "inputs", "head", "shots", "seed", "state", "key"]
    print_table([[*(str(c[name]) for name in header[:-1]), c["key"][:12]] for c in cells], header)
    click.echo(f"{len(cells)} cells: {counts['done']} done, {counts['missing']} missing, {counts['failed']} failed")


def _print_outcome(request: RunRequest, outcome: RunOutcome, values: dict[str, Any]) -> list[str]:
    """Print tables and write pages; returns what stood against stored side files."""
    from hypnos_bench.report import SideFiles, terminal_tables
    from hypnos_bench.store.cells import CellStore

    store = CellStore(request.results)
    sides = SideFiles(store)  # read once, for the terminal and the pages
    cells = [cell for cell in map(store.get, outcome.specs) if cell is not None]
    if outcome.computed == 0:
        say(f"nothing to do: all {outcome.cached} cells are done in {request.results}")
    counts = f"{outcome.computed} computed, {outcome.cached} found done, {outcome.failed} failed"
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
