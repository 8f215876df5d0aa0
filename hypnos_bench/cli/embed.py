"""``hypnos-bench embed``: phase 1 alone, on this machine or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.crews import choose_shard, crew_options, open_crew
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

if TYPE_CHECKING:
    from hypnos_bench.cluster.shard import Shard
    from hypnos_bench.embed.crew import Crew
    from hypnos_bench.encoders.base import EncoderOptions


@click.command(
    "embed",
    epilog="""\b
Examples:
  hypnos-bench embed --cohort mros --root ~/nsrr --encoder hypnos --workers 4
  hypnos-bench embed --cohort edf-folder --root nights/ --encoder features --results /data/results
  hypnos-bench embed --cohort mros --root /data/nsrr --encoder hypnos --shard $SLURM_ARRAY_TASK_ID/64
  hypnos-bench embed --cohort mros --root /data/nsrr --encoder hypnos --scheduler tcp://node7:8786""",
)
@click.option("--cohort", "cohort", multiple=True, help="Cohort id; repeat for several.")
@click.option("--encoder", "encoder", multiple=True, help="Encoder id; repeat for several (default: the cohort's own).")
@cohort_options
@encoder_options
@crew_options
@click.option("--retry", is_flag=True, help="Try recordings again that the encoder refused before.")
@results_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Embed every recording of a cohort into the store; what is there already is reused."""
    values = apply_settings(ctx)
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.encoders.registry import check_reference
    from hypnos_bench.errors import UsageError
    from hypnos_bench.store.atomic import check_writable
    from hypnos_bench.threads import one_thread

    if not values["cohort"]:
        raise UsageError("embed needs --cohort, for example --cohort demo")
    for name in values["encoder"]:
        check_reference(name)
    shard = choose_shard(values)
    named = [name for c in values["cohort"] for name in values["encoder"] or COHORTS.load(c).card.encoders]
    options = make_encoder_options(values, dict.fromkeys(named))
    one_thread()
    check_writable(values["results"])
    rows: list[dict[str, Any]] = []
    with open_crew(values) as crew:
        for cohort_id in dict.fromkeys(values["cohort"]):
            rows += _embed_cohort(values, options, cohort_id, shard, crew)
    if values["as_json"]:
        print_json(rows)
    else:
        _print(rows)
    return 1 if any(row["failed"] for row in rows) else 0


def _embed_cohort(
    values: dict[str, Any], given: EncoderOptions, cohort_id: str, shard: Shard | None, crew: Crew | None
) -> list[dict[str, Any]]:
    """Embed one cohort, or a share of it, with every encoder; a row for each."""
    from hypnos_bench.cluster.shard import in_shard
    from hypnos_bench.cohorts.registry import COHORTS
    from hypnos_bench.embed import embed_recordings
    from hypnos_bench.encoders.registry import uses_device

    opening = make_cohort_options(values, cohort_id)
    source = COHORTS.load(cohort_id)
    announce_work(source, opening)
    cohort = source.open(opening)
    share = [r for r in cohort.recordings if shard is None or in_shard(cohort_id, r.id, shard)]
    if shard is not None:
        say(f"{cohort_id}: {len(share)} of {len(cohort.recordings)} recordings belong to share {shard}")
    # Of its own recordings only: every one of many shares would read a little of every file.
    fingerprints = cohort.source_fingerprints if shard is None else {r.id: r.source_fingerprint() for r in share}
    rows = []
    for encoder_id in dict.fromkeys(values["encoder"] or cohort.card.encoders):
        # The workers of a crew choose their own: the machine that asks need not have a GPU.
        options, line = choose_device(given, crew is None and uses_device(encoder_id))
        if line:
            say(line)
        report = embed_recordings(
            share,
            fingerprints,
            encoder_id,
            options,
            values["results"],
            simulated=cohort.card.simulated,
            workers=choose_workers(values),
            crew=crew,
            retry=values["retry"],
            progress=progress,
        )
        rows.append(
            {
                "cohort": cohort_id,
                "encoder": encoder_id,
                "shard": None if shard is None else str(shard),
                "embedded": report.embedded,
                "reused": report.reused,
                "excluded": [{"recording": e.recording, "reason": e.reason} for e in cohort.excluded],
                "failed": [{"recording": e.recording, "reason": e.reason} for e in report.failed],
                "known": report.known,
                "simulated": cohort.card.simulated,
            }
        )
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        mark = " (simulated)" if row["simulated"] else ""
        share = "" if row["shard"] is None else f", share {row['shard']}"
        counts = f"{row['embedded']} embedded, {row['reused']} reused, {len(row['failed'])} failed"
        if row["known"]:
            counts += f" ({row['known']} known from before; --retry tries them again)"
        said = f"{counts}, {len(row['excluded'])} not part of the cohort"
        click.echo(f"{row['cohort']}{mark} x {row['encoder']}{share}: {said}")
        for kind in ("failed", "excluded"):
            for item in row[kind]:
                click.echo(f"  {kind}: {item['recording']}: {item['reason']}")
