"""What all encoders of a run have: recordings and units on which alone they are compared.

It is fixed before anything is drawn or fitted. Folds are made of everybody with labels, so that nobody changes sides
when an encoder loses a recording; training persons are drawn from those in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hypnos_bench.cohorts.base import Cohort, Exclusion
from hypnos_bench.errors import DataError, FitError
from hypnos_bench.labelling.demographics import read_demographics
from hypnos_bench.probe import ProbeData
from hypnos_bench.probe.data import Indices, stretches
from hypnos_bench.runner.gather import Gathered
from hypnos_bench.runner.labels import Labels
from hypnos_bench.runner.sources import labels_apart
from hypnos_bench.spec import digest

NO_ROWS = "without embedding rows"
NO_ROWS_ELSEWHERE = "without rows of another encoder"
_SHOWN = 3


@dataclass(frozen=True)
class Common:
    """Recordings and units that count.

    Parameters
    ----------
    units : mapping of str to ndarray of intp
        Recording to those of its labelled units that every encoder has a row for, in the cohort's order.
    digest : str
        Of `units`; empty when they are all that are labelled.
    lost : mapping of str to mapping of str to Exclusion
        Labelled recordings that do not count: by whom they were lost (``Source.key``), and why.
    names : mapping of str to str
        ``Source.key`` to what the encoder is called in cells.
    """

    units: Mapping[str, Indices]
    digest: str
    lost: Mapping[str, Mapping[str, Exclusion]]
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Recordings and units in common."""
        return {"recordings": len(self.units), "units": sum(len(index) for index in self.units.values())}

    def exclusions(self, keys: Sequence[str]) -> Iterator[Exclusion]:
        """Recordings that do not count, as cells of these encoders list them: their own losses in their own words."""
        for recording, by in sorted(self.lost.items()):
            own = [by[key] for key in keys if key in by]
            if own:
                yield own[0]
                continue
            other, exclusion = next(iter(by.items()))
            reason = f"not embedded by {self.names[other]}: {exclusion.reason}" if other else exclusion.reason
            yield Exclusion(recording, reason, any(e.transient for e in by.values()))


def in_common(cohort: Cohort, labels: Labels, several: Sequence[Gathered]) -> Common:
    """Intersect what encoders have.

    Raises
    ------
    DataError
        When nothing is left, with what each of them has.
    """
    units: dict[str, Indices] = {}
    lost: dict[str, dict[str, Exclusion]] = {}
    losses = [(gathered.source.key, {e.recording: e for e in gathered.lost}) for gathered in several]
    for recording in labels.labelled(cohort):
        name = recording.id
        by = {key: own[name] for key, own in losses if name in own}
        if by:
            lost[name] = by
            continue
        index = np.arange(labels.count(name), dtype=np.intp)
        for gathered in several:
            index = np.intersect1d(index, gathered.units[name], assume_unique=True)
        if index.size:
            units[name] = index
        else:
            lost[name] = {"": Exclusion(name, "every unit of it lacks the rows of one encoder or another")}
    if not units:
        raise _nothing(cohort, labels, several, lost)
    whole = not lost and all(len(index) == labels.count(name) for name, index in units.items())
    told = [[name, [list(pair) for pair in stretches(index)]] for name, index in sorted(units.items())]
    return Common(units, "" if whole else digest(told), lost, labels_apart(g.source for g in several))


def _nothing(
    cohort: Cohort, labels: Labels, several: Sequence[Gathered], lost: Mapping[str, Mapping[str, Exclusion]]
) -> DataError:
    have = ", ".join(f"{len(g.units)} from {g.source.name}" for g in several)
    some = [f"{name}: {next(iter(by.values())).reason}" for name, by in sorted(lost.items())]
    return DataError(
        f"{cohort.card.id}: no recording was embedded by every encoder of the run ({have}, of {len(labels.recordings)} "
        f"labelled); ask them in separate runs. First: {'; '.join(some[:_SHOWN])}"
    )


def loss_of(gathered: Gathered, labels: Labels) -> dict[str, Any]:
    """What one encoder lost: recordings with reasons, and units of the recordings that it did embed."""
    missing = sum(labels.count(name) - len(index) for name, index in gathered.units.items())
    reasons = Counter(e.reason.replace(e.recording, "*") for e in gathered.lost)  # many a reason names the file
    return {"recordings": len(gathered.lost), "units": missing, "reasons": dict(reasons.most_common())}


def loss_line(gathered: Gathered, labels: Labels, common: Common, unit: str) -> str | None:
    """One line for the user about what an encoder lost, or ``None`` when that is nothing."""
    loss, counts = loss_of(gathered, labels), common.counts
    if not loss["recordings"] and not loss["units"]:
        return None
    parts = []
    if loss["recordings"]:
        several = list(loss["reasons"])
        more = f" and {len(several) - _SHOWN} other reasons" if len(several) > _SHOWN else ""
        parts.append(
            f"{loss['recordings']:,} of {len(labels.recordings):,} recordings ({'; '.join(several[:_SHOWN])}{more})"
        )
    if loss["units"]:
        parts.append(f"{loss['units']:,} {unit}s")
    compared = f"{counts['recordings']:,} recordings"
    if labels.units is not None:
        compared += f", {counts['units']:,} {unit}s in common"
    return f"{gathered.source.name} lost {', '.join(parts)}; compared on {compared}"


def probe_data(
    cohort: Cohort,
    labels: Labels,
    common: Common,
    train: Gathered,
    test: Gathered | None = None,
    demographics: Sequence[str] = (),
    lost: Mapping[str, Any] | None = None,
) -> ProbeData:
    """Rows in common of one encoder with their labels; test rows from another one where modalities are masked there.

    Parameters
    ----------
    lost : mapping, optional
        What the encoder lost (`loss_of`), for the cells' counts.

    Raises
    ------
    FitError
        When training and test rows differ in width.
    """
    if test is not None and train.rows is not None and test.rows is not None:
        widths = train.rows.shape[1], test.rows.shape[1]
        if widths[0] != widths[1]:
            raise FitError(
                f"embeddings have {widths[0]} columns and {widths[1]} where modalities are masked: a head that learned "
                "from the first cannot be tested on the second; use --masking refit"
            )
    recordings = [recording for recording in cohort.recordings if recording.id in common.units]
    keys = [train.source.key, *([test.source.key] if test else [])]
    return ProbeData(
        everyone=labels.everyone,
        recordings=[recording.id for recording in recordings],
        persons=[recording.person for recording in recordings],
        first_row=np.concatenate([[0], np.cumsum([len(i) for i in common.units.values()])]).astype(np.intp),
        targets=labels.targets(common.units),
        rows=train.rows,
        picked=train.rows_of(common.units),
        tested=test.rows if test else None,
        tested_picked=test.rows_of(common.units) if test else None,
        share=labels.shares(common.units),
        demographics=read_demographics(recordings, demographics) if demographics else None,
        excluded=[*labels.excluded, *common.exclusions(keys)],
        dropped=_dropped(labels, common, train, test),
        column=labels.people.column if labels.people else "",
        embed_s=train.embed_s + (test.embed_s if test else 0.0),
        duplicates=labels.duplicates,
        facts={"common": common.counts, "lost": dict(lost or {})},
    )


def _dropped(labels: Labels, common: Common, train: Gathered, test: Gathered | None) -> Mapping[str, int]:
    if labels.people is not None:
        return labels.people.dropped
    dropped = Counter[str]()
    for name, index in common.units.items():
        own = train.units[name] if test is None else np.intersect1d(train.units[name], test.units[name])
        if labels.units is not None:
            dropped.update(labels.units[name].dropped)
        dropped[NO_ROWS] += labels.count(name) - len(own)
        dropped[NO_ROWS_ELSEWHERE] += len(own) - len(index)
    return dropped
