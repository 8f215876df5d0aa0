"""What fake cohort trees are made of: nights with signals and an annotation, of persons that tables tell of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers.synthetic import Kind, Written, random_stages, stage_signal
from hypnos_bench.cohorts.writers.tree_tables import AHIS, Table
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.spec import EPOCH_S

START = datetime(1985, 1, 1, 23, 57, 0)
"""Every night begins shortly before midnight, so that times of day run over it."""

EXTRA_S = 15.0
"""Signals go on for half an epoch after the last one that is scored."""

KINDS = (
    *("hypopnea", "obstructive-apnea", "arousal", "desaturation", "central-apnea", "mixed-apnea"),
    *("rera", "unsure"),
)
"""Event kinds of an NSRR annotation; other formats have no word for the last."""

_UNITS = {"ecg": "mV", "effort": ""}
_NAP_EPOCHS = 2


class Row(NamedTuple):
    """One channel of a file."""

    label: str
    kind: Kind
    rate_hz: float
    unit: str


def rows(kind: Kind, rate_hz: float, *labels: str) -> tuple[Row, ...]:
    """Channels of one kind and rate, in the unit that recorders give it."""
    return tuple(Row(label, kind, rate_hz, _UNITS.get(kind, "uV")) for label in labels)


@dataclass(frozen=True)
class Montage:
    """Channels of a file in its order, and how canonical channels are made of them (``"C3 - A2"``)."""

    channels: tuple[Row, ...]
    makes: Mapping[str, str]

    def plus(self, makes: Mapping[str, str], *more: tuple[Row, ...]) -> Montage:
        """The same with further channels."""
        return Montage((*self.channels, *chain.from_iterable(more)), {**self.makes, **makes})


_KIND_OF: Mapping[str, Kind] = {
    "C3": "eeg",
    "C4": "eeg",
    "E1": "eog",
    "E2": "eog",
    "Chin": "emg",
    "ECG": "ecg",
    "ABD": "effort",
    "THX": "effort",
}


def referenced(rate_hz: float, belts_hz: float, **labels: str) -> Montage:
    """A file in which every canonical channel has a label of its own; belts have a rate of their own."""
    kinds = [(label, _KIND_OF[name]) for name, label in labels.items()]
    channels = (rows(kind, belts_hz if kind == "effort" else rate_hz, label) for label, kind in kinds)
    return Montage(tuple(chain.from_iterable(channels)), labels)


@dataclass(frozen=True)
class Scored:
    """What an annotation is written from; `start` is the time of day of the first sample, ``HH:MM:SS``."""

    stages: tuple[int, ...]
    events: tuple[Event, ...]
    duration_s: float
    start: str = f"{START:%H:%M:%S}"


@dataclass(frozen=True)
class Scorer:
    """One kind of annotation.

    Parameters
    ----------
    path : str
        Template below the cohort's folder: ``{dir}`` (of the signals), ``{stem}`` and `Night.groups`.
    write : callable
        Writes a path and a `Scored`.
    kinds : tuple of str
        Event kinds it has words for; empty when it holds stages alone.
    step_s : float
        Starts of events are multiples of this.
    unscored : bool
        Whether it can say that an epoch is unscored: the last one is.
    """

    path: str
    write: Callable[[Path, Scored], None]
    kinds: tuple[str, ...] = KINDS
    step_s: float = 0.1
    unscored: bool = True


@dataclass(frozen=True)
class Night:
    """One recording.

    Parameters
    ----------
    edf : str
        Path below the cohort's folder.
    person : str
    montage : Montage
    scorers : tuple of Scorer
    visit, family : str, optional
    groups : mapping of str to str
        For templates.
    tells : tuple of str, optional
        Covariates that tables tell of this night, where not all that `Tree.tells` names.
    used : bool
        False for what the cohort holds beside its nights (naps, split nights): short, and not reported.
    no_range : str
        Label of a channel whose physical minimum and maximum are both 0, as some files have it.
    not_ascii : bool
        Whether the header holds a byte that is not ASCII.
    beside : mapping of str to str
        Templates of further text files to their text.
    """

    edf: str
    person: str
    montage: Montage
    scorers: tuple[Scorer, ...]
    visit: str | None = None
    family: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    tells: tuple[str, ...] | None = None
    used: bool = True
    no_range: str = ""
    not_ascii: bool = False
    beside: Mapping[str, str] = field(default_factory=dict)

    def path(self, base: Path, template: str) -> Path:
        """A template filled in."""
        edf = Path(self.edf)
        return base / template.format(**self.groups, dir=edf.parent.as_posix(), stem=edf.stem)


@dataclass(frozen=True)
class Tree:
    """A cohort as its documentation lays it out.

    Parameters
    ----------
    folder : str
        Top folder of a download.
    nights : callable
        Recordings of some number of persons.
    tables : tuple of Table
    tells : tuple of str
        House names of the covariates that the tables tell.
    ages : (int, int)
        Years at the first visit; a year more at each further one.
    sex : str, optional
        Of everybody.
    more : callable, optional
        Writes what is no plain table: base folder and all recordings, with all covariates.
    """

    folder: str
    nights: Callable[[int], Sequence[Night]]
    tables: tuple[Table, ...] = ()
    tells: tuple[str, ...] = ("age", "sex", "bmi")
    ages: tuple[int, int] = (40, 90)
    sex: str | None = None
    more: Callable[[Path, Sequence[Written]], None] | None = None

    def __call__(self, root: Path, n_persons: int, n_epochs: int, seed: int, folder: bool) -> tuple[Written, ...]:
        """Write everything; see `hypnos_bench.cohorts.writers.trees.write_tree`."""
        rng = np.random.default_rng(seed)
        base = root / self.folder if folder else root
        nights = self.nights(n_persons)
        people = _covariates(nights, self, rng)
        written = [_write_night(base, night, n_epochs, people[night.person, night.visit], rng) for night in nights]
        for table in self.tables:
            table.write(base, written)
        if self.more is not None:
            self.more(base, written)
        told = [self.tells if night.tells is None else night.tells for night in nights]
        return tuple(
            replace(w, covariates={name: w.covariates[name] for name in names})
            for w, night, names in zip(written, nights, told, strict=True)
            if night.used
        )


def _covariates(
    nights: Sequence[Night], tree: Tree, rng: np.random.Generator
) -> dict[tuple[str, str | None], dict[str, Any]]:
    """What is true of each person at each visit."""
    first: dict[str, tuple[int, str]] = {}
    visits: dict[tuple[str, str | None], dict[str, Any]] = {}
    for night in nights:
        sexes = (tree.sex,) if tree.sex else ("male", "female")
        age, sex = first.setdefault(night.person, (int(rng.integers(*tree.ages)), sexes[len(first) % len(sexes)]))
        nth = sum(person == night.person for person, _ in visits)
        if (night.person, night.visit) not in visits:
            facts: dict[str, Any] = {"age": float(age + nth), "sex": sex, "bmi": round(float(rng.uniform(18, 40)), 1)}
            indices = np.sort(rng.uniform(2, 60, 5))
            facts |= {name: round(float(ahi), 2) for name, ahi in zip(AHIS, indices, strict=False)}
            visits[night.person, night.visit] = {**facts, "ahi_chicago1999": round(float(indices[4]), 2)}
    return visits


def _write_night(
    base: Path, night: Night, n_epochs: int, covariates: Mapping[str, Any], rng: np.random.Generator
) -> Written:
    n_epochs = n_epochs if night.used else min(n_epochs, _NAP_EPOCHS)
    stages = random_stages(n_epochs, rng)
    if all(scorer.unscored for scorer in night.scorers):
        stages = (*stages[:-1], -1)
    main = night.scorers[0]
    scored = Scored(stages, _events(stages, main, rng), n_epochs * EPOCH_S + EXTRA_S)
    path = base / night.edf
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, list(_signals(night.montage.channels, stages, rng)), start=START)
    if night.no_range:
        _blank_range(path, [row.label for row in night.montage.channels].index(night.no_range))
    if night.not_ascii:
        _overwrite(path, _RECORDING_AT, "°".encode("latin-1"))
    for scorer in night.scorers:
        scorer.write(night.path(base, scorer.path), scored)
    for template, text in night.beside.items():
        beside = night.path(base, template)
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
    return Written(
        path.stem,
        night.person,
        night.visit,
        scored.duration_s,
        stages,
        scored.events,
        covariates=covariates,
        family=night.family,
        channels=night.montage.makes,
    )


def _events(stages: Sequence[int], scorer: Scorer, rng: np.random.Generator) -> tuple[Event, ...]:
    """An event of each kind in an epoch of sleep of its own, as far as there are epochs."""
    asleep = [epoch for epoch, code in enumerate(stages) if code > 0]
    steps = round(10 / scorer.step_s)
    return tuple(
        Event(kind, round(epoch * EPOCH_S + int(rng.integers(steps)) * scorer.step_s, 3), int(rng.integers(21, 35)) / 2)
        for epoch, kind in zip(asleep, scorer.kinds, strict=False)
    )


def _signals(
    channels: Sequence[Row], stages: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[str, float, str, NDArray[np.float64]]]:
    """One waveform per kind and rate, a little smaller and later in each further channel: a whole tree is quick."""
    drawn: dict[tuple[Kind, float], NDArray[np.float64]] = {}
    for i, row in enumerate(channels):
        key = (row.kind, row.rate_hz)
        if key not in drawn:
            drawn[key] = stage_signal(row.kind, stages, row.rate_hz, rng, extra_s=EXTRA_S)
        yield row.label, row.rate_hz, row.unit, np.roll(drawn[key], 7 * i) * 0.99**i


# Places in an EDF header: 256 bytes for the file, then one property of all channels after the other.
_RECORDING_AT = 160
_BEFORE_MINIMA = 16 + 80 + 8


def _blank_range(path: Path, channel: int) -> None:
    """Set physical minimum and maximum of a channel to 0."""
    with path.open("rb") as f:
        n = int(f.read(256)[252:])
    for before in (_BEFORE_MINIMA, _BEFORE_MINIMA + 8):
        _overwrite(path, 256 + n * before + 8 * channel, b"0".ljust(8))


def _overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as f:
        f.seek(at)
        f.write(data)
