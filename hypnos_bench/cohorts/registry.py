"""Cohorts by id. Other packages add theirs under the entry-point group ``hypnos_bench.cohorts``."""

from __future__ import annotations

from importlib.resources import files

from hypnos_bench.registry import Registry

CARD_IDS = tuple(
    sorted(
        entry.name.removesuffix(".toml")
        for entry in (files("hypnos_bench.cohorts") / "cards").iterdir()
        if entry.name.endswith(".toml")
    )
)
"""Cohorts that a packaged card describes."""

COHORTS = Registry(
    "cohort",
    {
        **{cohort_id: f"hypnos_bench.cohorts.opener:card_cohort:{cohort_id}" for cohort_id in CARD_IDS},
        "array-folder": "hypnos_bench.cohorts.array_folder:SOURCE",
        "demo": "hypnos_bench.cohorts.demo:SOURCE",
        "edf-folder": "hypnos_bench.cohorts.edf_folder:SOURCE",
    },
    group="hypnos_bench.cohorts",
)
"""Each target is a ``CohortSource``: it has a card and opens the cohort under a root."""
