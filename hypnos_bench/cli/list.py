"""``hypnos-bench list``: what there is."""

from __future__ import annotations

from typing import Any

import click

from hypnos_bench.cli.options import config_option, json_option, tasks_dir_option
from hypnos_bench.cli.output import print_json, print_table, say
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.errors import UsageError

_KINDS = ("tasks", "cohorts", "encoders", "heads")


@click.command(
    "list",
    epilog="""\b
Examples:
  hypnos-bench list tasks
  hypnos-bench list encoders --json""",
)
@click.argument("kind", type=click.Choice(_KINDS))
@tasks_dir_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """List tasks, cohorts, encoders or heads."""
    values = apply_settings(ctx)
    broken: list[str] = []
    rows = {"tasks": lambda: _tasks(values, broken), "encoders": lambda: _encoders(broken)}.get(
        values["kind"], lambda: _rows(values["kind"])
    )()
    if values["as_json"]:
        print_json(rows)
    else:
        print_table([[row["id"], row["title"]] for row in rows], ["id", "title"])
    for line in broken:
        say(f"error: {line}")
    return UsageError.exit_code if broken else 0


def _rows(kind: str) -> list[dict[str, Any]]:
    if kind == "cohorts":
        from hypnos_bench.cohorts.registry import COHORTS

        cards = [COHORTS.load(name).card for name in COHORTS.ids()]
        return [{"id": c.id, "title": c.title, "labels": list(c.labels), "simulated": c.simulated} for c in cards]
    from hypnos_bench.heads.registry import HEADS, head_kind, head_title

    return [{"id": name, "kind": head_kind(name), "title": head_title(name)} for name in HEADS.ids()]


def _encoders(broken: list[str]) -> list[dict[str, Any]]:
    """Rows of the encoders whose module can be imported; one line is added to `broken` for each that cannot."""
    from hypnos_bench.encoders.registry import ENCODERS

    rows = []
    for name in ENCODERS.ids():
        try:
            found = ENCODERS.load(name)
        except UsageError as error:
            broken.append(str(error))
            continue
        rows.append({"id": name, "title": str(getattr(found, "title", "")), "plugin": not ENCODERS.is_builtin(name)})
    return rows


def _tasks(values: dict[str, Any], broken: list[str]) -> list[dict[str, Any]]:
    """Rows of the tasks that can be read; one line is added to `broken` for each that cannot."""
    from hypnos_bench.taskfiles import load_task, task_paths

    tasks = []
    for name in sorted(task_paths(values["tasks_dir"])):
        try:
            tasks.append(load_task(name, values["tasks_dir"]))
        except UsageError as error:
            broken.append(" ".join(str(error).split()))
    return [{"id": t.id, "title": t.title, "classes": list(t.classes), "metrics": list(t.metrics)} for t in tasks]
