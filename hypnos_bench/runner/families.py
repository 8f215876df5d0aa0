"""Who must stay on one side of a split: families, and persons with recordings that are nearly the same signal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Cohort, Recording
from hypnos_bench.duplicates import FingerprintCache, Pair, find_duplicates, fingerprint_all, merge_families
from hypnos_bench.spec import SplitSpec

Progress = Callable[[Iterator[Any], int, str], Iterator[Any]]


@dataclass(frozen=True)
class Together:
    """Who must stay on one side.

    Parameters
    ----------
    family_of : mapping of str to str
        Person to family, sorted by person; persons with duplicate recordings count as one family.
    duplicates : mapping, optional
        What the search came to: ``compared`` and ``not_compared`` recordings, and the ``pairs`` found.
    """

    family_of: Mapping[str, str]
    duplicates: Mapping[str, Any] | None = None


def keep_together(
    cohort: Cohort,
    recordings: Sequence[Recording],
    split: SplitSpec,
    results: Path,
    *,
    progress: Progress = lambda done, total, text: done,
    say: Callable[[str], None] = lambda line: None,
) -> Together:
    """Families of the persons of labelled recordings, joined where two recordings are nearly the same signal.

    Parameters
    ----------
    cohort : Cohort
    recordings : sequence of Recording
        Labelled recordings: folds are made of their persons, the same for every encoder.
    split : SplitSpec
        ``duplicates = "check"`` reads one channel of every recording, once: fingerprints are kept in `results`.
    results : Path
    progress, say : callable
    """
    family_of = dict(sorted((recording.person, recording.split_unit) for recording in recordings))
    if split.duplicates == "off":
        return Together(family_of)
    cache = FingerprintCache(results / "fingerprints")
    reading = progress(iter(recordings), len(recordings), "look for duplicates")
    report = fingerprint_all(reading, cohort.source_fingerprints, cache)
    if cache.remade:
        say(f"{cache.remade} damaged fingerprint files were made again")
    for exclusion in report.failed:
        say(f"not compared with others: {exclusion.recording}: {exclusion.reason}")
    if report.without:
        say(f"{len(report.without)} recordings are too short, or lack the channel, to be compared with others")
    found = [*_copies(cohort, recordings), *find_duplicates(report.found)]
    pairs = list({frozenset((pair.a, pair.b)): pair for pair in reversed(found)}.values())[::-1]  # each told once
    for pair in pairs:
        both = f"{pair.a} and {pair.b} ({pair.share:.0%} of the minutes that can be told agree)"
        say(f"nearly the same signal, kept on one side: {both}")
    merged = merge_families(family_of, {recording.id: recording.person for recording in recordings}, pairs)
    told = {
        "compared": len(report.found),
        "not_compared": len(recordings) - len(report.found),
        "pairs": sorted({(pair.a, pair.b) for pair in pairs}),
    }
    return Together(dict(merged), told)


def _copies(cohort: Cohort, recordings: Sequence[Recording]) -> list[Pair]:
    """Recordings whose files are the same to the byte, however short: told without reading a signal."""
    first: dict[str, str] = {}
    found = []
    for recording in recordings:
        source = cohort.source_fingerprints[recording.id]
        other = first.setdefault(source, recording.id)
        if other != recording.id:
            found.append(Pair(other, recording.id, 1.0, 0.0, 0))
    return found
