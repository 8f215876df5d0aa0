"""The only loop: plan -> skip what is done -> run -> save. Phase 2 of the suite, which calls phase 1 where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Exclusion, Recording
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.embed import embed_recordings, make_encoder
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.errors import DataError, IntegrityError, RecordingError, UsageError, is_transient
from hypnos_bench.heads.registry import HEADS, default_settings
from hypnos_bench.metrics.registry import check_metrics
from hypnos_bench.probe import Probe, ProbeData, run_cell
from hypnos_bench.spec import CellSpec, HeadSpec, Shots, SplitSpec, TaskSpec
from hypnos_bench.splits import draw, folds
from hypnos_bench.store.atomic import check_writable, remove
from hypnos_bench.store.cells import CellStore
from hypnos_bench.store.embeddings import EmbeddingStore
from hypnos_bench.threads import one_thread
from hypnos_bench.units import UnitLabels, make_units, read_unit_labels


@dataclass(frozen=True)
class RunRequest:
    """What a user asked for."""

    task: TaskSpec
    cohorts: tuple[str, ...]
    encoders: tuple[str, ...]  # empty: each cohort's own default
    shots: tuple[Shots, ...]
    results: Path
    head: str = "linear"
    seeds: int | None = None  # None: Shots.default_seeds
    split: Literal["holdout", "cv5"] | None = None  # None: the cohort's own default
    cohort_options: dict[str, CohortOptions] = field(default_factory=dict)
    encoder_options: EncoderOptions = EncoderOptions()
    workers: int = 1
    recompute: bool = False
    command: str = ""


@dataclass(frozen=True)
class PlannedCell:
    """One cell of the plan and what is known of it: ``done``, ``failed`` (to be retried) or ``missing``."""

    spec: CellSpec
    state: str


@dataclass(frozen=True)
class Block:
    """Cells that share a cohort and an encoder, hence embeddings and units."""

    cohort: Cohort
    encoder: EncoderCard
    cells: tuple[PlannedCell, ...]

    def todo(self) -> list[PlannedCell]:
        """Cells still to be computed."""
        return [cell for cell in self.cells if cell.state != "done"]


@dataclass(frozen=True)
class RunOutcome:
    """Specs of all cells of the run, and how many were computed, found done, or failed."""

    specs: tuple[CellSpec, ...]
    computed: int
    cached: int
    failed: int


def open_cohort(cohort_id: str, options: CohortOptions) -> Cohort:
    """Open a cohort by id."""
    cohort: Cohort = COHORTS.load(cohort_id).open(options)
    return cohort


def plan(request: RunRequest) -> list[Block]:
    """Expand a request into cells and look up which exist. Reads headers and hashes, embeds nothing.

    Raises
    ------
    UsageError, DataError
        Unknown ids, a task that a cohort has no labels for, missing data or weights.
    """
    check_metrics(request.task)
    HEADS.load(request.head)
    for cohort_id in request.cohorts:
        _check_cohort(request.task, COHORTS.load(cohort_id).card)
    store = CellStore(request.results)
    blocks = []
    for cohort_id in request.cohorts:
        card = COHORTS.load(cohort_id).card
        # Encoders first: missing weights should be told before a long scan or a simulation.
        encoders = [make_encoder(name, request.encoder_options).card for name in request.encoders or card.encoders]
        cohort = open_cohort(cohort_id, request.cohort_options.get(cohort_id, CohortOptions()))
        fingerprint = cohort.fingerprint()
        for encoder in encoders:
            specs = _specs(request, cohort, fingerprint, encoder)
            cells = tuple(PlannedCell(s, "missing" if request.recompute else _state(store, s)) for s in specs)
            blocks.append(Block(cohort, encoder, cells))
    return blocks


def _state(store: CellStore, spec: CellSpec) -> str:
    cell = store.get(spec)
    if cell is None or (cell.status == "ok" and not store.side_path(cell).exists()):
        return "missing"
    if any(e.get("transient") for e in cell.n.get("excluded", ())):
        return "missing"  # a passing fault kept a recording out: try again
    return "done" if cell.status == "ok" else "failed"


def _check_cohort(task: TaskSpec, card: CohortCard) -> None:
    if task.label not in card.labels:
        raise UsageError(f"task {task.id} needs {task.label} labels; cohort {card.id} offers {', '.join(card.labels)}")


def _specs(request: RunRequest, cohort: Cohort, fingerprint: str, encoder: EncoderCard) -> list[CellSpec]:
    split = _split(request, cohort)
    cohort_part = {"id": cohort.card.id, "fingerprint": fingerprint, "simulated": cohort.card.simulated}
    head = HeadSpec(request.head, default_settings(request.head))
    return [
        CellSpec(request.task.definition(), cohort_part, encoder.definition(), head, split, shots, seed)
        for shots in request.shots
        for seed in range(request.seeds or shots.default_seeds)
    ]


def execute(
    request: RunRequest,
    blocks: Sequence[Block],
    *,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]] = lambda done, total, text: done,
    say: Callable[[str], None] = lambda line: None,
) -> RunOutcome:
    """Run what the plan lacks; every finished cell is on disk before the next one starts.

    A cell that cannot be fitted is saved as failed. A recording that cannot be used is listed in
    the cells' exclusions. A store that cannot be written ends the run.
    """
    one_thread()
    if any(block.todo() for block in blocks):
        check_writable(request.results)
    store = CellStore(request.results)
    computed = failed = 0
    labels: dict[str, tuple[dict[str, UnitLabels], list[Exclusion]]] = {}
    waiting = [block for block in blocks if block.todo()]
    for block in waiting:  # of all cohorts, before anything is embedded
        if block.cohort.card.id not in labels:
            found = labels[block.cohort.card.id] = read_labels(request.task, block.cohort)
            _check_budgets(request, block.cohort, found[0])
    for block in waiting:
        todo = block.todo()
        cohort_id = block.cohort.card.id
        data = _probe_data(request, block, *labels[cohort_id], progress=progress, say=say)
        device = request.encoder_options.device.replace("auto", "cpu")  # settled by the caller where it matters
        probe = Probe(request.task, block.cohort.card, block.encoder, request.command, device)
        cells = (run_cell(cell.spec, probe, data) for cell in todo)
        for cell, side in progress(cells, len(todo), f"probe {block.encoder.id}"):
            store.save(cell, side)
            computed += 1
            if cell.status == "failed":
                failed += 1
                say(f"failed cell: {block.encoder.id} {cohort_id} seed {cell.spec['seed']}: {cell.message}")
    specs = tuple(cell.spec for block in blocks for cell in block.cells)
    return RunOutcome(specs, computed, len(specs) - computed, failed)


def _check_budgets(request: RunRequest, cohort: Cohort, labels: Mapping[str, UnitLabels]) -> None:
    """Refuse before any embedding what no fold can give: too few persons for the split, or for the shots."""
    persons = _labelled_persons(cohort, labels)
    split = _split(request, cohort)
    for fold in folds(cohort.card.id, [*persons], split, persons):
        for shots in request.shots:
            try:
                draw(fold.train, shots, seed=0)
            except UsageError as error:
                raise UsageError(f"{cohort.card.id}: {error}") from error


def _labelled_persons(cohort: Cohort, labels: Mapping[str, UnitLabels]) -> dict[str, str]:
    """Persons with labels, sorted, to their families.

    Folds and draws are made of them, so that they are the same for every encoder.
    """
    return dict(sorted((r.person, r.split_unit) for r in cohort.recordings if r.id in labels))


def _split(request: RunRequest, cohort: Cohort) -> SplitSpec:
    return cohort.card.split if request.split is None else replace(cohort.card.split, kind=request.split)


def read_labels(task: TaskSpec, cohort: Cohort) -> tuple[dict[str, UnitLabels], list[Exclusion]]:
    """Labelled units by recording id, and the recordings that have none, with reasons."""
    found: dict[str, UnitLabels] = {}
    excluded = list(cohort.excluded)
    for recording in cohort.recordings:
        try:
            found[recording.id] = read_unit_labels(task, recording)
        except RecordingError as error:
            excluded.append(Exclusion(recording.id, error.reason, is_transient(error)))
    if not found:
        first = "; ".join(f"{e.recording}: {e.reason}" for e in excluded[:3])
        raise DataError(f"no recording of {cohort.card.id} has labels for task {task.id} ({first})")
    return found, excluded


def _probe_data(
    request: RunRequest,
    block: Block,
    labels: dict[str, UnitLabels],
    excluded: list[Exclusion],
    *,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]],
    say: Callable[[str], None],
) -> ProbeData:
    wanted = [r for r in block.cohort.recordings if r.id in labels]
    fingerprints = block.cohort.source_fingerprints
    report = embed_recordings(
        wanted,
        fingerprints,
        block.encoder.id,
        request.encoder_options,
        request.results,
        simulated=block.cohort.card.simulated,
        workers=request.workers,
        progress=progress,
    )
    if report.damaged:
        say(f"{report.damaged} damaged embedding files were made again")
    for exclusion in report.failed:
        say(f"not embedded: {exclusion.recording}: {exclusion.reason}")
    left_out = [*excluded, *report.failed]
    lost = {exclusion.recording for exclusion in report.failed}
    data = ProbeData.empty(_labelled_persons(block.cohort, labels), left_out, report.seconds)
    for recording in wanted:
        if recording.id in lost:
            continue
        try:
            embedding = _load_or_remake(request, block, recording, say)
            units = make_units(request.task, recording, labels[recording.id], embedding, block.encoder.lag_rows)
        except RecordingError as error:
            left_out.append(Exclusion(recording.id, error.reason, is_transient(error)))
            continue
        data.add(recording, units)
    data.drop_odd_widths()
    if not data.recordings:
        first = "; ".join(f"{e.recording}: {e.reason}" for e in left_out[:3])
        raise DataError(f"{block.encoder.id} embedded no recording of {block.cohort.card.id} ({first})")
    return data


def _load_or_remake(request: RunRequest, block: Block, recording: Recording, say: Callable[[str], None]) -> Embedding:
    """Read an embedding; one whose content was damaged on disk is made again, and that is said."""
    store = EmbeddingStore(request.results)
    fingerprints = block.cohort.source_fingerprints
    try:
        return store.load(block.encoder, recording, fingerprints[recording.id])
    except IntegrityError as error:
        say(f"made again: {error}")
    remove(store.path(block.encoder, recording.cohort, recording.id))
    simulated = block.cohort.card.simulated
    report = embed_recordings(
        [recording], fingerprints, block.encoder.id, request.encoder_options, request.results, simulated=simulated
    )
    if report.failed:
        raise RecordingError(recording.id, report.failed[0].reason)
    return store.load(block.encoder, recording, fingerprints[recording.id])
