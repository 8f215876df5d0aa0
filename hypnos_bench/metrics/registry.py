"""Metric ids, and scoring by id; what each metric means is said in the catalogue.

Ids of classification: ``accuracy``, ``balanced-accuracy``, ``macro-f1``, ``kappa``, ``kappa-quadratic``,
``auroc-macro``, ``auprc-macro``; per class, in lower case, ``f1-<class>``, ``recall-<class>``, ``precision-<class>``,
``auroc-<class>``, ``auprc-<class>``; with a positive class ``sensitivity``, ``specificity``, ``f1``, ``auroc``,
``auprc``; and ``osf-...``, which are OSF's definitions. Of regression: ``mae``, ``rmse``, ``r2``, ``pearson``,
``spearman``, ``bias``. Of survival: ``c-index``, and at h years ``c-index-<h>y``, ``auroc-<h>y``, ``calibration-<h>y``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.errors import UsageError
from hypnos_bench.metrics import classification as c
from hypnos_bench.metrics import osf
from hypnos_bench.metrics._arrays import F64, mean_defined
from hypnos_bench.metrics.catalogue import AT_YEARS, METRICS, PER_CLASS, Kind, Metric
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import TaskSpec

_HORIZON = re.compile(r"(c-index|auroc|calibration)-(\d+(?:\.\d+)?)y")


def class_metric_id(stem: str, name: str) -> str:
    """Id of one class's metric: ``"recall-n1"``."""
    return f"{stem}-{name.lower()}"


def class_f1_id(name: str) -> str:
    """Id of a class's F1: ``"f1-n1"``."""
    return class_metric_id("f1", name)


def horizon_of(metric: str) -> tuple[str, float] | None:
    """Split an id at a horizon: ``"auroc-5y"`` is ``("auroc", 5.0)``; ``None`` for other ids.

    A horizon has one spelling (``5y``, never ``5.0y`` or ``05y``), so that one metric has one id.
    """
    match = _HORIZON.fullmatch(metric)
    if match is None or float(match[2]) <= 0 or f"{float(match[2]):g}" != match[2]:
        return None
    return match[1], float(match[2])


def metrics_for(
    classes: Sequence[str], positive: str | None = None, kind: Kind = "classification"
) -> dict[str, Metric]:
    """All metrics with an id of their own that make sense for such a task, by id; horizons are not listed.

    Raises
    ------
    UsageError
        When `positive` is not a class, or two metrics would share an id.
    """
    if kind != "classification":
        return {i: m for i, m in METRICS.items() if m.kind == kind}
    if positive is not None and positive not in classes:
        raise UsageError(f"positive class {positive!r} is not one of {', '.join(classes)}")
    known = {i: m for i, m in METRICS.items() if m.kind == kind and (positive is not None or not m.positive)}
    for name in classes:
        for stem, (title, definition, needs) in PER_CLASS.items():
            metric = class_metric_id(stem, name)
            if metric in known:
                raise UsageError(f"two metrics would share the id {metric}: rename class {name!r}")
            known[metric] = Metric(metric, title.format(name), definition, needs)
    return known


def find_metric(
    metric: str, classes: Sequence[str] = (), positive: str | None = None, kind: Kind = "classification"
) -> Metric | None:
    """The metric of this id, horizons included, or ``None`` when such a task has none. Raises as `metrics_for`."""
    horizon = horizon_of(metric)
    if kind == "survival" and horizon:
        stem, years = horizon
        title, definition, target = AT_YEARS[stem]
        return Metric(
            metric,
            title.format(f"{years:g}"),
            definition.format(f"{years:g}"),
            "risk",
            higher_is_better=target is None,
            kind=kind,
            target=target,
        )
    return metrics_for(classes, positive, kind).get(metric)


def check_metrics(task: TaskSpec) -> None:
    """Raise ``UsageError`` when `task` asks for a metric that does not exist or does not fit it."""
    known = [*metrics_for(task.classes, task.positive, task.kind)]
    known += [f"{stem}-<years>y" for stem in AT_YEARS] if task.kind == "survival" else []
    for metric in task.metrics:
        if find_metric(metric, task.classes, task.positive, task.kind) is not None:
            continue
        other = METRICS.get(metric) or find_metric(metric, kind="survival")
        if other is not None and other.kind != task.kind:
            raise UsageError(
                f"task {task.id}: metric {metric!r} is for {other.kind} tasks, this is one of {task.kind}. "
                f"Known: {', '.join(known)}"
            )
        if other is not None:
            raise UsageError(f"task {task.id}: metric {metric!r} needs a positive class; set 'positive' in the task")
        raise UsageError(
            f"task {task.id}: unknown metric {metric!r}.{did_you_mean(metric, known)} Known: {', '.join(known)}"
        )


def score_confusion(
    conf: NDArray[Any], classes: Sequence[str], positive: str | None = None, *, per_recording: bool = False
) -> dict[str, F64]:
    """Every metric that needs a confusion matrix, by id.

    Parameters
    ----------
    conf : ndarray, shape (..., C, C)
        Rows are truth. Pooled, per recording or per bootstrap replicate.
    classes : sequence of str
    positive : str, optional
    per_recording : bool
        Use the per-recording rule of macro-F1, and leave out OSF's metrics, which are pooled by definition.

    Returns
    -------
    dict of str to ndarray of shape (...)
        0-d for one matrix: ``float()`` makes a number. NaN where undefined.
    """
    if conf.shape[-2:] != (len(classes), len(classes)):
        raise ValueError(f"confusion of shape {conf.shape} does not fit {len(classes)} classes")
    each = {"f1": c.class_f1(conf), "recall": c.recalls(conf), "precision": c.precisions(conf)}
    scores = {
        "accuracy": c.accuracy(conf),
        "balanced-accuracy": mean_defined(each["recall"]),
        "macro-f1": c.macro_f1(conf, per_recording=per_recording),
        "kappa": c.cohens_kappa(conf),
        "kappa-quadratic": c.quadratic_kappa(conf),
    }
    for stem, values in each.items():
        scores |= {class_metric_id(stem, name): np.asarray(values[..., k]) for k, name in enumerate(classes)}
    if positive is not None:
        scores |= {
            "sensitivity": scores[class_metric_id("recall", positive)],
            "specificity": c.specificity(conf, list(classes).index(positive)),
            "f1": scores[class_f1_id(positive)],
        }
    if not per_recording:
        scores |= {"osf-kappa": scores["kappa-quadratic"], "osf-f1": osf.osf_f1(conf), "osf-acc": scores["accuracy"]}
    return scores


def score_rankings(
    ranked: Mapping[int, tuple[F64, F64]],
    classes: Sequence[str],
    positive: str | None = None,
    *,
    per_recording: bool = False,
) -> dict[str, F64]:
    """Every metric that comes from the ranking of classes, by id.

    Parameters
    ----------
    ranked : mapping of int to (auroc, average_precision)
        By index of a class, against the rest; arrays of one shape, NaN where undefined. Means over classes are
        made only when all classes are there.
    classes, positive, per_recording
        As for :func:`score_confusion`.

    Returns
    -------
    dict of str to ndarray
    """
    scores: dict[str, F64] = {}
    for k, (area, precision) in ranked.items():
        scores |= {class_metric_id("auroc", classes[k]): area, class_metric_id("auprc", classes[k]): precision}
        if classes[k] == positive:
            scores |= {"auroc": area, "auprc": precision}
    if len(ranked) == len(classes):
        areas, precisions = (np.stack([ranked[k][i] for k in range(len(classes))], axis=-1) for i in (0, 1))
        scores |= {"auroc-macro": mean_defined(areas), "auprc-macro": mean_defined(precisions)}
        if not per_recording:
            scores |= {"osf-auroc": osf.osf_auroc(areas, precisions), "osf-auprc": osf.osf_auprc(precisions)}
    return scores


def classes_to_rank(metrics: Sequence[str], classes: Sequence[str], positive: str | None = None) -> list[int]:
    """Which classes have to be ranked, by index, to score `metrics` with :func:`score_rankings`."""
    known = metrics_for(classes, positive)
    asked = {m for m in metrics if m in known and known[m].needs in ("score", "proba")}
    if any(known[m].over_classes for m in asked):
        return list(range(len(classes)))
    ids = [{class_metric_id("auroc", name), class_metric_id("auprc", name)} for name in classes]
    return [
        k for k, name in enumerate(classes) if asked & (ids[k] | ({"auroc", "auprc"} if name == positive else set()))
    ]
