"""The training loop: what it learns, when it stops, what it leaves untouched, and what it says about itself."""

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError, FitError, UsageError
from hypnos_bench.heads.network import NETWORK_SETTINGS, _schedule, network_settings, train
from hypnos_bench.heads.persons import HoldOut, hold_out
from hypnos_bench.heads.rows import as_rows

SMALL = {"hidden": [16], "dropout": 0.2, "batch_rows": 64, "max_passes": 5, "min_steps": 0}


class Squares:
    """Mean squared error against fixed targets."""

    def __init__(self, y):
        self.y = torch.as_tensor(y, dtype=torch.float32)

    def __call__(self, outputs, positions):
        return ((outputs[:, 0] - self.y[positions]) ** 2).mean()


def problem(n=400, d=6, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * np.arange(1, d + 1) + 5).astype(np.float32)
    y = x @ rng.standard_normal(d) / d + noise * rng.standard_normal(n)
    return x, y - y.mean(), np.repeat(np.arange(n // 20), 20)


def fit(settings=None, *, part=None, data=None, objective=None):
    x, y, person = data or problem()
    chosen = network_settings("test", NETWORK_SETTINGS, {**SMALL, **(settings or {})})
    part = part or hold_out(person, seed=chosen["seed"], share=0.2, min_persons=5)
    objective = objective or Squares(y[part.training])
    return train(as_rows(x), part, objective, Squares(y[part.validation]), [0.0], chosen), x, y, part


def everyone(n):
    return HoldOut(np.arange(n), np.empty(0, dtype=np.intp), "told so")


def test_a_linear_network_finds_least_squares():
    data = problem()
    settings = {"hidden": [], "fixed_passes": 40, "learning_rate": 0.05, "weight_decay": 0.0}
    trained, x, y, _ = fit(settings, part=everyone(len(data[1])), data=data)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    best = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), y, rcond=None)[0]
    np.testing.assert_allclose(trained.network.weights[0][:, 0], best[:-1], atol=0.01)
    assert trained.network.biases[0][0] == pytest.approx(best[-1], abs=0.01)


def test_gradient_and_loss_told_are_those_of_the_returned_network():
    """By hand for a linear network: 2/n z'(zw + b - y), and its mean for the bias."""
    trained, x, y, part = fit({"hidden": [], "dropout": 0.5})
    z = trained.network.moments.standardise(x[part.training])
    residual = z @ trained.network.weights[0][:, 0] + trained.network.biases[0][0] - y[part.training]
    gradient = np.append(2 * z.T @ residual, 2 * residual.sum()) / len(z)
    assert trained.certificate.gradient_norm == pytest.approx(np.abs(gradient).max(), rel=1e-4)
    assert trained.selected["training_loss"] == pytest.approx((residual**2).mean(), rel=1e-5)


def test_gradient_told_is_that_of_a_hidden_layer_too():
    trained, x, y, part = fit({"activation": "relu", "block_rows": 32})  # summed over ten blocks
    z = torch.from_numpy(trained.network.moments.standardise(x[part.training]))
    layers = [
        (torch.from_numpy(w).double().requires_grad_(), torch.from_numpy(b).double().requires_grad_())
        for w, b in zip(trained.network.weights, trained.network.biases, strict=True)
    ]
    hidden = torch.relu(z @ layers[0][0] + layers[0][1])
    loss = ((hidden @ layers[1][0] + layers[1][1])[:, 0] - torch.from_numpy(y[part.training])).square().mean()
    gradients = torch.autograd.grad(loss, [parameter for layer in layers for parameter in layer])
    largest = max(float(g.abs().max()) for g in gradients)
    assert trained.certificate.gradient_norm == pytest.approx(largest, rel=1e-3)


def test_outputs_are_those_of_the_formula():
    trained, x, _, _ = fit({"hidden": [7, 5]})
    network = trained.network
    assert [w.shape for w in network.weights] == [(6, 7), (7, 5), (5, 1)]
    z = network.moments.standardise(x)
    for w, b in list(zip(network.weights, network.biases, strict=True))[:-1]:
        z = z @ w + b
        z = z * 0.5 * (1 + torch.erf(torch.from_numpy(z) / np.sqrt(2)).numpy())
    expected = z @ network.weights[-1] + network.biases[-1]
    np.testing.assert_allclose(network.outputs(x, "head"), expected, rtol=1e-10, atol=1e-12)
    assert trained.selected["n_parameters"] == 6 * 7 + 7 + 7 * 5 + 5 + 5 + 1
    with pytest.raises(DataError, match="head was fitted on 6 features"):
        network.outputs(x[:, :5], "head")


def test_standardisation_is_by_the_rows_trained_on():
    trained, x, _, part = fit()
    assert part.validation.size
    np.testing.assert_allclose(trained.network.moments.mean, x[part.training].mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(trained.network.moments.scale, x[part.training].std(axis=0, dtype=float), rtol=1e-12)


def test_held_out_rows_only_tell_when_to_stop():
    """Other features and targets of held-out persons leave every parameter as it is after the same passes."""
    data = problem()
    one, _, _, part = fit({"max_passes": 2}, data=data)
    x, y, person = (part_of.copy() for part_of in data)
    x[part.validation] += 1
    y[part.validation] += 0.1
    two, *_ = fit({"max_passes": 2}, data=(x, y, person))
    assert one.selected["best_pass"] == two.selected["best_pass"] == 2
    assert one.selected["validation"][-1]["loss"] != two.selected["validation"][-1]["loss"]
    for a, b in zip(one.network.weights, two.network.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_look_is_returned():
    data = problem(n=200, d=40, noise=2.0)
    trained, x, y, part = fit(
        {"hidden": [64], "max_passes": 200, "dropout": 0.0, "patience": 4, "learning_rate": 0.01}, data=data
    )
    looks = {look["pass"]: look["loss"] for look in trained.selected["validation"]}
    assert list(looks) == sorted(looks)
    assert looks[trained.selected["best_pass"]] == min(looks.values())
    outputs = trained.network.outputs(x[part.validation], "head")[:, 0]
    assert ((outputs - y[part.validation]) ** 2).mean() == pytest.approx(min(looks.values()), rel=1e-5)
    assert trained.selected["rule"] == "early-stopping"
    assert 0 < trained.selected["best_pass"] < trained.selected["passes"] < 200
    assert "4 looks without" in trained.certificate.criterion
    assert "not an optimum" in trained.certificate.criterion
    assert trained.certificate.converged
    assert np.isnan(trained.certificate.newton_decrement)


def test_patience_counts_looks_without_a_gain():
    """Validation targets that training moves away from: the start is best, and `patience` looks later it ends."""
    x, y, person = problem()
    part = hold_out(person, seed=0, share=0.2, min_persons=5)
    y[part.validation] = -y[part.validation]
    trained, *_ = fit({"patience": 3, "check_steps": 10, "max_passes": 50}, data=(x, y, person))
    # 320 rows make 5 steps a pass, so a look comes every second pass.
    assert [look["pass"] for look in trained.selected["validation"]] == [0, 2, 4, 6]
    assert (trained.selected["best_pass"], trained.selected["passes"]) == (0, 6)
    assert trained.selected["at_edge"] is True
    np.testing.assert_array_equal(trained.network.outputs(x, "head"), 0.0)  # the prediction that ignores features


def test_without_held_out_persons_the_schedule_is_completed():
    trained, *_ = fit({"fixed_passes": 3, "fixed_steps": 0}, part=everyone(400))
    assert trained.selected["rule"] == "fixed-passes"
    assert trained.selected["rule_reason"] == "told so"
    assert trained.selected["passes"] == trained.selected["best_pass"] == 3
    assert trained.selected["validation"] == []
    assert trained.selected["at_edge"] is False
    assert trained.certificate.iterations == 3 * 7  # 400 rows, 64 at a time
    assert "3 passes completed" in trained.certificate.criterion


def test_few_rows_take_more_passes():
    trained, *_ = fit({"fixed_passes": 3, "fixed_steps": 50}, part=everyone(400))
    assert trained.selected["passes"] == 8
    trained, *_ = fit({"max_passes": 3, "min_steps": 23})
    assert trained.selected["passes_planned"] == 5


def test_the_learning_rate_rises_and_falls():
    assert _schedule(0.0, 0.1) == 0.0
    assert _schedule(0.05, 0.1) == pytest.approx(0.5)
    assert _schedule(0.1, 0.1) == pytest.approx(1.0)
    assert _schedule(0.55, 0.1) == pytest.approx(0.5)
    assert _schedule(1.0, 0.1) == pytest.approx(0.0, abs=1e-15)
    assert _schedule(0.0, 0.0) == 1.0
    values = [_schedule(p, 0.2) for p in np.linspace(0.2, 1, 50)]
    assert values == sorted(values, reverse=True)


def test_same_seed_same_bits_other_seed_others():
    for extra in ({}, {"pool_rows": 50, "block_rows": 16}):
        part = everyone(400)
        runs = [fit({"seed": seed, **extra}, part=part)[0] for seed in (3, 3, 4)]
        for a, b in zip(runs[0].network.weights, runs[1].network.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert runs[0].selected == runs[1].selected
        assert (runs[0].network.weights[0] != runs[2].network.weights[0]).mean() > 0.9


def test_global_state_is_left_alone():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    np.random.seed(5)  # noqa: NPY002
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(2)
    try:
        trained, x, *_ = fit()
        trained.network.outputs(x, "head")
        assert torch.get_num_threads() == 2
        assert not torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
        fit()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with pytest.raises(FitError):
            fit(objective=lambda outputs, positions: outputs.sum() * np.nan)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002


def test_the_number_of_threads_does_not_matter():
    """And the state of the global generator does not either."""
    threads = torch.get_num_threads()
    runs = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.rand(count)
            runs.append(fit()[0])
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(runs[0].network.weights, runs[1].network.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_only_acts_in_training_and_does_act():
    without, x, *_ = fit({"dropout": 0.0})
    with_it, *_ = fit({"dropout": 0.6})
    assert (without.network.weights[0] != with_it.network.weights[0]).mean() > 0.9
    np.testing.assert_array_equal(with_it.network.outputs(x, "head"), with_it.network.outputs(x, "head"))


def test_weights_decay_and_biases_do_not():
    heavy, *_ = fit({"weight_decay": 5.0, "fixed_passes": 20, "hidden": [], "dropout": 0.0}, part=everyone(400))
    light, *_ = fit({"weight_decay": 0.0, "fixed_passes": 20, "hidden": [], "dropout": 0.0}, part=everyone(400))
    assert np.abs(heavy.network.weights[0]).max() < np.abs(light.network.weights[0]).max()
    x, y, person = problem()
    data = (x, y + 3.0, person)
    biases = [
        fit(
            {"weight_decay": decay, "hidden": [], "fixed_passes": 60, "learning_rate": 0.2, "dropout": 0.0},
            part=everyone(400),
            data=data,
        )[0]
        for decay in (0.0, 5.0)
    ]
    for trained in biases:
        assert trained.network.biases[0][0] == pytest.approx(3.0, abs=0.02)


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(FitError, match="became nan in step 1; lower learning_rate"):
        fit(objective=lambda outputs, positions: outputs.sum() * np.nan)
    x, y, person = problem()
    y[:] = 1e30  # its square is infinite in float32
    with pytest.raises(FitError, match="held-out loss is inf|became inf"):
        fit(data=(x, y, person))
    x[3, 1] = np.nan
    with pytest.raises(FitError, match="1 of 400 training rows hold NaN"):
        fit(data=(x, y, person))


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": [0]},
        {"activation": "tanh"},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"batch_rows": 0},
        {"max_passes": 0},
        {"warm_up": 1.0},
        {"patience": 0},
        {"validation_share": 1.0},
        {"min_persons": 1},
        {"seed": -1},
        {"tolerance": float("nan")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_are_checked(wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=f"mlp head: {name} = .* makes no sense"):
        network_settings("mlp", NETWORK_SETTINGS, wrong)


def test_unknown_settings_are_told():
    with pytest.raises(UsageError, match="the mlp head has no setting 'dropuot'. Did you mean 'dropout'"):
        network_settings("mlp", NETWORK_SETTINGS, {"dropuot": 0.1})
    assert network_settings("mlp", NETWORK_SETTINGS, {"hidden": (8.0, 4)})["hidden"] == [8, 4]
