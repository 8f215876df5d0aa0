"""Splits by published lists of recordings: read once, joined to the recordings at hand, and what they leak is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from hypnos_bench.cohorts.base import Cohort
from hypnos_bench.exposure import SplitLists, read_split_lists
from hypnos_bench.exposure.published import Source
from hypnos_bench.runner.request import RunRequest
from hypnos_bench.spec import SplitSpec
from hypnos_bench.splits import ListedFold, listed_split


def read_lists_of(request: RunRequest) -> SplitLists | None:
    """The lists that the split is named after, or ``None`` for another split. Raises as `read_split_lists`."""
    source = SplitSpec(kind=request.split).listed if request.split else None
    return None if source is None else read_split_lists(request.split_lists, cast(Source, source))


def divide_by_lists(cohort: Cohort, lists: SplitLists, split: SplitSpec, family_of: Mapping[str, str]) -> ListedFold:
    """Recordings at hand on the sides that the lists name.

    Parameters
    ----------
    family_of : mapping of str to str
        Persons with labels to their families, persons with duplicate recordings joined.

    Raises
    ------
    UsageError, DataError
        As `listed_split`.
    """
    variant: Literal["recording", "person"] = "recording" if split.leaky else "person"
    families = {**{r.person: r.split_unit for r in cohort.recordings}, **family_of}
    return listed_split(cohort.card.id, {r.id: r.person for r in cohort.recordings}, lists, variant, families)
