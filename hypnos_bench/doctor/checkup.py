"""One recording looked over: its header, its montage and its annotations. No samples are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.annotations.kinds import KINDS
from hypnos_bench.cohorts.base import EVENT_SCOPES, STAGES, Event, Hypnogram, Labels, Recording, Scoring, Span
from hypnos_bench.cohorts.grid import OverlapRule, event_labels
from hypnos_bench.cohorts.labels import FileLabels
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import SignalFile
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.spec import EPOCH_S

UNSCORED = "unscored"
EVENT_RULE = OverlapRule()
"""Rule by which epochs are counted as carrying an event here; tasks state their own."""

SIGNALS, ANNOTATION = "signals", "annotation"
"""Keys of `Checkup.problems` beside the label kinds."""


@dataclass(frozen=True)
class Checkup:
    """What one recording turned out to be.

    Parameters
    ----------
    recording, person : str
    visit : str or None
    signal_file : str
        Name of the file with the header.
    annotation : str
        How it is annotated: id of the reader, ``table``, ``stored`` (with ready-made embeddings) or ``none``.
    annotation_files : tuple of str
    duration_s : float
        0 when the header cannot be read.
    montage : mapping of str to str
        Canonical channel to how it is made, in the file's own labels.
    rates_hz, units : mapping
        Canonical channel to the native rate and unit of its first label.
    unused : tuple of str
        Labels of the file that no canonical channel is made of.
    repairs : tuple of str
        What of the header was not as it should be, and how it was read.
    unreadable : mapping of str to str
        Labels whose samples cannot be read, with reasons.
    labels : mapping of str to mapping of str to float
        Per label kind what was found: epochs per stage, events per kind, seconds per rhythm and per apnea code, codes
        of the recording as a whole.
    epochs_with : mapping of str to int
        Scored epochs that carry an event of a scope, by `EVENT_RULE`; no scope that must not be used.
    absent : mapping of str to str
        Label kind that nobody annotated here, to the words for it.
    unknown : mapping of str to int
        Texts of the annotation that no table knows.
    notes : tuple of str
        What reading found worth telling.
    problems : mapping of str to str
        ``signals``, ``annotation`` or a label kind, to the reason why it cannot be used.
    ruled_out : mapping of str to str
        The same for what the cohort's card or tables rule out.
    quality : tuple of str
        Remarks of the scorers that rule nothing out.
    covariates : tuple of str
        Names of those that have a value.
    outcomes : mapping of str to str
        Endpoint to ``event``, ``censored`` or ``prevalent``.
    """

    recording: str
    person: str
    visit: str | None
    signal_file: str = ""
    annotation: str = "none"
    annotation_files: tuple[str, ...] = ()
    duration_s: float = 0.0
    montage: Mapping[str, str] = field(default_factory=dict)
    rates_hz: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    epochs_with: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    quality: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    outcomes: Mapping[str, str] = field(default_factory=dict)


def examine(recording: Recording, label_kinds: Sequence[str]) -> Checkup:
    """Look one recording over. What cannot be read becomes a problem with its reason, never an exception.

    Parameters
    ----------
    recording : Recording
    label_kinds : sequence of str
        What the cohort offers.
    """
    found = Checkup(
        recording=recording.id,
        person=recording.person,
        visit=recording.visit,
        signal_file=recording.signals.path.name,
        annotation=_annotated_by(recording.labels),
        annotation_files=tuple(path.name for path in recording.labels.files),
        ruled_out=dict(recording.unusable),
        quality=recording.quality,
        covariates=tuple(sorted(recording.covariates)),
        outcomes={name: _outcome(o.event, o.prevalent) for name, o in recording.outcomes.items()},
    )
    try:
        found = replace(found, **_signals(recording))
    except (RecordingError, OSError) as error:
        return replace(found, problems={SIGNALS: _reason(recording, error)})
    wanted = [kind for kind in label_kinds if kind not in recording.unusable]
    try:
        scoring = recording.labels.read()
    except (RecordingError, OSError) as error:
        return replace(found, problems={ANNOTATION: _reason(recording, error)}) if wanted else found
    return _annotation(recording, scoring, wanted, found)


def _annotated_by(labels: Labels) -> str:
    if not isinstance(labels, FileLabels):
        return "stored"
    if labels.source is not None:
        return labels.source.kind
    return "table" if labels.record else "none"


def _reason(recording: Recording, error: RecordingError | OSError) -> str:
    """What a run says when it leaves the recording out."""
    if isinstance(error, RecordingError):  # of a signal file it carries the file's name
        name, reason = error.recording, error.reason
        return reason if name == recording.id else f"{name}: {reason}"
    where = f"{Path(error.filename).name}: " if error.filename else ""
    return f"{where}cannot be read: {error.strerror or error}"


def _outcome(event: bool, prevalent: bool) -> str:
    return "prevalent" if prevalent else "event" if event else "censored"


def _signals(recording: Recording) -> dict[str, Any]:
    """What the header says."""
    signals = recording.signals
    channels = {channel.label: channel for channel in signals.channels()}
    montage = dict(recording.montage)
    missing = [path.name for path in signals.files if not path.is_file()]
    if missing:
        raise RecordingError(recording.id, f"its signal file {', '.join(missing)} is missing")
    used = {label for d in montage.values() for label in (d.plus, d.minus) if label is not None}
    return {
        "duration_s": signals.duration_s(),
        "montage": {name: str(derivation) for name, derivation in montage.items()},
        "rates_hz": {name: channels[d.plus].rate_hz for name, d in montage.items()},
        "units": {name: recording.units.get(name, channels[d.plus].unit) for name, d in montage.items()},
        "unused": tuple(label for label in channels if label not in used),
        "repairs": signals.repairs(),
        "unreadable": {label: why for label, why in signals.unreadable().items() if label in used},
        "notes": _pauses(signals),
    }


def _pauses(signals: SignalFile) -> tuple[str, ...]:
    gaps = signals.gaps() if isinstance(signals, EdfFile) else ()
    seconds = sum(length_s for _, length_s in gaps)
    return (f"the recording paused {len(gaps)} times, {seconds:g} s in all: NaN there",) if gaps else ()


def _annotation(recording: Recording, scoring: Scoring, wanted: Sequence[str], header: Checkup) -> Checkup:
    """What the annotation says, in the units that tasks count."""
    labels: dict[str, Mapping[str, float]] = {}
    epochs_with: dict[str, int] = {}
    absent: dict[str, str] = {}
    problems: dict[str, str] = {}
    ruled_out = dict(header.ruled_out)
    for kind, amounts in _amounts(scoring).items():
        if kind in wanted and amounts is not None:
            labels[kind] = amounts
        elif kind in wanted:
            absent[kind] = f"no {kind} scored in its annotation ({header.annotation})"
    if "stage" in wanted and not scoring.stages and not _holds_stages(header.annotation):
        absent["stage"] = f"no stage in its annotation ({header.annotation})"
    elif "stage" in wanted:
        try:
            scored = recording.scored(scoring)
        except RecordingError as error:
            (ruled_out if _refused_by_card(recording, scoring) else problems)["stage"] = error.reason
        else:
            labels["stage"] = counts = _stage_counts(scored.codes)
            if counts[UNSCORED] == len(scored.codes):
                problems["stage"] = f"none of {len(scored.codes)} epochs is scored"
            if "events" in labels and scoring.events is not None:
                epochs_with = _epochs_with(scoring.events, scored, recording.unusable)
    return replace(
        header,
        labels=labels,
        epochs_with=epochs_with,
        absent=absent,
        unknown=dict(scoring.unknown),
        notes=(*header.notes, *scoring.notes),
        problems=problems,
        ruled_out=ruled_out,
    )


def _amounts(scoring: Scoring) -> dict[str, Mapping[str, float] | None]:
    """Label kind, stages aside, to what was found; ``None`` when nobody annotated it."""
    return {
        "events": None if scoring.events is None else dict(Counter(event.kind for event in scoring.events)),
        "rhythm": _seconds(scoring.rhythm) or None,
        "minutes": _seconds(scoring.minutes) or None,
        "record": dict.fromkeys(scoring.record, 1) or None,
    }


def _holds_stages(annotation: str) -> bool:
    """Whether annotations of this kind can hold stages at all."""
    return "stage" in KINDS[annotation].labels if annotation in KINDS else annotation == "stored"


def _refused_by_card(recording: Recording, scoring: Scoring) -> bool:
    """Whether only the card's rule against sleep or wake scoring stands in the way."""
    if not recording.full_staging:
        return False
    try:
        replace(recording, full_staging=False).scored(scoring)
    except RecordingError:
        return False
    return True


def _stage_counts(codes: NDArray[np.int8]) -> dict[str, float]:
    names = (*STAGES, UNSCORED)
    counts = np.bincount(np.where(codes < 0, len(STAGES), codes), minlength=len(names))
    return {name: int(n) for name, n in zip(names, counts, strict=True)}


def _epochs_with(events: Sequence[Event], scored: Hypnogram, unusable: Mapping[str, str]) -> dict[str, int]:
    starts = scored.start_s[scored.codes >= 0]
    return {
        scope: int(event_labels(events, starts, EPOCH_S, kinds, EVENT_RULE).sum())
        for scope, kinds in EVENT_SCOPES.items()
        if scope not in unusable
    }


def _seconds(spans: Sequence[Span]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for span in spans:
        seconds[span.code] = seconds.get(span.code, 0.0) + span.stop_s - span.start_s
    return seconds
