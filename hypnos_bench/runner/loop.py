"""The loop: run what a plan lacks, and save every cell the moment it exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from hypnos_bench.cohorts.base import Cohort
from hypnos_bench.errors import UsageError
from hypnos_bench.probe import Probe
from hypnos_bench.probe.parallel import run_cells
from hypnos_bench.runner.families import keep_together
from hypnos_bench.runner.gather import Labels, gather, read_labels
from hypnos_bench.runner.plan import Block, RunRequest, split_of
from hypnos_bench.spec import CellSpec, Shots, inputs_label
from hypnos_bench.splits import draw, folds
from hypnos_bench.store.atomic import check_writable
from hypnos_bench.store.cells import Cell, CellStore
from hypnos_bench.threads import one_thread

Progress = Callable[[Iterator[Any], int, str], Iterator[Any]]


@dataclass(frozen=True)
class RunOutcome:
    """Specs of all cells of the run, and how many were computed, found done, or failed."""

    specs: tuple[CellSpec, ...]
    computed: int
    cached: int
    failed: int


def execute(
    request: RunRequest,
    blocks: Sequence[Block],
    *,
    progress: Progress = lambda done, total, text: done,
    say: Callable[[str], None] = lambda line: None,
) -> RunOutcome:
    """Run what the plan lacks; every finished cell is on disk before the next one is waited for.

    A cell that cannot be fitted is saved as failed. A recording that cannot be used is listed in
    the cells' exclusions. A store that cannot be written ends the run.
    """
    one_thread()
    waiting = [block for block in blocks if block.todo()]
    if waiting:
        check_writable(request.results)
    store = CellStore(request.results)
    cohorts = {block.cohort.card.id: block.cohort for block in waiting}
    # Of all cohorts, before anything is embedded.
    labels = {name: _labels(request, cohort, progress, say) for name, cohort in cohorts.items()}
    computed = failed = 0
    for block in waiting:
        todo, name = block.todo(), block.cohort.card.id
        data = gather(request, block, labels[name], progress=progress, say=say)
        device = request.encoder_options.device.replace("auto", "cpu")  # settled by the caller where it matters
        probe = Probe(request.task, block.cohort.card, block.encoder, request.command, device)
        with closing(data):
            cells = run_cells([cell.spec for cell in todo], probe, data, request.workers)
            for cell, side in progress(cells, len(todo), f"probe {block.encoder.id}"):
                store.save(cell, side)
                computed += 1
                if cell.status == "failed":
                    failed += 1
                    say(f"failed cell: {_named(cell)}: {cell.message}")
    specs = tuple(cell.spec for block in blocks for cell in block.cells)
    return RunOutcome(specs, computed, len(specs) - computed, failed)


def _named(cell: Cell) -> str:
    spec = cell.spec
    parts = [spec["encoder"]["id"], inputs_label(spec["inputs"]), spec["cohort"]["id"], spec["head"]["id"]]
    return f"{', '.join(parts)}, {Shots(**spec['shots']).label}, seed {spec['seed']}"


def _labels(request: RunRequest, cohort: Cohort, progress: Progress, say: Callable[[str], None]) -> Labels:
    """Labels of a cohort, with the families that its folds are made of; impossible budgets are refused."""
    found = read_labels(request.task, cohort)
    split = split_of(request, cohort.card)
    labelled = [recording for recording in cohort.recordings if recording.id in found.recordings]
    together = keep_together(cohort, labelled, split, request.results, progress=progress, say=say)
    if not split.leaky:
        _check_budgets(request, cohort, together.family_of)
    return replace(found, everyone=together.family_of, duplicates=together.duplicates)


def _check_budgets(request: RunRequest, cohort: Cohort, persons: Mapping[str, str]) -> None:
    """Refuse before any embedding what no fold can give: too few persons for the split, or for the shots."""
    for fold in folds(cohort.card.id, [*persons], split_of(request, cohort.card), persons):
        for shots in request.shots:
            try:
                draw(fold.train, shots, seed=0)
            except UsageError as error:
                raise UsageError(f"{cohort.card.id}: {error}") from error
