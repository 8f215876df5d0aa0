"""``hypnos-bench export``: embeddings of the store in shapes that others read."""

from __future__ import annotations

from typing import Any

import click

from hypnos_bench.cli.options import (
    Folder,
    choose_device,
    cohort_options,
    config_option,
    encoder_options,
    json_option,
    make_cohort_options,
    make_encoder_options,
    results_option,
)
from hypnos_bench.cli.output import announce_work, print_json, progress, say
from hypnos_bench.cli.settings import apply_settings

FORMATS = ("npz", "npy", "h5", "safetensors", "parquet", "sleepfm", "osf")


@click.command(
    "export",
    epilog="""\b
Examples:
  hypnos-bench export --cohort demo --encoder features --format npz --out arrays/features
  hypnos-bench export --cohort mros --root ~/nsrr --encoder hypnos --pool-epochs --format parquet --out for-r
  hypnos-bench run staging --cohort demo --encoder precomputed:arrays/features

One file per recording, <recording>.json beside it with its times, and card.json for all. Only what is in the store is
exported: run hypnos-bench embed with the same options first. Exit code 1: some recordings were left out, and why.""",
)
@click.option("--cohort", multiple=True, help="Cohort id; one.")
@click.option("--encoder", multiple=True, help="Encoder whose embeddings are exported; one.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(FORMATS),
    default="npz",
    show_default=True,
    help="File format; sleepfm: HDF5 with BAS, RESP, EKG, EMG; osf: .npy with one row per 30-s epoch.",
)
@click.option("--out", type=Folder(), help="Folder to write to.")
@click.option("--pool-epochs", is_flag=True, help="Average rows over each 30-s epoch, as run does.")
@click.option("--overwrite", is_flag=True, help="Replace other files of the same names.")
@cohort_options
@encoder_options
@results_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Write embeddings of the store as npz, npy, h5, safetensors, parquet, or as SleepFM and OSF files."""
    values = apply_settings(ctx)
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.encoders.registry import make_encoder, uses_device
    from hypnos_bench.errors import DataError, UsageError
    from hypnos_bench.exporting.export import export_recordings
    from hypnos_bench.runner.plan import open_cohort
    from hypnos_bench.store.atomic import check_writable

    for name, example in (("cohort", "demo"), ("encoder", "features")):
        if len(set(values[name])) != 1:
            raise UsageError(f"export needs one --{name}, for example --{name} {example}")
    if values["out"] is None:
        raise UsageError("export needs --out, the folder to write to")
    cohort_id, encoder_id = values["cohort"][0], values["encoder"][0]
    options, _line = choose_device(make_encoder_options(values, [encoder_id]), uses_device(encoder_id))
    card = make_encoder(encoder_id, options).card
    check_writable(values["out"], instead="--out DIR")
    opening = make_cohort_options(values, cohort_id)
    announce_work(COHORTS.load(cohort_id), opening)
    cohort = open_cohort(cohort_id, opening)
    report = export_recordings(
        cohort.recordings,
        cohort.source_fingerprints,
        card,
        values["results"],
        values["out"],
        values["shape"],
        simulated=cohort.card.simulated,
        pool_epochs=values["pool_epochs"],
        overwrite=values["overwrite"],
        progress=progress,
    )
    if values["as_json"]:
        left_out = [{"recording": e.recording, "reason": e.reason} for e in report.left_out]
        print_json({"written": report.written, "kept": report.kept, "left_out": left_out, "out": str(values["out"])})
    else:
        mark = " (simulated)" if cohort.card.simulated else ""
        counts = f"{len(report.written)} written, {len(report.kept)} there already, {len(report.left_out)} left out"
        click.echo(f"{cohort_id}{mark} x {encoder_id} as {values['shape']}: {counts}, in {values['out']}")
        for item in report.left_out:
            say(f"  left out: {item.recording}: {item.reason}")
    if report.left_out and not report.written and not report.kept:
        first = report.left_out[0]
        raise DataError(f"nothing was exported: {first.recording}: {first.reason}")
    return 1 if report.left_out else 0
