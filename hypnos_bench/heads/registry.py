"""Heads by id, with their titles and default settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypnos_bench.registry import Registry
from hypnos_bench.spec import plain

HEADS = Registry("head", {"linear": "hypnos_bench.heads.linear:fit_linear"}, group="hypnos_bench.heads")
"""Called as ``head(rows: TrainingRows, settings: Mapping) -> FittedHead``."""

HEAD_TITLES: Mapping[str, str] = {"linear": "Linear probe (multinomial logistic regression, converged)"}
"""Titles of the built-in heads."""

_DEFAULTS = Registry("head", {"linear": "hypnos_bench.heads.linear:LINEAR_SETTINGS"})


def default_settings(head_id: str) -> dict[str, Any]:
    """Every setting of a head that can change a number, with its default; this enters the cell key.

    A head from another package states its own as an attribute ``settings`` of the registered callable.

    Raises
    ------
    UsageError
        When the head is unknown.
    """
    head = HEADS.load(head_id)
    settings = _DEFAULTS.load(head_id) if head_id in _DEFAULTS.ids() else getattr(head, "settings", {})
    return dict(plain(settings))
