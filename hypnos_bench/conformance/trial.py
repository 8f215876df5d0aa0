"""An encoder on trial: three recordings, encoders made anew for them, and what it gave for the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.conformance.recordings import CANONICAL, synthetic
from hypnos_bench.conformance.trying import Tried, attempt
from hypnos_bench.encoders.base import Embedding, Encoder, EncoderCard
from hypnos_bench.signals.kinds import MODALITIES, OF_CANONICAL

LENGTHS_S = (367.0, 300.0, 245.5)
SEED = 6


@dataclass
class Trial:
    """One encoder reference on trial.

    Parameters
    ----------
    make : callable
        Makes the encoder anew.
    keep : tuple of str
        Modalities that it may see.
    lengths_s : tuple of float
        Of the three recordings.
    """

    make: Callable[[], Encoder]
    keep: tuple[str, ...] = MODALITIES
    lengths_s: tuple[float, float, float] = LENGTHS_S
    steady: bool = True  # until two runs of one recording are seen to differ
    encoder: Encoder = field(init=False)
    card: EncoderCard = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = self.make()
        self.card = self.encoder.card

    @cached_property
    def nights(self) -> tuple[Recording, Recording, Recording]:
        """Three recordings of different persons and lengths."""
        a, b, c = (synthetic(f"synthetic-{i}", s, SEED + i) for i, s in enumerate(self.lengths_s))
        return a, b, c

    @cached_property
    def plain(self) -> Tried:
        """The first recording, encoded before anything else by this encoder."""
        return attempt(self.encoder, self.nights[0])

    @property
    def first(self) -> Embedding:
        """Embedding of the first recording. Ask only when there is one."""
        if self.plain.embedding is None:
            raise RuntimeError("the plain recording was not embedded")
        return self.plain.embedding

    @property
    def used(self) -> list[str]:
        """Canonical channels that the card says are used, as far as their modalities are kept."""
        return [c for c in CANONICAL if c in self.card.channels and OF_CANONICAL[c] in self.keep]

    @property
    def probe_channel(self) -> str:
        """The channel in which something is put wrong."""
        return self.used[0] if self.used else "C3"

    @property
    def span_s(self) -> float:
        """Seconds behind one row."""
        return max(self.first.step_s, self.card.window_s or 0.0)

    def again(self, recording: Recording) -> Tried:
        """Encode with the same encoder."""
        return attempt(self.encoder, recording)
