"""``hypnos-bench download``: fetch an open cohort, or say how to get one that needs an agreement."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.options import Folder, config_option, json_option
from hypnos_bench.cli.output import print_json, print_table, say
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from hypnos_bench.cohorts.downloads.engine import Outcome
    from hypnos_bench.cohorts.downloads.plan import Plan
    from hypnos_bench.cohorts.downloads.source import Download

_SHOWN = 20
_REDRAW_S = 0.2


@click.command(
    "download",
    epilog="""\b
Examples:
  hypnos-bench download sleep-edf --root ~/sleep-edf
  hypnos-bench download hmc --root ~/hmc --limit 5 --dry-run
  hypnos-bench download ptb-xl --root ~/ptb-xl --jobs 8
  hypnos-bench download mros

A download that was interrupted goes on where it ended when the command is repeated.""",
)
@click.argument("name", metavar="COHORT")
@click.option("--root", type=Folder(), help="Folder to put the cohort into.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Fetch N recordings at most.")
@click.option(
    "--jobs", type=click.IntRange(1, 8), default=1, show_default=True, help="Files to fetch at the same time."
)
@click.option("--url", help="Mirror with the same files, in place of the source's own address.")
@click.option("--no-verify", is_flag=True, help="Trust files that are there; do not read them again.")
@click.option("--dry-run", is_flag=True, help="List what would be fetched; fetch nothing.")
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Fetch COHORT if anyone may, or print the steps to get it.

    Every file is checked against the checksum that its source publishes.
    """
    values = apply_settings(ctx)
    from hypnos_bench.cohorts.downloads.source import load_source

    name: str = values["name"]
    source = load_source(name)
    root = _root(ctx, values)
    if not source.open:
        _explain(source, name, root, values["as_json"])
        return 0
    if root is None:
        raise UsageError(f"download {name} needs --root DIR, the folder to put it into")
    return _download(source, name, root, values)


def _root(ctx: click.Context, values: dict[str, Any]) -> Path | None:
    from hypnos_bench.cohorts.registry import COHORTS

    # Only a cohort that can be opened has a place of its own among the settings.
    given: Path | None = ctx.params["root"]
    return values["root"](values["name"]) if values["name"] in COHORTS.ids() else given


def _explain(source: Download, name: str, root: Path | None, as_json: bool) -> None:
    from hypnos_bench.cohorts.downloads.steps import instructions, page, terms

    licence, citation = terms(source)
    steps = instructions(source, name, root)
    if as_json:
        shown = {"cohort": name, "kind": source.kind, "downloaded": False, "page": page(source), "licence": licence}
        print_json(
            {**shown, "citation": citation, "note": source.note, "about_gb": source.about_gb or None, "steps": steps}
        )
        return
    click.echo(f"{name} cannot be fetched by a program alone: nothing was downloaded. Do this instead:")
    for number, step in enumerate(steps, start=1):
        click.echo(f"  {number}. {step}")
    _print_terms(source, name)


def _print_terms(source: Download, name: str) -> None:
    from hypnos_bench.cohorts.downloads.steps import page, terms

    licence, citation = terms(source)
    rows = {"page": page(source), "licence": licence, "cite": citation, "note": source.note}
    if source.about_gb:
        rows["size"] = f"about {source.about_gb:g} GB for the whole set"
    for key, text in rows.items():
        if text:
            click.echo(f"{key:8}{text}")


def _download(source: Download, name: str, root: Path, values: dict[str, Any]) -> int:
    from hypnos_bench.cohorts.downloads.engine import run_plan
    from hypnos_bench.cohorts.downloads.plan import check_room, make_plan
    from hypnos_bench.cohorts.downloads.web import Web

    web, as_json = Web(), values["as_json"]
    if not as_json:
        _print_terms(source, name)
    plan = make_plan(source, root, web, url=values["url"], limit=values["limit"])
    for remark in plan.remarks:
        say(remark)
    if values["dry_run"]:
        _print_plan(plan, name, as_json)
        return 0
    check_room(plan)
    with closing(_Bar(plan)) as bar:
        outcomes = run_plan(plan, web, jobs=values["jobs"], verify=not values["no_verify"], watch=bar)
    return _print_outcomes(plan, name, outcomes, bar.n_bytes, as_json)


class _Bar:
    """Progress on stderr with counts, bytes and time left; silent when stderr is no terminal."""

    def __init__(self, plan: Plan) -> None:
        from tqdm import tqdm

        self.n_bytes, self._files, self._done = 0, len(plan.files), 0
        total = plan.total_bytes()
        self._by_bytes, self._drawn_s = total is not None, 0.0
        counted: dict[str, Any] = {"total": self._files}
        if self._by_bytes:
            counted = {"total": total, "initial": plan.part_bytes(), "unit": "B", "unit_scale": True}
        self._bar = tqdm(desc=self._text(), file=sys.stderr, disable=None, dynamic_ncols=True, leave=False, **counted)

    def received(self, n_bytes: int) -> None:
        """Count bytes."""
        self.n_bytes += n_bytes
        if self._by_bytes:
            self._bar.update(n_bytes)
        elif time.monotonic() - self._drawn_s > _REDRAW_S:  # a long file moves no count
            self._drawn_s = time.monotonic()
            self._bar.set_postfix_str(_size_text(self.n_bytes))

    def finished(self, outcome: Outcome) -> None:
        """Count a file."""
        self._done += 1
        self._bar.set_description(self._text(), refresh=False)
        if not self._by_bytes:
            self._bar.update(1)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _text(self) -> str:
        return f"file {self._done}/{self._files}"


def _print_plan(plan: Plan, name: str, as_json: bool) -> None:
    from hypnos_bench.cohorts.downloads.steps import terms

    if as_json:
        licence, citation = terms(plan.source)
        files = [{"path": f.path, "bytes": plan.transfer(f), "state": plan.states[f.path]} for f in plan.files]
        head = {**_head(plan, name), "dry_run": True, "licence": licence, "citation": citation}
        print_json({**head, "bytes_to_fetch": plan.pending_bytes(), "files": files})
        return
    pending = plan.pending()
    known = plan.pending_bytes()
    total = "size unknown" if known is None else _size_text(known)
    click.echo(
        f"{name}: {plan.recordings} recordings in {len(plan.files)} files; "
        f"{len(pending)} to fetch ({total}), {len(plan.files) - len(pending)} there (not verified by a dry run)"
    )
    rows = [[plan.states[f.path], _size_text(plan.transfer(f)), f.path] for f in pending[:_SHOWN]]
    if rows:
        print_table(rows, ["state", "size", "file"])
    if len(pending) > _SHOWN:
        click.echo(f"... and {len(pending) - _SHOWN} more; --json lists all")


def _print_outcomes(plan: Plan, name: str, outcomes: Sequence[Outcome], n_bytes: int, as_json: bool) -> int:
    from hypnos_bench.cohorts.downloads.steps import terms

    by_state: dict[str, list[Outcome]] = {state: [] for state in ("fetched", "replaced", "present", "failed")}
    for outcome in outcomes:
        by_state[outcome.state].append(outcome)
    failed = by_state.pop("failed")
    counts = {state: len(group) for state, group in by_state.items()}
    for outcome in failed[:_SHOWN]:
        say(f"failed: {outcome.path}: {outcome.reason}")
    if len(failed) > _SHOWN:
        say(f"... and {len(failed) - _SHOWN} more failed")
    for outcome in by_state["replaced"][:_SHOWN]:
        say(f"replaced: {outcome.path} was not the published file")
    if as_json:
        licence, citation = terms(plan.source)
        head = {**_head(plan, name), "dry_run": False, "licence": licence, "citation": citation}
        reasons = [{"path": outcome.path, "reason": outcome.reason} for outcome in failed]
        print_json({**head, **counts, "bytes": n_bytes, "failed": reasons})
    else:
        words = ", ".join(f"{number} {state}" for state, number in {**counts, "failed": len(failed)}.items() if number)
        checked = f"checked with {plan.checksums}" if plan.checksums else "NOT checked: the source has no checksums"
        click.echo(f"{name}: {plan.recordings} recordings in {len(outcomes)} files: {words}; {checked}")
        click.echo(f"next    hypnos-bench run TASK --cohort {name} --root {shlex.quote(str(plan.root))}")
    if not failed:
        return 0
    return 1 if any(counts.values()) else DataError.exit_code


def _head(plan: Plan, name: str) -> dict[str, Any]:
    return {
        "cohort": name,
        "kind": plan.source.kind,
        "url": plan.url,
        "root": str(plan.root),
        "recordings": plan.recordings,
        "checksums": plan.checksums,
        "remarks": list(plan.remarks),
    }


def _size_text(n_bytes: int | None) -> str:
    """Bytes as people read them; ``?`` when unknown."""
    if n_bytes is None:
        return "?"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes} B"
