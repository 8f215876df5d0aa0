"""From a request to cells: what is asked of which encoder, on which cohort, with which head, inputs and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.base import LABEL_KINDS, Cohort, CohortCard, CohortOptions
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.embed import make_encoder
from hypnos_bench.encoders import demographics
from hypnos_bench.encoders.base import EncoderCard, EncoderOptions
from hypnos_bench.errors import UsageError
from hypnos_bench.heads.registry import HEADS, default_settings, head_kind, is_seeded
from hypnos_bench.metrics.registry import check_metrics
from hypnos_bench.spec import CellSpec, HeadSpec, InputSpec, Shots, SplitKind, SplitSpec, TaskSpec
from hypnos_bench.store.cells import CellStore

SEEDS_OF_SEEDED_HEADS = 3
"""Fewest seeds of a head that draws random numbers itself, also where the label budget is everybody."""

Inputs = Literal["embedding", "embedding+demographics"]


@dataclass(frozen=True)
class RunRequest:
    """What a user asked for."""

    task: TaskSpec
    cohorts: tuple[str, ...]
    encoders: tuple[str, ...]  # empty: each cohort's own default
    shots: tuple[Shots, ...]
    results: Path
    heads: tuple[str, ...] = ()  # empty: the task's first
    inputs: tuple[Inputs, ...] = ("embedding", "embedding+demographics")  # the second for whole recordings only
    pooling: tuple[Literal["mean", "mean-sd"], ...] = ("mean",)
    seeds: int | None = None  # None: Shots.default_seeds
    split: SplitKind | None = None  # None: the task's, or the cohort's own default
    duplicates: Literal["check", "off"] | None = None  # None: the cohort's own default
    cohort_options: dict[str, CohortOptions] = field(default_factory=dict)
    encoder_options: EncoderOptions = EncoderOptions()
    workers: int = 1
    recompute: bool = False
    command: str = ""

    @property
    def chosen_heads(self) -> tuple[str, ...]:
        """Heads to fit."""
        return self.heads or self.task.heads[:1]


@dataclass(frozen=True)
class PlannedCell:
    """One cell of the plan and what is known of it: ``done``, ``failed`` (to be retried) or ``missing``."""

    spec: CellSpec
    state: str


@dataclass(frozen=True)
class Block:
    """Cells that share a cohort, an encoder and how its rows are pooled, hence embeddings and units."""

    cohort: Cohort
    encoder: EncoderCard
    pooling: Literal["mean", "mean-sd"]
    cells: tuple[PlannedCell, ...]

    @property
    def embedded(self) -> bool:
        """Whether there is anything to embed."""
        return self.encoder.id != demographics.CARD.id

    def todo(self) -> list[PlannedCell]:
        """Cells still to be computed."""
        return [cell for cell in self.cells if cell.state != "done"]


def open_cohort(cohort_id: str, options: CohortOptions) -> Cohort:
    """Open a cohort by id."""
    cohort: Cohort = COHORTS.load(cohort_id).open(options)
    return cohort


def plan(request: RunRequest) -> list[Block]:
    """Expand a request into cells and look up which exist. Reads headers and hashes, embeds nothing.

    Raises
    ------
    UsageError, DataError
        Unknown ids, a task that a cohort has no labels for, a head of another kind, missing data or weights.
    """
    _check(request)
    store = CellStore(request.results)
    blocks = []
    for cohort_id in request.cohorts:
        card = COHORTS.load(cohort_id).card
        # Encoders first: missing weights should be told before a long scan or a simulation.
        encoders = [make_encoder(name, request.encoder_options).card for name in request.encoders or card.encoders]
        cohort = open_cohort(cohort_id, request.cohort_options.get(cohort_id, CohortOptions()))
        known = known_demographics(request.task, cohort)
        cohort_part = _cohort_part(request.task, cohort)
        for encoder, pooling, inputs in _columns(request, encoders, known):
            specs = _specs(request, cohort, cohort_part, encoder, inputs)
            cells = tuple(PlannedCell(s, "missing" if request.recompute else _state(store, s)) for s in specs)
            blocks.append(Block(cohort, encoder, pooling, cells))
    return blocks


def known_demographics(task: TaskSpec, cohort: Cohort) -> tuple[str, ...]:
    """The task's demographics that any recording of the cohort has."""
    return tuple(name for name in task.demographics if any(name in r.covariates for r in cohort.recordings))


def split_of(request: RunRequest, card: CohortCard) -> SplitSpec:
    """The split of a run: as asked for, else the task's, else the cohort's own."""
    kind = request.split or (card.split.kind if request.task.split == "cohort" else request.task.split)
    return replace(card.split, kind=kind, duplicates=request.duplicates or card.split.duplicates)


def _columns(
    request: RunRequest, encoders: Sequence[EncoderCard], known: tuple[str, ...]
) -> list[tuple[EncoderCard, Literal["mean", "mean-sd"], list[InputSpec]]]:
    """Encoders with their inputs; for whole recordings the demographics-only baseline always stands beside them."""
    if not request.task.by_person:
        return [(encoder, "mean", [InputSpec()]) for encoder in encoders]
    found: list[tuple[EncoderCard, Literal["mean", "mean-sd"], list[InputSpec]]] = []
    for encoder in encoders:
        for pooling in request.pooling:
            inputs = [InputSpec(pooling)] if "embedding" in request.inputs else []
            if known and "embedding+demographics" in request.inputs:
                inputs.append(InputSpec(pooling, known))
            if inputs:
                found.append((encoder, pooling, inputs))
    if known:
        found.append((demographics.CARD, "mean", [InputSpec("mean", known, embedding=False)]))
    return found


def _check(request: RunRequest) -> None:
    task = request.task
    check_metrics(task)
    for head in request.chosen_heads:
        HEADS.load(head)
        if head_kind(head) != task.kind:
            fitting = ", ".join(name for name in HEADS.ids() if head_kind(name) == task.kind)
            raise UsageError(
                f"head {head} answers {head_kind(head)} tasks, {task.id} is one of {task.kind}; use one of {fitting}"
            )
    if task.label in ("covariate", "outcome") and not task.columns:
        raise UsageError(f"task {task.id} asks about columns that you name: add --column NAME, for example {_EXAMPLE}")
    if not task.by_person and request.pooling != ("mean",):
        raise UsageError(f"--pooling is for tasks about whole recordings; {task.id} asks about {task.unit}s")
    if task.by_person and request.split == "epoch":
        raise UsageError(f"--split epoch divides epochs or windows; a row of {task.id} is a {task.unit}")
    if task.unit == "person" and request.split == "recording":
        raise UsageError(f"--split recording ignores persons; {task.id} has one recording of each")
    for cohort_id in request.cohorts:
        card = COHORTS.load(cohort_id).card
        if task.label in LABEL_KINDS and task.label not in card.labels:
            offered = ", ".join(card.labels)
            raise UsageError(f"task {task.id} needs {task.label} labels; cohort {card.id} offers {offered}")


_EXAMPLE = "--column prevalent_diabetes"


def _cohort_part(task: TaskSpec, cohort: Cohort) -> dict[str, object]:
    part = {"id": cohort.card.id, "fingerprint": cohort.fingerprint(), "simulated": cohort.card.simulated}
    return {**part, "people": cohort.people_fingerprint()} if task.by_person else part


def _specs(
    request: RunRequest, cohort: Cohort, cohort_part: dict[str, object], encoder: EncoderCard, several: list[InputSpec]
) -> list[CellSpec]:
    split = split_of(request, cohort.card)
    return [
        CellSpec(
            request.task.definition(), cohort_part, encoder.definition(), HeadSpec(head, default_settings(head)),
            split, shots, seed, inputs,
        )
        for inputs in several
        for head in request.chosen_heads
        for shots in request.shots
        for seed in range(_n_seeds(request, head, shots))
    ]  # fmt: skip


def _n_seeds(request: RunRequest, head: str, shots: Shots) -> int:
    least = SEEDS_OF_SEEDED_HEADS if is_seeded(head) else 1
    return request.seeds or max(shots.default_seeds, least)


def _state(store: CellStore, spec: CellSpec) -> str:
    cell = store.get(spec)
    if cell is None or (cell.status == "ok" and not store.side_path(cell).exists()):
        return "missing"
    if any(e.get("transient") for e in cell.n.get("excluded", ())):
        return "missing"  # a passing fault kept a recording out: try again
    return "done" if cell.status == "ok" else "failed"
