"""Linear Cox models of one or a thousand outcomes that share their features.

What is minimised for each outcome with D events, on features standardised by all training rows (population standard
deviation, whoever is at risk for which outcome)::

    negative log partial likelihood / D + lambda / 2 * ||beta||^2

so `lambda` is *per event*: it weighs against the information that an outcome carries, and one path of penalties
serves outcomes with 30 events and with 3,000. Repeating every row leaves the optimum where it is (under Breslow's rule
to the last digit; Efron's sees new ties). With n rows at risk, the same model is

- lifelines: ``penalizer = lambda * D / n * (n - 1) / n``, ``l1_ratio = 0`` (it standardises with n - 1);
- scikit-survival's ``CoxPHSurvivalAnalysis``: ``alpha = lambda * D`` on features standardised beforehand;
- R's ``coxph(... ridge(x, theta = lambda * D, scale = FALSE))`` on features standardised beforehand;
- R's ``glmnet(family = "cox", alpha = 0)``: ``lambda * D / n`` by the objective it documents (Breslow ties only).

Only the first has been run against this package, in its tests.
"""

from hypnos_bench.heads.cox.exact import ExactCox, NotEstimableError, exact_cox
from hypnos_bench.heads.cox.fit import COX_SETTINGS, fit_cox
from hypnos_bench.heads.cox.head import Baseline, CoxHead

__all__ = ["COX_SETTINGS", "Baseline", "CoxHead", "ExactCox", "NotEstimableError", "exact_cox", "fit_cox"]
