"""One cell: split, draw, fit, score. Arrays in, a cell and its side file out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CohortCard, Exclusion, Recording
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import FittedHead, TrainingRows
from hypnos_bench.heads.registry import HEADS
from hypnos_bench.metrics.classification import confusion_matrices
from hypnos_bench.provenance import provenance
from hypnos_bench.scores import Predictions, pooled_scores
from hypnos_bench.spec import CellSpec, TaskSpec, digest, plain
from hypnos_bench.splits import Fold, draw, folds
from hypnos_bench.store.cells import Cell, SideFile, Status
from hypnos_bench.units import Units


@dataclass(frozen=True)
class Probe:
    """What all cells of a block share."""

    task: TaskSpec
    cohort: CohortCard
    encoder: EncoderCard
    command: str
    device: str


@dataclass
class ProbeData:
    """Units of all usable recordings of one cohort under one encoder, in recording order."""

    everyone: Mapping[str, str]  # persons with labels, embedded or not, to their families: folds are made of them
    recordings: list[str]
    persons: list[str]  # per recording
    units: list[Units]
    excluded: list[Exclusion]
    embed_s: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def empty(cls, everyone: Mapping[str, str], excluded: list[Exclusion], embed_s: float) -> ProbeData:
        """Nothing yet; `excluded` is kept by reference, so later exclusions show too."""
        return cls(everyone, [], [], [], excluded, embed_s)

    def add(self, recording: Recording, units: Units) -> None:
        """Append one recording."""
        self.recordings.append(recording.id)
        self.persons.append(recording.person)
        self.units.append(units)
        self.dropped.update(units.dropped)

    def drop_odd_widths(self) -> None:
        """Leave out recordings whose embedding has another width than most: no head can take both."""
        if not self.units:
            return
        widths = [units.x.shape[1] for units in self.units]
        usual = Counter(widths).most_common(1)[0][0]
        for i in reversed([i for i, width in enumerate(widths) if width != usual]):
            reason = f"its embedding has {widths[i]} columns, most others have {usual}"
            self.excluded.append(Exclusion(self.recordings[i], reason))
            self.dropped.subtract(self.units[i].dropped)
            del self.recordings[i], self.persons[i], self.units[i]

    def of(self, persons: Sequence[str]) -> list[int]:
        """Indices of the recordings of these persons."""
        chosen = set(persons)
        return [i for i, person in enumerate(self.persons) if person in chosen]


def run_cell(spec: CellSpec, probe: Probe, data: ProbeData) -> tuple[Cell, SideFile | None]:
    """Compute one cell. A fit that fails gives a failed cell with its message, and no side file."""
    started = time.perf_counter()
    n: dict[str, Any] = _counts(probe, data)
    divided: list[Fold] = []
    selected: list[Mapping[str, Any]] = []
    try:
        divided = folds(probe.cohort.id, [*data.everyone], spec.split, data.everyone)
        fits = []
        for fold in divided:
            shown = draw(_embedded(data, fold), spec.shots, spec.seed)
            n["folds"].append(_fold_counts(data, fold, shown))
            fits.append(_fit(spec, probe, data, shown))
            selected.append({**fits[-1].selected, "certificate": asdict(fits[-1].certificate)})
        fit_s = time.perf_counter() - started
        predictions = _predict(probe.task, data, divided, fits)
        scores = pooled_scores(probe.task, predictions, spec.bootstrap)
    except (FitError, UsageError) as error:
        timing = {"total_s": time.perf_counter() - started}
        return _cell(spec, probe, "failed", str(error), n, selected, {}, timing, divided), None
    timing = {"embed_s": data.embed_s, "fit_s": fit_s, "total_s": time.perf_counter() - started}
    _summarise_counts(n)
    return _cell(spec, probe, "ok", "", n, selected, scores, timing, divided), _side_file(probe.task, predictions)


def _embedded(data: ProbeData, fold: Fold) -> list[str]:
    """Training persons who can teach something. One who is missing leaves the order of the others as it is."""
    there = set(data.persons)
    found = [person for person in fold.train if person in there]
    if not found:
        raise FitError("no training person has an embedding; see the excluded recordings")
    return found


def _fit(spec: CellSpec, probe: Probe, data: ProbeData, persons: Sequence[str]) -> FittedHead:
    chosen = data.of(persons)
    sizes = [len(data.units[i].y) for i in chosen]
    y = np.concatenate([data.units[i].y for i in chosen])
    if (y == y[0]).all():  # heads refuse it too, but cannot name the class
        raise FitError(
            f"all {len(y)} training {probe.task.unit}s of {len(persons)} person(s) are {probe.task.classes[y[0]]}: "
            "nothing to learn; use more shots or other seeds"
        )
    # Penalties are chosen by folds over persons; relatives must not be on both sides of those either.
    families = [data.everyone[data.persons[i]] for i in chosen]
    code = {family: k for k, family in enumerate(sorted(set(families)))}
    rows = TrainingRows(
        x=np.concatenate([data.units[i].x for i in chosen]),
        y=y,
        person=np.repeat([code[family] for family in families], sizes).astype(np.int64),
        recording=np.repeat(np.arange(len(chosen)), sizes).astype(np.int64),
        n_classes=len(probe.task.classes),
    )
    fitted: FittedHead = HEADS.load(spec.head.id)(rows, spec.head.settings)
    return fitted


def _predict(task: TaskSpec, data: ProbeData, divided: Sequence[Fold], fits: Sequence[FittedHead]) -> Predictions:
    """Predictions for every test recording; folds never share one, so pooling them repeats nobody."""
    indices: list[int] = []
    probabilities: list[NDArray[np.float64]] = []
    for fold, fit in zip(divided, fits, strict=True):
        for i in data.of(fold.test):
            indices.append(i)
            probabilities.append(fit.predict_proba(data.units[i].x))
    if not indices:
        raise FitError("no test person has an embedding; see the excluded recordings")
    order = sorted(range(len(indices)), key=lambda k: indices[k])
    sizes = [len(probabilities[k]) for k in order]
    proba = np.concatenate([probabilities[k] for k in order])
    y_true = np.concatenate([data.units[indices[k]].y for k in order])
    y_pred = proba.argmax(axis=1)
    unit_recording = np.repeat(np.arange(len(order)), sizes)
    shares = [share for k in order if (share := data.units[indices[k]].share) is not None]
    n_classes = len(task.classes)
    confusion = confusion_matrices(y_true, y_pred, unit_recording, len(order), n_classes)
    return Predictions(
        recordings=[data.recordings[indices[k]] for k in order],
        persons=[data.persons[indices[k]] for k in order],
        confusion=confusion,
        unit_recording=unit_recording.astype(np.int32),
        y_true=y_true.astype(np.int8),
        y_pred=y_pred.astype(np.int8),
        proba=proba,
        share=np.concatenate(shares) if len(shares) == len(order) else None,
    )


def _side_file(task: TaskSpec, predictions: Predictions) -> SideFile:
    """What is kept per recording and unit: a ranked task keeps its score in full, others rounded probabilities."""
    ranked = task.positive is not None
    return SideFile(
        recordings=predictions.recordings,
        persons=predictions.persons,
        confusion=predictions.confusion,
        unit_recording=predictions.unit_recording,
        y_true=predictions.y_true,
        y_pred=predictions.y_pred,
        proba=None if ranked else predictions.proba.astype(np.float16),
        score=predictions.score(task.classes.index(task.positive)) if task.positive is not None else None,
        share=predictions.share,
    )


def _counts(probe: Probe, data: ProbeData) -> dict[str, Any]:
    marks = (["simulated"] if probe.cohort.simulated else []) + list(probe.encoder.marks)
    return {
        "persons_total": len(set(data.persons)),
        "recordings_total": len(data.recordings),
        "units_total": sum(len(u.y) for u in data.units),
        "units_dropped": {reason: count for reason, count in sorted(data.dropped.items()) if count},
        "excluded": [_exclusion(e) for e in data.excluded],
        "persons_assumed": probe.cohort.persons_assumed,
        "marks": marks,
        "folds": [],
    }


def _exclusion(exclusion: Exclusion) -> dict[str, Any]:
    found: dict[str, Any] = {"recording": exclusion.recording, "reason": exclusion.reason}
    return {**found, "transient": True} if exclusion.transient else found


def _fold_counts(data: ProbeData, fold: Fold, shown: Sequence[str]) -> dict[str, int]:
    train, test = data.of(shown), data.of(fold.test)
    return {
        "persons_available": len(set(data.persons) & set(fold.train)),
        "persons_train": len({data.persons[i] for i in train}),
        "recordings_train": len(train),
        "units_train": sum(len(data.units[i].y) for i in train),
        "persons_test": len({data.persons[i] for i in test}),
        "recordings_test": len(test),
        "units_test": sum(len(data.units[i].y) for i in test),
    }


def _summarise_counts(n: dict[str, Any]) -> None:
    """Training counts as the range over folds, test counts as the sum."""
    for name in ("persons_available", "persons_train", "recordings_train", "units_train"):
        values = [fold[name] for fold in n["folds"]]
        n[name] = min(values)
        n[f"{name}_max"] = max(values)
    for name in ("persons_test", "recordings_test", "units_test"):
        n[name] = sum(fold[name] for fold in n["folds"])


def _cell(
    spec: CellSpec,
    probe: Probe,
    status: Status,
    message: str,
    n: Mapping[str, Any],
    selected: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any],
    timing: Mapping[str, float],
    divided: Sequence[Fold],
) -> Cell:
    origin = {
        **provenance(probe.command),
        "device": probe.device,
        "weights": probe.encoder.weights,
        "cohort_fingerprint": spec.cohort["fingerprint"],
        "split_hash": digest([[fold.train, fold.test] for fold in divided]),
    }
    return Cell(
        key=spec.key,
        spec=plain(spec),
        status=status,
        message=message,
        n=dict(n),
        selected=[dict(s) for s in selected],
        scores=dict(scores),
        timing={name: round(seconds, 3) for name, seconds in timing.items()},
        provenance=origin,
    )
