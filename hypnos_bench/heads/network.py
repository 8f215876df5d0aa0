"""The one training loop behind every MLP head.

Recipe: features standardised by the rows trained on; one hidden layer (none, or several, by setting); dropout
behind each; AdamW (Loshchilov & Hutter, ICLR 2019; biases do not decay) on batches of rows, with a learning rate
that warms up linearly and falls to zero along a half cosine (SGDR, ICLR 2017, without restarts). The output layer
starts at zero, so that training starts from the prediction that ignores the features.

When to stop is decided inside the label budget: a share of its *persons* is held out (see `persons.hold_out`), their
loss is looked at after every pass (or after so many passes as make `check_steps` steps), and training ends when it
has not fallen for `patience` looks. The parameters with the lowest loss are kept, those of the start among them.
With fewer than `min_persons` persons nobody is held out and training takes `fixed_passes` passes. More passes are
planned where a pass has few steps (ten recordings as rows make one): as many as make `min_steps` steps with early
stopping, which may end sooner, and `fixed_steps` without, where more steps would only learn the few persons by heart.

A network is trained, not solved: its certificate says how training ended and how large the gradient still is, and
never that an optimum was reached.

Deterministic: equal settings, rows and kind of device give equal bits, whatever the number of threads; random
numbers come from generators of the fit's own, the same on every device, and no global state is left changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hypnos_bench.errors import FitError, UsageError
from hypnos_bench.heads.base import Certificate
from hypnos_bench.heads.feed import Feed
from hypnos_bench.heads.moments import F64, Features, Moments, column_moments
from hypnos_bench.heads.persons import HoldOut
from hypnos_bench.heads.rows import F32, RowSource
from hypnos_bench.registry import did_you_mean

if TYPE_CHECKING:
    import torch

    Layers = list[tuple[torch.Tensor, torch.Tensor]]

NETWORK_SETTINGS: Mapping[str, Any] = {
    "hidden": [256],  # widths of the hidden layers; an empty list makes a linear model
    "activation": "gelu",  # gelu | relu
    "dropout": 0.5,
    "learning_rate": 1e-3,  # the highest, after warm-up
    "weight_decay": 1e-2,
    "batch_rows": 256,
    "max_passes": 40,  # with early stopping
    "min_steps": 1000,
    "fixed_passes": 10,  # without
    "fixed_steps": 100,
    "warm_up": 0.05,  # share of the planned passes
    "patience": 8,  # looks at the held-out persons without a gain
    "tolerance": 1e-4,  # relative gain in held-out loss that counts
    "check_steps": 20,  # fewest steps between looks
    "validation_share": 0.2,  # of the persons shown
    "min_persons": 5,  # fewest persons for early stopping
    "block_rows": 4096,  # rows read together
    "pool_rows": 65536,  # rows shuffled together, and the most that are kept in memory
    "seed": 0,
}
"""Every setting of training that can change a number, with its default."""

_ACTIVATIONS = ("gelu", "relu")


class Objective(Protocol):
    """What is minimised."""

    def __call__(self, outputs: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Mean loss of rows, named by their position among the rows of this objective, from their outputs."""
        ...


@dataclass(frozen=True)
class Network:
    """A trained network.

    Parameters
    ----------
    moments : Moments
        Standardisation by the rows trained on.
    weights, biases : tuple of ndarray of float32
        Per layer, shapes (in, out) and (out,).
    activation : {"gelu", "relu"}
    """

    moments: Moments
    weights: tuple[F32, ...]
    biases: tuple[F32, ...]
    activation: str

    def outputs(self, x: Features, head: str) -> F64:
        """Outputs in float64 without dropout, shape (n, k); `head` names the head in messages.

        Raises
        ------
        DataError
            When `x` has another width than the training rows, or holds NaN or infinity.
        """
        import torch

        found = np.empty((x.shape[0], self.biases[-1].size))
        with _reproducible(), torch.inference_mode():
            layers = [(torch.from_numpy(w).double(), torch.from_numpy(b).double()) for w, b in self._layers()]
            for low, z in self.moments.standardise_checked(x, head):
                found[low : low + len(z)] = _forward(layers, torch.from_numpy(z), self.activation).numpy()
        return found

    def _layers(self) -> Iterator[tuple[F32, F32]]:
        return zip(self.weights, self.biases, strict=True)


@dataclass(frozen=True)
class Trained:
    """A network, how it came about (for a head's ``selected``), and how training ended."""

    network: Network
    selected: Mapping[str, Any]
    certificate: Certificate


def network_settings(head: str, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings of a head that trains a network over its defaults, and check them.

    Raises
    ------
    UsageError
        A setting that does not exist or makes no sense.
    """
    for name in settings:
        if name not in defaults:
            raise UsageError(
                f"the {head} head has no setting {name!r}.{did_you_mean(name, defaults)} Known: {', '.join(defaults)}"
            )
    merged = {**defaults, **settings}
    merged["hidden"] = [int(width) for width in merged["hidden"]]
    at_least_one = ("batch_rows", "max_passes", "fixed_passes", "patience", "check_steps", "block_rows", "pool_rows")
    wrong = [name for name in at_least_one if merged[name] < 1]
    wrong += [
        name
        for name in ("min_steps", "fixed_steps", "weight_decay", "tolerance", "seed")
        if not 0 <= merged[name] < np.inf
    ]
    wrong += [name for name in ("dropout", "warm_up") if not 0 <= merged[name] < 1]
    wrong += ["hidden"] if any(width < 1 for width in merged["hidden"]) else []
    wrong += [] if 0 < merged["learning_rate"] < np.inf else ["learning_rate"]
    wrong += [] if 0 < merged["validation_share"] < 1 else ["validation_share"]
    wrong += [] if merged["min_persons"] >= 2 else ["min_persons"]
    wrong += [] if merged["activation"] in _ACTIVATIONS else ["activation"]
    if wrong:
        told = ", ".join(f"{name} = {merged[name]!r}" for name in wrong)
        raise UsageError(
            f"{head} head: {told} makes no sense; counts are at least 1 (min_persons 2), dropout and warm_up in "
            f"[0, 1), validation_share in (0, 1), activation one of {', '.join(_ACTIVATIONS)}"
        )
    return merged


def train(
    source: RowSource,
    part: HoldOut,
    objective: Objective,
    validation: Objective,
    start: Sequence[float] | F64,
    settings: Mapping[str, Any],
    device: str = "cpu",
) -> Trained:
    """Train a network.

    Parameters
    ----------
    source : RowSource
    part : HoldOut
        Rows to train on, and rows of held-out persons.
    objective : Objective
        Over ``part.training``; sees batches.
    validation : Objective
        Over ``part.validation``; sees all of them at once. Not called when nobody is held out.
    start : sequence of float
        First biases of the outputs; its length is the number of outputs.
    settings : mapping
        As `network_settings` gives them.
    device : str
        Where to train. On a GPU, PyTorch asks for ``CUBLAS_WORKSPACE_CONFIG`` in the environment, since results
        would not repeat otherwise.

    Raises
    ------
    FitError
        Non-finite features, or a loss that is not finite.
    """
    with _reproducible():
        return _Training(source, part, objective, validation, start, settings, device).run()


class _Training:
    def __init__(
        self,
        source: RowSource,
        part: HoldOut,
        objective: Objective,
        validation: Objective,
        start: Sequence[float] | F64,
        settings: Mapping[str, Any],
        device: str,
    ) -> None:
        import torch

        self.settings, self.part, self.objective, self.validation = settings, part, objective, validation
        kept = np.zeros(source.shape[0], dtype=bool)
        kept[part.training] = True
        self.moments = column_moments(source, kept)
        reading = {"block_rows": settings["block_rows"], "pool_rows": settings["pool_rows"], "device": device}
        self.feed = Feed(source, self.moments, part.training, **reading)
        self.held = Feed(source, self.moments, part.validation, **reading) if part.validation.size else None

        # NumPy's generators, whatever the device; and several times faster than PyTorch's on a CPU.
        seeds = np.random.SeedSequence(settings["seed"]).spawn(3)
        self.rng, self.dropout, first = (np.random.default_rng(seed) for seed in seeds)
        widths = [source.shape[1], *settings["hidden"]]
        self.layers: Layers = []
        for inputs, outputs in pairwise(widths):
            bound = math.sqrt(6.0 / inputs)  # He et al., ICCV 2015
            weight = first.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
            self.layers.append((torch.from_numpy(weight).to(device), torch.zeros(outputs, device=device)))
        bias = torch.as_tensor(np.asarray(start, dtype=np.float32), device=device)
        self.layers.append((torch.zeros(widths[-1], bias.numel(), device=device), bias.clone()))
        for parameter in self._parameters():
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [w for w, _ in self.layers], "weight_decay": settings["weight_decay"]},
                {"params": [b for _, b in self.layers], "weight_decay": 0.0},
            ],
            lr=settings["learning_rate"],
        )
        self.steps, self.rows_seen = 0, 0

    def run(self) -> Trained:
        settings = self.settings
        steps_a_pass = -(-len(self.feed) // settings["batch_rows"])
        usual, least = ("max_passes", "min_steps") if self.held else ("fixed_passes", "fixed_steps")
        planned = max(settings[usual], -(-settings[least] // steps_a_pass))
        every = -(-settings["check_steps"] // steps_a_pass)
        looks: list[tuple[int, float]] = []
        best, best_pass, stale, passes, reference = self._copy(), planned, 0, 0, math.inf
        if self.held:
            looks, best_pass = [(0, self._held_loss())], 0
            reference = looks[0][1]
        while passes < planned and stale < settings["patience"]:
            self._one_pass(planned)
            passes += 1
            if self.held and (passes % every == 0 or passes == planned):
                loss = self._held_loss()
                if loss < min(value for _, value in looks):
                    best, best_pass = self._copy(), passes
                stale = 0 if loss < reference - settings["tolerance"] * abs(reference) else stale + 1
                reference = loss if stale == 0 else reference
                looks.append((passes, loss))
        if self.held:
            self._restore(best)
        loss, gradient = self._gradient()
        if not math.isfinite(loss):
            raise FitError(f"the loss of all training rows is {loss} after {self.steps} steps; lower learning_rate")
        selected = {
            "rule": "early-stopping" if self.held else "fixed-passes",
            "rule_reason": self.part.reason,
            "passes": passes,
            "passes_planned": planned,
            "best_pass": best_pass,
            # The best pass is the start or the very last: another range of passes might do better.
            "at_edge": bool(self.held) and (best_pass == 0 or best_pass == planned),
            "validation": [{"pass": number, "loss": value} for number, value in looks],
            "training_loss": loss,
            "n_rows_trained": len(self.feed),
            "n_rows_held_out": len(self.held) if self.held else 0,
            "constant_features": np.flatnonzero(self.moments.constant).tolist(),
            "n_parameters": sum(parameter.numel() for parameter in self._parameters()),
            "seed": settings["seed"],
        }
        return Trained(self._network(), selected, self._certificate(passes, planned, gradient))

    def _one_pass(self, planned: int) -> None:
        import torch

        total = 0.0
        for z, positions in self.feed.shuffled(self.settings["batch_rows"], self.rng):
            middle = (self.rows_seen + len(z) / 2) / (planned * len(self.feed))
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings["learning_rate"] * _schedule(middle, self.settings["warm_up"])
            loss = self.objective(self._outputs(z, training=True), positions)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise FitError(
                    f"the network's loss became {value} in step {self.steps + 1}; lower learning_rate "
                    f"(now {self.settings['learning_rate']:g}) or look for extreme features"
                )
            self.optimiser.zero_grad()
            torch.autograd.backward(loss)
            self.optimiser.step()
            self.steps += 1
            self.rows_seen += len(z)
            total += value

    def _held_loss(self) -> float:
        assert self.held is not None
        loss = float(self.validation(*self._all_outputs(self.held)))
        if not math.isfinite(loss):
            raise FitError(f"the held-out loss is {loss} after {self.steps} steps; lower learning_rate")
        return loss

    def _all_outputs(self, feed: Feed) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        with torch.no_grad():
            parts = [(self._outputs(z), positions) for z, positions in feed.ordered()]
        return torch.cat([outputs for outputs, _ in parts]).double(), torch.cat([positions for _, positions in parts])

    def _gradient(self) -> tuple[float, float]:
        """Mean loss of all rows trained on, without dropout, and the largest entry of its gradient.

        The loss may couple rows (a risk set does): its gradient in the outputs of all rows comes first.
        """
        import torch

        outputs, positions = self._all_outputs(self.feed)
        outputs.requires_grad_(True)
        loss = self.objective(outputs, positions)
        (by_output,) = torch.autograd.grad(loss, outputs)
        self.optimiser.zero_grad()
        done = 0
        for z, _ in self.feed.ordered():
            mine = by_output[done : done + len(z)].to(z.dtype)
            torch.autograd.backward(self._outputs(z), mine)
            done += len(z)
        gradients = [parameter.grad for parameter in self._parameters()]
        return float(loss.detach()), max(float(g.abs().max()) for g in gradients if g is not None)

    def _certificate(self, passes: int, planned: int, gradient: float) -> Certificate:
        patience, tolerance = self.settings["patience"], self.settings["tolerance"]
        if self.held and passes < planned:
            how = f"held-out loss flat: {patience} looks without a relative gain of {tolerance:g}"
        else:
            how = f"schedule of {planned} passes completed, learning rate down to 0"
        criterion = f"{how}; a trained network, not an optimum: gradient_norm is told and not tested"
        return Certificate(True, math.nan, gradient, tolerance, criterion, self.steps)

    def _outputs(self, z: torch.Tensor, *, training: bool = False) -> torch.Tensor:
        drop = (self.settings["dropout"], self.dropout) if training and self.settings["dropout"] > 0 else None
        return _forward(self.layers, z, self.settings["activation"], drop)

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for layer in self.layers for parameter in layer]

    def _copy(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters()]

    def _restore(self, saved: Sequence[torch.Tensor]) -> None:
        import torch

        with torch.no_grad():
            for parameter, value in zip(self._parameters(), saved, strict=True):
                parameter.copy_(value)

    def _network(self) -> Network:
        arrays = [(w.detach().cpu().numpy(), b.detach().cpu().numpy()) for w, b in self.layers]
        weights, biases = tuple(w for w, _ in arrays), tuple(b for _, b in arrays)
        return Network(self.moments, weights, biases, self.settings["activation"])


def _forward(
    layers: Layers, z: torch.Tensor, activation: str, drop: tuple[float, np.random.Generator] | None = None
) -> torch.Tensor:
    import torch

    for weight, bias in layers[:-1]:
        z = torch.addmm(bias, z, weight)
        z = torch.nn.functional.gelu(z) if activation == "gelu" else torch.relu(z)
        if drop is not None:
            share, generator = drop
            kept = torch.from_numpy(generator.random(z.shape, dtype=np.float32) >= share)
            z = z * (kept.to(z.device) * (1 / (1 - share)))
    weight, bias = layers[-1]
    return torch.addmm(bias, z, weight)


def _schedule(progress: float, warm_up: float) -> float:
    """Learning rate relative to its highest value: a linear rise, then half a cosine down to 0."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


@contextmanager
def _reproducible() -> Iterator[None]:
    """One thread and deterministic algorithms, for as long as it lasts."""
    import torch

    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
