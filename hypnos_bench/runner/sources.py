"""Where features come from: encoders as a run asks them, whole or with modalities masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hypnos_bench.encoders import demographics
from hypnos_bench.encoders.base import EncoderCard, EncoderOptions
from hypnos_bench.encoders.masked import MaskedEncoder
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.errors import UsageError
from hypnos_bench.runner.request import RunRequest
from hypnos_bench.spec import digest

PRECOMPUTED = "precomputed"
_SHOWN = 8  # of a key


@dataclass(frozen=True)
class Source:
    """An encoder of a run.

    Parameters
    ----------
    reference : str
        As the user names it: an id, ``module:object``, ``precomputed:FOLDER``.
    options : EncoderOptions
        With the modalities that it may see.
    card : EncoderCard
    """

    reference: str
    options: EncoderOptions
    card: EncoderCard

    @cached_property
    def key(self) -> str:
        """Digest of the encoder's definition, which masking is part of."""
        return digest(self.card.definition())

    @property
    def embedded(self) -> bool:
        """Whether there is anything to embed."""
        return self.card.id != demographics.CARD.id

    @property
    def name(self) -> str:
        """Reference with the modalities that are kept, as the user knows it: ``osf [eeg, eog]``."""
        return self._with_modalities(self.reference)

    @property
    def label(self) -> str:
        """Card id with the modalities that are kept, for cells: a reference may hold a path of this machine."""
        return self._with_modalities(self.card.id)

    def _with_modalities(self, name: str) -> str:
        return name if self.options.keep is None else f"{name} [{', '.join(self.options.keep)}]"


def labels_apart(sources: Iterable[Source]) -> dict[str, str]:
    """``Source.key`` to ``Source.label``, with the start of the key where several encoders have the same."""
    several = {source.key: source.label for source in sources}
    count = Counter(several.values())
    return {key: label if count[label] == 1 else f"{label} ({key[:_SHOWN]})" for key, label in several.items()}


DEMOGRAPHICS = Source(demographics.CARD.id, EncoderOptions(), demographics.CARD)
"""The baseline without any signal."""


@dataclass(frozen=True)
class Asked:
    """An encoder that a run asks, and its variants with modalities masked, in the order asked for."""

    whole: Source
    masked: tuple[Source, ...] = ()


def ask(request: RunRequest, references: Sequence[str]) -> list[Asked]:
    """Build the encoders' cards, and those of their masked variants.

    Raises
    ------
    UsageError
        Unknown ids; precomputed embeddings that should be masked: there is no signal to mask.
    DataError
        Missing weights.
    """
    options = request.encoder_options
    found = []
    for reference in references:
        encoder = make_encoder(reference, options)
        if request.modalities and reference.partition(":")[0] == PRECOMPUTED:
            raise UsageError(
                f"--modalities masks signals before they are embedded; {reference} has been embedded elsewhere: leave "
                "it out of this run, or give a folder of embeddings made from masked signals"
            )
        masked = tuple(
            Source(reference, replace(options, keep=keep), MaskedEncoder(encoder, keep).card)
            for keep in request.modalities
        )
        found.append(Asked(Source(reference, options, encoder.card), masked))
    _refuse_twice(found)
    return found


def _refuse_twice(several: Sequence[Asked]) -> None:
    seen: dict[str, str] = {}
    for asked in several:
        other = seen.setdefault(asked.whole.key, asked.whole.reference)
        if other != asked.whole.reference:
            raise UsageError(f"--encoder {other} and --encoder {asked.whole.reference} are one and the same encoder")
