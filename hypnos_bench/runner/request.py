"""What a user asked for, before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.base import LABEL_KINDS, CohortCard, CohortOptions
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.errors import UsageError
from hypnos_bench.heads.registry import HEADS, head_kind
from hypnos_bench.metrics.registry import check_metrics
from hypnos_bench.signals.kinds import parse_modalities
from hypnos_bench.spec import Shots, SplitKind, SplitSpec, TaskSpec

Inputs = Literal["embedding", "embedding+demographics"]
Pooling = Literal["mean", "mean-sd"]
Masking = Literal["refit", "test"]


@dataclass(frozen=True)
class RunRequest:
    """What a user asked for.

    Parameters
    ----------
    encoders : tuple of str
        References; empty: each cohort's own default. They are compared on what all of them have embedded.
    heads : tuple of str
        Empty: the task's first.
    inputs : tuple of {"embedding", "embedding+demographics"}
        The second for whole recordings only.
    modalities : tuple of tuple of str
        Subsets of modalities: of each encoder a masked variant per subset, beside the one that sees all. Their order
        says nothing: they are kept in that of ``signals.kinds.MODALITIES``.
    masking : tuple of {"refit", "test"}
        Whether heads of masked variants learn from masked recordings too, or are tested on them only.
    seeds : int, optional
        Few-shot draws; ``None``: ``Shots.default_seeds``.
    split, duplicates : str, optional
        ``None``: the task's, or the cohort's own default.
    split_lists : tuple of Path
        Published lists of recordings, for splits that are named after them.
    clean_only : bool
        Whether persons that an encoder of the run has seen in pre-training are left out of test sides.
    shard : str
        ``i/n``: this run's share of recordings and cells; empty: everything.
    recompute : bool
        Whether cells are computed that are saved already.

    Raises
    ------
    UsageError
        For an unknown modality.
    """

    task: TaskSpec
    cohorts: tuple[str, ...]
    encoders: tuple[str, ...]
    shots: tuple[Shots, ...]
    results: Path
    heads: tuple[str, ...] = ()
    inputs: tuple[Inputs, ...] = ("embedding", "embedding+demographics")
    pooling: tuple[Pooling, ...] = ("mean",)
    modalities: tuple[tuple[str, ...], ...] = ()
    masking: tuple[Masking, ...] = ("refit",)
    seeds: int | None = None
    split: SplitKind | None = None
    split_lists: tuple[Path, ...] = ()
    duplicates: Literal["check", "off"] | None = None
    clean_only: bool = False
    shard: str = ""
    cohort_options: dict[str, CohortOptions] = field(default_factory=dict)
    encoder_options: EncoderOptions = EncoderOptions()
    workers: int = 1
    recompute: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        # What is kept becomes part of an encoder's definition, hence of keys: in one order, whoever asks.
        subsets = [parse_modalities(",".join(keep)) for keep in self.modalities]
        object.__setattr__(self, "modalities", tuple(dict.fromkeys(keep for keep in subsets if keep is not None)))

    @property
    def chosen_heads(self) -> tuple[str, ...]:
        """Heads to fit."""
        return self.heads or self.task.heads[:1]

    def split_of(self, card: CohortCard) -> SplitSpec:
        """The split of a run, without the digest of published lists: as asked for, else the task's or cohort's own."""
        kind = self.split or (card.split.kind if self.task.split == "cohort" else self.task.split)
        return replace(card.split, kind=kind, duplicates=self.duplicates or card.split.duplicates)


def check_request(request: RunRequest) -> None:
    """Refuse what makes no sense before anything is opened.

    Raises
    ------
    UsageError
        A head of another kind, a task that a cohort has no labels for, options that do not go together.
    """
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
    if task.unit == "person" and request.split is not None and SplitSpec(kind=request.split).leaky:
        raise UsageError(f"--split {request.split} ignores persons; {task.id} has one recording of each")
    for cohort_id in request.cohorts:
        card = COHORTS.load(cohort_id).card
        if task.label in LABEL_KINDS and task.label not in card.labels:
            offered = ", ".join(card.labels)
            raise UsageError(f"task {task.id} needs {task.label} labels; cohort {card.id} offers {offered}")
    _check_lists(request)
    if request.shard and request.recompute:
        raise UsageError(
            "--recompute does not go with --shard: shares would differ in what could be embedded. To try lost "
            "recordings again, run hypnos-bench embed --retry --shard I/N for every share, and then run --shard "
            "without --recompute"
        )


def _check_lists(request: RunRequest) -> None:
    listed = request.split is not None and SplitSpec(kind=request.split).listed is not None
    if listed and not request.split_lists:
        raise UsageError(f"--split {request.split} needs the published lists: add --split-lists FILE, one or several")
    if request.split_lists and not listed:
        raise UsageError("--split-lists goes with a split that is named after them, as in --split osf-person")


_EXAMPLE = "--column prevalent_diabetes"
