"""Which files below a root are recordings of a cohort, and who they belong to, by their names alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypnos_bench.cohorts.base import Exclusion
from hypnos_bench.cohorts.card import CohortLayout
from hypnos_bench.cohorts.card_toml import compiled
from hypnos_bench.cohorts.scan import below, walk_files

FIXED = "_fixed"
"""Ending of a copy with a repaired header that some tools write beside the original."""


@dataclass(frozen=True)
class FoundFile:
    """One signal file.

    Parameters
    ----------
    path : Path
    id, person : str
        The person is case folded.
    visit : str or None
    groups : mapping of str to str
        What templates may use: the name's groups, ``stem``, ``name``, ``dir``.
    """

    path: Path
    id: str
    person: str
    visit: str | None
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """Recordings by id, files that look like recordings and are none, and what was passed over with counts."""

    recordings: tuple[FoundFile, ...]
    excluded: tuple[Exclusion, ...]
    remarks: Mapping[str, int]


def find_files(base: Path, layout: CohortLayout) -> Found:
    """Walk the signal folder of a cohort.

    A copy named ``_fixed`` takes its original's place. An id that is found twice is left out, because nothing says
    which file is meant. Files that fit neither the pattern nor a rule for skipping are listed.
    """
    rules = layout.layout
    pattern = compiled(rules.file, "file")
    skips = [(compiled(skip.file, "skip"), skip.reason) for skip in layout.skip]
    remarks: Counter[str] = Counter()
    strange: list[Exclusion] = []
    places: dict[str, list[FoundFile]] = {}
    locked: list[OSError] = []
    passed_over: dict[str, Exclusion] = {}  # one file of each person who has files that are passed over
    for original, path in _originals(base / rules.signals, tuple(rules.suffixes), locked):
        relative = below(base / rules.signals, original)
        relative = relative[: -len(_suffix(original.name, rules.suffixes))]
        skipped = next(((m, why) for skip, why in skips if (m := skip.fullmatch(relative))), None)
        match = pattern.fullmatch(relative)
        if skipped is not None:
            remarks[f"passed over: {skipped[1]}"] += 1
            if (person := skipped[0].groupdict().get("person")) is not None:
                passed_over.setdefault(person.casefold(), Exclusion(path.stem, f"nothing but: {skipped[1]}"))
        elif match is None:
            strange.append(Exclusion(path.stem, f"{below(base, path)}: the name does not fit {rules.file}"))
        else:
            if path != original:
                remarks["a repaired copy (_fixed) is read in place of the original"] += 1
            file = _found(base, original, path, match, layout)
            places.setdefault(file.id, []).append(file)
    twice = [
        Exclusion(key, f"found {len(files)} times: {', '.join(below(base, f.path) for f in files)}; keep one")
        for key, files in places.items()
        if len(files) > 1
    ]
    strange += [Exclusion(_name(error), f"the folder cannot be read ({error.strerror})", True) for error in locked]
    here = {file.person for files in places.values() for file in files}
    strange += [exclusion for person, exclusion in passed_over.items() if person not in here]
    once = tuple(files[0] for _, files in sorted(places.items()) if len(files) == 1)
    return Found(once, (*strange, *twice), remarks)


def _name(error: OSError) -> str:
    return Path(str(error.filename)).name


def _originals(folder: Path, suffixes: tuple[str, ...], locked: list[OSError]) -> list[tuple[Path, Path]]:
    """Path of each original, whether it is there or not, and the file to read; by name."""
    originals: dict[Path, list[Path]] = {}
    copies: dict[Path, list[Path]] = {}
    for path in walk_files(folder, *suffixes, locked=locked):
        suffix = _suffix(path.name, suffixes)
        stem = path.name[: -len(suffix)]
        repaired = stem.casefold().endswith(FIXED)
        stem = stem[: -len(FIXED)] if repaired else stem
        key = path.with_name(stem + suffix.casefold())  # of x.EDF a copy may be x_fixed.edf
        (copies if repaired else originals).setdefault(key, []).append(path)
    return [
        (originals[key][0] if key in originals else key, path)
        for key in sorted({**originals, **copies})
        for path in copies.get(key) or originals[key]
    ]


def _suffix(name: str, suffixes: Sequence[str]) -> str:
    """The suffix as the name spells it."""
    return next(name[-len(s) :] for s in suffixes if name.casefold().endswith(s.casefold()))


def _found(base: Path, original: Path, path: Path, match: re.Match[str], layout: CohortLayout) -> FoundFile:
    rules = layout.layout
    stem = original.name[: -len(_suffix(original.name, tuple(rules.suffixes)))]
    folder = below(base, original.parent) + "/" if original.parent != base else ""
    groups = {
        **{name: value or "" for name, value in match.groupdict().items()},
        "stem": stem,
        "name": original.name,
        "dir": folder,
    }
    return FoundFile(
        path=path,
        id=rules.id.format_map(groups),
        person=rules.person.format_map(groups).casefold(),
        visit=rules.visit.format_map(groups) or None,
        groups=groups,
    )
