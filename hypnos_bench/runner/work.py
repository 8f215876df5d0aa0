"""The work that a block of cells is, so that it can be done in processes here or on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hypnos_bench.cluster.connect import Cluster
from hypnos_bench.cohorts.base import Cohort
from hypnos_bench.errors import DataError
from hypnos_bench.probe import Probe, ProbeData, run_cell
from hypnos_bench.probe.cell import failed_cell
from hypnos_bench.probe.parallel import Result, run_cells
from hypnos_bench.runner.common import Common, probe_data
from hypnos_bench.runner.gather import Gathered, gather
from hypnos_bench.runner.labels import Labels
from hypnos_bench.runner.request import Pooling, RunRequest
from hypnos_bench.runner.sources import Source
from hypnos_bench.spec import CellSpec


@dataclass(frozen=True)
class BlockWork:
    """All that the cells of one block need but its rows: it can be pickled, and opened wherever the results lie.

    Parameters
    ----------
    request : RunRequest
    cohort : Cohort
    rows : tuple of (Source, pooling)
        What heads learn from, and behind it what they are tested on where that is another one.
    demographics : tuple of str
    labels : Labels
    common : Common
    lost : mapping
        What the encoder lost, for the cells' counts.
    probe : Probe
    """

    request: RunRequest
    cohort: Cohort
    rows: tuple[tuple[Source, Pooling], ...]
    demographics: tuple[str, ...]
    labels: Labels
    common: Common
    lost: Mapping[str, Any]
    probe: Probe

    def gather(self) -> list[Gathered]:
        """Read the rows from the results folder, where everything in common is embedded already.

        Raises
        ------
        DataError
            When this machine does not find there what the run began with.
        """
        found: list[Gathered] = []
        try:
            for source, pooling in self.rows:
                found.append(
                    gather(
                        self.request, self.cohort, source, pooling, self.labels, (),
                        only=self.common.units, n_sources=len(self.rows),
                    )
                )  # fmt: skip
                self._check(found[-1])
        except BaseException:
            for each in found:
                each.close()
            raise
        return found

    def _check(self, gathered: Gathered) -> None:
        """A drive that stalls here, or a file that this machine does not see yet, must not change what is compared."""
        nothing = np.empty(0, np.intp)
        lacking = [
            name
            for name, index in self.common.units.items()
            if not np.isin(index, gathered.units.get(name, nothing), assume_unique=True).all()
        ]
        if lacking:
            why = {exclusion.recording: exclusion.reason for exclusion in gathered.lost}
            reason = why.get(lacking[0], "its embedding has other rows")
            raise DataError(
                f"{self.request.results}: {gathered.source.name}: {len(lacking):,} of {len(self.common.units):,} "
                f"recordings are not as the run found them ({lacking[0]}: {reason}); see that this machine sees the "
                "same folder, and rerun"
            )

    def data(self, gathered: Sequence[Gathered]) -> ProbeData:
        """Rows in common with their labels, from what was gathered for `rows`. Raises ``FitError`` as `probe_data`."""
        train, test = gathered[0], gathered[1] if len(gathered) > 1 else None
        return probe_data(self.cohort, self.labels, self.common, train, test, self.demographics, self.lost)


Compute = Callable[[Sequence[CellSpec], BlockWork, ProbeData], Iterator[Result]]
"""Who computes the cells of a block, in any order, and hands each out when it is finished: the run saves them.

The rows are those of this process; another machine opens the work instead (``gather``, then ``data``) and has the
same ones.
"""


def compute_here(specs: Sequence[CellSpec], work: BlockWork, data: ProbeData) -> Iterator[Result]:
    """Cells side by side in processes of this machine, on rows that they share."""
    return run_cells(specs, work.probe, data, work.request.workers)


class OpenBlock:
    """A block with its rows, as a worker of another machine holds it."""

    def __init__(self, work: BlockWork) -> None:
        self._work, self._gathered = work, work.gather()
        self._data = work.data(self._gathered)

    def cell(self, spec: CellSpec) -> Result:
        """Compute one cell."""
        return run_cell(spec, self._work.probe, self._data)

    def close(self) -> None:
        """Give the space of spill files back."""
        for gathered in self._gathered:
            gathered.close()


def open_block(work: BlockWork) -> OpenBlock:
    """State of a worker, see ``cluster.units.run_units``."""
    return OpenBlock(work)


def compute_cell(block: OpenBlock, spec: CellSpec) -> Result:
    """One unit of a worker."""
    return block.cell(spec)


@dataclass(frozen=True)
class ComputeThere:
    """Workers of a Dask scheduler compute the cells, on any number of machines that share the results folder.

    Parameters
    ----------
    cluster : Cluster
    say : callable
        Takes remarks.
    """

    cluster: Cluster
    say: Callable[[str], None]

    def __call__(self, specs: Sequence[CellSpec], work: BlockWork, data: ProbeData) -> Iterator[Result]:
        """Cells in any order; one over which worker after worker died is a failed cell, tried again by the next run."""
        from hypnos_bench.cluster.units import Lost, run_units
        from hypnos_bench.cluster.worker import Work

        results = work.request.results.expanduser().absolute()
        work = replace(work, request=replace(work.request, results=results))
        units = Work(f"{__name__}:{open_block.__name__}", f"{__name__}:{compute_cell.__name__}", work)
        for index, found in run_units(self.cluster, units, specs, results, say=self.say):
            if isinstance(found, Lost):
                facts = {"common": work.common.counts, "lost": dict(work.lost)}
                yield failed_cell(specs[index], work.probe, found.reason, facts), None
            else:
                yield found
