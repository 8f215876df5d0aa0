"""Options that spread work over machines, and what they turn into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hypnos_bench.cli.output import say

if TYPE_CHECKING:
    from hypnos_bench.cluster.shard import Shard
    from hypnos_bench.embed.crew import DaskCrew

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="Let workers of a Dask scheduler do it: tcp://HOST:PORT, or its file.",
    ),
    click.option(
        "--wait-workers",
        type=click.IntRange(min=0),
        default=120,
        show_default=True,
        metavar="SECONDS",
        help="With --scheduler: how long it and its first worker may take to appear.",
    ),
    click.option("--shard", metavar="I/N", help="Do the I-th of N shares alone, as in 2/8; every share on its own."),
)


def crew_options(function: F) -> F:
    """Add ``--scheduler``, ``--wait-workers`` and ``--shard`` to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def choose_shard(values: Mapping[str, Any]) -> Shard | None:
    """``--shard``, or ``None`` for everything."""
    from hypnos_bench.cluster.shard import Shard

    return Shard.parse(values["shard"]) if values["shard"] else None


@contextmanager
def open_crew(values: Mapping[str, Any]) -> Iterator[DaskCrew | None]:
    """Crew of ``--scheduler`` for the length of a ``with`` block; ``None`` for this machine's own workers."""
    if not values["scheduler"]:
        yield None
        return
    from hypnos_bench.cluster.connect import open_cluster
    from hypnos_bench.embed.crew import DaskCrew

    with open_cluster(values["scheduler"], wait_s=float(values["wait_workers"]), say=say) as cluster:
        yield DaskCrew(cluster, say)
