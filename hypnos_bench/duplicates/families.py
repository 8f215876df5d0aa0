"""Persons whose nights turned out to be one are kept together, as families are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypnos_bench.duplicates.matching import Pair
from hypnos_bench.errors import UsageError


def merge_families(
    family_of: Mapping[str, str], persons_of_recording: Mapping[str, str], pairs: Iterable[Pair]
) -> dict[str, str]:
    """Families such that persons with a night in common are in one.

    Parameters
    ----------
    family_of : mapping of str to str
        Person to family; a person without an entry is one alone.
    persons_of_recording : mapping of str to str
        Recording id to person.
    pairs : iterable of Pair

    Returns
    -------
    dict of str to str
        Every person of both mappings, sorted, to the family: the first name among those that were joined, so that
        the order of pairs does not matter and whoever has no copy keeps name and side.

    Raises
    ------
    UsageError
        When a pair names a recording that has no person.
    """
    persons = sorted({*family_of, *persons_of_recording.values()})
    parent = {family_of.get(person, person): family_of.get(person, person) for person in persons}

    def root(family: str) -> str:
        while parent[family] != family:
            parent[family] = family = parent[parent[family]]
        return family

    for one, other in common_persons(persons_of_recording, pairs):
        first, second = sorted((root(family_of.get(one, one)), root(family_of.get(other, other))))
        parent[second] = first
    return {person: root(family_of.get(person, person)) for person in persons}


def common_persons(persons_of_recording: Mapping[str, str], pairs: Iterable[Pair]) -> tuple[tuple[str, str], ...]:
    """Two different persons each who have a night in common, sorted: the duplicate groups of `leakage`.

    Raises
    ------
    UsageError
        When a pair names a recording that has no person.
    """
    found = set()
    for pair in pairs:
        missing = [name for name in (pair.a, pair.b) if name not in persons_of_recording]
        if missing:
            raise UsageError(f"duplicate recording {missing[0]!r} belongs to no person of this cohort")
        one, other = sorted((persons_of_recording[pair.a], persons_of_recording[pair.b]))
        if one != other:
            found.add((one, other))
    return tuple(sorted(found))
