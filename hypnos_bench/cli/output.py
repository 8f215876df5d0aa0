"""What commands say: progress and remarks on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click


def say(line: str) -> None:
    """One remark on stderr."""
    click.echo(line, err=True)


def announce_work(source: Any, options: Any) -> None:
    """Say beforehand what opening a cohort will do besides reading, where a cohort has such a thing."""
    pending = getattr(source, "pending", None)
    if pending is not None and (line := pending(options)):
        say(line)


def progress(done: Iterator[Any], total: int, text: str) -> Iterator[Any]:
    """Bar with counts and time left on stderr; silent when stderr is no terminal."""
    from tqdm import tqdm

    return iter(tqdm(done, total=total, desc=text, file=sys.stderr, disable=None, dynamic_ncols=True, leave=False))


def print_json(value: Any) -> None:
    """Pretty JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Plain columns, the last one unpadded."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header) - 1)]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=True)]
        click.echo("  ".join([*padded, line[-1]]).rstrip())
