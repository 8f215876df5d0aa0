"""Real recordings, real labels: what leaks when persons are cut in two, and the one night that is there twice.

Numbers measured with these features and this head; the margins leave room for rounding, not for another result.
"""

from __future__ import annotations

import numpy as np
import pytest

from hypnos_bench.duplicates import find_duplicates, merge_families, rr_fingerprint
from hypnos_bench.heads.base import TrainingRows
from hypnos_bench.heads.linear import fit_linear
from hypnos_bench.leakage import assert_disjoint
from hypnos_bench.metrics.classification import confusion_matrices
from hypnos_bench.metrics.ranking import auroc
from hypnos_bench.spec import SplitSpec
from hypnos_bench.splits import epoch_split, folds, recording_split

CV5 = SplitSpec(kind="cv5")
SAME = {"lambdas": [1e-3]}  # one penalty for all splits: only who is tested differs


def codes(names):
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def cross_validated(x, y, person, recording, tested, n_classes, settings):
    """Probabilities of every row by the head that has not seen it, and what each fold's head has selected."""
    proba, selected = np.full((len(y), n_classes), np.nan), []
    for rows in tested:
        seen = TrainingRows(x[~rows], y[~rows], codes(person[~rows]), codes(recording[~rows]), n_classes)
        head = fit_linear(seen, settings)
        assert head.certificate.converged
        proba[rows] = head.predict_proba(x[rows])
        selected.append(head.selected)
    return proba, selected


def accuracy_and_kappa(y, predicted, n_classes):
    table = confusion_matrices(y, predicted, np.zeros(len(y), np.int64), 1, n_classes)[0].astype(float)
    table /= table.sum()
    agreed, chance = np.trace(table), float(table.sum(axis=0) @ table.sum(axis=1))
    return agreed, (agreed - chance) / (1 - chance)


@pytest.fixture(scope="module")
def staging(shared_data):
    """Ten nights of five persons: 72 spectral features per epoch, wake beyond 30 min around sleep left out."""
    x, y, recording = [], [], []
    for path in sorted((shared_data / "sleepedf-features20").glob("SC4*.npz")):
        with np.load(path) as night:
            features, stages = night["X"], night["y"].astype(np.int64)
        asleep = np.flatnonzero(stages > 0)
        kept = slice(max(0, asleep[0] - 60), asleep[-1] + 61)
        x.append(features[kept])
        y.append(stages[kept])
        recording += [path.stem[:6]] * len(y[-1])
    recording = np.array(recording)
    assert len(np.unique(recording)) == 10
    return np.concatenate(x).astype(np.float32), np.concatenate(y), np.array([r[:5] for r in recording]), recording


@pytest.fixture(scope="module")
def ways(staging):
    """Which rows each fold tests, by who is kept together."""
    _, y, person, recording = staging
    by_person = folds("sleep-edf", [*person], CV5)
    for fold in by_person:
        assert_disjoint(fold.train, fold.test)
    unit_fold = epoch_split(len(y), CV5)
    return {
        "person": [np.isin(person, fold.test) for fold in by_person],
        "file": [np.isin(recording, fold.test) for fold in recording_split("sleep-edf", recording, CV5)],
        "epoch": [unit_fold == k for k in range(5)],
    }


def staged(staging, ways, settings):
    """Accuracy and kappa of each way, what its heads selected, and one line to print."""
    x, y, person, recording = staging
    scores, selected = {}, {}
    for way, tested in ways.items():
        proba, selected[way] = cross_validated(x, y, person, recording, tested, 5, settings)
        scores[way] = accuracy_and_kappa(y, proba.argmax(axis=1), 5)
    found = "; ".join(f"by {way}: accuracy {a:.3f}, kappa {k:.3f}" for way, (a, k) in scores.items())
    return scores, selected, found


def test_staging_looks_better_by_file_and_best_by_epoch(staging, ways):
    scores, _, found = staged(staging, ways, SAME)
    # Measured: 0.765 and 0.674 by person, 0.798 and 0.720 by file, 0.832 and 0.768 by epoch. At other penalties
    # (2.5e-3, 1e-2, 1e-1) all three are lower, and the gaps the same within 0.005.
    assert 0.74 < scores["person"][0] < 0.79, found
    assert scores["file"][0] > scores["person"][0] + 0.015, found
    assert scores["epoch"][0] > scores["file"][0] + 0.015, found
    assert scores["epoch"][1] > scores["person"][1] + 0.06, found


def test_staging_with_the_penalty_that_each_budget_chooses(staging, ways):
    """Default settings: every fit converges, and what leaks is hidden in part by a penalty that is chosen otherwise.

    By person four persons are left to learn from, fewer than the five that cross-validation asks for: lambda is
    0.02 / 8. By file and by epoch it is chosen over five persons, and one standard error of five paired differences is
    wide: mostly 0.1, where 0.01 is best. That costs about as much as the leak by file gives.
    """
    scores, selected, found = staged(staging, ways, {})
    # Measured: 0.760 and 0.667 by person, 0.758 and 0.658 by file, 0.788 and 0.698 by epoch.
    assert [one["rule"] for one in selected["person"]] == ["prior"] * 5
    chosen = [one for way in ("file", "epoch") for one in selected[way] if one["rule"] == "cv-1se"]
    assert len(chosen) == 9  # one fold by file tests both nights of one person
    assert {one["lambda"] for one in chosen} == {0.01, 0.1}
    assert {one["best_lambda"] for one in chosen} == {0.01}
    assert sum(one["cv_unconverged"] for one in chosen) == 0
    assert not any(one["at_edge"] for one in chosen)
    assert 0.74 < scores["person"][0] < 0.78, found
    assert abs(scores["file"][0] - scores["person"][0]) < 0.015, found
    assert scores["epoch"][0] > scores["person"][0] + 0.015, found
    assert scores["epoch"][0] > scores["file"][0] + 0.015, found


@pytest.fixture(scope="module")
def beats(shared_data):
    """Beat times of the 35 learning records of Apnea-ECG."""
    found = {}
    for path in sorted((shared_data / "apneaecg-rr70").glob("[abc][0-9][0-9].npz")):
        with np.load(path) as record:
            found[path.stem] = record["t"] * 60.0
    assert len(found) == 35
    return found


@pytest.fixture(scope="module")
def pairs(beats):
    return find_duplicates({name: rr_fingerprint(times) for name, times in beats.items()})


def test_the_one_night_that_is_there_twice_is_found(pairs):
    # c06 is c05 with another start, as its users have long reported.
    assert [(pair.a, pair.b) for pair in pairs] == [("c05", "c06")]
    assert pairs[0].share > 0.98, pairs
    assert pairs[0].minutes > 400, pairs
    assert pairs[0].offset_s == pytest.approx(20.02, abs=0.03)


def test_pieces_of_every_record_are_found_and_nothing_else(beats, pairs):
    rng = np.random.default_rng(0)
    single = {name: times for name, times in beats.items() if name != "c06"}
    pool = {name: rr_fingerprint(times) for name, times in single.items()}
    start = {}
    for name, times in single.items():
        start[name] = 0.3 * times[-1]
        piece = times[(times >= start[name]) & (times <= 0.6 * times[-1])]
        # Another detector on another export: 2 ms off, one beat in 500 lost, on samples of 256 Hz.
        piece = piece[rng.random(len(piece)) > 0.002] - start[name] + rng.normal(0, 0.002, 1)
        pool[f"{name} piece"] = rr_fingerprint(np.round((piece + rng.normal(0, 0.002, len(piece))) * 256) / 256)
    found = find_duplicates(pool)
    assert [(pair.a, pair.b) for pair in found] == [(name, f"{name} piece") for name in single]
    assert min(pair.share for pair in found) > 0.95
    assert all(pair.offset_s == pytest.approx(-start[pair.a], abs=0.02) for pair in found)


def test_strangers_agree_in_a_minute_at_most(beats):
    """Where some pattern of 14 beats is common to two records, nothing around it is: 30 % are far away."""
    from hypnos_bench.duplicates import MIN_SHARE
    from hypnos_bench.duplicates.agreement import beats_agree

    made = {name: rr_fingerprint(times) for name, times in beats.items() if name != "c06"}
    patterns = {name: fingerprint.patterns() for name, fingerprint in made.items()}
    shares = []
    for a in made:
        for b in made:
            if a >= b:
                continue
            _, at_a, at_b = np.intersect1d(patterns[a].hashes, patterns[b].hashes, return_indices=True)
            for i, j in zip(at_a[:3], at_b[:3], strict=True):
                offset = float(patterns[b].times_ms[j] - patterns[a].times_ms[i])
                agreement = beats_agree(made[a].values, made[b].values, np.full(len(made[a].values), offset))
                if agreement.telling >= 20:
                    shares.append(agreement.share)
    assert len(shares) > 100
    assert max(shares) < 0.05 < MIN_SHARE, max(shares)


@pytest.fixture(scope="module")
def apnea(shared_data):
    """62 heart-rate features per minute with the expert's label."""
    x, y, recording = [], [], []
    for path in sorted((shared_data / "apneaecg-rr70" / "feature").glob("*.npz")):
        with np.load(path) as record:
            x.append(record["X"])
            y.append(record["apn"].astype(np.int64))
        recording += [path.stem] * len(y[-1])
    return np.concatenate(x).astype(np.float32), np.concatenate(y), np.array(recording)


def test_apnea_by_record_and_by_minute(apnea, pairs):
    """Default settings; AUROC within each fold, then the mean: scores of two folds' fits are not compared.

    Over 34 records it depends on the deal. The default salt gives 0.860 by record (folds: 0.75 to 0.94), twenty others
    0.831 to 0.877, with a mean of 0.854. Pooled over folds the default gives 0.861 and the others 0.821 to 0.861,
    so its own deal is a lucky one there. By minute it is 0.889 either way.
    """
    x, y, recording = apnea
    person_of = {name: name for name in np.unique(recording).tolist()}  # the release does not say who is who
    families = merge_families({}, person_of, pairs)
    divided = folds("apnea-ecg", [*families], CV5, families)
    for fold in divided:
        assert_disjoint(fold.train, fold.test, families, [("c05", "c06")])
    family = np.array([families[name] for name in recording.tolist()])
    unit_fold = epoch_split(len(y), CV5)
    by_record = [np.isin(recording, fold.test) for fold in divided]
    honest, pooled, each = _apnea_auroc(x, y, family, recording, by_record)
    leaky, _, minutes = _apnea_auroc(x, y, family, recording, [unit_fold == k for k in range(5)])
    found = f"AUROC {honest:.4f} by record (pooled {pooled:.4f}, folds {np.round(each, 3)}), {leaky:.4f} by minute"
    assert 0.82 < honest < 0.89, found
    assert 0.82 < pooled < 0.89, found
    assert 0.88 < leaky < 0.90, found
    assert leaky > honest + 0.015, found
    assert np.std(each) > 4 * np.std(minutes), found  # and a fold of minutes looks far more certain than it is


def _apnea_auroc(x, y, family, recording, tested):
    """Mean over folds, pooled, and of each fold."""
    proba, selected = cross_validated(x, y, family, recording, tested, 2, {})
    assert {one["rule"] for one in selected} == {"cv-1se"}
    assert sum(one["cv_unconverged"] for one in selected) == 0
    each = [auroc(y[rows] == 1, proba[rows, 1]) for rows in tested]
    return float(np.mean(each)), auroc(y == 1, proba[:, 1]), each
