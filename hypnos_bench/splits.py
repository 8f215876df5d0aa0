"""Who is learned from and who is tested: splits and label budgets in persons, never in epochs.

Everything is decided by salted SHA-256, so a split needs no stored list and is the same on every
machine. Visits of one person share a person id and therefore always fall on the same side.

`recording_split` and `epoch_split` are the two exceptions, and wrong on purpose: they divide files and single
units, as much published work does, to show what that adds to a number. Every cell made with them carries the mark
``leaky``, and no table may set one beside an honest cell without it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import UsageError
from hypnos_bench.spec import Shots, SplitSpec

if TYPE_CHECKING:
    from hypnos_bench.exposure.published import PublishedSides, SplitLists

_DRAW_SALT = "hypnos-bench-draw-1"


@dataclass(frozen=True)
class Fold:
    """One division of a cohort: sorted person ids on each side, disjoint."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class ListedFold:
    """A published split, as far as its recordings are at hand; of recordings, unlike `Fold`.

    Parameters
    ----------
    train, test : tuple of str
        Sorted recording ids.
    excluded : mapping of str to str
        Every other recording at hand, with the reason.
    overlap : mapping of str to int
        Of the test side as published: ``recordings`` and ``persons`` at hand, and ``recordings_in_train`` and
        ``persons_in_train``, those of persons who are learned from. ``-person`` leaves these out.
    absent : mapping of str to int
        Side (``train``, ``test``) to listed recordings that are not at hand.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    overlap: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, int] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, dict[str, int]]:
        """What a cell tells of the split: ``overlap``, ``absent``, and ``excluded`` recordings counted by reason."""
        reasons = Counter(self.excluded.values())
        return {"overlap": dict(self.overlap), "absent": dict(self.absent), "excluded": dict(sorted(reasons.items()))}


def in_holdout(cohort_id: str, person: str, spec: SplitSpec) -> bool:
    """Whether `person` belongs to the cohort's fixed test side.

    Depends on the salt, the cohort and this person's id alone: not on seed, encoder or shots, and
    adding persons to a cohort moves nobody.
    """
    return _uniform(spec.salt, "holdout", cohort_id, person) < spec.test_fraction


def folds(
    cohort_id: str, persons: Sequence[str], spec: SplitSpec, family_of: Mapping[str, str] | None = None
) -> list[Fold]:
    """Divide persons into training and test sides.

    Parameters
    ----------
    cohort_id : str
    persons : sequence of str
        Person ids in any order; a person may be named once per recording.
    spec : SplitSpec
        ``holdout`` gives one fold. ``cv5`` gives ``min(spec.folds, n_persons)`` folds in which every
        person is tested once and fold sizes differ by one person at most. Folds are dealt out in
        hash order, so adding persons may move others here, unlike the hold-out.
    family_of : mapping of str to str, optional
        Person to family. Families are divided instead of persons, whole; a person without entry is one alone.

    Raises
    ------
    UsageError
        With fewer than two persons (or families), or when a hold-out leaves one side empty.
    """
    families: dict[str, list[str]] = {}
    for person in _unique(persons):
        families.setdefault((family_of or {}).get(person, person), []).append(person)
    everyone = _unique(families)
    if len(everyone) < 2:
        who = "families" if len(families) < len(set(persons)) else "persons"
        raise UsageError(
            f"{cohort_id}: a split needs at least 2 {who}, found {len(everyone)}; "
            "add recordings, or check how person ids are read from file names"
        )
    if spec.kind == "holdout":
        test = tuple(p for p in everyone if in_holdout(cohort_id, p, spec))
        if not test or len(test) == len(everyone):
            side = "training" if test else "test"
            raise UsageError(
                f"{cohort_id}: the hold-out of {spec.test_fraction:g} leaves no {side} person "
                f"out of {len(everyone)}; use --split cv5"
            )
        return [_fold(families, test)]
    if spec.folds < 2:
        raise UsageError(f"{cohort_id}: cross-validation needs at least 2 folds, got {spec.folds}")
    dealt = _hash_order(everyone, spec.salt, "cv", cohort_id)
    n_folds = min(spec.folds, len(dealt))
    return [_fold(families, dealt[k::n_folds]) for k in range(n_folds)]


def recording_split(cohort_id: str, recordings: Iterable[str], spec: SplitSpec) -> list[Fold]:
    """Leaky cross-validation over files: nights of one person fall on both sides.

    Parameters
    ----------
    cohort_id : str
    recordings : iterable of str
        Recording ids in any order.
    spec : SplitSpec
        Its `folds` and `salt`; whatever its kind.

    Returns
    -------
    list of Fold
        Of recording ids, not of persons. Cells made with it must be marked ``leaky``.

    Raises
    ------
    UsageError
        With fewer than two recordings or folds.
    """
    everything = _unique(recordings)
    _check_leaky(spec, len(everything), 2, "recordings")
    dealt = _hash_order(everything, spec.salt, "file", cohort_id)
    n_folds = min(spec.folds, len(dealt))
    sides = [tuple(sorted(dealt[k::n_folds])) for k in range(n_folds)]
    return [Fold(train=tuple(r for r in everything if r not in set(test)), test=test) for test in sides]


def epoch_split(n_units: int, spec: SplitSpec) -> NDArray[np.int64]:
    """Leaky cross-validation over single units: the epochs before and after a tested one are trained on.

    Units are shuffled by PCG-64, seeded with the SHA-256 of the salt, and dealt out to the folds; whose they are
    plays no part.

    Parameters
    ----------
    n_units : int
        Labelled units of all recordings, in recording order.
    spec : SplitSpec
        Its `folds` and `salt`; whatever its kind.

    Returns
    -------
    ndarray of int64, shape (n_units,)
        Fold 0..folds-1 in which each unit is tested; fold sizes differ by one at most. Cells made with it must be
        marked ``leaky``.

    Raises
    ------
    UsageError
        With fewer than two folds, or fewer units than folds.
    """
    _check_leaky(spec, n_units, max(2, spec.folds), "units")
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(_hash(spec.salt, "epoch"), "big")))
    fold_of_unit = np.empty(n_units, np.int64)
    fold_of_unit[generator.permutation(n_units)] = np.arange(n_units) % spec.folds
    return fold_of_unit


def listed_split(
    cohort_id: str,
    recordings: Mapping[str, str],
    lists: SplitLists,
    variant: Literal["recording", "person"],
    family_of: Mapping[str, str] | None = None,
) -> ListedFold:
    """Divide a cohort as published lists do.

    OSF: the lists of pre-training or those downstream, whichever hold the cohort; its validation list is neither
    learned from nor tested. SleepFM: ``train`` and ``test``. For SHHS, SleepFM publishes a test side only
    (``external_validation``): there, what is in no list is learned from, without the persons who are tested.

    Parameters
    ----------
    cohort_id : str
    recordings : mapping of str to str
        Recording id to person, of all that are at hand.
    lists : SplitLists
        From ``exposure.read_split_lists``.
    variant : {"recording", "person"}
        ``recording`` is the split as published: where its authors divided visits, persons are on both sides, and cells
        made with it must be marked ``leaky``. ``person`` leaves out test recordings of persons who are in the training
        list, whether that recording of theirs is at hand or not.
    family_of : mapping of str to str, optional
        Person to family: ``person`` leaves out relatives of persons in train too.

    Raises
    ------
    UsageError
        When the lists do not divide this cohort, or a side is left empty.
    DataError
        When the lists contradict themselves.
    """
    listed = lists.sides(cohort_id)
    key = {recording: listed.key(cohort_id, recording) for recording in recordings}
    side = {recording: listed.side.get(key[recording]) for recording in recordings}
    tested = {recording for recording in recordings if side[recording] == "test"}
    excluded = {
        recording: f"{listed.role[key[recording]]} of the {lists.source} lists: neither learned from nor tested"
        for recording in recordings
        if side[recording] == "neither"
    }
    families = family_of or {}
    train = {recording for recording in recordings if side[recording] == "train"}
    for recording in sorted(r for r in recordings if side[r] is None):
        if not listed.rest_trains:
            excluded[recording] = f"in none of the {lists.source} lists"
        elif _shares(recordings[recording], {recordings[r] for r in tested}, families):
            excluded[recording] = (
                f"the person, or a relative, is tested; the {lists.source} lists name no training side"
            )
        else:
            train.add(recording)
    overlap, in_train = _overlap(recordings, train, tested, listed)
    if variant == "person":
        learned = {recordings[recording] for recording in train}
        for recording in sorted(tested):
            if recording in in_train:
                excluded[recording] = "the person is in the training list"
            elif _shares(recordings[recording], learned, families):
                excluded[recording] = "a relative is in the training list"
        tested -= set(excluded)
    if not train or not tested:
        raise UsageError(
            f"{cohort_id}: of {len(recordings)} recordings at hand the {lists.source} lists leave {len(train)} to "
            f"learn from and {len(tested)} to test; check that --root holds the recordings they name"
        )
    there = set(key.values())
    absent = {name: sum(s == name and r not in there for r, s in listed.side.items()) for name in ("train", "test")}
    return ListedFold(tuple(sorted(train)), tuple(sorted(tested)), dict(sorted(excluded.items())), overlap, absent)


def _shares(person: str, others: Iterable[str], families: Mapping[str, str]) -> bool:
    """Whether a person, or the family, is among others."""
    return families.get(person, person) in {families.get(other, other) for other in others}


def _overlap(
    recordings: Mapping[str, str], train: Iterable[str], tested: Iterable[str], listed: PublishedSides
) -> tuple[dict[str, int], set[str]]:
    """Counts of a test side as published, and its recordings of persons who are learned from."""
    learned = {recordings[recording] for recording in train}
    in_train = {r for r in tested if recordings[r] in learned or recordings[r].casefold() in listed.learned}
    counts = {
        "recordings": len(set(tested)),
        "persons": len({recordings[r] for r in tested}),
        "recordings_in_train": len(in_train),
        "persons_in_train": len({recordings[r] for r in in_train}),
    }
    return counts, in_train


def draw(train_persons: Sequence[str], shots: Shots, seed: int) -> tuple[str, ...]:
    """Persons of one label budget, sorted.

    Per seed there is one permutation of the training persons (SHA-256 order of seed and id) and a
    budget is a prefix of it: the persons of 1% are among those of 5%, and differences between
    budgets are paired. At 100% the seed does not matter.

    Parameters
    ----------
    train_persons : sequence of str
        Training side of a fold, in any order.
    shots : Shots
    seed : int

    Raises
    ------
    UsageError
        When there is nobody to draw from, or the budget asks for more persons than there are.
    """
    everyone = _unique(train_persons)
    if not everyone:
        raise UsageError("there is no training person to draw from")
    permutation = _hash_order(everyone, _DRAW_SALT, str(int(seed)))
    return tuple(sorted(permutation[: shots.count(len(everyone))]))


def _check_leaky(spec: SplitSpec, count: int, at_least: int, what: str) -> None:
    if spec.folds < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, got {spec.folds}")
    if count < at_least:
        raise UsageError(f"a split over {what} needs at least {at_least} of them, found {count}")


def _unique(persons: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(persons)))


def _fold(families: Mapping[str, Sequence[str]], test: Iterable[str]) -> Fold:
    """Fold with the members of the families in `test` on the test side."""
    tested = set(test)
    sides: tuple[list[str], list[str]] = ([], [])
    for family, members in families.items():
        sides[family in tested].extend(members)
    return Fold(train=tuple(sorted(sides[0])), test=tuple(sorted(sides[1])))


def _hash(*words: str) -> bytes:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    text = "".join(f"{len(word)}:{word}" for word in words)
    return hashlib.sha256(text.encode()).digest()


def _uniform(*words: str) -> float:
    # The top 53 bits fit a float exactly, so the result never rounds up to 1.
    return (int.from_bytes(_hash(*words)[:8], "big") >> 11) / 2**53


def _hash_order(persons: Sequence[str], *words: str) -> list[str]:
    return sorted(persons, key=lambda person: (_hash(*words, person), person))
