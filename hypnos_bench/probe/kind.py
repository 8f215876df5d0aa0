"""What the three kinds of task share: the job of a cell, and what scoring gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.heads.registry import is_seeded
from hypnos_bench.heads.rows import RowSource
from hypnos_bench.spec import CellSpec, HeadSpec, TaskSpec
from hypnos_bench.store.side import Side


@dataclass(frozen=True)
class Job:
    """The parts of a cell's spec that fitting and scoring need."""

    task: TaskSpec
    head: HeadSpec
    seed: int
    bootstrap: int

    @classmethod
    def of(cls, spec: CellSpec, task: TaskSpec) -> Job:
        """Job of a cell."""
        return cls(task, spec.head, spec.seed, spec.bootstrap)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The head's settings; a head that draws random numbers takes the cell's seed."""
        seed = {"seed": self.seed} if is_seeded(self.head.id) else {}
        return {**self.head.settings, **seed}


@dataclass(frozen=True)
class Scored:
    """Scores of a cell, per-outcome results of survival tasks, and its side file."""

    scores: Mapping[str, Mapping[str, Any]]
    outcomes: Sequence[Mapping[str, Any]]
    side: Side


def in_memory(rows: RowSource) -> NDArray[np.float32]:
    """All rows at once: whole recordings are thousands, not millions."""
    x = np.empty(rows.shape, dtype=np.float32)
    rows.read_into(0, x)
    return x
