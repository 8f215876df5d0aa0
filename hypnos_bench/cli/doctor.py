"""``hypnos-bench doctor``: what is on disk, what was understood of it, and what would be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hypnos_bench.cli.options import (
    choose_workers,
    cohort_options,
    config_option,
    json_option,
    make_cohort_options,
    reports_option,
)
from hypnos_bench.cli.output import announce_work, print_json, progress, say
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.errors import DataError

LOST = 1


@click.command(
    "doctor",
    epilog="""\b
Examples:
  hypnos-bench doctor cohort mros --root ~/nsrr
  hypnos-bench doctor cohort shhs --root ~/nsrr --cohort-settings mine.toml --json > shhs.json
  hypnos-bench doctor cohort demo

Only headers, annotations and tables are read. Exit code 0: nothing would be lost; 1: something would be, and the
report says what, where, and which setting helps; 3: no usable recording at all.""",
)
@click.argument("kind", type=click.Choice(["cohort"]))
@click.argument("name")
@cohort_options
@reports_option
@click.option("--workers", type=click.IntRange(min=1), help="Processes that read (default: one per core).")
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Look a cohort over: files, ids, channels, rates, labels, tables, exclusions with reasons."""
    values = apply_settings(ctx)
    from hypnos_bench.cli.cohort_text import expected_text
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.doctor import diagnose, examine_all
    from hypnos_bench.doctor.text import report, verdict
    from hypnos_bench.spec import plain

    name = values["name"]
    source, options = COHORTS.load(name), make_cohort_options(values, name)
    announce_work(source, options)
    cohort = source.open(options)
    examined = examine_all(cohort.recordings, cohort.card.labels, choose_workers(values))
    checkups = list(progress(examined, len(cohort.recordings), f"doctor {name}"))
    layout = _layout(name, source, options.settings)
    diagnosis = diagnose(cohort, checkups, layout)
    where = str(options.root) if options.root else "the cache"
    expected = expected_text(layout) if layout else ""
    if values["as_json"]:
        print_json({**plain(diagnosis), "expected": expected, "verdict": verdict(diagnosis)})
    else:
        click.echo(report(diagnosis, where, expected))
    # Last, so that a folder that cannot be written costs the picture only.
    say(f"picture: {_save_picture(diagnosis, Path(values['reports']) / f'doctor-{name}.png')}")
    if not diagnosis.n_readable:
        raise DataError(f"cohort {name}: no usable recording: not one of {len(checkups)} headers can be read")
    return LOST if diagnosis.losses else 0


def _layout(name: str, source: Any, settings: Path | None) -> Any:
    """The card's layout with the user's settings; ``None`` for cohorts that have no card."""
    if getattr(source, "layout", None) is None:
        return None
    from hypnos_bench.cohorts.card_toml import load_layout

    return load_layout(name, settings)


def _save_picture(diagnosis: Any, path: Path) -> Path:
    from hypnos_bench.doctor.picture import draw
    from hypnos_bench.store.atomic import atomic_write

    atomic_write(path, draw(diagnosis), instead="--reports DIR")
    return path
