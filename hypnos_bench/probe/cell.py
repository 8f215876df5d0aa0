"""The life of one cell: fold by fold split, draw, fit and predict, then score everything together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CohortCard, Exclusion
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.exposure import Exposure
from hypnos_bench.heads.base import Certificate
from hypnos_bench.probe import classify, regress, survive
from hypnos_bench.probe.data import Indices, ProbeData
from hypnos_bench.probe.design import design
from hypnos_bench.probe.division import FoldRows, divide
from hypnos_bench.probe.exposed import stamped
from hypnos_bench.probe.kind import Job
from hypnos_bench.provenance import provenance
from hypnos_bench.spec import CellSpec, TaskSpec, digest, plain
from hypnos_bench.splits import ListedFold
from hypnos_bench.store.cells import Cell, Status
from hypnos_bench.store.side import Side

KINDS: Mapping[str, ModuleType] = {"classification": classify, "regression": regress, "survival": survive}

LEAKY = "leaky"
"""Mark of cells whose split ignores persons."""

ALIGNMENTS: Mapping[str, str] = {
    "reference": "a unit takes the rows with its own times",
    "covered": "a unit takes rows that have seen it",
}
"""What ``TaskSpec.alignment`` does, in words for a report."""


@dataclass(frozen=True)
class Probe:
    """What all cells of a block share.

    Parameters
    ----------
    task : TaskSpec
    cohort : CohortCard
    encoder : EncoderCard
        The one that is tested.
    command, device : str
        Provenance.
    exposure : Exposure, optional
        What the encoder has seen of the cohort.
    listed : ListedFold, optional
        Published lists as they divide the cohort, for a split that is named after them.
    untested : frozenset of str
        Persons who are left out of test sides.
    """

    task: TaskSpec
    cohort: CohortCard
    encoder: EncoderCard
    command: str
    device: str
    exposure: Exposure | None = None
    listed: ListedFold | None = None
    untested: frozenset[str] = frozenset()


@dataclass
class _Progress:
    """What is known of a cell so far; a failed one keeps it."""

    n: dict[str, Any]
    tested: set[str] = field(default_factory=set)
    selected: list[Mapping[str, Any]] = field(default_factory=list)
    division: list[Any] = field(default_factory=list)


def run_cell(spec: CellSpec, probe: Probe, data: ProbeData) -> tuple[Cell, Side | None]:
    """Compute one cell. A fit that fails gives a failed cell with its message, and no side file.

    Raises
    ------
    IntegrityError
        When a person, family or duplicate is on both sides of a split: a bug, and never a number.
    """
    started = time.perf_counter()
    so_far = _Progress(_counts(spec, probe, data))
    job, kind = Job.of(spec, probe.task), KINDS[probe.task.kind]
    try:
        tested, pieces = [], []
        divided = divide(spec, probe.cohort.id, data, probe.listed, probe.untested)
        so_far.division[:] = divided.told
        so_far.n |= divided.facts
        so_far.tested |= {data.persons[i] for i in _recordings(data, [fold.test for fold in divided.folds])}
        for fold in divided.folds:
            so_far.n["folds"].append(_fold_counts(data, fold))
            x_train, x_test, filled = design(data, spec.inputs, fold.train, fold.test)
            fitted = kind.fit(job, data, x_train, fold.train, _families(data, fold.train))
            so_far.selected.append({**fitted.selected, **filled, **_certificates(fitted)})
            tested.append(fold.test)
            pieces.append(kind.predict(job, fitted, x_test))
        fit_s = time.perf_counter() - started
        if not any(len(index) for index in tested):
            raise FitError("no test person has an embedding; see the excluded recordings")
        scored = kind.score(job, data, tested, pieces)
    except (FitError, UsageError) as error:
        timing = {"total_s": time.perf_counter() - started}
        return _cell(spec, probe, "failed", str(error), so_far, timing), None
    timing = {"embed_s": data.embed_s, "fit_s": fit_s, "total_s": time.perf_counter() - started}
    persons, recordings = scored.side.persons, scored.side.recordings
    so_far.tested = set(persons)
    _summarise_counts(so_far.n, {"persons_test": len(set(persons)), "recordings_test": len(recordings)})
    cell = _cell(spec, probe, "ok", "", so_far, timing, scored.scores, scored.outcomes)
    return cell, scored.side


def failed_cell(spec: CellSpec, probe: Probe, message: str, facts: Mapping[str, Any]) -> Cell:
    """Cell of an encoder that gave nothing to fit."""
    n = {"persons_assumed": probe.cohort.persons_assumed, "marks": _marks(spec, probe), "folds": [], **facts}
    return _cell(spec, probe, "failed", message, _Progress(n), {})


def _certificates(fitted: Any) -> dict[str, Any]:
    certificate: Certificate = fitted.certificate
    return {"certificate": asdict(certificate)}


def _families(data: ProbeData, rows: Indices) -> NDArray[np.int64]:
    """Family code of each row: penalties are chosen by folds over persons, and relatives must not be torn apart."""
    family = [data.everyone[person] for person in data.persons]
    code = {name: k for k, name in enumerate(sorted(set(family)))}
    codes = np.array([code[name] for name in family], dtype=np.int64)
    return np.unique(codes[data.recording_of_row[rows]], return_inverse=True)[1].astype(np.int64)


def _counts(spec: CellSpec, probe: Probe, data: ProbeData) -> dict[str, Any]:
    return {
        "persons_total": len(set(data.persons)),
        "recordings_total": len(data.recordings),
        "units_total": len(data.targets),
        "units_dropped": {reason: count for reason, count in sorted(data.dropped.items()) if count},
        "excluded": [_exclusion(e) for e in data.excluded],
        "persons_assumed": probe.cohort.persons_assumed,
        "marks": _marks(spec, probe),
        "folds": [],
        "alignment": f"{probe.encoder.alignment}; {ALIGNMENTS[probe.task.alignment]}",
        **data.facts,
        **({"column": data.column} if data.column else {}),
        **({"duplicates": dict(data.duplicates)} if data.duplicates is not None else {}),
        **_events(data),
    }


def _marks(spec: CellSpec, probe: Probe) -> list[str]:
    simulated, leaky = ["simulated"] if probe.cohort.simulated else [], [LEAKY] if spec.split.leaky else []
    return [*simulated, *leaky, *probe.encoder.marks]


def _recordings(data: ProbeData, several: Sequence[Indices]) -> NDArray[np.intp]:
    return np.unique(data.recording_of_row[np.concatenate(several)])


def _events(data: ProbeData) -> dict[str, Any]:
    """People at risk and events of a survival task with one outcome; several are listed one by one elsewhere."""
    if data.targets.event is None or data.targets.at_risk is None or len(data.targets.outcomes) != 1:
        return {}
    return {"at_risk": int(data.targets.at_risk.sum()), "events": int(data.targets.event.sum())}


def _exclusion(exclusion: Exclusion) -> dict[str, Any]:
    found: dict[str, Any] = {"recording": exclusion.recording, "reason": exclusion.reason}
    return {**found, "transient": True} if exclusion.transient else found


def _fold_counts(data: ProbeData, fold: FoldRows) -> dict[str, int]:
    counts = {"persons_available": len(fold.available)}
    for side, rows in (("train", fold.train), ("test", fold.test)):
        recordings = np.unique(data.recording_of_row[rows])
        counts |= {
            f"persons_{side}": len({data.persons[i] for i in recordings}),
            f"recordings_{side}": len(recordings),
            f"units_{side}": len(rows),
        }
    return counts


def _summarise_counts(n: dict[str, Any], tested: Mapping[str, int]) -> None:
    """Training counts as the range over folds, test counts over all of them: leaky folds share persons."""
    for name in ("persons_available", "persons_train", "recordings_train", "units_train"):
        values = [fold[name] for fold in n["folds"]]
        n[name] = min(values)
        n[f"{name}_max"] = max(values)
    n["units_test"] = sum(fold["units_test"] for fold in n["folds"])
    n |= tested


def _cell(
    spec: CellSpec,
    probe: Probe,
    status: Status,
    message: str,
    so_far: _Progress,
    timing: Mapping[str, float],
    scores: Mapping[str, Any] | None = None,
    outcomes: Sequence[Mapping[str, Any]] = (),
) -> Cell:
    origin = {
        **provenance(probe.command),
        "device": probe.device,
        "weights": probe.encoder.weights,
        "cohort_fingerprint": spec.cohort["fingerprint"],
        "split_hash": digest(so_far.division),
    }
    n = so_far.n if probe.exposure is None else stamped(so_far.n, probe.exposure, so_far.tested)
    return Cell(
        key=spec.key,
        spec=plain(spec),
        status=status,
        message=message,
        n=n,
        selected=[dict(s) for s in so_far.selected],
        scores=dict(scores or {}),
        outcomes=[dict(outcome) for outcome in outcomes],
        timing={name: round(seconds, 3) for name, seconds in timing.items()},
        provenance=origin,
    )
