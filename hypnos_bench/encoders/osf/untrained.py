"""OSF without training: a control."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hypnos_bench.encoders.osf.adapter import OSFEncoder
from hypnos_bench.encoders.osf.layout import SIZES, Geometry
from hypnos_bench.spec import digest

if TYPE_CHECKING:
    from torch import Tensor

UNTRAINED_SEED = 0


class OSFUntrained(OSFEncoder):
    """OSF with seeded random weights: what the architecture and the preprocessing give for nothing.

    Weights are drawn in memory, equal on every machine, and never written; the hash on the card is that of their
    recipe. Setting ``size``: one of upstream's sizes, the released one unless given.
    """

    id = "osf-untrained"
    title = "OSF architecture, untrained"
    note = f"Random weights; a control, not a model. {OSFEncoder.note}"
    _marks = ("untrained",)

    @property
    def _cohorts_seen(self) -> tuple[str, ...]:
        return ()

    def _own_settings(self) -> dict[str, tuple[str, ...]]:
        return {"size": ("vit_base", *(name for name in SIZES if name != "vit_base"))}

    def _state(self) -> tuple[dict[str, Tensor], Geometry]:
        from hypnos_bench.encoders.osf.weights import random_state

        return random_state(self._geometry, UNTRAINED_SEED), self._geometry

    @cached_property
    def _geometry(self) -> Geometry:
        return SIZES[self._settings["size"]]

    @cached_property
    def _weights_hash(self) -> str:
        shapes = {name: list(shape) for name, shape in self._geometry.shapes().items()}
        return digest({"recipe": "uniform per tensor, PCG64 of SHA-256", "seed": UNTRAINED_SEED, "shapes": shapes})

    @property
    def _weights_name(self) -> str:
        return f"random {self._settings['size']}, seed {UNTRAINED_SEED}"

    @property
    def _note(self) -> str:
        return self.note
