"""``hypnos-bench doctor``: what of a cohort is on disk and would be lost; whether an encoder keeps its promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hypnos_bench.cli.options import (
    choose_workers,
    cohort_options,
    config_option,
    encoder_options,
    json_option,
    make_cohort_options,
    make_encoder_options,
    reports_option,
)
from hypnos_bench.cli.output import announce_work, print_json, print_table, progress, say
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.errors import DataError

LOST = 1
FAILED = 1
_WORDS = 220  # of a check's line that are shown; --json has all


@click.command(
    "doctor",
    epilog="""\b
Examples:
  hypnos-bench doctor cohort mros --root ~/nsrr
  hypnos-bench doctor cohort shhs --root ~/nsrr --cohort-settings mine.toml --json > shhs.json
  hypnos-bench doctor cohort demo
  hypnos-bench doctor encoder features
  hypnos-bench doctor encoder my_encoder.py:MyEncoder --set mine.width=64 --hours 1

Of a cohort only headers, annotations and tables are read. Exit code 0: nothing would be lost; 1: something would be,
and the report says what, where, and which setting helps; 3: no usable recording at all.

An encoder is asked to embed synthetic recordings: whole, cut, gappy, in other order, with channels missing. Exit code
0: no check failed; 1: some did; 2: no such encoder, or its code fails to load; 3: its weights are missing.""",
)
@click.argument("kind", type=click.Choice(["cohort", "encoder"]))
@click.argument("name")
@cohort_options
@encoder_options
@click.option(
    "--hours",
    type=click.FloatRange(min=0.02, max=24),
    default=0.2,
    show_default=True,
    help="Encoder: length of the recording whose time and memory are measured.",
)
@reports_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Look a cohort or an encoder over.

    Cohort: files, ids, channels, rates, labels, tables, exclusions with reasons. Encoder: its card, its rows, whether
    they are the same again and in other company, what it does where signal is missing, speed and memory.
    """
    values = apply_settings(ctx)
    return {"cohort": _cohort, "encoder": _encoder}[values["kind"]](values)


def _cohort(values: dict[str, Any]) -> int:
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


def _encoder(values: dict[str, Any]) -> int:
    from hypnos_bench.cli.options import choose_device
    from hypnos_bench.conformance import examine
    from hypnos_bench.encoders.registry import check_reference, uses_device
    from hypnos_bench.spec import plain
    from hypnos_bench.threads import one_thread

    name = values["name"]
    check_reference(name)
    options, line = choose_device(make_encoder_options(values, [name]), uses_device(name))
    if line:
        say(line)
    one_thread()
    report = examine(name, options, hours=values["hours"], progress=progress)
    failed = len(report.failed)
    verdict = f"{failed} of {len(report.checks)} checks failed: {', '.join(report.failed)}" if failed else "none failed"
    if values["as_json"]:
        print_json({**plain(report), "failed": list(report.failed)})
    else:
        marks = "".join(f" ({mark})" for mark in report.card.marks)
        click.echo(f"{report.card.title}{marks}: {name}, on synthetic recordings\n")
        print_table([[c.outcome, c.name, _clipped(c.words)] for c in report.checks], ["", "check", "what was found"])
        click.echo(f"\n{name}: {verdict}.")
    return FAILED if failed else 0


def _clipped(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= _WORDS else line[: _WORDS - 4] + " ..."


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
