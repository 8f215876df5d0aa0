"""Heads by id: what they answer, their titles and default settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypnos_bench.registry import Registry
from hypnos_bench.spec import plain


@dataclass(frozen=True)
class HeadInfo:
    """What is known of a head before it is imported.

    Parameters
    ----------
    kind : {"classification", "regression", "survival"}
    title : str
    fit, settings : str
        ``"module:object"`` of the function ``fit(rows, settings)`` and of its default settings.
    seeded : bool
        Whether the fit itself draws random numbers: such a head is fitted with several seeds at every label budget.
    """

    kind: str
    title: str
    fit: str
    settings: str
    seeded: bool = False


BUILT_IN: Mapping[str, HeadInfo] = {
    "linear": HeadInfo(
        "classification",
        "Linear probe (multinomial logistic regression, converged)",
        "hypnos_bench.heads.linear:fit_linear",
        "hypnos_bench.heads.linear:LINEAR_SETTINGS",
    ),
    "mlp": HeadInfo(
        "classification",
        "MLP probe (one hidden layer, early stopping on persons)",
        "hypnos_bench.heads.mlp:fit_mlp",
        "hypnos_bench.heads.mlp:MLP_SETTINGS",
        seeded=True,
    ),
    "lda": HeadInfo(
        "classification",
        "Linear discriminant analysis (closed form, a baseline)",
        "hypnos_bench.heads.lda:fit_lda",
        "hypnos_bench.heads.lda:LDA_SETTINGS",
    ),
    "ridge-classes": HeadInfo(
        "classification",
        "Ridge regression on class indicators (closed form, a baseline)",
        "hypnos_bench.heads.lda:fit_ridge_classes",
        "hypnos_bench.heads.lda:RIDGE_CLASSES_SETTINGS",
    ),
    "ridge": HeadInfo(
        "regression",
        "Ridge regression (closed form)",
        "hypnos_bench.heads.ridge:fit_ridge",
        "hypnos_bench.heads.ridge:RIDGE_SETTINGS",
    ),
    "mlp-regression": HeadInfo(
        "regression",
        "MLP regression (one hidden layer, early stopping on persons)",
        "hypnos_bench.heads.mlp_regression:fit_mlp_regression",
        "hypnos_bench.heads.mlp_regression:MLP_REGRESSION_SETTINGS",
        seeded=True,
    ),
    "cox": HeadInfo(
        "survival",
        "Cox regression (ridge-penalised partial likelihood)",
        "hypnos_bench.heads.cox:fit_cox",
        "hypnos_bench.heads.cox:COX_SETTINGS",
    ),
    "cox-mlp": HeadInfo(
        "survival",
        "Cox MLP (one hidden layer, partial likelihood)",
        "hypnos_bench.heads.cox_mlp:fit_cox_mlp",
        "hypnos_bench.heads.cox_mlp:COX_MLP_SETTINGS",
        seeded=True,
    ),
}

HEADS = Registry("head", {name: info.fit for name, info in BUILT_IN.items()}, group="hypnos_bench.heads")
"""Called as ``head(rows, settings)`` with ``TrainingRows``, ``RegressionRows`` or ``SurvivalRows`` by its kind."""

_DEFAULTS = Registry("head", {name: info.settings for name, info in BUILT_IN.items()})


def head_kind(head_id: str) -> str:
    """What a head answers. One from another package says so in an attribute ``kind`` (default: classification).

    Raises
    ------
    UsageError
        When the head is unknown.
    """
    if head_id in BUILT_IN:
        return BUILT_IN[head_id].kind
    return str(getattr(HEADS.load(head_id), "kind", "classification"))


def head_title(head_id: str) -> str:
    """Title of a built-in head, else an empty text."""
    return BUILT_IN[head_id].title if head_id in BUILT_IN else ""


def is_seeded(head_id: str) -> bool:
    """Whether the fit draws random numbers; its settings then have a ``seed``."""
    if head_id in BUILT_IN:
        return BUILT_IN[head_id].seeded
    return bool(getattr(HEADS.load(head_id), "seeded", False))


def default_settings(head_id: str) -> dict[str, Any]:
    """Every setting of a head that can change a number, with its default; this enters the cell key.

    A head from another package states its own as an attribute ``settings`` of the registered callable. The seed of
    a seeded head is left out: the cell has its own.

    Raises
    ------
    UsageError
        When the head is unknown.
    """
    head = HEADS.load(head_id)
    settings = _DEFAULTS.load(head_id) if head_id in _DEFAULTS.ids() else getattr(head, "settings", {})
    return {name: value for name, value in plain(settings).items() if not (name == "seed" and is_seeded(head_id))}
