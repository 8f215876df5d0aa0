"""What a list of recording ids holds, and which of its roles mean that an encoder has learned from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hypnos_bench.errors import UsageError

Level = Literal["seen", "held out", "not seen"]
"""Learned from in pre-training; kept out of it while others of its cohort were in; no part of pre-training."""

Format = Literal["osf", "sleepfm", "csv", "text"]

ROLES: Mapping[Format, Mapping[str, Level]] = {
    # Their validation lists chose the model: whoever is in them has had a say in the weights.
    "osf": {
        "pretrain_train": "seen",
        "pretrain_valid": "seen",
        "pretrain_test": "held out",
        "downstream_train": "not seen",
        "downstream_valid": "not seen",
        "downstream_test": "not seen",
    },
    # All but ``pretrain`` are for heads on the frozen encoder.
    "sleepfm": {
        "pretrain": "seen",
        "train": "not seen",
        "validation": "not seen",
        "test": "not seen",
        "temporal_test": "not seen",
        "external_validation": "not seen",
    },
    # A plain list that says ``train`` may mean the encoder's or a head's: that is asked (`levels_of`).
    "csv": {"pretrain": "seen"},
    "text": {"pretrain": "seen"},
}
"""Format to its roles and what they mean for the encoder. Source: the two authors' training scripts."""


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    Parameters
    ----------
    text : str
        As the file has it.
    role : str
        As the file, or its name, says it: ``pretrain_train``, ``test``.
    cohort : str or None
        Cohort id; ``None`` when nothing says whose recording it is.
    recording : str or None
        Recording id as this suite makes it, case folded; ``None`` for a line that names a person.
    person : str or None
        Case folded, as recordings of the cohort carry it; ``None`` when a table of the cohort would have to say it.
    """

    text: str
    role: str
    cohort: str | None = None
    recording: str | None = None
    person: str | None = None

    @property
    def who(self) -> tuple[str | None, str]:
        """Cohort and person, or the recording where the person is not known: what is counted as one."""
        return self.cohort, self.person or f"recording {self.recording or self.text.casefold()}"

    @property
    def what(self) -> tuple[str | None, str]:
        """Cohort and recording, or the person where none is named."""
        return self.cohort, self.recording or f"person {self.person or self.text.casefold()}"


@dataclass(frozen=True)
class SourceFile:
    """Where a list was read from: name without its folder, SHA-256 of the content, size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class ListFile:
    """One file as it was read; ids named twice in one role are held once and counted in `repeated`."""

    format: Format
    source: SourceFile
    entries: tuple[Entry, ...]
    repeated: int = 0

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles it has entries of, in the order of the file."""
        return tuple(dict.fromkeys(entry.role for entry in self.entries))

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Ids that name no cohort."""
        return tuple(entry.text for entry in self.entries if entry.cohort is None)


@dataclass(frozen=True)
class ExposureList:
    """A list that belongs to an encoder.

    Parameters
    ----------
    name : str
        Under which it is kept and cited.
    encoder : str
        Encoder id.
    entries : tuple of Entry
        Sorted.
    levels : mapping of str to {"seen", "held out", "not seen"}
        What each role means.
    source : SourceFile
    repeated : int
        Ids that the file names more than once in one role.
    """

    name: str
    encoder: str
    entries: tuple[Entry, ...]
    levels: Mapping[str, Level] = field(default_factory=dict)
    source: SourceFile = SourceFile("", "", 0)
    repeated: int = 0

    @property
    def cohorts(self) -> tuple[str, ...]:
        """Cohorts it says something about, sorted."""
        return tuple(sorted({entry.cohort for entry in self.entries if entry.cohort is not None}))

    def of(self, cohort_id: str) -> tuple[Entry, ...]:
        """Entries of one cohort."""
        return tuple(entry for entry in self.entries if entry.cohort == cohort_id)


def exposure_list(
    file: ListFile, encoder: str, *, name: str | None = None, seen: Iterable[str] | None = None
) -> ExposureList:
    """Make a read file an encoder's list.

    Parameters
    ----------
    file : ListFile
    encoder : str
    name : str, optional
        The file's name without its suffix unless given.
    seen : iterable of str, optional
        Roles that were learned from, in place of what the format is known to mean.

    Raises
    ------
    UsageError
        For a role of which nothing says whether it was learned from.
    """
    entries = tuple(sorted(file.entries, key=lambda e: (e.role, e.cohort or "", e.text)))
    levels = levels_of(file, seen)
    return ExposureList(
        name or file.source.name.rpartition(".")[0] or file.source.name,
        encoder,
        entries,
        levels,
        file.source,
        file.repeated,
    )


def levels_of(file: ListFile, seen: Iterable[str] | None = None) -> dict[str, Level]:
    """What the roles of a file mean for the encoder. Raises ``UsageError`` as `exposure_list`."""
    known = ROLES[file.format]
    if seen is not None:
        chosen = set(seen)
        return {
            role: "seen" if role in chosen else "held out" if known.get(role) == "held out" else "not seen"
            for role in file.roles
        }
    for role in file.roles:
        if role not in known:
            raise UsageError(
                f"{file.source.name}: does role {role!r} mean that the encoder learned from these recordings? "
                f"Say which roles it did, as in --seen {role}; roles here: {', '.join(file.roles)}"
            )
    return {role: known[role] for role in file.roles}
