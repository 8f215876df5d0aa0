"""From a request to cells: what is asked of which encoder, on which cohort, with which head, inputs and budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypnos_bench.cohorts.base import Cohort, CohortOptions
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.exposure import Exposure, SplitLists
from hypnos_bench.heads.registry import default_settings, is_seeded
from hypnos_bench.runner.listed import read_lists_of
from hypnos_bench.runner.record import PlanRecords, regained
from hypnos_bench.runner.request import Pooling, RunRequest, check_request
from hypnos_bench.runner.seen import exposures, untested
from hypnos_bench.runner.sources import DEMOGRAPHICS, Asked, Source, ask
from hypnos_bench.spec import CellSpec, HeadSpec, InputSpec, SampleSpec, Shots, SplitSpec, TaskSpec, digest
from hypnos_bench.store.cells import CellStore

SEEDS_OF_SEEDED_HEADS = 3
"""Fewest seeds of a head that draws random numbers itself, also where the label budget is everybody."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell of the plan and what is known of it: ``done``, ``failed`` (to be retried) or ``missing``."""

    spec: CellSpec
    state: str


@dataclass(frozen=True)
class Block:
    """Cells that share an encoder and how its rows are pooled, hence rows.

    Parameters
    ----------
    source : Source
        What heads learn from, and are tested on.
    pooling : {"mean", "mean-sd"}
    cells : tuple of PlannedCell
    tested : Source, optional
        What heads are tested on where modalities are masked at test only.
    """

    source: Source
    pooling: Pooling
    cells: tuple[PlannedCell, ...]
    tested: Source | None = None

    @property
    def encoder(self) -> EncoderCard:
        """Card of the encoder that heads learn from."""
        return self.source.card

    @property
    def name(self) -> str:
        """What is compared: ``osf [eeg, eog]``, ``osf [eeg, eog at test only]``."""
        if self.tested is None or self.tested.options.keep is None:
            return self.source.name
        return f"{self.source.name} [{', '.join(self.tested.options.keep)} at test only]"

    @property
    def rows(self) -> list[tuple[Source, Pooling]]:
        """Rows that it needs."""
        return [(source, self.pooling) for source in (self.source, self.tested) if source is not None]

    @property
    def demographics(self) -> tuple[str, ...]:
        """Covariates that any of its cells needs."""
        return max((cell.spec.inputs.demographics for cell in self.cells), key=len)

    def todo(self) -> list[PlannedCell]:
        """Cells still to be computed."""
        return [cell for cell in self.cells if cell.state != "done"]


@dataclass(frozen=True)
class CohortPlan:
    """Cells of one cohort.

    Parameters
    ----------
    cohort : Cohort
    blocks : tuple of Block
    split : SplitSpec
    record : str
        Key of the record of what the encoders have in common.
    settled : bool
        Whether that is known. If not, the keys of cells are provisional: those of a run in which no encoder loses
        anything.
    exposures : mapping of str to Exposure
        What each encoder has seen of the cohort, by ``Source.key``.
    untested : frozenset of str
        Persons who are left out of test sides.
    lists : SplitLists, optional
        Published lists, for a split that is named after them.
    """

    cohort: Cohort
    blocks: tuple[Block, ...]
    split: SplitSpec
    record: str = ""
    settled: bool = False
    exposures: Mapping[str, Exposure] = field(default_factory=dict)
    untested: frozenset[str] = frozenset()
    lists: SplitLists | None = None

    @property
    def cells(self) -> list[PlannedCell]:
        """Cells of all blocks."""
        return [cell for block in self.blocks for cell in block.cells]

    @property
    def rows(self) -> list[tuple[Source, Pooling]]:
        """Encoders and poolings of the run, each once: the whole ones before those with modalities masked."""
        found = {(s.key, pooling): (s, pooling) for block in self.blocks for s, pooling in block.rows}
        return sorted(found.values(), key=lambda entry: entry[0].options.keep is not None)

    def todo(self) -> bool:
        """Whether anything is still to be computed, or to be found out."""
        return not self.settled or any(block.todo() for block in self.blocks)

    def settle(self, common: str, request: RunRequest) -> CohortPlan:
        """The plan with its final keys, looked up in the store."""
        store = CellStore(request.results)

        def final(cell: PlannedCell) -> PlannedCell:
            spec = replace(cell.spec, sample=replace(cell.spec.sample, common=common))
            return PlannedCell(spec, "missing" if request.recompute else _state(store, spec))

        blocks = tuple(replace(block, cells=tuple(map(final, block.cells))) for block in self.blocks)
        return replace(self, blocks=blocks, settled=True)


def open_cohort(cohort_id: str, options: CohortOptions) -> Cohort:
    """Open a cohort by id."""
    cohort: Cohort = COHORTS.load(cohort_id).open(options)
    return cohort


def plan(request: RunRequest) -> list[CohortPlan]:
    """Expand a request into cells and look up which exist. Reads headers and hashes, embeds nothing.

    Raises
    ------
    UsageError, DataError
        Unknown ids, a task that a cohort has no labels for, a head of another kind, missing data or weights.
    """
    check_request(request)
    lists = read_lists_of(request)
    plans = []
    for cohort_id in request.cohorts:
        card = COHORTS.load(cohort_id).card
        # Encoders first: missing weights should be told before a long scan or a simulation.
        asked = ask(request, request.encoders or card.encoders)
        cohort = open_cohort(cohort_id, request.cohort_options.get(cohort_id, CohortOptions()))
        plans.append(_of_cohort(request, cohort, asked, lists))
    return plans


def _of_cohort(request: RunRequest, cohort: Cohort, asked: Sequence[Asked], lists: SplitLists | None) -> CohortPlan:
    cohort_part = _cohort_part(request.task, cohort)
    split = request.split_of(cohort.card)
    if lists is not None:
        lists.sides(cohort.card.id)  # refuses a cohort that they do not divide
        split = replace(split, lists=lists.digest)
    columns = _columns(request, asked, known_demographics(request.task, cohort))
    known = exposures(request, cohort, [s for c in columns for s in (c.source, c.tested) if s is not None])
    out = untested(request, cohort, known) if request.clean_only else frozenset()
    sample = SampleSpec(untested=digest(sorted(out)) if out else "")
    blocks = []
    for column in columns:
        specs = _specs(request, cohort_part, split, sample, column)
        cells = tuple(PlannedCell(spec, "missing") for spec in specs)
        blocks.append(Block(column.source, column.pooling, cells, column.tested))
    made = CohortPlan(cohort, tuple(blocks), split, exposures=known, untested=out, lists=lists)
    embedded = [(source, pooling) for source, pooling in made.rows if source.embedded]
    made = replace(made, record=PlanRecords.key(request.task, cohort_part, embedded))
    record = None if request.recompute else PlanRecords(request.results).get(made.record)
    if record is None or regained(request.results, cohort, record, [source for source, _ in embedded]):
        return made
    return made.settle(record.common, request)


def known_demographics(task: TaskSpec, cohort: Cohort) -> tuple[str, ...]:
    """The task's demographics that any recording of the cohort has."""
    return tuple(name for name in task.demographics if any(name in r.covariates for r in cohort.recordings))


@dataclass(frozen=True)
class _Column:
    """An encoder with its inputs."""

    source: Source
    pooling: Pooling
    inputs: list[InputSpec]
    tested: Source | None = None


def _columns(request: RunRequest, asked: Sequence[Asked], known: tuple[str, ...]) -> list[_Column]:
    """Encoders with their inputs; for whole recordings the demographics-only baseline always stands beside them."""
    found = []
    by_person = request.task.by_person
    for encoder in asked:
        for pooling in request.pooling:
            inputs = [InputSpec(pooling)] if "embedding" in request.inputs or not by_person else []
            if by_person and known and "embedding+demographics" in request.inputs:
                inputs.append(InputSpec(pooling, known))
            if inputs:
                found += _variants(request, encoder, pooling, inputs)
    if by_person and known:
        found.append(_Column(DEMOGRAPHICS, "mean", [InputSpec("mean", known, embedding=False)]))
    return found


def _variants(request: RunRequest, encoder: Asked, pooling: Pooling, inputs: list[InputSpec]) -> list[_Column]:
    """An encoder that sees all modalities, and behind it the same with some masked."""
    found = [_Column(encoder.whole, pooling, inputs)]
    for masked in encoder.masked:
        if "refit" in request.masking:
            found.append(_Column(masked, pooling, inputs))
        if "test" in request.masking:
            kept = masked.options.keep or ()
            found.append(_Column(encoder.whole, pooling, [replace(i, tested_on=kept) for i in inputs], masked))
    return found


def _cohort_part(task: TaskSpec, cohort: Cohort) -> dict[str, object]:
    part = {"id": cohort.card.id, "fingerprint": cohort.fingerprint(), "simulated": cohort.card.simulated}
    return {**part, "people": cohort.people_fingerprint()} if task.by_person else part


def _specs(
    request: RunRequest, cohort_part: Mapping[str, Any], split: SplitSpec, sample: SampleSpec, column: _Column
) -> list[CellSpec]:
    return [
        CellSpec(
            request.task.definition(), cohort_part, column.source.card.definition(),
            HeadSpec(head, default_settings(head)), split, shots, seed, inputs, sample=sample,
        )
        for inputs in column.inputs
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
