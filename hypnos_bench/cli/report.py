"""``hypnos-bench report``: tables and figures from saved cells; nothing is computed again."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.options import config_option, json_option, reports_option, results_option
from hypnos_bench.cli.output import print_json, say
from hypnos_bench.cli.settings import apply_settings

if TYPE_CHECKING:
    from hypnos_bench.store.cells import Cell


@click.command(
    "report",
    epilog="""\b
Examples:
  hypnos-bench report
  hypnos-bench report --task staging --cohort demo --results /data/results --reports /data/reports""",
)
@click.option("--task", multiple=True, help="Only these tasks; repeat for several.")
@click.option("--cohort", multiple=True, help="Only these cohorts; repeat for several.")
@results_option
@reports_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Print the tables of all saved cells and write them, with figures, to the reports folder."""
    values = apply_settings(ctx)
    from hypnos_bench.errors import DataError, IntegrityError
    from hypnos_bench.report import SideFiles, terminal_tables, write_report
    from hypnos_bench.store.cells import CellStore

    store = CellStore(values["results"])
    readable, problems = store.readable()
    cells = [
        cell
        for cell in readable
        if (not values["task"] or cell.spec["task"]["id"] in values["task"])
        and (not values["cohort"] or cell.spec["cohort"]["id"] in values["cohort"])
    ]
    for problem in problems:
        say(f"left out: {problem}")
    if not cells:
        raise DataError(f"no cells in {values['results']}; make some with: hypnos-bench run staging --cohort demo")
    _warn_of_old_stamps(values["results"], cells)
    sides = SideFiles(store)  # read once, for the terminal and the pages
    paths = write_report(cells, values["reports"], sides)
    pages = [path for path in paths if path.suffix == ".md"]
    if values["as_json"]:
        print_json([str(path) for path in paths])
    else:
        width = shutil.get_terminal_size((110, 24)).columns
        click.echo(terminal_tables(cells, color=sys.stdout.isatty(), width=width, store=sides))
    say(f"cells: {len(cells)}; report: {', '.join(map(str, pages))}")
    for problem in sides.problems:
        say(f"left out: {problem}")
    return IntegrityError.exit_code if problems or sides.problems else 0


def _warn_of_old_stamps(results: Path, cells: Sequence[Cell]) -> None:
    """Say of which encoders lists were added or removed after cells were stamped with what was known of exposure."""
    from hypnos_bench.exposure import is_stale
    from hypnos_bench.exposure.shelf import all_lists

    told = [cell for cell in cells if cell.n.get("exposure") and "untrained" not in cell.n.get("marks", ())]
    lists = all_lists(results)
    ids = [(cell, str(cell.spec["encoder"]["id"]), str(cell.spec["cohort"]["id"])) for cell in told]
    old = Counter(name for cell, name, cohort in ids if is_stale(cell.n["exposure"], name, cohort, lists))
    for name, count in sorted(old.items()):
        say(f"exposure of {name} is out of date in {count} cells: lists were added or removed; repeat their run")
