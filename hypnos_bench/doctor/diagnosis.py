"""Many checkups put together: what a cohort holds, what was understood, and what would be lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, EVENT_SCOPES, Cohort, Exclusion
from hypnos_bench.cohorts.card import CohortLayout
from hypnos_bench.doctor.checkup import EVENT_RULE, SIGNALS, Checkup
from hypnos_bench.doctor.losses import Loss as Loss
from hypnos_bench.doctor.losses import losses

MISSING = "absent"
_NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(?:[.:]\d+)*")  # not that of N1


@dataclass(frozen=True)
class Diagnosis:
    """A cohort looked over.

    Parameters
    ----------
    cohort, title : str
    simulated, persons_assumed : bool
        Nobody was recorded; recordings count as their own person where nothing says who it was.
    n_recordings, n_readable, n_persons, n_split_units : int
        Recordings, those whose headers can be read, persons, and families (or persons) that stay on one side of a
        split.
    hours : float
    visits, annotations : mapping of str to int
        Recordings per visit, and per kind of annotation.
    n_labelled, n_without_events : mapping of str to int
        Recordings per label kind that can be used; those of them with scored events and not one of a scope
        (``any``: of any kind).
    montage : mapping of str to mapping of str to int
        Canonical channel to the ways in which it is made, with counts of recordings.
    rates_hz, units : mapping of str to mapping of str to int
    labels : mapping of str to mapping of str to float
        Label kind to totals.
    epochs_with : mapping of str to int
    event_rule : str
    unknown : mapping of str to int
        Texts of annotations that no table knows, with how often they stand there.
    unused : mapping of str to int
        Labels of files that no channel is made of, with counts of recordings.
    repairs, notes, quality : mapping of str to int
        Of headers, of readers, of scorers; one text of those that differ by numbers only, with counts of recordings.
    covariates, outcomes : mapping
        Name to the number of recordings that have it; endpoint to counts of event, censored, prevalent.
    tables, gaps : tuple of str
        Tables that the card names, and what was looked for in them and not found.
    ruled_out : mapping of str to int
        What the card or the tables rule out, with counts of recordings.
    excluded : tuple of Exclusion
        Left out by the card, or because the files do not fit together.
    remarks : tuple of str
        Of opening the cohort.
    losses : tuple of Loss
        Empty when nothing would be lost silently.
    checkups : tuple of Checkup
        Per recording, in order of ids.
    """

    cohort: str
    title: str
    simulated: bool
    persons_assumed: bool
    n_recordings: int
    n_readable: int
    n_persons: int
    n_split_units: int
    hours: float
    visits: Mapping[str, int]
    annotations: Mapping[str, int]
    n_labelled: Mapping[str, int]
    n_without_events: Mapping[str, int]
    montage: Mapping[str, Mapping[str, int]]
    rates_hz: Mapping[str, Mapping[str, int]]
    units: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, float]]
    epochs_with: Mapping[str, int]
    event_rule: str
    unknown: Mapping[str, int]
    unused: Mapping[str, int]
    repairs: Mapping[str, int]
    notes: Mapping[str, int]
    quality: Mapping[str, int]
    covariates: Mapping[str, int]
    outcomes: Mapping[str, Mapping[str, int]]
    tables: tuple[str, ...]
    gaps: tuple[str, ...]
    ruled_out: Mapping[str, int]
    excluded: tuple[Exclusion, ...]
    remarks: tuple[str, ...]
    losses: tuple[Loss, ...]
    checkups: tuple[Checkup, ...]


def diagnose(cohort: Cohort, checkups: Sequence[Checkup], layout: CohortLayout | None = None) -> Diagnosis:
    """Put checkups of a cohort together.

    Parameters
    ----------
    cohort : Cohort
    checkups : sequence of Checkup
        Of every recording of it.
    layout : CohortLayout, optional
        The card with the user's settings: what it offers is missed when it is not there, and what it rules out is no
        loss.
    """
    read = [c for c in checkups if SIGNALS not in c.problems]
    return Diagnosis(
        cohort=cohort.card.id,
        title=cohort.card.title,
        simulated=cohort.card.simulated,
        persons_assumed=cohort.card.persons_assumed,
        n_recordings=len(cohort.recordings),
        n_readable=len(read),
        n_persons=len({r.person for r in cohort.recordings}),
        n_split_units=len({r.split_unit for r in cohort.recordings}),
        hours=sum(c.duration_s for c in checkups) / 3600,
        visits=dict(sorted(Counter(c.visit for c in checkups if c.visit is not None).items())),
        annotations=_counted(c.annotation for c in checkups),
        n_labelled={
            kind: sum(kind in c.labels and kind not in c.problems for c in checkups) for kind in cohort.card.labels
        },
        n_without_events=_without_events(checkups),
        montage=_montage(read),
        rates_hz=_by_channel({name: f"{hz:g}" for name, hz in c.rates_hz.items()} for c in read),
        units=_by_channel({name: unit or "blank" for name, unit in c.units.items()} for c in read),
        labels=_label_totals(checkups, cohort.card.labels),
        epochs_with=_epochs_with(checkups),
        event_rule=str(EVENT_RULE),
        unknown=_sum(c.unknown for c in checkups),
        unused=_counted(label for c in checkups for label in c.unused),
        repairs=_alike((c.recording, c.repairs) for c in checkups),
        notes=_alike((c.recording, c.notes) for c in checkups),
        quality=_counted(remark for c in checkups for remark in c.quality),
        covariates=_counted(name for c in checkups for name in c.covariates),
        outcomes=_by_channel(c.outcomes for c in checkups),
        tables=tuple(table.glob for table in layout.tables) if layout is not None else (),
        gaps=cohort.gaps,
        ruled_out=_alike(
            (c.recording, [f"{kind}: {reason}" for kind, reason in c.ruled_out.items()]) for c in checkups
        ),
        excluded=cohort.excluded,
        remarks=cohort.remarks,
        losses=losses(cohort, checkups, layout),
        checkups=tuple(checkups),
    )


def _montage(read: Sequence[Checkup]) -> dict[str, dict[str, int]]:
    return {channel: _counted(c.montage.get(channel, MISSING) for c in read) for channel in CANONICAL_CHANNELS if read}


def _by_channel(rows: Iterable[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        for name, value in row.items():
            counts.setdefault(name, Counter())[value] += 1
    return {name: dict(counter.most_common()) for name, counter in counts.items()}


def _label_totals(checkups: Sequence[Checkup], kinds: Iterable[str]) -> dict[str, dict[str, float]]:
    totals: dict[str, dict[str, float]] = {}
    for kind in kinds:
        for found in (c.labels[kind] for c in checkups if kind in c.labels):
            total = totals.setdefault(kind, {})
            for name, amount in found.items():
                total[name] = total.get(name, 0) + amount
    return totals


def _epochs_with(checkups: Sequence[Checkup]) -> dict[str, int]:
    total = _sum(c.epochs_with for c in checkups)
    return {scope: total[scope] for scope in EVENT_SCOPES if scope in total}


def _without_events(checkups: Sequence[Checkup]) -> dict[str, int]:
    scored = [c for c in checkups if "events" in c.labels]
    if not scored:
        return {}
    scopes = {
        scope: sum(not any(c.labels["events"].get(kind) for kind in kinds) for c in scored if scope not in c.ruled_out)
        for scope, kinds in EVENT_SCOPES.items()
    }
    return {"any": sum(not c.labels["events"] for c in scored), **scopes}


def _sum(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    return dict(total.most_common())


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _alike(rows: Iterable[tuple[str, Iterable[str]]]) -> dict[str, int]:
    """Recordings with their texts: those that differ by the id and by numbers only under the first, with counts."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for recording, texts in rows:
        shapes = {_NUMBER.sub("#", text.replace(recording, "#")): text for text in texts}
        for shape, text in shapes.items():
            counts[first.setdefault(shape, text)] += 1
    return dict(counts.most_common())
