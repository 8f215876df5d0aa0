"""``hypnos-bench exposure``: who an encoder has seen before, and who sits on both sides of a published split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.options import Folder, config_option, json_option, results_option
from hypnos_bench.cli.output import print_json, print_table, say
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.errors import DataError

if TYPE_CHECKING:
    from hypnos_bench.exposure.entries import ExposureList, ListFile
    from hypnos_bench.exposure.overlap import Published

LEAKS = 1
_SHOWN = 5
_RESTAMP = "cells that are saved already say so when their run is repeated; nothing is computed again"

_cohort_option = click.option("--cohort", "of_cohort", metavar="ID", help="Cohort of ids that do not tell it.")


@click.group(
    "exposure",
    epilog="""\b
Examples:
  hypnos-bench exposure check OSF-Open-Sleep-FM/osf/splits
  hypnos-bench exposure check dataset_split.json --json
  hypnos-bench exposure add OSF-Open-Sleep-FM/osf/splits --encoder osf
  hypnos-bench exposure add seen.csv --encoder mine --cohort isruc
  hypnos-bench exposure list""",
)
def command() -> None:
    """Lists of what encoders were pre-trained on, and leaks in published splits."""


@command.command(
    "add",
    epilog="""\b
Examples:
  hypnos-bench exposure add patient_pretrain_train_ids.csv --encoder osf
  hypnos-bench exposure add dataset_split.json --encoder sleepfm
  hypnos-bench exposure add persons.csv --encoder mine --seen train --seen valid

FILE: OSF's patient_..._ids.csv, SleepFM's dataset_split.json, a .csv or .tsv with a column recording or person (and
perhaps cohort and role), a .txt with one id per line, or a folder with files of the first two kinds.""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=Folder())
@click.option("--encoder", "of_encoder", required=True, metavar="ID", help="Encoder that was trained on them.")
@click.option("--role", default="pretrain", show_default=True, help="What a list is whose file does not say it.")
@click.option("--seen", multiple=True, metavar="ROLE", help="Roles that it learned from, where that is not known.")
@click.option("--name", help="Name of the list, for a single file (default: the file's).")
@_cohort_option
@results_option
@config_option
@json_option
@click.pass_context
def add(ctx: click.Context, /, **_: Any) -> int:
    """Keep lists of recordings or persons that an encoder was trained on."""
    values = apply_settings(ctx)
    from hypnos_bench.exposure.entries import exposure_list
    from hypnos_bench.exposure.readers import read_lists
    from hypnos_bench.exposure.shelf import save_list

    read = [read_lists(path, role=values["role"], cohort=values["of_cohort"]) for path in values["files"]]
    files = [file for several in read for file in several.files]
    _say_passed_over([path for several in read for path in several.passed_over])
    if values["name"] and len(files) != 1:
        raise click.UsageError(f"--name names one list, but there are {len(files)} files", ctx)
    roles = {role for file in files for role in file.roles}
    if unknown := sorted(set(values["seen"]) - roles):
        raise click.UsageError(f"--seen {unknown[0]}: no such role; there are {', '.join(sorted(roles))}", ctx)
    lists = [
        exposure_list(file, values["of_encoder"], name=values["name"], seen=values["seen"] or None) for file in files
    ]
    if len({one.name for one in lists}) < len(lists):
        raise click.UsageError("two files of one name: add them one by one, each with its own --name", ctx)
    for one, file in zip(lists, files, strict=True):
        if not one.cohorts:
            raise DataError(
                f"{file.source.name}: not one of {len(one.entries)} ids tells its cohort ({_some(file.unplaced)}); "
                "give --cohort"
            )
    _say_unknown_encoder(values["of_encoder"])
    for one, file in zip(lists, files, strict=True):
        _say_unplaced(one.name, file)
        save_list(values["results"], one)
    say(_RESTAMP)
    _print_lists(lists, values["as_json"])
    return 0


@command.command(
    "list",
    epilog="""\b
Examples:
  hypnos-bench exposure list
  hypnos-bench exposure list --encoder osf --json""",
)
@click.option("--encoder", "of_encoder", metavar="ID", help="Lists of this encoder only.")
@results_option
@config_option
@json_option
@click.pass_context
def list_(ctx: click.Context, /, **_: Any) -> int:
    """Show the lists that are kept."""
    values = apply_settings(ctx)
    from hypnos_bench.exposure.shelf import all_lists

    lists = [one for one in all_lists(values["results"]) if values["of_encoder"] in (None, one.encoder)]
    _print_lists(lists, values["as_json"])
    return 0


@command.command(
    "remove",
    epilog="""\b
Examples:
  hypnos-bench exposure remove dataset_split
  hypnos-bench exposure remove seen --encoder mine""",
)
@click.argument("name")
@click.option("--encoder", "of_encoder", metavar="ID", help="Whose list, where several have one of that name.")
@results_option
@config_option
@click.pass_context
def remove(ctx: click.Context, /, **_: Any) -> int:
    """Forget a list."""
    values = apply_settings(ctx)
    from hypnos_bench.exposure.shelf import remove_list

    say(f"removed {remove_list(values['results'], values['name'], values['of_encoder'])}")
    say(_RESTAMP)
    return 0


@command.command(
    "check",
    epilog="""\b
Examples:
  hypnos-bench exposure check OSF-Open-Sleep-FM/osf/splits
  hypnos-bench exposure check train.csv test.csv --cohort isruc

Every list is compared with those that are learned from before it: test with train, valid and pre-training, and so on.
Exit code 0: nobody is on both sides; 1: somebody is.""",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=Folder())
@_cohort_option
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, /, **_: Any) -> int:
    """Print who sits on both sides of a published split."""
    values = apply_settings(ctx)
    from hypnos_bench.exposure.overlap import look_over

    published, passed_over = look_over(values["paths"], values["of_cohort"])
    _say_passed_over(passed_over)
    for one in published:
        _say_remarks(one)
    leaks = any(one.shared_persons for one in published)
    if values["as_json"]:
        print_json({"clean": not leaks, "published": [_published(one) for one in published]})
    else:
        for k, one in enumerate(published):
            _print_overlaps(one, first=k == 0)
    return LEAKS if leaks else 0


def _print_lists(lists: list[ExposureList], as_json: bool) -> None:
    rows = [row for one in lists for row in _roles(one)]
    if as_json:
        print_json(rows)
        return
    header = ["encoder", "list", "role", "means", "ids", "persons", "cohorts"]
    print_table([[str(row[name]) for name in header[:-1]] + [_told(row["cohorts"])] for row in rows], header)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{cohort} {count}" for cohort, count in counts.items())


def _roles(one: ExposureList) -> list[dict[str, Any]]:
    from hypnos_bench.exposure.shelf import counts

    return [
        {
            "encoder": one.encoder,
            "list": one.name,
            "role": role,
            "means": one.levels[role],
            "ids": sum(by_cohort.values()),
            "persons": len({entry.who for entry in one.entries if entry.role == role}),
            "cohorts": by_cohort,
            "file": one.source.name,
            "sha256": one.source.sha256,
            "repeated": one.repeated,
        }
        for role, by_cohort in counts(one).items()
    ]


def _published(one: Published) -> dict[str, Any]:
    from hypnos_bench.spec import plain

    return {
        "title": one.title,
        "files": [{**plain(f.source), "ids": len(f.entries), "repeated": f.repeated} for f in one.files],
        "shared_persons": one.shared_persons,
        "unplaced": len(one.unplaced),
        "overlaps": [{**plain(o), "share": round(o.share, 4), "left": o.left} for o in one.overlaps],
    }


def _print_overlaps(one: Published, *, first: bool) -> None:
    click.echo(f"{'' if first else chr(10)}{one.title}")
    rows = [
        [
            o.cohort, o.tested, str(o.recordings), str(o.persons), o.learned, str(o.shared_recordings),
            f"{100 * o.share:.1f} %", str(o.shared_persons), str(o.left),
        ]
        for o in one.overlaps
    ]  # fmt: skip
    header = [
        "cohort",
        "tested",
        "recordings",
        "persons",
        "learned before",
        "recordings in it",
        "share",
        "persons in it",
        "left",
    ]
    print_table(rows, header)
    told = f"{one.shared_persons} persons are on both sides" if one.shared_persons else "nobody is on both sides"
    click.echo(f"{told}. In it: those tested whose person is in the list learned before; left: the other recordings.")


def _say_remarks(one: Published) -> None:
    for file in one.files:
        _say_unplaced(f"{one.title}: {file.source.name}", file)
    if one.unordered:
        say(
            f"{one.title}: not compared, because the names do not say whether they are learned from or tested: "
            f"{', '.join(one.unordered)}; use names with pretrain, train, valid or test"
        )
    by_table = sum(e.person is None and e.cohort is not None for file in one.files for e in file.entries)
    if by_table:
        say(f"{one.title}: {by_table} ids tell no person (a table of the cohort would): compared by recording only")


def _say_unplaced(name: str, file: ListFile) -> None:
    if file.unplaced:
        say(f"{name}: {len(file.unplaced)} ids tell no known cohort and stand for nobody: {_some(file.unplaced)}")


def _say_passed_over(paths: list[Path] | tuple[Path, ...]) -> None:
    if paths:
        say(f"passed over, named as no list: {_some([path.name for path in paths])}")


def _say_unknown_encoder(encoder: str) -> None:
    from hypnos_bench.encoders.registry import ENCODERS
    from hypnos_bench.registry import did_you_mean

    known = ENCODERS.ids()
    if encoder not in known:
        say(
            f"note: no registered encoder is called {encoder!r}.{did_you_mean(encoder, known)} The list is kept for it."
        )


def _some(texts: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
