"""Who sits on both sides of a published split, by the split's own ids alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hypnos_bench.exposure.entries import Entry, ListFile
from hypnos_bench.exposure.readers import read_lists

ANY = "any of these"
"""`Overlap.learned` of all lists together that a test list is compared with."""

NOTHING = "no earlier list"
"""`Overlap.learned` of a list that nothing is to be compared with."""

ALL = "all"
"""`Overlap.cohort` of all cohorts together that have both lists."""

UNPLACED = "?"
"""`Overlap.cohort` of ids that name none; each counts as a person of its own."""

_TESTED = 2


@dataclass(frozen=True)
class Overlap:
    """A list that is tested against one that was learned from before, within a cohort.

    Parameters
    ----------
    cohort : str
    tested : str
        Role of the later list (a validation list is tested on, too).
    recordings, persons : int
        In `tested`.
    learned : str
        Role of the earlier list.
    learned_recordings, learned_persons : int
    shared_recordings : int
        Recordings of `tested` whose person is in `learned`.
    shared_persons : int
        Persons on both sides.
    same_recordings : int
        Recordings that are in both lists themselves.
    """

    cohort: str
    tested: str
    recordings: int
    persons: int
    learned: str
    learned_recordings: int
    learned_persons: int
    shared_recordings: int
    shared_persons: int
    same_recordings: int

    @property
    def share(self) -> float:
        """Part of the tested recordings whose person is in `learned`, 0 to 1."""
        return self.shared_recordings / self.recordings if self.recordings else 0.0

    @property
    def left(self) -> int:
        """Tested recordings of nobody in `learned`."""
        return self.recordings - self.shared_recordings


@dataclass(frozen=True)
class Published:
    """Lists that belong together: one publication's split.

    Parameters
    ----------
    title : str
        ``osf: 6 files in splits/osf``.
    files : tuple of ListFile
    overlaps : tuple of Overlap
        By cohort, tested list, and list learned from.
    """

    title: str
    files: tuple[ListFile, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def shared_persons(self) -> int:
        """Persons on both sides of some pair of lists."""
        entries = [entry for file in self.files for entry in file.entries]
        roles = {role for file in self.files for role in file.roles}
        torn = set()
        for tested in roles:
            before = {entry.who for entry in entries if _is_before(entry.role, tested)}
            torn |= {entry.who for entry in entries if entry.role == tested} & before
        return len(torn)

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Ids that name no known cohort."""
        return tuple(text for file in self.files for text in file.unplaced)

    @property
    def unordered(self) -> tuple[str, ...]:
        """Roles whose names do not say whether they are learned from or tested."""
        return tuple(sorted({role for file in self.files for role in file.roles if _stage(role) is None}))


def look_over(paths: Iterable[Path], cohort: str | None = None) -> tuple[tuple[Published, ...], tuple[Path, ...]]:
    """Read lists and compare those that belong together.

    Parameters
    ----------
    paths : iterable of Path
        Files, or folders. OSF's files of one folder, plain lists of one folder, and each JSON are one publication.
        A plain list whose file has no roles has its file's name as role.
    cohort : str, optional
        Of ids that do not tell it.

    Returns
    -------
    tuple of tuple of Published and tuple of Path
        And the files of folders that are no lists.

    Raises
    ------
    DataError
        As ``readers.read_lists``.
    """
    together: dict[tuple[str, Path], dict[str, ListFile]] = {}
    passed_over: list[Path] = []
    for path in paths:
        found = read_lists(path, role=path.stem, cohort=cohort)
        passed_over += found.passed_over
        for file, place in zip(found.files, found.paths, strict=True):
            kind: str = file.format if file.format in ("osf", "sleepfm") else "lists"
            where = place if kind == "sleepfm" else place.parent
            together.setdefault((kind, where.resolve()), {})[place.name] = file
    published = []
    for (kind, where), files in together.items():
        of = where.name if kind == "sleepfm" else f"{len(files)} file{'s' * (len(files) != 1)} in {where.name}"
        listed = tuple(files[name] for name in sorted(files))
        published.append(Published(f"{kind}: {of}", listed, overlaps(e for file in listed for e in file.entries)))
    return tuple(published), tuple(passed_over)


def overlaps(entries: Iterable[Entry]) -> tuple[Overlap, ...]:
    """Compare every list with those that are learned from before it, cohort by cohort, and add the cohorts up.

    A validation or test list of a cohort that no earlier list has is told with `NOTHING`.
    """
    lists: dict[str, dict[str, list[Entry]]] = {}  # cohort, role
    for entry in entries:
        lists.setdefault(entry.cohort or UNPLACED, {}).setdefault(entry.role, []).append(entry)
    found = [overlap for cohort in sorted(lists) for overlap in _of_cohort(cohort, lists[cohort])]
    if len(lists) > 1:
        found += _added_up(found)
    return tuple(found)


def _of_cohort(cohort: str, lists: dict[str, list[Entry]]) -> list[Overlap]:
    found = []
    for tested in sorted((role for role in lists if _stage(role) is not None), key=_order):
        before = [role for role in sorted(lists, key=_order) if _is_before(role, tested)]
        found += [_compare(cohort, tested, lists[tested], role, lists[role]) for role in before]
        if len(before) > 1:
            together = [entry for role in before for entry in lists[role]]
            found.append(_compare(cohort, tested, lists[tested], ANY, together))
        elif not before and _order(tested)[0][1]:
            found.append(_compare(cohort, tested, lists[tested], NOTHING, []))
    return found


def _added_up(found: Sequence[Overlap]) -> list[Overlap]:
    """Persons of different cohorts are different persons, so that counts add up."""
    pairs: dict[tuple[str, str], list[Overlap]] = {}
    for overlap in found:
        if overlap.learned != NOTHING:
            pairs.setdefault((overlap.tested, overlap.learned), []).append(overlap)
    counts = [field.name for field in fields(Overlap) if field.name not in ("cohort", "tested", "learned")]
    return [
        replace(several[0], cohort=ALL, **{name: sum(getattr(o, name) for o in several) for name in counts})
        for several in pairs.values()
        if len(several) > 1
    ]


def _compare(cohort: str, tested: str, ours: Sequence[Entry], learned: str, theirs: Sequence[Entry]) -> Overlap:
    persons, learned_persons = {e.who for e in ours}, {e.who for e in theirs}
    recordings, learned_recordings = {e.what for e in ours}, {e.what for e in theirs}
    return Overlap(
        cohort=cohort,
        tested=tested,
        recordings=len(recordings),
        persons=len(persons),
        learned=learned,
        learned_recordings=len(learned_recordings),
        learned_persons=len(learned_persons),
        shared_recordings=len({e.what for e in ours if e.who in learned_persons}),
        shared_persons=len(persons & learned_persons),
        same_recordings=len(recordings & learned_recordings),
    )


def _stage(role: str) -> tuple[int, int] | None:
    """When a list is used: the encoder's before the heads', and in each learning, choosing, testing; by its name."""
    name = role.casefold()
    encoder = 0 if "pretrain" in name or "pre-train" in name else 1
    rest = name.replace("pre-train", "").replace("pretrain", "")
    if "test" in rest or "external" in rest:
        return encoder, _TESTED
    if "val" in rest or "dev" in rest:
        return encoder, 1
    return (encoder, 0) if "train" in rest or not encoder else None


def _order(role: str) -> tuple[tuple[int, int], str]:
    return _stage(role) or (2, 0), role


def _is_before(role: str, tested: str) -> bool:
    """Whether a list is learned from, or chosen by, before another is used."""
    first, second = _stage(role), _stage(tested)
    return first is not None and second is not None and first[1] != _TESTED and first < second
