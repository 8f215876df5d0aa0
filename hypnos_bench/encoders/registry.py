"""Encoders by id; other packages add theirs through the ``hypnos_bench.encoders`` entry-point group."""

from __future__ import annotations

from hypnos_bench.registry import Registry

ENCODERS = Registry(
    "encoder",
    {
        "hypnos": "hypnos_bench.encoders.hypnos:HypnosEncoder",
        "hypnos-untrained": "hypnos_bench.encoders.hypnos:HypnosUntrained",
        "features": "hypnos_bench.encoders.features:FeaturesEncoder",
        "precomputed": "hypnos_bench.encoders.precomputed:PrecomputedEncoder",
    },
    group="hypnos_bench.encoders",
)
"""Each entry is called with :class:`~hypnos_bench.encoders.base.EncoderOptions` and gives an encoder."""
