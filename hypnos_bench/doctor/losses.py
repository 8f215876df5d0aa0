"""What a run over a cohort would leave out without having been asked to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Cohort, Exclusion
from hypnos_bench.cohorts.card import ALL, CohortLayout
from hypnos_bench.doctor.checkup import ANNOTATION, SIGNALS, Checkup

_LOOKS_LIKE: Mapping[str, re.Pattern[str]] = {
    channel: re.compile(pattern, re.IGNORECASE)
    for channel, pattern in {
        "C3": r"(?<![a-z0-9])c3(?!\d)",
        "C4": r"(?<![a-z0-9])c4(?!\d)",
        "E1": r"(?<![a-z0-9])(e1(?!\d)|loc(?![a-z])|eog[ _(-]*l)",
        "E2": r"(?<![a-z0-9])(e2(?!\d)|roc(?![a-z])|eog[ _(-]*r)",
        "Chin": r"chin|menton|submental",
        "ECG": r"e[ck]g",
        "ABD": r"(?<![a-z])abd",
        "THX": r"(?<![a-z])(tho|thx|chest)",
    }.items()
}
"""Labels in which a person would recognise a channel. Nothing is made of them; they are only pointed out."""


@dataclass(frozen=True)
class Loss:
    """Something that a run would leave out although nobody asked for it.

    Parameters
    ----------
    what : str
        One kind of loss, in words that many recordings can share.
    cases : tuple of Exclusion
        Every recording or file it concerns, with the reason in full; empty when it concerns the cohort.
    details : tuple of str
        What there is to say when it concerns the cohort.
    """

    what: str
    cases: tuple[Exclusion, ...] = ()
    details: tuple[str, ...] = ()


def losses(cohort: Cohort, checkups: Sequence[Checkup], layout: CohortLayout | None) -> tuple[Loss, ...]:
    """Everything that would be lost silently; empty when nothing would be.

    What the card or the user's settings rule out was asked for and is no loss. `layout` is ``None`` for cohorts
    without a card: they promise nothing.
    """
    expected = _stated_reasons(layout)
    affected: dict[str, list[Exclusion]] = {}
    for e in cohort.excluded:
        if e.reason not in expected:
            affected.setdefault("cannot take part", []).append(e)
    read = [c for c in checkups if SIGNALS not in c.problems]
    made = {channel for c in read for channel in c.montage}
    annotated = {(kind, c.annotation) for c in checkups for kind in c.labels}
    for c in checkups:
        troubles = [*_troubles(c), *_not_annotated(c, annotated), *_not_recognised(c, made, layout)]
        for what, reason in troubles:
            affected.setdefault(what, []).append(Exclusion(c.recording, reason))
    found = [Loss(what, tuple(cases)) for what, cases in affected.items()]
    if layout is not None:
        found += [*_channels_never_made(read, made, layout), *_labels_never_found(checkups, layout)]
    if cohort.gaps:
        what = "not found in the tables: covariates, outcomes, persons or flags would be missing"
        found.append(Loss(what, details=cohort.gaps))
    return tuple(found)


def _stated_reasons(layout: CohortLayout | None) -> set[str]:
    if layout is None:
        return set()
    return {rule.reason for rule in layout.exclude} | {flag.reason for flag in layout.flags if ALL in flag.scope}


def _troubles(c: Checkup) -> Iterator[tuple[str, str]]:
    """Kind of loss and reason, for one recording."""
    for part, reason in c.problems.items():
        what = {SIGNALS: "signals cannot be read", ANNOTATION: "annotation cannot be used"}
        yield what.get(part, f"{part} cannot be used"), reason
    if c.unknown:
        yield (
            "texts in annotations that no table knows (say what they mean: words = { ... })",
            ", ".join(map(repr, sorted(c.unknown))),
        )
    if c.unreadable:
        yield "channels that cannot be read", "; ".join(c.unreadable.values())


def _not_annotated(c: Checkup, annotated: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Labels that recordings with the same kind of annotation have, and this one has not."""
    for kind, reason in c.absent.items():
        if (kind, c.annotation) in annotated:
            yield f"{kind} not annotated, as it is in others", reason


def _not_recognised(c: Checkup, made: set[str], layout: CohortLayout | None) -> Iterator[tuple[str, str]]:
    """Channels that other recordings have, and whose labels in this one no rule takes."""
    if SIGNALS in c.problems:
        return
    if not c.montage:
        if made or c.unused:
            labels = ", ".join(map(repr, c.unused))
            reason = f"no channel is recognised in {labels}" if c.unused else "the file holds no channel"
            yield "nothing to embed (say how: [channels])", reason
        return
    for channel in CANONICAL_CHANNELS:
        known = layout is None or layout.aliases or layout.channels.get(channel)
        like = [label for label in c.unused if _LOOKS_LIKE[channel].search(label)]
        if known and like and channel in made and channel not in c.montage:
            what = f"{channel} is not made although a label looks like it (say how: [channels] {channel})"
            yield what, ", ".join(map(repr, like))


def _channels_never_made(read: Sequence[Checkup], made: set[str], layout: CohortLayout) -> Iterator[Loss]:
    for channel, rules in layout.channels.items():
        if made and rules and channel not in made:
            unused = list(dict.fromkeys(label for c in read for label in c.unused))
            seen = ", ".join(map(repr, unused[:8])) or "none"
            yield Loss(
                f"{channel} is made in no recording (say how: [channels] {channel})",
                details=(f"labels that are not used: {seen}",),
            )


def _labels_never_found(checkups: Sequence[Checkup], layout: CohortLayout) -> Iterator[Loss]:
    for kind in layout.card.labels:
        reasons = [c.absent[kind] for c in checkups if kind in c.absent]
        if reasons and not any(kind in c.labels for c in checkups):
            yield Loss(f"{kind} is annotated in no recording, though the card offers it", details=(reasons[0],))
