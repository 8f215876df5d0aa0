"""What a run *is*: frozen dataclasses, canonical JSON, and the only place that hashes.

A cell's key is the SHA-256 of its canonical spec: every setting that can change a number, and
nothing else (not device, batch size, workers or file locations).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hypnos_bench.errors import UsageError

EPOCH_S = 30.0
"""Length of one epoch of sleep scoring in seconds; an *epoch* is never a training pass here."""

CELL_SCHEMA = 3
"""Version of the cell file."""


@dataclass(frozen=True)
class TaskSpec:
    """One question asked of embeddings, as read from ``tasks/*.toml``.

    Parameters
    ----------
    id, title : str
        Stable kebab id and a human title. A changed definition gets a new id.
    label : {"stage", "events", "rhythm", "minutes", "record", "covariate", "outcome"}
        Which labels of a recording answer it: annotations of its files, a column of the cohort's tables, or what
        became of the person.
    unit : {"epoch", "window", "recording", "person"}
        What one row is: an epoch of sleep scoring, a window of `unit_s` seconds, a recording as a whole, or a person
        (whose first recording with a label counts; later ones are dropped and counted).
    metrics : tuple of str
        Main metric first.
    cohorts, heads : tuple of str
        Where and with what the question is meant to be asked; the first head is the default.
    kind : {"classification", "regression", "survival"}
    unit_s : float
        Length of an epoch or window in seconds; 0 for whole recordings.
    classes : tuple of str
        Names of classes 0..C-1; none for regression and survival.
    class_map : mapping of str to str
        Label as the cohort gives it (``"W"``, ``"AFIB"``, ``"male"``) to class name; ``"*"`` for every other label.
        Labels not listed are unlabelled.
    ignore : tuple of str
        Labels that make a unit unlabelled even where ``"*"`` would take them (noise).
    positive : str or None
        For binary tasks, the class whose score is ranked.
    events : tuple of str
        Event kinds that make an epoch positive.
    overlap_s, overlap_share : float
        How much of an event an epoch must hold: at least so many seconds, and such a share of the epoch.
    columns : tuple of str
        Covariates (the first that any recording of the cohort has is used for all) or outcome ids; ``"*"`` stands
        for all outcomes of the cohort. Empty: the user names them.
    cuts : tuple of float
        Ascending limits that make classes of a number: class k holds cuts[k-1] <= value < cuts[k].
    demographics : tuple of str
        Covariates of the demographics-only baseline, and of embeddings with demographics beside them; the task's own
        label is never among them.
    horizons : tuple of float
        Years at which survival is looked at.
    split : {"cohort", "holdout", "cv5"}
        Kind of split by person; ``cohort`` is the cohort's own default.
    alignment : {"reference", "covered"}
        Which embedding rows stand for a unit: ``reference`` takes the rows with the unit's own
        indices; ``covered`` shifts by the encoder's stated lag so that the rows have seen the unit.
    mixed : {"drop", "majority"}
        What happens to a window that holds more than one rhythm.
    """

    id: str
    title: str
    label: Literal["stage", "events", "rhythm", "minutes", "record", "covariate", "outcome"]
    unit: Literal["epoch", "window", "recording", "person"]
    metrics: tuple[str, ...]
    cohorts: tuple[str, ...]
    heads: tuple[str, ...]
    kind: Literal["classification", "regression", "survival"] = "classification"
    unit_s: float = EPOCH_S
    classes: tuple[str, ...] = ()
    class_map: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    positive: str | None = None
    events: tuple[str, ...] = ()
    overlap_s: float = 0.5
    overlap_share: float = 0.0
    columns: tuple[str, ...] = ()
    cuts: tuple[float, ...] = ()
    demographics: tuple[str, ...] = ()
    horizons: tuple[float, ...] = ()
    split: Literal["cohort", "holdout", "cv5"] = "cohort"
    alignment: Literal["reference", "covered"] = "reference"
    mixed: Literal["drop", "majority"] = "drop"
    citation: str = ""
    note: str = ""

    PROSE = ("title", "citation", "note", "cohorts", "heads", "split")

    @property
    def by_person(self) -> bool:
        """Whether a row is a whole night or ECG, pooled over time, and not a stretch of one."""
        return self.unit in ("recording", "person")

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> TaskSpec:
        """The task behind a stored :meth:`definition`; its prose is empty."""
        told: dict[str, Any] = {name: tuple(p) if isinstance(p, list) else p for name, p in definition.items()}
        return cls(**{"title": "", "cohorts": (), "heads": (), **told})

    def definition(self) -> dict[str, Any]:
        """Everything that can change a number: the task without its prose, and without what the split spec says."""
        return {k: v for k, v in plain(self).items() if k not in self.PROSE}


@dataclass(frozen=True)
class InputSpec:
    """What a head sees of a row.

    Parameters
    ----------
    pooling : {"mean", "mean-sd"}
        Over the rows of a unit: the mean, or the mean and beside it the standard deviation (whole recordings only).
    demographics : tuple of str
        Covariates beside the embedding, or instead of it.
    embedding : bool
        False for the demographics-only baseline.
    tested_on : tuple of str
        Modalities that test recordings are masked to, while the head learned from all of them; empty: nothing is
        masked at test only. A head that learns from masked recordings too belongs to another encoder, see
        ``encoders.masked``.
    """

    pooling: Literal["mean", "mean-sd"] = "mean"
    demographics: tuple[str, ...] = ()
    embedding: bool = True
    tested_on: tuple[str, ...] = ()


def inputs_label(inputs: InputSpec | Mapping[str, Any]) -> str:
    """What a head saw, in few words: ``embedding``, ``mean-sd + age, sex``, ``embedding, eeg at test only``."""
    words = plain(inputs)
    parts = [words["pooling"] if words["pooling"] != "mean" else "embedding"] if words["embedding"] else []
    if words["demographics"]:
        parts.append(", ".join(words["demographics"]))
    masked = f", {', '.join(words['tested_on'])} at test only" if words.get("tested_on") else ""
    return " + ".join(parts) + masked


@dataclass(frozen=True)
class Shots:
    """A label budget in training persons: a share (``1%``) or a count (``10p``)."""

    kind: Literal["percent", "persons"]
    value: float

    @classmethod
    def parse(cls, text: str) -> Shots:
        """Read ``"1%"``, ``"0.5%"`` or ``"10p"``. A bare number is ambiguous and refused.

        Raises
        ------
        UsageError
            For anything else, saying what would be understood.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(%|p)", text.strip())
        if match is None:
            hint = (
                f" {text.strip()!r} is ambiguous: write '{text.strip()}%' or '{text.strip()}p'."
                if re.fullmatch(r"[\d.]+", text.strip())
                else ""
            )
            raise UsageError(f"--shots takes a share of training persons ('1%') or a count of persons ('10p').{hint}")
        value = float(match[1])
        if match[2] == "%":
            if not 0 < value <= 100:
                raise UsageError(f"--shots {text}: a share must lie above 0% and at most 100%")
            return cls("percent", value)
        if value < 1 or value != int(value):
            raise UsageError(f"--shots {text}: a count of persons must be a whole number of at least 1")
        return cls("persons", value)

    @property
    def label(self) -> str:
        """The way it is typed: ``"1%"`` or ``"10p"``."""
        return f"{self.value:g}{'%' if self.kind == 'percent' else 'p'}"

    def count(self, n_persons: int) -> int:
        """Number of training persons out of `n_persons`; a share is rounded up and is at least one.

        Raises
        ------
        UsageError
            When a count asks for more persons than there are.
        """
        if self.kind == "percent":
            # The tiny slack keeps 7% of 100 at 7, not at 8 through 7.000000000000001.
            return max(1, math.ceil(self.value / 100 * n_persons - 1e-9))
        if self.value > n_persons:
            raise UsageError(
                f"--shots {self.label} needs {int(self.value)} training persons, but there are {n_persons}"
            )
        return int(self.value)

    @property
    def default_seeds(self) -> int:
        """Draws that a budget deserves: the smaller the budget, the more the draw matters."""
        if self.kind == "persons":
            return 10
        return 10 if self.value < 5 else 5 if self.value < 100 else 1


SplitKind = Literal[
    "holdout", "cv5", "epoch", "recording", "osf-recording", "osf-person", "sleepfm-recording", "sleepfm-person"
]


@dataclass(frozen=True)
class SplitSpec:
    """How persons are divided: one fixed hold-out, or grouped 5-fold cross-validation.

    ``epoch`` divides single units and ``recording`` files, and both ignore who was recorded. They leak, and are here to
    show how much: their cells are marked *leaky*. With ``duplicates = "check"`` recordings that are nearly the same
    signal are found first, and their persons kept on one side.

    ``osf-...`` and ``sleepfm-...`` are published lists of recordings, which the user holds: ``-recording`` as
    published, with visits of one person on both sides where the lists have them so, ``-person`` without the test
    recordings of persons who are also learned from. `lists` is the digest of the files they were read from.
    """

    kind: SplitKind = "holdout"
    test_fraction: float = 0.2
    folds: int = 5
    salt: str = "hypnos-bench-1"
    duplicates: Literal["check", "off"] = "off"
    lists: str = ""

    @property
    def leaky(self) -> bool:
        """Whether persons fall on both sides."""
        return self.kind == "epoch" or self.kind.endswith("recording")

    @property
    def listed(self) -> str | None:
        """Whose published lists divide the cohort (``osf``, ``sleepfm``), or ``None``."""
        source, _, unit = self.kind.partition("-")
        return source if unit else None


@dataclass(frozen=True)
class SampleSpec:
    """Which part of a cohort counts in a run; empty strings: all that is labelled.

    Parameters
    ----------
    common : str
        Digest of the recordings and units that every encoder of the run has embeddings of, where that is not all that
        are labelled: all encoders of a run are compared on these alone.
    untested : str
        Digest of the persons who are left out of the test side because an encoder of the run has seen them.
    """

    common: str = ""
    untested: str = ""


@dataclass(frozen=True)
class HeadSpec:
    """A head and every setting of it that can change a number."""

    id: str = "linear"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellSpec:
    """The unit of work and of storage: encoder x inputs x task x cohort x head x shots x seed."""

    task: Mapping[str, Any]  # TaskSpec.definition()
    cohort: Mapping[str, Any]  # id, fingerprint, simulated
    encoder: Mapping[str, Any]  # EncoderCard.definition()
    head: HeadSpec
    split: SplitSpec
    shots: Shots
    seed: int
    inputs: InputSpec = InputSpec()
    bootstrap: int = 1000
    sample: SampleSpec = SampleSpec()

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of the spec, hexadecimal."""
        return digest({"schema": CELL_SCHEMA, **plain(self)})


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain dicts and lists, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        raise TypeError(f"a file location must not enter a spec: {value}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} cannot enter a spec")


def canonical_json(value: Any) -> str:
    """Sorted keys, no blanks, no NaN: equal values give equal text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a whole file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 over the whole content of files; names and times are left out."""
    return digest([file_sha256(path) for path in paths])


def files_fingerprint(paths: Sequence[Path], whole: int = 32 * 2**20, block: int = 4096, blocks: int = 16) -> str:
    """Content fingerprint of signals: files up to `whole` bytes in full, larger ones by samples.

    Of a larger file it takes the size, the first and last 64 KiB, and `blocks` pieces between: terabytes
    are not read twice for this, but a small edit in the middle goes unseen. Labels, which people do edit,
    are always hashed whole (:func:`files_sha256`). Names and times are left out, so that a copy elsewhere
    has the same fingerprint.
    """
    total = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        total.update(f"{size};".encode())
        with path.open("rb") as handle:
            if size <= whole:
                total.update(hashlib.file_digest(handle, "sha256").digest())
                continue
            total.update(handle.read(65536))
            for i in range(1, blocks + 1):
                handle.seek(size * i // (blocks + 1))
                total.update(handle.read(block))
            handle.seek(max(0, size - 65536))
            total.update(handle.read(65536))
    return total.hexdigest()
