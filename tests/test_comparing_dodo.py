"""Six published sleep stagers on 55 real recordings, compared pair by pair.

DOD-O (Guillot et al. 2020): 55 persons with one night each, scored by five experts; hypnograms of six models published
with the paper. Two references:

- *published*: the paper's own. Per night, experts are ranked by soft agreement with the other four; the four best vote,
  ties go to the best; scores weight each epoch by the share of votes for the reference. It gives back the paper's F1 of
  88.3 % for SimpleSleepNet and its accuracies, which shows that nights, epochs and experts are aligned as they were there.
- *ours*: all five experts vote (-1, unscored, is no vote), ties go to the expert of highest soft agreement; epochs
  without any vote are dropped (there are none); plain Cohen's kappa per recording.

In both, a night runs from the epoch where the last expert starts scoring to that where the first one stops: the models'
hypnograms are stored for that span.

What came out with ours. Mean kappa over 55 persons::

    SimpleNet 0.798   DeepSleepNet 0.776   SeqSleepNet 0.742   Chambon_et_al 0.738   MixedNeuralNetwork 0.698
    Tsinalis_et_al 0.650

Hodges-Lehmann shift of kappa with 95 % interval, rank-biserial correlation, and p of the signed-rank test adjusted over
the family of all 15 pairs (:data:`FOUND` holds them all)::

    SimpleNet - DeepSleepNet           +0.022 [+0.006, +0.038]   0.40   BH 0.0135   Bonferroni 0.135
    DeepSleepNet - SeqSleepNet         +0.023 [-0.001, +0.048]   0.29   BH 0.0729   Bonferroni 0.95
    SeqSleepNet - Chambon_et_al        +0.011 [-0.016, +0.038]   0.13   BH 0.393    Bonferroni 1
    Chambon_et_al - MixedNeuralNetwork +0.032 [-0.008, +0.072]   0.23   BH 0.150    Bonferroni 1
    MixedNeuralNetwork - Tsinalis      +0.049 [+0.012, +0.087]   0.39   BH 0.0156   Bonferroni 0.174

At a false discovery rate of 5 %, 12 of 15 pairs differ (9 by Bonferroni), and SimpleNet is better than every other model.
"""

import json

import numpy as np
import pytest
from scipy.stats import false_discovery_control, wilcoxon
from sklearn.metrics import cohen_kappa_score, f1_score

from hypnos_bench.comparing import PerRecording, compare, pair_id
from hypnos_bench.metrics.classification import cohens_kappa, confusion_matrices


def read(path):
    return np.array(json.loads(path.read_text("utf-8")))


def votes(staged):
    """Votes per stage and epoch, (6, epochs); row 0 is unscored."""
    return np.stack([(np.asarray(staged) == stage).sum(axis=0) for stage in range(-1, 5)])


def soft_agreement(experts, i):
    """How far the other experts back what expert `i` says: votes for it over votes for the favourite, mean over epochs."""
    others = votes(np.delete(experts, i, axis=0))
    epochs = np.arange(experts.shape[1])
    return (others[experts[i] + 1, epochs] / others.max(axis=0)).mean()


def majority(counts, first):
    """Favourite per epoch; where several are level, what `first` says."""
    top = counts.max(axis=0)
    tied = (counts == top).sum(axis=0) > 1
    return np.where(tied, first, counts.argmax(axis=0) - 1)


@pytest.fixture(scope="module")
def nights(shared_data):
    """Per recording: experts best first, (5, epochs), and the models' hypnograms, all over the common span."""
    folder = shared_data / "dod-hypnograms"
    if not folder.is_dir():
        pytest.skip("published hypnograms are not here: ../shared/data/dod-hypnograms is missing")
    models = sorted(p.name for p in (folder / "results/dodo/base_models").iterdir())
    found = {}
    for path in sorted((folder / "scorers/dodo/scorer_1").iterdir()):
        experts = np.stack([read(folder / f"scorers/dodo/scorer_{i}" / path.name) for i in range(1, 6)])
        scored = experts >= 0
        start, stop = scored.argmax(axis=1).max(), experts.shape[1] - scored[:, ::-1].argmax(axis=1).max()
        experts = experts[:, start:stop]
        order = sorted(range(5), key=lambda i: -soft_agreement(experts, i))
        staged = {model: read(folder / "results/dodo/base_models" / model / path.name) for model in models}
        assert {len(h) for h in staged.values()} == {stop - start}
        found[path.stem] = (experts[order], staged)
    return found


@pytest.fixture(scope="module")
def kappas(nights):
    """Kappa of each model per recording, against all five experts."""
    rows = {}
    for experts, staged in nights.values():
        counts = votes(experts)
        counts[0] = 0
        # A tie is broken by the best expert who scored the epoch.
        first = np.take_along_axis(experts, (experts >= 0).argmax(axis=0)[None], axis=0)[0]
        reference = majority(counts, first)
        kept = counts.max(axis=0) > 0
        for model, hypnogram in staged.items():
            conf = confusion_matrices(reference[kept], hypnogram[kept], np.zeros(kept.sum()), 1, 5)[0]
            assert float(cohens_kappa(conf)) == pytest.approx(cohen_kappa_score(reference[kept], hypnogram[kept]))
            rows.setdefault(model, []).append(float(cohens_kappa(conf)))
    names = list(nights)  # one night per person
    return {model: PerRecording(names, names, np.array(values)) for model, values in rows.items()}


# Guillot et al. 2020: F1 of SimpleSleepNet in the abstract, accuracies as the paper's results are listed.
PUBLISHED_F1 = {"SimpleNet": 88.3}
PUBLISHED_ACCURACY = {"SimpleNet": 88.7, "DeepSleepNet": 87.5, "SeqSleepNet": 85.5}

KAPPA = {
    "SimpleNet": 0.7982, "DeepSleepNet": 0.7764, "SeqSleepNet": 0.7421, "Chambon_et_al": 0.7376,
    "MixedNeuralNetwork": 0.6985, "Tsinalis_et_al": 0.6501,
}  # fmt: skip

# a, b: shift, its bounds, rank-biserial correlation, p, BH, Bonferroni.
FOUND = {
    ("Chambon_et_al", "DeepSleepNet"): (-0.0289, -0.0447, -0.0170, -0.671, 5.14e-06, 1.10e-05, 7.71e-05),
    ("Chambon_et_al", "MixedNeuralNetwork"): (0.0317, -0.0084, 0.0718, 0.230, 0.140, 0.150, 1.0),
    ("Chambon_et_al", "SeqSleepNet"): (-0.0106, -0.0376, 0.0156, -0.134, 0.393, 0.393, 1.0),
    ("Chambon_et_al", "SimpleNet"): (-0.0556, -0.0771, -0.0372, -0.796, 2.19e-08, 1.00e-07, 3.28e-07),
    ("Chambon_et_al", "Tsinalis_et_al"): (0.0839, 0.0567, 0.1111, 0.784, 3.96e-08, 1.19e-07, 5.94e-07),
    ("DeepSleepNet", "MixedNeuralNetwork"): (0.0647, 0.0348, 0.0976, 0.609, 4.44e-05, 7.40e-05, 6.66e-04),
    ("DeepSleepNet", "SeqSleepNet"): (0.0233, -0.0007, 0.0483, 0.288, 0.0631, 0.0729, 0.947),
    ("DeepSleepNet", "SimpleNet"): (-0.0222, -0.0381, -0.0058, -0.401, 0.00899, 0.0135, 0.135),
    ("DeepSleepNet", "Tsinalis_et_al"): (0.1185, 0.0933, 0.1421, 0.982, 6.11e-15, 9.16e-14, 9.16e-14),
    ("MixedNeuralNetwork", "SeqSleepNet"): (-0.0431, -0.0824, -0.0112, -0.384, 0.0125, 0.0156, 0.187),
    ("MixedNeuralNetwork", "SimpleNet"): (-0.0918, -0.1284, -0.0619, -0.792, 2.67e-08, 1.00e-07, 4.01e-07),
    ("MixedNeuralNetwork", "Tsinalis_et_al"): (0.0490, 0.0120, 0.0866, 0.388, 0.0116, 0.0156, 0.174),
    ("SeqSleepNet", "SimpleNet"): (-0.0415, -0.0654, -0.0233, -0.655, 9.51e-06, 1.78e-05, 1.43e-04),
    ("SeqSleepNet", "Tsinalis_et_al"): (0.1021, 0.0711, 0.1352, 0.736, 3.74e-07, 9.35e-07, 5.61e-06),
    ("SimpleNet", "Tsinalis_et_al"): (0.1481, 0.1198, 0.1811, 0.919, 7.07e-12, 5.30e-11, 1.06e-10),
}


def test_alignment_gives_back_the_papers_numbers(nights):
    f1, accuracy = {}, {}
    for experts, staged in nights.values():
        counts = votes(experts[:4])
        reference = majority(counts, experts[0])
        kept = reference >= 0
        weight = (counts[reference + 1, np.arange(reference.size)] / 4)[kept]
        for model in PUBLISHED_ACCURACY:
            said, truth = staged[model][kept], reference[kept]
            score = f1_score(truth, said, labels=range(5), average="weighted", sample_weight=weight, zero_division=0)
            f1.setdefault(model, []).append(score)
            accuracy.setdefault(model, []).append(np.average(said == truth, weights=weight))
    assert {model: round(100 * np.mean(f1[model]), 1) for model in PUBLISHED_F1} == PUBLISHED_F1
    assert {model: round(100 * np.mean(a), 1) for model, a in accuracy.items()} == PUBLISHED_ACCURACY


def test_models_compared_over_persons(kappas):
    found = compare(kappas, "kappa", True, table="DOD-O, published models, kappa")
    assert {(c.a, c.b) for c in found} == set(FOUND)
    for c in found:
        shift, low, high, effect, p, bh, bonferroni = FOUND[c.a, c.b]
        assert (c.shift, c.low, c.high) == pytest.approx((shift, low, high), abs=6e-5)
        assert c.effect == pytest.approx(effect, abs=6e-4)
        assert (c.p, c.p_bh, c.p_bonferroni) == pytest.approx((p, bh, bonferroni), rel=6e-3)
        assert (c.mean_a, c.mean_b) == pytest.approx((KAPPA[c.a], KAPPA[c.b]), abs=6e-5)
        assert (c.n_persons, c.n_pairs, c.n_undefined, c.only_a, c.only_b, c.n_zero) == (55, 55, 0, 0, 0, 0)
        assert (c.method, c.n_tests, c.min_p) == ("exact", 15, 2.0**-54)
    assert sum(c.better is not None for c in found) == 12
    assert sum(c.p_bonferroni <= 0.05 for c in found) == 9


def test_what_must_hold_whatever_the_numbers(kappas):
    assert all(-0.2 < k.values.min() < k.values.max() < 1 for k in kappas.values())
    found = compare(kappas, "kappa", True)
    p = [c.p for c in found]
    oracle = [wilcoxon(kappas[c.a].values, kappas[c.b].values, method="exact").pvalue for c in found]
    np.testing.assert_allclose(p, oracle, rtol=1e-9, atol=5e-16)  # scipy's tails are 1 minus the rest
    np.testing.assert_allclose([c.p_bh for c in found], false_discovery_control(p))
    for c in found:
        assert c.min_p <= c.p <= c.p_bh <= c.p_bonferroni
        assert c.low <= c.shift <= c.high
        assert (c.low > 0 or c.high < 0) == (c.p <= 0.05)
        assert np.sign(c.effect) == np.sign(c.shift)
    back = {pair_id(c.a, c.b): c for c in compare(dict(reversed(kappas.items())), "kappa", True)}
    for c in found:
        other = back[pair_id(c.a, c.b)]
        assert (other.p, other.p_bh, other.better) == (c.p, c.p_bh, c.better)
        assert (other.shift, other.effect) == pytest.approx((-c.shift, -c.effect))


def test_the_best_model_is_named(kappas):
    against = compare(kappas, "kappa", True, reference="SimpleNet")
    assert len(against) == 5
    assert {c.better for c in against} == {"SimpleNet"}
    nearest = max(against, key=lambda c: c.p)
    assert nearest.a == "DeepSleepNet"
    assert nearest.verdict == (
        "SimpleNet better than DeepSleepNet: shift -0.0222 [-0.0381, -0.0058], Benjamini-Hochberg p = 0.00899 "
        "over 5 tests, 55 persons"
    )
