"""What linear Cox heads cost: many outcomes at once beside a loop over them with other packages.

Embeddings and outcomes are simulated. Every side runs in a process of its own, one thread; sides take turns, and what
counts are CPU seconds per outcome. Coefficients are compared with Newton's method in float64. The last line is JSON.

    python benchmarks/cox.py                    1,065 outcomes, 5,000 persons, 770 features
    python benchmarks/cox.py --quick            128 outcomes
    python benchmarks/cox.py --large            this package alone: 1,065 outcomes, 20,000 persons
    python benchmarks/cox.py --path             this package alone: penalties chosen by cross-validation
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Meter, Neighbours, machine
from _table import columns

from hypnos_bench.errors import BenchError, UsageError
from hypnos_bench.heads.cox import fit_cox
from hypnos_bench.heads.cox.exact import newton
from hypnos_bench.heads.cox.likelihood import RiskSets
from hypnos_bench.heads.survival_rows import SurvivalRows
from hypnos_bench.threads import one_thread

Job = dict[str, Any]

PENALTY = 0.1
"""Per event, standardised features."""
GOAL_RATIO, GOAL_LARGE_CPU_S, GOAL_LARGE_MB, GOAL_DIFFERENCE = 20.0, 60.0, 2000.0, 1e-4
_STOPS = {"torchsurv": (1e-7, 1e-9), "torchsurv-early": (1e-4, 1e-6)}
"""Gradient and change at which torch's L-BFGS stops: its defaults, and a thousand times those."""


def simulate(n: int, d: int, m: int, rates: tuple[float, float], seed: int = 0) -> SurvivalRows:
    """Embeddings with a spectrum that falls as k^-1.5, and outcomes of which a share of `rates` is observed.

    Log hazards have unit variance; times are whole days over up to twelve years, so there are ties; one row in twenty
    had the event before.
    """
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((d, d)))
    x = (rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.75 @ rotation).astype(np.float32)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    time, event = np.empty((n, m)), np.empty((n, m), dtype=bool)
    for low in range(0, m, 64):
        eta = z @ rng.standard_normal((d, min(64, m - low))).astype(np.float32)
        for i, column in enumerate((eta / eta.std(axis=0)).T, start=low):
            onset = rng.exponential(size=n) * np.exp(-column)
            leaves = rng.uniform(2, 12, n)
            onset *= np.quantile(leaves / onset, 1 - rng.uniform(*rates))
            event[:, i] = onset <= leaves
            time[:, i] = np.maximum(np.ceil(np.minimum(onset, leaves) * 365.25), 1) / 365.25
    at_risk = rng.random((n, m)) >= 0.05
    return SurvivalRows(x, time, event, at_risk, tuple(f"outcome-{i}" for i in range(m)), np.arange(n))


def ours(rows: SurvivalRows, job: Job) -> tuple[np.ndarray, dict[str, Any]]:
    settings = {} if job["path"] else {"penalties": [PENALTY]}
    head = fit_cox(rows, settings)
    facts: dict[str, Any] = {
        "statuses": head.selected["statuses"],
        "evaluations": statistics.mean(c.iterations for c in head.certificates),
        "worst_share_of_tolerance": head.certificate.newton_decrement / head.certificate.tolerance,
    }
    if job["path"]:
        rules = [outcome["rule"] for outcome in head.selected["outcomes"]]
        facts["rules"] = {rule: rules.count(rule) for rule in sorted(set(rules))}
    return head.coefficients, facts


def _standardised(rows: SurvivalRows) -> np.ndarray:
    x = rows.x.astype(np.float64)
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


def by_newton(rows: SurvivalRows, job: Job) -> tuple[np.ndarray, dict[str, Any]]:
    z = _standardised(rows)
    found = []
    for m in job["outcomes"]:
        sets = RiskSets.of(rows.time[:, m], rows.event[:, m], rows.at_risk[:, m], "efron")
        found.append(newton(z, sets, PENALTY, np.zeros(z.shape[1]))[0])
    return np.stack(found), {}


def by_torchsurv(rows: SurvivalRows, job: Job) -> tuple[np.ndarray, dict[str, Any]]:
    import torch
    from torchsurv.loss.cox import neg_partial_log_likelihood

    warnings.filterwarnings("ignore", message="Ties in")
    gradient, change = _STOPS[job["side"]]
    z = torch.from_numpy(_standardised(rows).astype(np.float32))
    found, evaluations = [], 0
    for m in job["outcomes"]:
        use = torch.from_numpy(rows.at_risk[:, m])
        mine, event = z[use], torch.from_numpy(rows.event[:, m])[use]
        time = torch.from_numpy(rows.time[:, m].astype(np.float32))[use]
        beta = torch.zeros(z.shape[1], requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [beta],
            max_iter=500,
            history_size=10,
            line_search_fn="strong_wolfe",
            tolerance_grad=gradient,
            tolerance_change=change,
        )

        def closure(mine=mine, event=event, time=time, beta=beta, optimiser=optimiser) -> Any:
            nonlocal evaluations
            evaluations += 1
            optimiser.zero_grad()
            loss = neg_partial_log_likelihood(mine @ beta, event, time, ties_method="efron", reduction="sum")
            loss = loss / event.sum() + PENALTY / 2 * beta @ beta
            loss.backward()
            return loss

        optimiser.step(closure)
        found.append(beta.detach().numpy().astype(np.float64))
    return np.stack(found), {"evaluations": evaluations / len(found)}


def by_lifelines(rows: SurvivalRows, job: Job) -> tuple[np.ndarray, dict[str, Any]]:
    import pandas as pd
    from lifelines import CoxPHFitter

    z = _standardised(rows)
    found = []
    for m in job["outcomes"]:
        use = rows.at_risk[:, m]
        n, events = int(use.sum()), int(rows.event[use, m].sum())
        frame = pd.DataFrame(z[use], columns=[f"x{i}" for i in range(z.shape[1])])
        frame["time"], frame["event"] = rows.time[use, m], rows.event[use, m]
        # lifelines' penalty is isotropic on features standardised by the rows at risk; here by all rows. Undone
        # with one penalty per feature.
        penalizer = PENALTY * events / n / (frame.std(ddof=1).to_numpy()[:-2] ** 2)
        model = CoxPHFitter(penalizer=penalizer, l1_ratio=0.0).fit(frame, "time", "event")
        found.append(model.params_.to_numpy())
    return np.stack(found), {}


SIDES: Mapping[str, Callable[[SurvivalRows, Job], tuple[np.ndarray, dict[str, Any]]]] = {
    "ours": ours,
    "newton": by_newton,
    "torchsurv": by_torchsurv,
    "torchsurv-early": by_torchsurv,
    "lifelines": by_lifelines,
}


def child(job: Job) -> dict[str, Any]:
    """Simulate, fit, measure the fit alone; the peak counts from just before it, inputs included."""
    one_thread()
    rows = simulate(job["n"], job["d"], job["m"], tuple(job["rates"]))
    warm = simulate(200, 5, 2, (0.3, 0.4))  # late imports are not what is measured
    SIDES[job["side"]](warm, {**job, "outcomes": [0, 1], "path": False})
    if job["single"]:
        rows = SurvivalRows(
            rows.x, rows.time[:, :1], rows.event[:, :1], rows.at_risk[:, :1], rows.names[:1], rows.person
        )
    meter = Meter()
    with meter.stage("fit"):
        coefficients, facts = SIDES[job["side"]](rows, job)
    np.save(job["save_to"], coefficients)
    fitted = len(coefficients)
    return {**meter.stages["fit"], "per_outcome_s": meter.stages["fit"]["cpu_s"] / fitted, "outcomes": fitted, **facts}


class Runner:
    """Starts children and keeps what they found."""

    def __init__(self, folder: Path, sizes: Mapping[str, Any]) -> None:
        self._folder, self._sizes = folder, dict(sizes)

    def run(self, side: str, outcomes: range, **changes: Any) -> tuple[dict[str, Any], np.ndarray]:
        """Measurements, and coefficients of `outcomes` (of all, for ours)."""
        path = self._folder / f"{side}.npy"
        job = {"side": side, "outcomes": list(outcomes), "save_to": str(path), "single": False, "path": False}
        job |= self._sizes | changes
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        command = [sys.executable, __file__, "--child", json.dumps(job)]
        done = subprocess.run(
            command, env={**os.environ, **dict.fromkeys(names, "1")}, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"{side}: ended with code {done.returncode}; see its message above")
        return json.loads(done.stdout.splitlines()[-1]), np.load(path)


def compare(runner: Runner, rounds: int, sample: int) -> dict[str, Any]:
    """All sides in turn; ratios are medians over rounds of the ratio within a round."""
    exact, best = runner.run("newton", range(sample))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("ours", "ours-single", *_STOPS)}
    difference: dict[str, float] = {}
    for _ in range(rounds):
        for name in runs:
            side, single = name.removesuffix("-single"), name.endswith("-single")
            measured, found = runner.run(side, range(sample), single=single)
            runs[name].append(measured)
            count = min(len(found), sample)
            difference[name] = float(np.abs(found[:count] - best[:count]).max())

    def ratio(of: str, to: str) -> float:
        pairs = zip(runs[of], runs[to], strict=True)
        return statistics.median(theirs["per_outcome_s"] / mine["per_outcome_s"] for theirs, mine in pairs)

    cheaper = min(_STOPS, key=lambda name: ratio(name, "ours"))
    return {
        "cpu_ratio": ratio(cheaper, "ours"),
        "cpu_ratio_of": cheaper,
        "cpu_ratios": {name: ratio(name, "ours") for name in _STOPS},
        "cpu_ratio_single_outcome": ratio(cheaper, "ours-single"),
        "newton_per_outcome_s": exact["per_outcome_s"],
        "coefficient_difference": difference,
        "runs": {name: _medians(of) for name, of in runs.items()},
    }


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    keys = ("per_outcome_s", "cpu_s", "wall_s", "peak_mb", "evaluations")
    return {key: statistics.median(run[key] for run in runs) for key in keys}


def with_lifelines(runner: Runner, n: int) -> dict[str, Any]:
    """128 features, one outcome in lifelines."""
    sizes = {"n": n, "d": 128, "m": 64}
    theirs, found = runner.run("lifelines", range(1), **sizes)
    _, best = runner.run("newton", range(1), **sizes)
    mine, all_ours = runner.run("ours", range(1), **sizes)
    return {
        "cpu_ratio": theirs["per_outcome_s"] / mine["per_outcome_s"],
        "lifelines_per_outcome_s": theirs["per_outcome_s"],
        "ours_per_outcome_s": mine["per_outcome_s"],
        "coefficient_difference": {
            "lifelines": float(np.abs(found - best).max()),
            "ours": float(np.abs(all_ours[:1] - best).max()),
        },
    }


def alone(runner: Runner, sample: int, path: bool) -> dict[str, Any]:
    """This package only."""
    measured, found = runner.run("ours", range(0), path=path)
    result: dict[str, Any] = {"ours": measured}
    if not path:
        exact, best = runner.run("newton", range(sample))
        result["newton_per_outcome_s"] = exact["per_outcome_s"]
        result["coefficient_difference"] = {"ours": float(np.abs(found[:sample] - best).max())}
    return result


def report(result: Mapping[str, Any]) -> None:
    m = result["machine"]
    print(f"simulated embeddings and outcomes; {m['cpu']}, 1 thread, torch {m['torch']}, {result['versions']}")
    if result["used_by_others"] is not None:
        print(f"other processes kept {100 * result['used_by_others']:.0f} % of the cores busy meanwhile")
    print(f"{result['m']} outcomes, {result['n']} persons, {result['d']} features, penalty {PENALTY} per event")
    if "runs" in result:
        rows = [["side", "ms per outcome", "evaluations", "peak MB", "difference"]]
        for name, run in result["runs"].items():
            row = [name, f"{1e3 * run['per_outcome_s']:.1f}", f"{run['evaluations']:.1f}", f"{run['peak_mb']:.0f}"]
            rows.append([*row, f"{result['coefficient_difference'][name]:.1e}"])
        rows.append(["newton float64", f"{1e3 * result['newton_per_outcome_s']:.1f}", "", "", ""])
        print(columns(rows))
        print(f"{result['cpu_ratio_of']} over ours: {result['cpu_ratio']:.1f} x in CPU (goal {GOAL_RATIO:.0f})")
        other = result["lifelines_128"]
        print(f"lifelines over ours, 128 features: {other['cpu_ratio']:.0f} x; {other['coefficient_difference']}")
    else:
        run = result["ours"]
        print(f"{run['cpu_s']:.1f} CPU s, {run['peak_mb']:.0f} MB, {1e3 * run['per_outcome_s']:.1f} ms an outcome")
        print(f"{run['statuses']}, {result.get('coefficient_difference', run.get('rules'))}")


def _versions() -> dict[str, str]:
    try:
        return {name: version(name) for name in ("torchsurv", "lifelines")}
    except PackageNotFoundError as error:
        raise UsageError(
            f"this comparison needs {error.name}: pip install torchsurv==0.2.0 lifelines==0.30.3"
        ) from None


def main() -> None:
    """Parse the command line, measure, print."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="128 outcomes")
    mode.add_argument("--large", action="store_true", help="this package alone, 20,000 persons")
    mode.add_argument("--path", action="store_true", help="this package alone, penalties chosen")
    parser.add_argument("--persons", type=int)
    parser.add_argument("--features", type=int, default=770)
    parser.add_argument("--outcomes", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=3, help="outcomes that other sides fit")
    options = parser.parse_args()
    sizes: dict[str, Any] = {
        "n": options.persons or (20_000 if options.large else 5_000),
        "d": options.features,
        "m": options.outcomes or (128 if options.quick else 1065),
        "rates": [0.003, 0.16] if options.large or options.path else [0.08, 0.12],
    }
    neighbours = Neighbours()
    try:
        if min(options.rounds, options.sample) < 1 or sizes["m"] < options.sample or sizes["n"] < 100:
            raise UsageError("at least one round, 100 persons, and as many outcomes as are sampled, please")
        versions = {} if options.large or options.path else _versions()
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(Path(folder), sizes)
            if options.large or options.path:
                found = alone(runner, options.sample, options.path)
            else:
                found = compare(runner, options.rounds, options.sample)
                found["lifelines_128"] = with_lifelines(runner, sizes["n"])
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    others = neighbours.share()
    result = {"benchmark": "cox", **sizes, "penalty": PENALTY, **found, "versions": versions}
    result |= {"used_by_others": None if others is None else round(others, 3), "machine": machine(1)}
    result["goals"] = _goals(result, options.large)
    report(result)
    print(json.dumps(result))


def _goals(result: Mapping[str, Any], large: bool) -> dict[str, bool]:
    goals = {}
    if "cpu_ratio" in result:
        goals["cpu_ratio"] = result["cpu_ratio"] >= GOAL_RATIO
    if "coefficient_difference" in result:
        goals["coefficients"] = result["coefficient_difference"]["ours"] <= GOAL_DIFFERENCE
    if large:
        goals["cpu_s"] = result["ours"]["cpu_s"] <= GOAL_LARGE_CPU_S
        goals["peak_mb"] = result["ours"]["peak_mb"] <= GOAL_LARGE_MB
    return goals


if __name__ == "__main__":
    main()
