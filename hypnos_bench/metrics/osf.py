"""OSF's definitions of metrics, for comparison with its own tables only.

Open Sleep FM (arXiv 2603.00190) scores by torchmetrics, over all epochs pooled. Four of its columns differ from what
their names mean elsewhere, so they have ids of their own (``osf-...``) here and never replace a standard metric.
"""

from __future__ import annotations

import numpy as np

from hypnos_bench.metrics._arrays import F64, mean_defined
from hypnos_bench.metrics.classification import Counts, class_f1


def osf_auroc(areas: F64, precisions: F64) -> F64:
    """Mean one-vs-rest AUROC over all classes, where one that the truth lacks (or holds alone) counts as 0.

    Parameters
    ----------
    areas, precisions : ndarray, shape (..., C)
        One-vs-rest AUROC and average precision per class, NaN where not defined.

    Returns
    -------
    ndarray, shape (...)
        NaN without any unit, or where folds hold no pairs of a class. Of two classes with both present: the ordinary
        AUROC.
    """
    present = ~np.isnan(precisions)  # some class has positives as soon as there is a unit
    n_present = present.sum(axis=-1)
    # Positives and negatives there are, yet none of them in one fold: OSF has a single fold and no rule for that.
    pairless = (present & np.isnan(areas)).any(axis=-1) & (n_present > 1)
    means = np.nan_to_num(areas, nan=0.0).mean(axis=-1)
    return np.asarray(np.where((n_present == 0) | pairless, np.nan, means), dtype=np.float64)


def osf_auprc(precisions: F64) -> F64:
    """Unweighted mean of the classes' average precision over the classes in truth, shape (..., C) to (...).

    Of two classes it is (AP of positives + AP of negatives) / 2: chance gives a half whatever the prevalence, where
    the usual AUPRC (AP of positives) gives the prevalence.

    Where truth holds the first class alone, the others count as 0 and do not drop out, so that the value is 1 / C.
    That is an oddity of torchmetrics (1.9.0; ``AveragePrecision(task="multiclass", average="macro")``): its check for
    a class without positives looks for labels that are all 0, which is so for the first class only, and sets the
    recall to 1 there; with any other class alone the absent ones are NaN, and left out.
    """
    n_classes = precisions.shape[-1]
    first_alone = ~np.isnan(precisions[..., 0]) & np.isnan(precisions[..., 1:]).all(axis=-1)
    means = mean_defined(precisions)
    return np.asarray(np.where(first_alone, means / n_classes, means), dtype=np.float64)


def osf_f1(conf: Counts) -> F64:
    """Macro F1 over the classes in truth or prediction; for two classes over both, not that of the positive one."""
    return mean_defined(class_f1(conf))
