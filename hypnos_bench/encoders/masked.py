"""An encoder that sees some modalities only: the same network, on recordings from which the others are taken away."""

from __future__ import annotations

from dataclasses import replace

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, Encoder, EncoderCard, Prepared, is_staged
from hypnos_bench.signals.kinds import MODALITIES


class MaskedEncoder:
    """Wraps an encoder; another definition, hence other embeddings and other cells.

    Modalities that are kept are a set: in whatever order they are named, it is one and the same encoder. A recording
    that has none of the modalities kept is refused as the encoder refuses one without usable channels.
    """

    def __init__(self, inner: Encoder, keep: tuple[str, ...]) -> None:
        self.inner = inner
        self.keep = tuple(sorted(set(keep), key=MODALITIES.index))
        if is_staged(inner):  # offered only where the wrapped encoder does
            self.encode_prepared = inner.encode_prepared
            self.batch_size = inner.batch_size
            self.prepare = self._prepare

    @property
    def card(self) -> EncoderCard:
        """The wrapped encoder's, with ``settings["keep"]``."""
        card = self.inner.card
        return replace(card, settings={**card.settings, "keep": list(self.keep)})

    def encode(self, recording: Recording) -> Embedding:
        """Embed what is left of a recording. Raises as the wrapped encoder."""
        return self.inner.encode(recording.only(self.keep))

    def _prepare(self, recording: Recording) -> Prepared:
        if not is_staged(self.inner):
            raise RuntimeError("the wrapped encoder has no stages")
        return self.inner.prepare(recording.only(self.keep))
