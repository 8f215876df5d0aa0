"""Encoders by id; other packages add theirs through the ``hypnos_bench.encoders`` entry-point group.

A *reference* names an encoder on the command line: an id, ``module:object``, ``file.py:object``, or
``precomputed:FOLDER``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypnos_bench.registry import Registry

if TYPE_CHECKING:
    from hypnos_bench.encoders.base import Encoder, EncoderOptions

ENCODERS = Registry(
    "encoder",
    {
        "hypnos": "hypnos_bench.encoders.hypnos:HypnosEncoder",
        "hypnos-untrained": "hypnos_bench.encoders.hypnos:HypnosUntrained",
        "hypnos-tokens": "hypnos_bench.encoders.tokens:HypnosTokens",
        "sleepfm": "hypnos_bench.encoders.sleepfm:SleepFMEncoder",
        "sleepfm-untrained": "hypnos_bench.encoders.sleepfm:SleepFMUntrained",
        "osf": "hypnos_bench.encoders.osf:OSFEncoder",
        "osf-untrained": "hypnos_bench.encoders.osf:OSFUntrained",
        "raw-psd": "hypnos_bench.encoders.raw_psd:RawPSDEncoder",
        "features": "hypnos_bench.encoders.features:FeaturesEncoder",
        "precomputed": "hypnos_bench.encoders.precomputed:PrecomputedEncoder",
    },
    group="hypnos_bench.encoders",
)
"""Each entry is called with :class:`~hypnos_bench.encoders.base.EncoderOptions` and gives an encoder."""


def check_reference(reference: str) -> None:
    """Refuse early what is no encoder's name, or cannot be imported. Makes no encoder and reads no weights.

    Raises
    ------
    UsageError
        Saying what is known, and how a user's own encoder is named.
    """
    from hypnos_bench.encoders.reference import find

    find(reference, ENCODERS)


def uses_device(reference: str) -> bool:
    """Whether an encoder may run on an accelerator: all but those of the suite that only count or read."""
    return reference.partition(":")[0] not in ("features", "raw-psd", "precomputed")


def make_encoder(reference: str, options: EncoderOptions) -> Encoder:
    """Build the encoder behind a reference.

    Raises
    ------
    UsageError
        When there is no such encoder, or what is there is none; when signals should be masked of which there are
        embeddings only.
    """
    from hypnos_bench.encoders import demographics
    from hypnos_bench.encoders.masked import MaskedEncoder
    from hypnos_bench.encoders.plugin import PluginEncoder
    from hypnos_bench.encoders.reference import PRECOMPUTED, find, make
    from hypnos_bench.errors import UsageError

    target = find(reference, ENCODERS)
    if options.keep is not None and reference.partition(":")[0] == PRECOMPUTED:
        raise UsageError(f"encoder {reference} reads embeddings: it has no signal whose modalities could be masked")
    encoder: Encoder = make(target, options, reference)
    if target.plugin:
        taken = [name for name in ENCODERS.ids() if ENCODERS.is_builtin(name)]
        encoder = PluginEncoder(encoder, reference, target, [*taken, demographics.CARD.id], options)
    return encoder if options.keep is None else MaskedEncoder(encoder, options.keep)
