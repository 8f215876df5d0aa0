"""Crews: who embeds the recordings of a run, on this machine or on many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hypnos_bench.cluster.connect import Cluster
from hypnos_bench.cohorts.base import Exclusion
from hypnos_bench.embed.workers import Embedder, Setup, Unit, in_processes
from hypnos_bench.encoders.base import Encoder


class Crew(Protocol):
    """Anything that embeds and stores recordings."""

    def embed(self, todo: Sequence[Unit], setup: Setup) -> Iterator[Exclusion | None]:
        """One outcome per recording, in any order: why it has no embedding, or ``None`` when it has."""
        ...


@dataclass(frozen=True)
class LocalCrew:
    """Processes of this machine; with one worker, the calling process and the encoder it has."""

    workers: int = 1
    encoder: Encoder | None = None

    def embed(self, todo: Sequence[Unit], setup: Setup) -> Iterator[Exclusion | None]:
        """One outcome per recording. Raises ``DataError`` when a worker process dies."""
        workers = min(self.workers, len(todo))
        if workers > 1:
            yield from in_processes(todo, setup, workers)
            return
        embedder = Embedder(setup, self.encoder)
        yield from (embedder.embed(unit) for unit in todo)


@dataclass(frozen=True)
class DaskCrew:
    """Workers of a Dask scheduler, on any number of machines that share recordings and results folder.

    Parameters
    ----------
    cluster : Cluster
    say : callable
        Takes remarks.
    """

    cluster: Cluster
    say: Callable[[str], None]

    def embed(self, todo: Sequence[Unit], setup: Setup) -> Iterator[Exclusion | None]:
        """One outcome per recording. Raises ``DataError`` as :func:`hypnos_bench.cluster.units.run_units`."""
        from hypnos_bench.cluster.units import Lost, run_units
        from hypnos_bench.cluster.worker import Work

        setup = replace(setup, results=setup.results.expanduser().absolute())
        work = Work(f"{__name__}:start_embedder", f"{__name__}:embed_unit", setup)
        for index, outcome in run_units(self.cluster, work, todo, setup.results, say=self.say):
            if isinstance(outcome, Lost):
                yield Exclusion(todo[index][0].id, outcome.reason, transient=True)
            else:
                yield outcome


def start_embedder(setup: Setup) -> Embedder:
    """State of a Dask worker. ``auto`` is settled there: the machine with the command need not have the GPU."""
    if setup.options.device == "auto":
        from hypnos_bench.hypnos.device import pick_device

        device, _ = pick_device()
        setup = replace(setup, options=replace(setup.options, device=str(device)))
    return Embedder(setup)


def embed_unit(embedder: Embedder, unit: Unit) -> Exclusion | None:
    """One unit of a Dask worker."""
    return embedder.embed(unit)
