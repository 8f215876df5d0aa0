"""The baseline that every embedding of a person has to beat: age, sex and BMI alone, without any signal."""

from __future__ import annotations

from hypnos_bench.encoders.base import EncoderCard

CARD = EncoderCard(
    id="demographics",
    title="Demographics only (no signal)",
    version="1",
    step_s=None,
    window_s=None,
    causal=True,
    lag_rows=0,
    pretrained_on=(),
    channels=(),
    missing="filled with the mean of the training persons, and counted",
)
"""Stands where an encoder's card stands; there is nothing to embed."""
