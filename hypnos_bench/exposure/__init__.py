"""Who an encoder has seen before, and who sits on both sides of a published split.

Lists of recording ids (``readers``) are placed by cohort and person (``ids``), kept beside the results (``shelf``),
and joined to the persons of a run (``status``). ``overlap`` looks a published split over by itself, and ``published``
makes a split of it (``splits.listed_split``).
"""

from __future__ import annotations

from hypnos_bench.exposure.entries import Entry, ExposureList, ListFile, SourceFile
from hypnos_bench.exposure.published import SplitLists, read_split_lists
from hypnos_bench.exposure.readers import read_list, read_lists
from hypnos_bench.exposure.shelf import load_lists
from hypnos_bench.exposure.status import CLEAN, COHORT_SEEN, NOT_KNOWN, PERSON_SEEN, Exposure, exposure_of, is_stale

__all__ = [
    "CLEAN",
    "COHORT_SEEN",
    "Entry",
    "Exposure",
    "ExposureList",
    "ListFile",
    "NOT_KNOWN",
    "PERSON_SEEN",
    "SourceFile",
    "SplitLists",
    "exposure_of",
    "is_stale",
    "load_lists",
    "read_list",
    "read_lists",
    "read_split_lists",
]
