"""What bootstrap intervals of survival scores cost: 1,000 replicates of Harrell's C over 5,000 persons, one thread.

- ``c``: C in all replicates, from times and risks; beside it lifelines' ``concordance_index``, called on the drawn
  persons of a few replicates and scaled to all of them. Both must find the same values.
- ``auroc``: cumulative/dynamic AUROC at three horizons, censoring estimated anew in every replicate, by itself.

The two sides of ``c`` take turns, and the ratio is the median of the ratios within a round. Follow-up is simulated, in
days, so that times are tied; about a fifth have the event. The last line printed is JSON.

    python benchmarks/concordance.py
    python benchmarks/concordance.py --quick              500 persons, 100 replicates
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any, NamedTuple

import numpy as np
from _measure import Neighbours, machine, peak_mb
from lifelines import __version__ as lifelines_version
from lifelines.utils import concordance_index

from hypnos_bench.metrics.survival.concordance import Concordance
from hypnos_bench.metrics.survival.dynamic_auc import DynamicAUC
from hypnos_bench.stats.bootstrap import person_weights
from hypnos_bench.threads import one_thread

HORIZONS = (365.25, 1095.75, 2191.5)  # 1, 3 and 6 years


class Cohort(NamedTuple):
    """Days of follow-up, whether they end with the event, and a predicted risk."""

    time: np.ndarray
    event: np.ndarray
    risk: np.ndarray


def simulated(n: int) -> Cohort:
    """Simulate people with a C of about 0.7."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=n)
    onset, end = rng.exponential(11_000 * np.exp(-true)), rng.uniform(0, 4000, n)
    return Cohort(np.ceil(np.minimum(onset, end)), onset <= end, true + rng.normal(scale=0.5, size=n))


def seconds(work: Any) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def by_lifelines(cohort: Cohort, weights: np.ndarray) -> list[float]:
    """C of the drawn persons, by one call per replicate."""
    found = []
    for drawn in weights:
        rows = np.repeat(np.arange(cohort.time.size), drawn)
        found.append(concordance_index(cohort.time[rows], -cohort.risk[rows], cohort.event[rows]))
    return found


def compare(n: int, n_boot: int, calls: int, rounds: int) -> dict[str, Any]:
    """Time both sides in turn."""
    cohort, weights = simulated(n), person_weights(n, n_boot, 0)
    some = weights[: min(calls, n_boot)]
    ours, theirs, auroc, difference = [], [], [], 0.0
    for _ in range(rounds):
        spent, values = seconds(lambda: Concordance(*cohort).replicates(weights))
        ours.append(spent)
        spent, expected = seconds(lambda: by_lifelines(cohort, some))
        theirs.append(spent / len(some) * n_boot)
        difference = max(difference, float(np.abs(values[: len(some)] - expected).max()))
        auroc.append(seconds(lambda: DynamicAUC(*cohort).at_horizons(weights, HORIZONS))[0])
    return {
        "persons": n,
        "events": int(cohort.event.sum()),
        "replicates": n_boot,
        "rounds": rounds,
        "c": round(Concordance(*cohort).value(), 4),
        "max_difference": difference,
        "ours_cpu_s": round(statistics.median(ours), 4),
        "lifelines_cpu_s": round(statistics.median(theirs), 2),
        "lifelines_calls": len(some),
        "cpu_ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 1),
        "auroc_cpu_s": round(statistics.median(auroc), 4),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--persons", type=_count, default=5000)
    parser.add_argument("--replicates", type=_count, default=1000)
    parser.add_argument("--calls", type=_count, default=40, help="replicates that lifelines computes in each round")
    parser.add_argument("--rounds", type=_count, default=3)
    parser.add_argument("--quick", action="store_true", help="500 persons, 100 replicates, one round")
    options = parser.parse_args()
    if options.quick:
        options.persons, options.replicates, options.rounds = 500, 100, 1
    one_thread()
    neighbours = Neighbours()
    result = compare(options.persons, options.replicates, options.calls, options.rounds)
    others = neighbours.share()
    print(
        f"C, {result['replicates']} replicates, {result['persons']} persons, {result['events']} events: "
        f"{result['ours_cpu_s']} CPU s, lifelines {result['lifelines_cpu_s']} (scaled from {result['lifelines_calls']} "
        f"calls), {result['cpu_ratio']} x; AUROC at {len(HORIZONS)} horizons {result['auroc_cpu_s']} CPU s"
    )
    facts = {
        "peak_mb": round(peak_mb()),
        "others_share": None if others is None else round(others, 3),
        "lifelines": lifelines_version,
        "machine": machine(1),
    }
    print(json.dumps({"benchmark": "concordance", **result, **facts}))


def _count(word: str) -> int:
    if int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {word}")
    return int(word)


if __name__ == "__main__":
    main()
