"""One cell: split, draw, fit, score. Rows in, a cell and its side file out."""

from hypnos_bench.probe.cell import Probe, run_cell
from hypnos_bench.probe.data import ProbeData, RowCollector, Targets

__all__ = ["Probe", "ProbeData", "RowCollector", "Targets", "run_cell"]
