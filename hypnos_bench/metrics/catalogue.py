"""What every metric means, in the words a report prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["classification", "regression", "survival"]
Needs = Literal["confusion", "score", "proba", "values", "risk"]


@dataclass(frozen=True)
class Metric:
    """What a reader must know about a metric.

    Parameters
    ----------
    id, title, definition : str
    needs : {"confusion", "score", "proba", "values", "risk"}
        What it is computed from: counts, the positive class's score, all classes' probabilities, a predicted
        quantity, or a log hazard.
    positive : bool
        Only for tasks with a positive class.
    higher_is_better : bool
        False where lower is better, or what is nearer to `target`.
    kind : {"classification", "regression", "survival"}
    mode : {"standard", "osf"}
        Whose definition it is; ``osf`` only compares with OSF's tables.
    target : float or None
        The best value of a metric that can miss on both sides.
    over_classes : bool
        Whether it averages over classes, so that the classes absent from truth have to be told.
    """

    id: str
    title: str
    definition: str
    needs: Needs = "confusion"
    positive: bool = False
    higher_is_better: bool = True
    kind: Kind = "classification"
    mode: Literal["standard", "osf"] = "standard"
    target: float | None = None
    over_classes: bool = False

    def merit(self, value: float) -> float:
        """Number that is larger for a better value, whichever way the metric runs."""
        if self.target is not None:
            return -abs(value - self.target)
        return value if self.higher_is_better else -value


_POOLED = " Folds are pooled."
_WITHIN = " Of several folds only units of the same one are compared, and the pairs of all folds counted together."
_MEAN_WITHIN = " Of several folds only units of the same one are compared."

_AVERAGED = " Of several folds: mean of the correlations within folds, weighted by recordings."


def _osf(suffix: str, title: str, definition: str, **how: Any) -> Metric:
    only = " OSF's definition, for comparison with its tables only; over all recordings, never one by one."
    return Metric(f"osf-{suffix}", f"{title} (OSF)", definition + only, mode="osf", **how)


def _quantity(name: str, title: str, definition: str, *, higher: bool = False, target: float | None = None) -> Metric:
    return Metric(name, title, definition, "values", higher_is_better=higher, kind="regression", target=target)


METRICS: Mapping[str, Metric] = {
    m.id: m
    for m in (
        Metric("accuracy", "Accuracy", "Share of units called correctly, pooled over recordings and folds."),
        Metric(
            "balanced-accuracy",
            "Balanced accuracy",
            "Mean recall over the classes present in truth." + _POOLED,
            over_classes=True,
        ),
        Metric(
            "macro-f1",
            "Macro F1",
            "Unweighted mean of the classes' F1. Pooled: over the full label space, a class in neither truth nor "
            "prediction counts as 0. Per recording: over classes present in truth or prediction." + _POOLED,
            over_classes=True,
        ),
        Metric(
            "kappa",
            "Cohen's kappa",
            "(p_o - p_e) / (1 - p_e), unweighted; undefined when truth and prediction hold one and the same class."
            + _POOLED,
        ),
        Metric(
            "kappa-quadratic",
            "Quadratic kappa",
            "Cohen's kappa with quadratic weights over the order of classes; undefined when truth and prediction hold "
            "one and the same class." + _POOLED,
        ),
        Metric("sensitivity", "Sensitivity", "Recall of the positive class." + _POOLED, positive=True),
        Metric("specificity", "Specificity", "Share of negative units not called positive." + _POOLED, positive=True),
        Metric("f1", "F1", "F1 of the positive class." + _POOLED, positive=True),
        Metric("auroc", "AUROC", "Area under the ROC curve: Mann-Whitney, ties count half." + _WITHIN, "score", True),
        Metric(
            "auprc",
            "AUPRC",
            "Average precision of the positive class: sum of recall steps x precision, no interpolation." + _POOLED,
            "score",
            True,
        ),
        Metric(
            "auroc-macro",
            "Macro AUROC",
            "Unweighted mean of one-vs-rest AUROC over the classes present in truth; absent ones are left out and "
            "named." + _MEAN_WITHIN,
            "proba",
            over_classes=True,
        ),
        Metric(
            "auprc-macro",
            "Macro AUPRC",
            "Unweighted mean of one-vs-rest average precision over the classes present in truth; absent ones are left "
            "out and named." + _POOLED,
            "proba",
            over_classes=True,
        ),
        _osf(
            "auroc",
            "AUROC",
            "Unweighted mean of one-vs-rest AUROC over all classes, one absent from truth counts as 0." + _MEAN_WITHIN,
            needs="proba",
            over_classes=True,
        ),
        _osf(
            "auprc",
            "AUPRC",
            "Unweighted mean of average precision over the classes present in truth, of two classes over both; where "
            "truth holds the first class alone the others count as 0." + _POOLED,
            needs="proba",
            over_classes=True,
        ),
        _osf("kappa", "Kappa", "Cohen's kappa with quadratic weights over the order of classes." + _POOLED),
        _osf(
            "f1",
            "F1",
            "Unweighted mean of F1 over classes present in truth or prediction." + _POOLED,
            over_classes=True,
        ),
        _osf("acc", "Accuracy", "Share of units called correctly." + _POOLED),
        _quantity("mae", "MAE", "Mean absolute error, in the unit of the quantity." + _POOLED),
        _quantity("rmse", "RMSE", "Root of the mean squared error, in the unit of the quantity." + _POOLED),
        _quantity(
            "r2",
            "R²",
            "1 - squared error / squared deviation of the truth from its own mean over the test recordings; may be "
            "negative; undefined when the truth does not vary." + _POOLED,
            higher=True,
        ),
        _quantity(
            "pearson",
            "Pearson r",
            "Pearson's correlation; undefined when either side does not vary." + _AVERAGED,
            higher=True,
        ),
        _quantity(
            "spearman",
            "Spearman ρ",
            "Spearman's rank correlation, ties at their mean rank; undefined when either side does not vary. Ranks are "
            "found anew in every bootstrap replicate." + _AVERAGED,
            higher=True,
        ),
        _quantity(
            "bias", "Bias", "Mean of prediction - truth, in the unit of the quantity; best at 0." + _POOLED, target=0.0
        ),
        Metric(
            "c-index",
            "C-index",
            "Harrell's C: share of comparable pairs in which the one with the earlier event has the higher risk; tied "
            "risks count half, and only people of one fold are compared.",
            "risk",
            kind="survival",
        ),
    )
}
"""Metrics with fixed ids."""

PER_CLASS: Mapping[str, tuple[str, str, Needs]] = {
    "f1": ("F1 of {}", "F1 of one class; undefined when it is nowhere." + _POOLED, "confusion"),
    "recall": ("Recall of {}", "Recall of one class; undefined when truth lacks it." + _POOLED, "confusion"),
    "precision": (
        "Precision of {}",
        "Precision of one class; undefined when it is never called." + _POOLED,
        "confusion",
    ),
    "auroc": (
        "AUROC of {}",
        "AUROC of one class against the rest; undefined when truth lacks either." + _WITHIN,
        "proba",
    ),
    "auprc": (
        "AUPRC of {}",
        "Average precision of one class against the rest; undefined when truth lacks it." + _POOLED,
        "proba",
    ),
}
"""Of one class: title and definition, with the class for ``{}``, and what it needs."""

AT_YEARS: Mapping[str, tuple[str, str, float | None]] = {
    "c-index": ("C-index, {} y", "Harrell's C with follow-up cut at {} years.", None),
    "auroc": (
        "AUROC, {} y",
        "Cumulative/dynamic AUROC at {} years: event by then against known to be free of it then, cases weighted by "
        "the inverse probability of censoring.",
        None,
    ),
    "calibration": (
        "E/O, {} y",
        "Expected over observed: mean predicted risk of an event within {} years over the Kaplan-Meier "
        "estimate; best at 1.",
        1.0,
    ),
}
"""At a horizon: title and definition, with years for ``{}``, and the best value where both sides miss."""
