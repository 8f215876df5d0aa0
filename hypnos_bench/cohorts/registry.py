"""Cohorts by id. Other packages add theirs under the entry-point group ``hypnos_bench.cohorts``."""

from __future__ import annotations

from hypnos_bench.registry import Registry

COHORTS = Registry(
    "cohort",
    {
        "array-folder": "hypnos_bench.cohorts.array_folder:SOURCE",
        "cpsc2021": "hypnos_bench.cohorts.cpsc2021:SOURCE",
        "demo": "hypnos_bench.cohorts.demo:SOURCE",
        "edf-folder": "hypnos_bench.cohorts.edf_folder:SOURCE",
        "mros": "hypnos_bench.cohorts.nsrr:MROS",
    },
    group="hypnos_bench.cohorts",
)
"""Each target is a ``CohortSource``: it has a card and opens the cohort under a root."""
