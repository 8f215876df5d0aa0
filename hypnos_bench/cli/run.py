"""``hypnos-bench run``: the main job, end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.crews import choose_shard, crew_options, open_crew
from hypnos_bench.cli.options import (
    Folder,
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
from hypnos_bench.cli.output import announce_work, progress, say
from hypnos_bench.cli.run_text import print_outcome, print_plan
from hypnos_bench.cli.settings import apply_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hypnos_bench.runner import RunRequest
    from hypnos_bench.spec import TaskSpec

_SPLITS = [
    "holdout", "cv5", "recording", "epoch", "osf-recording", "osf-person", "sleepfm-recording", "sleepfm-person",
]  # fmt: skip


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
  hypnos-bench run staging --cohort mros --root ~/nsrr --encoder osf --encoder hypnos --modalities head-band
  hypnos-bench run staging --cohort mros --root ~/nsrr --split osf-person --split-lists ~/osf/splits --encoder osf
  hypnos-bench run staging --cohort mros --config run.toml --dry-run

Encoders of one run are compared on the recordings and epochs that all of them have embedded.

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
    type=click.Choice(_SPLITS),
    help="Default: the cohort's own. 'epoch' and all '...recording' leak, to show how much: their cells are marked.",
)
@click.option(
    "--split-lists",
    type=Folder(),
    multiple=True,
    help="Published lists of an osf- or sleepfm- split, or their folder; repeat.",
)
@click.option("--clean-only", is_flag=True, help="Test nobody whom an encoder of this run has seen in pre-training.")
@click.option(
    "--modalities",
    multiple=True,
    metavar="LIST|SETTING",
    help="Also ask each encoder with these alone, as in eeg,eog, or head-band, sleep-disorder, micro-architecture, "
    "in-home; repeat. Rows that see all of them always stand beside.",
)
@click.option(
    "--masking",
    type=click.Choice(["refit", "test"]),
    multiple=True,
    help="With --modalities: heads fitted on masked recordings too (default), or tested on them only; repeat.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["check", "off"]),
    help="Find nearly equal recordings first and keep them on one side (default: the cohort's own).",
)
@cohort_options
@encoder_options
@crew_options
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
    from hypnos_bench.runner.work import ComputeThere, compute_here

    request, line = make_request(values)
    for cohort_id in request.cohorts:
        announce_work(COHORTS.load(cohort_id), request.cohort_options[cohort_id])
    plans = plan(request)
    if values["dry_run"]:
        print_plan(plans, values["as_json"])
        return 0
    if line and any(part.todo() for part in plans):
        say(line)
    with open_crew(values) as crew:
        compute = compute_here if crew is None else ComputeThere(crew.cluster, crew.say)
        outcome = execute(request, plans, progress=progress, say=say, crew=crew, compute=compute)
    if print_outcome(request, outcome, values):
        return IntegrityError.exit_code
    return 1 if outcome.failed else 0


def make_request(values: dict[str, Any]) -> tuple[RunRequest, str | None]:
    """The request behind the options, and the line that names the device."""
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.encoders.registry import check_reference, uses_device
    from hypnos_bench.errors import UsageError
    from hypnos_bench.provenance import command_line
    from hypnos_bench.runner import RunRequest
    from hypnos_bench.spec import Shots
    from hypnos_bench.taskfiles import load_task

    task = with_columns(load_task(values["task"], values["tasks_dir"]), values["column"])
    if not values["cohort"]:
        raise UsageError(f"run {task.id} needs --cohort, for example --cohort {task.cohorts[0]}")
    cohorts = tuple(dict.fromkeys(values["cohort"]))
    encoders = tuple(dict.fromkeys(values["encoder"]))
    for name in encoders:
        check_reference(name)
    used = encoders or tuple(e for c in cohorts for e in COHORTS.load(c).card.encoders)
    options, line = choose_device(make_encoder_options(values, used), any(map(uses_device, used)))
    shots = tuple(dict.fromkeys(Shots.parse(text) for text in values["shots"]))
    shard = choose_shard(values)
    request = RunRequest(
        task=task,
        cohorts=cohorts,
        encoders=encoders,
        shots=shots,
        results=values["results"],
        heads=tuple(dict.fromkeys(values["head"])),
        seeds=values["seeds"],
        split=values["split"],
        split_lists=tuple(dict.fromkeys(values["split_lists"])),
        clean_only=values["clean_only"],
        modalities=choose_modalities(values),
        shard=str(shard or ""),
        duplicates=values["duplicates"],
        **{name: tuple(dict.fromkeys(values[name])) for name in ("inputs", "pooling", "masking") if values[name]},
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


def choose_modalities(values: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Subsets of ``--modalities``, each once; ``all`` stands for the rows that are always there."""
    from hypnos_bench.errors import UsageError
    from hypnos_bench.signals.kinds import parse_modalities

    if values["masking"] and not values["modalities"]:
        raise UsageError("--masking says what --modalities does: name some, as in --modalities eeg,eog")
    subsets = [parse_modalities(text) for text in values["modalities"]]
    return tuple(dict.fromkeys(keep for keep in subsets if keep is not None))
