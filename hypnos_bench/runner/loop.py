"""The loop: embed, see what encoders have in common, run what the plan lacks, save every cell the moment it exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from hypnos_bench.cluster.shard import Shard, shard_of_key
from hypnos_bench.embed.crew import Crew
from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.exposure import Exposure
from hypnos_bench.probe import Probe
from hypnos_bench.probe.cell import failed_cell
from hypnos_bench.probe.division import overlap_line
from hypnos_bench.probe.parallel import Result
from hypnos_bench.runner.common import Common, in_common, loss_line, loss_of
from hypnos_bench.runner.embedding import Embedded, embed_all
from hypnos_bench.runner.families import keep_together
from hypnos_bench.runner.gather import Gathered, gather
from hypnos_bench.runner.labels import Labels, read_labels
from hypnos_bench.runner.listed import divide_by_lists
from hypnos_bench.runner.plan import Block, CohortPlan
from hypnos_bench.runner.record import PlanRecord, PlanRecords
from hypnos_bench.runner.request import Pooling, RunRequest
from hypnos_bench.runner.seen import not_known, restamp
from hypnos_bench.runner.work import BlockWork, Compute, compute_here
from hypnos_bench.spec import CellSpec, Shots, inputs_label
from hypnos_bench.splits import draw, folds
from hypnos_bench.store.atomic import check_writable
from hypnos_bench.store.cells import Cell, CellStore
from hypnos_bench.threads import one_thread

Progress = Callable[[Iterator[Any], int, str], Iterator[Any]]


@dataclass(frozen=True)
class RunOutcome:
    """Specs of all cells of the run, and how many were computed, found done, failed, or left to other shards."""

    specs: tuple[CellSpec, ...]
    computed: int
    cached: int
    failed: int
    elsewhere: int = 0


def execute(
    request: RunRequest,
    plans: Sequence[CohortPlan],
    *,
    progress: Progress = lambda done, total, text: done,
    say: Callable[[str], None] = lambda line: None,
    crew: Crew | None = None,
    compute: Compute = compute_here,
) -> RunOutcome:
    """Run what the plan lacks; every finished cell is on disk before the next one is waited for.

    A cell that cannot be fitted is saved as failed, and so are those of an encoder that could embed nothing. A
    recording that one encoder cannot use is left out for all of them, and listed in the cells' exclusions. A store that
    cannot be written ends the run.

    Parameters
    ----------
    request : RunRequest
    plans : sequence of CohortPlan
    progress, say : callable
    crew : Crew, optional
        Who embeds; default: processes of this machine.
    compute : Compute
        Who computes cells.
    """
    one_thread()
    run = _Run(request, progress, say, crew, compute)
    waiting = [part for part in plans if part.todo()]
    if waiting:
        check_writable(request.results)
    # Of all cohorts, before anything is embedded.
    labels = {part.cohort.card.id: run.labels(part) for part in waiting}
    done = [run.cohort(part, labels[part.cohort.card.id]) if part.todo() else run.stamp(part) for part in plans]
    specs = tuple(cell.spec for part in done for cell in part.cells)
    if run.restamped:
        say(f"{run.restamped} cells: what is known of exposure has changed and is said anew")
    cached = len(specs) - run.computed - run.elsewhere
    return RunOutcome(specs, run.computed, cached, run.failed, run.elsewhere)


@dataclass
class _Run:
    """One call of `execute`, with its counts."""

    request: RunRequest
    progress: Progress
    say: Callable[[str], None]
    crew: Crew | None
    compute: Compute
    computed: int = 0
    failed: int = 0
    elsewhere: int = 0
    restamped: int = 0
    store: CellStore = field(init=False)
    shard: Shard | None = field(init=False)

    def __post_init__(self) -> None:
        self.store = CellStore(self.request.results)
        self.shard = Shard.parse(self.request.shard) if self.request.shard else None

    def labels(self, part: CohortPlan) -> Labels:
        """Labels of a cohort, with the families that its folds are made of; impossible budgets are refused."""
        request, cohort = self.request, part.cohort
        found = read_labels(request.task, cohort)
        labelled = found.labelled(cohort)
        together = keep_together(cohort, labelled, part.split, request.results, progress=self.progress, say=self.say)
        listed = None
        if part.lists is not None:
            listed = divide_by_lists(cohort, part.lists, part.split, together.family_of)
            self.say(f"{cohort.card.id}: {overlap_line(listed)}")
        found = replace(found, everyone=together.family_of, duplicates=together.duplicates, listed=listed)
        _check_budgets(request, part, found)
        return found

    def cohort(self, part: CohortPlan, labels: Labels) -> CohortPlan:
        """Embed a cohort with every encoder, and compute the cells that are lacking."""
        for encoder in not_known(part.exposures) if self.request.clean_only else ():
            self.say(f"--clean-only: nothing says whom {encoder} has seen: all its test persons stay")
        embedded = embed_all(self.request, part, labels, self.crew, self.progress, self.say)
        with ExitStack() as stack:
            gathered = {(g.source.key, pooling): g for g, pooling in self._gather(part, labels, embedded, stack)}
            usable = [g for g in gathered.values() if g.units]
            broken = {key: g for key, g in gathered.items() if not g.units}
            if not any(g.source.embedded for g in usable):
                raise _nothing_embedded(part, labels, list(broken.values()))
            common = in_common(part.cohort, labels, usable)
            self._tell(labels, common, usable, broken.values())
            part = part.settle(common.digest, self.request)
            self._keep(part, labels, common, usable, embedded, bool(broken))
            for block in part.blocks:
                self._block(part, block, labels, common, gathered)
        return self.stamp(part)

    def stamp(self, part: CohortPlan) -> CohortPlan:
        """Saved cells of a cohort say what is known now of who was seen in pre-training."""
        for block in part.blocks:
            exposure = part.exposures[(block.tested or block.source).key]
            self.restamped += restamp(self.store, [cell.spec for cell in block.cells], exposure)
        return part

    def _gather(
        self, part: CohortPlan, labels: Labels, embedded: Embedded, stack: ExitStack
    ) -> Iterator[tuple[Gathered, Pooling]]:
        rows = part.rows
        for source, pooling in rows:
            lost, seconds = embedded[source.key]
            found = gather(
                self.request, part.cohort, source, pooling, labels, lost,
                embed_s=seconds, n_sources=len(rows), say=self.say,
            )  # fmt: skip
            stack.callback(found.close)
            yield found, pooling

    def _tell(self, labels: Labels, common: Common, usable: Sequence[Gathered], broken: Any) -> None:
        lines = [loss_line(found, labels, common, self.request.task.unit) for found in usable]
        for line in dict.fromkeys(line for line in lines if line):
            self.say(line)
        for name, why in {g.source.name: _why(g) for g in broken}.items():
            self.say(f"{name} {why}; the others are compared without it")

    def _keep(
        self,
        part: CohortPlan,
        labels: Labels,
        common: Common,
        usable: Sequence[Gathered],
        embedded: Embedded,
        broken: bool,
    ) -> None:
        """Keep what was found out, unless trying again may find something else."""
        records = PlanRecords(self.request.results)
        passing = any(e.transient for e in labels.excluded) or any(e.transient for g in usable for e in g.lost)
        if broken or passing:
            records.forget(part.record)
        else:
            lost = {
                g.source.key: {
                    "encoder": g.source.label,
                    **loss_of(g, labels),
                    "refused": sorted(e.recording for e in embedded[g.source.key][0]),
                }
                for g in usable
                if g.source.embedded
            }
            records.save(part.record, PlanRecord(common.digest, common.counts, lost))

    def _block(
        self,
        part: CohortPlan,
        block: Block,
        labels: Labels,
        common: Common,
        gathered: dict[tuple[str, Pooling], Gathered],
    ) -> None:
        todo = [cell.spec for cell in block.todo() if self.shard is None or shard_of_key(cell.spec.key, self.shard)]
        self.elsewhere += len(block.todo()) - len(todo)
        if not todo:
            return
        rows = [gathered[source.key, pooling] for source, pooling in block.rows]
        work = BlockWork(
            self.request, part.cohort, tuple(block.rows), block.demographics, labels, common,
            loss_of(rows[-1], labels), self._probe(part, block, labels),
        )  # fmt: skip
        for cell, side in self.progress(self._cells(todo, work, rows), len(todo), f"probe {block.name}"):
            self.store.save(cell, side)
            self.computed += 1
            if cell.status == "failed":
                self.failed += 1
                self.say(f"failed cell: {_named(cell)}: {cell.message}")

    def _cells(self, specs: Sequence[CellSpec], work: BlockWork, rows: Sequence[Gathered]) -> Iterator[Result]:
        """Computed cells; failed ones where there is nothing to learn from, or to test."""
        try:
            lacking = [g for g in rows if not g.units]
            if lacking:
                raise FitError(f"{lacking[0].source.label} {_why(lacking[0])}")
            data = work.data(rows)
        except FitError as error:
            facts, message = {"common": work.common.counts, "lost": work.lost}, str(error)
            return ((failed_cell(spec, work.probe, message, facts), None) for spec in specs)
        return self.compute(specs, work, data)

    def _probe(self, part: CohortPlan, block: Block, labels: Labels) -> Probe:
        request, shown = self.request, block.tested or block.source
        device = request.encoder_options.device.replace("auto", "cpu")  # settled by the caller where it matters
        exposure: Exposure = part.exposures[shown.key]
        return Probe(
            request.task,
            part.cohort.card,
            block.encoder,
            request.command,
            device,
            exposure,
            labels.listed,
            part.untested,
        )


def _why(gathered: Gathered) -> str:
    first = "; ".join(f"{e.recording}: {e.reason}" for e in gathered.lost[:3])
    return f"embedded nothing that can be used ({len(gathered.lost)} recordings lost: {first})"


def _nothing_embedded(part: CohortPlan, labels: Labels, broken: Sequence[Gathered]) -> DataError:
    several = {g.source.name: _why(g) for g in broken}
    return DataError(f"{part.cohort.card.id}: " + "; ".join(f"{name} {why}" for name, why in several.items()))


def _named(cell: Cell) -> str:
    spec = cell.spec
    parts = [spec["encoder"]["id"], inputs_label(spec["inputs"]), spec["cohort"]["id"], spec["head"]["id"]]
    return f"{', '.join(parts)}, {Shots(**spec['shots']).label}, seed {spec['seed']}"


def _check_budgets(request: RunRequest, part: CohortPlan, labels: Labels) -> None:
    """Refuse before any embedding what no fold can give: too few persons for the split, or for the shots."""
    cohort = part.cohort
    if labels.listed is not None:
        person = {recording.id: recording.person for recording in labels.labelled(cohort)}
        sides = [sorted({person[name] for name in labels.listed.train if name in person})]
    elif part.split.leaky:
        return
    else:
        sides = [list(f.train) for f in folds(cohort.card.id, [*labels.everyone], part.split, labels.everyone)]
    for train in sides:
        for shots in request.shots:
            try:
                draw(train, shots, seed=0)
            except UsageError as error:
                raise UsageError(f"{cohort.card.id}: {error}") from error
