"""``hypnos-bench embed``: phase 1 alone, on this machine or another."""

from __future__ import annotations

from typing import Any

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
    results_option,
)
from hypnos_bench.cli.output import announce_work, print_json, progress, say
from hypnos_bench.cli.settings import apply_settings


@click.command(
    "embed",
    epilog="""\b
Examples:
  hypnos-bench embed --cohort mros --root ~/nsrr --encoder hypnos --workers 4
  hypnos-bench embed --cohort edf-folder --root nights/ --encoder features --results /data/results""",
)
@click.option("--cohort", "cohort", multiple=True, help="Cohort id; repeat for several.")
@click.option("--encoder", "encoder", multiple=True, help="Encoder id; repeat for several (default: the cohort's own).")
@cohort_options
@encoder_options
@results_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Embed every recording of a cohort into the store; what is there already is reused."""
    values = apply_settings(ctx)
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.embed import embed_recordings
    from hypnos_bench.encoders.registry import ENCODERS
    from hypnos_bench.errors import UsageError
    from hypnos_bench.runner.plan import open_cohort
    from hypnos_bench.store.atomic import check_writable
    from hypnos_bench.threads import one_thread

    if not values["cohort"]:
        raise UsageError("embed needs --cohort, for example --cohort demo")
    for name in values["encoder"]:
        ENCODERS.load(name)
    one_thread()
    check_writable(values["results"])
    rows: list[dict[str, Any]] = []
    for cohort_id in dict.fromkeys(values["cohort"]):
        opening = make_cohort_options(values, cohort_id)
        announce_work(COHORTS.load(cohort_id), opening)
        cohort = open_cohort(cohort_id, opening)
        for encoder_id in dict.fromkeys(values["encoder"] or cohort.card.encoders):
            options, line = choose_device(make_encoder_options(values), encoder_id.startswith("hypnos"))
            if line:
                say(line)
            report = embed_recordings(
                cohort.recordings,
                cohort.source_fingerprints,
                encoder_id,
                options,
                values["results"],
                simulated=cohort.card.simulated,
                workers=choose_workers(values),
                progress=progress,
            )
            rows.append(
                {
                    "cohort": cohort_id,
                    "encoder": encoder_id,
                    "embedded": report.embedded,
                    "reused": report.reused,
                    "excluded": [{"recording": e.recording, "reason": e.reason} for e in cohort.excluded],
                    "failed": [{"recording": e.recording, "reason": e.reason} for e in report.failed],
                    "simulated": cohort.card.simulated,
                }
            )
    if values["as_json"]:
        print_json(rows)
    else:
        _print(rows)
    return 1 if any(row["failed"] for row in rows) else 0


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        mark = " (simulated)" if row["simulated"] else ""
        counts = f"{row['embedded']} embedded, {row['reused']} reused, {len(row['failed'])} failed"
        click.echo(f"{row['cohort']}{mark} x {row['encoder']}: {counts}, {len(row['excluded'])} not part of the cohort")
        for kind in ("failed", "excluded"):
            for item in row[kind]:
                click.echo(f"  {kind}: {item['recording']}: {item['reason']}")
