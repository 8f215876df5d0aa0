"""Walking a root folder, and the words for what was not found there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hypnos_bench.cohorts.base import CohortOptions, Exclusion, Recording
from hypnos_bench.errors import DataError, UsageError


def require_root(options: CohortOptions, cohort_id: str, example: str) -> Path:
    """Return the cohort's root folder.

    Raises
    ------
    UsageError
        When no root was given.
    DataError
        When it is not a folder, with an example of what should be below it.
    """
    if options.root is None:
        raise UsageError(f"cohort {cohort_id} needs --root: the folder that holds {example}")
    if not options.root.is_dir():
        state = "is not a folder" if options.root.exists() else "does not exist"
        raise DataError(f"cohort {cohort_id}: root {options.root} {state}; expected a folder that holds {example}")
    return options.root


def nothing_found(
    root: Path,
    cohort_id: str,
    looked_for: str,
    example: str,
    excluded: Iterable[Exclusion],
    remarks: Mapping[str, int] | None = None,
) -> DataError:
    """Error for a root without a single usable recording; what was seen is quoted when there is something."""
    reasons = [f"{e.recording}: {e.reason}" for e in excluded]
    seen = f" {len(reasons)} left out, the first: {reasons[0]}." if reasons else ""
    seen += "".join(f" {n} files {text}." for text, n in (remarks or {}).items())
    return DataError(
        f"cohort {cohort_id}: no usable recording under {root}. Looked for {looked_for}, for example {example}.{seen}"
    )


def walk_files(root: Path, *suffixes: str, locked: list[OSError] | None = None) -> Iterator[Path]:
    """Yield files below `root` with one of these suffixes, any case, sorted.

    Hidden files are passed over, and so are the resource forks that macOS puts into archives. Linked folders are
    followed, each real folder once. Folders that cannot be read are added to `locked`.
    """
    endings = tuple(suffix.casefold() for suffix in suffixes)
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=None if locked is None else locked.append):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(names):
            if not name.startswith(".") and name.casefold().endswith(endings):
                yield Path(folder) / name


def is_there(path: Path) -> bool:
    """Whether a file is there: one in a folder that cannot be read counts, so that reading it says why it cannot."""
    try:
        return path.is_file()
    except OSError:
        return True


def below(root: Path, path: Path) -> str:
    """Path below `root` with forward slashes, for messages that hold on any machine."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def split_repeated(found: Iterable[tuple[str, Path]], root: Path) -> tuple[dict[str, Path], list[Exclusion]]:
    """Id to path; ids found in several places are all left out, because nothing says which one is meant."""
    places: dict[str, list[Path]] = {}
    for recording, path in found:
        places.setdefault(recording, []).append(path)
    repeated = [
        Exclusion(recording, f"found {len(paths)} times: {', '.join(below(root, path) for path in paths)}; keep one")
        for recording, paths in places.items()
        if len(paths) > 1
    ]
    return {recording: paths[0] for recording, paths in places.items() if len(paths) == 1}, repeated


def by_id(recordings: Iterable[Recording]) -> tuple[Recording, ...]:
    """Recordings sorted by id."""
    return tuple(sorted(recordings, key=lambda recording: recording.id))


def refuse_person_pattern(options: CohortOptions, cohort_id: str) -> None:
    """Refuse a person pattern where file names already say who is who."""
    if options.person_pattern is not None:
        raise UsageError(f"cohort {cohort_id} takes persons from its file names; drop the person pattern")


def refuse_mains(options: CohortOptions, cohort_id: str) -> None:
    """Refuse a mains frequency where the card already says it."""
    if options.mains_hz is not None:
        raise UsageError(
            f"cohort {cohort_id} takes the mains frequency from its card; to change it, put [{cohort_id}] mains_hz = "
            f"{options.mains_hz:g} into a file for --cohort-settings"
        )


class PersonPattern:
    """Who a recording belongs to: the first group of a regex on its id, or the recording itself without one.

    Raises
    ------
    UsageError
        For a pattern that is no regex or has no group.
    """

    def __init__(self, pattern: str | None) -> None:
        self._regex = None
        if pattern is None:
            return
        try:
            self._regex = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"person pattern {pattern!r} is not a regular expression: {error}") from error
        if self._regex.groups < 1:
            raise UsageError(f"person pattern {pattern!r} has no group: put the person's part in brackets, '^(SC4..)'")

    def person(self, recording: str) -> str:
        """Person of a recording id.

        Raises
        ------
        UsageError
            When the pattern finds nothing in it.
        """
        if self._regex is None:
            return recording
        match = self._regex.search(recording)
        if match is None or not match[1]:
            raise UsageError(f"person pattern {self._regex.pattern!r} finds no person in recording {recording!r}")
        return match[1]
