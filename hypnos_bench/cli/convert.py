"""``hypnos-bench convert``: embeddings in formats that are not read directly, into array files with times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hypnos_bench.cli.options import Folder, json_option
from hypnos_bench.cli.output import print_json, say

_MODALITIES = ("respiratory", "sleep-stages", "ekg")
_MAX_STARTS_BYTES = 64 * 2**20


@click.command(
    "convert",
    epilog="""\b
Examples:
  hypnos-bench convert sleepfm-2024 --embeddings dataset_events_-1_test_emb.pickle \\
      --events dataset_events_-1.pickle --split test --out sleepfm-2024
  hypnos-bench run staging --cohort edf-folder --root nights --encoder precomputed:sleepfm-2024

The pickles are taken apart, never run: lists, tuples, dicts, texts, numbers, NumPy arrays and CPU tensors are read, and
anything else ends the command with exit code 3. SleepFM files of 2026 (.hdf5) and OSF arrays need no conversion.""",
)
@click.argument("kind", type=click.Choice(["sleepfm-2024"]))
@click.option("--embeddings", type=Folder(), required=True, help="dataset_events_-1_<split>_emb.pickle.")
@click.option("--events", type=Folder(), required=True, help="dataset_events_-1.pickle.")
@click.option("--split", required=True, help="List of the events the rows belong to: train, valid or test.")
@click.option("--out", type=Folder(), required=True, help="Folder to write to.")
@click.option("--modality", type=click.Choice(_MODALITIES), help="One modality instead of all three side by side.")
@click.option("--starts", type=Folder(), help="CSV with the columns record,start_s: when clip 0 of a record begins.")
@click.option("--overwrite", is_flag=True, help="Replace other files of the same names.")
@json_option
def command(**values: Any) -> int:
    """Turn the pickles of SleepFM (2024) into one array file per recording."""
    from hypnos_bench.exporting.sleepfm2024 import convert_sleepfm_2024

    starts = None if values["starts"] is None else _read_starts(values["starts"])
    done = convert_sleepfm_2024(
        values["embeddings"],
        values["events"],
        values["split"],
        values["out"],
        modality=values["modality"],
        starts_s=starts,
        overwrite=values["overwrite"],
    )
    if values["as_json"]:
        print_json(
            {"written": done.written, "kept": done.kept, "clips": done.clips, "gaps": done.gaps,
             "starts_given": len(starts or {}), "out": str(values["out"])}
        )  # fmt: skip
    else:
        click.echo(
            f"sleepfm-2024 {values['split']}: {len(done.written)} recordings written, {len(done.kept)} there already, "
            f"{done.clips} clips, {done.gaps} rows without a clip, in {values['out']}"
        )
    without = len(done.written) + len(done.kept) - len(starts or {})
    if without:
        say(
            f"{without} recordings without --starts: clip 0 is placed at 0 s. SleepFM's own preparation cuts a record "
            "up to its first change of stage, and leaves unscored stretches out: then epochs and rows do not match"
        )
    return 0


def _read_starts(path: Path) -> dict[str, float]:
    import csv
    import math

    from hypnos_bench.errors import DataError

    starts: dict[str, float] = {}
    try:
        if path.stat().st_size > _MAX_STARTS_BYTES:
            raise DataError(f"{path}: larger than 64 MiB; expected a line per record")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            for line in (rows := csv.DictReader(handle)):
                record, text = line.get("record"), line.get("start_s")
                start = float(text or "nan")
                if not record or record in starts or not (math.isfinite(start) and start >= 0):
                    raise DataError(f"{path}: line {rows.line_num}: expected record,start_s once per record")
                starts[record] = start
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: no CSV with the columns record,start_s ({str(error)[:80]})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return starts
