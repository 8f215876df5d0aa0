"""The convolutional encoder of a tokenizer, as a stream of samples.

Every convolution looks back only, so it carries the few input samples the next block needs; the
result does not depend on where blocks end. Only the start of a signal is padded, by mirroring it.

Samples lie in rows, (batch, n, channels): a convolution is then one product with overlapping stretches of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import TokenizerConfig
from hypnos_bench.hypnos.layout import conv_specs
from hypnos_bench.hypnos.linear import Linear, frozen

CHANNEL_NORM_EPS = 1e-5

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "leaky": F.leaky_relu,
    "gelu": F.gelu,
    "elu": F.elu,
    "silu": F.silu,
    "swish": F.silu,
    "linear": lambda x: x,
}

_IN_PLACE = ("relu", "leaky", "elu", "silu", "swish")

Tails = dict[str, Tensor]
"""Per convolution, the input samples carried to the next block."""


class StreamConv(nn.Module):
    """Strided, dilated convolution that looks back only; weight norm is folded into the weight at load."""

    def __init__(
        self, weights: Weights, spec: tuple[str, int, int, int, int, int], norm: str | None, pad_mode: str
    ) -> None:
        super().__init__()
        self.name, _, _, self.kernel, self.stride, self.dilation = spec
        self.reach = (self.kernel - 1) * self.dilation
        self.pad_mode = pad_mode
        weight = conv_weight(weights, self.name, norm)
        self.product = Linear(weight.transpose(1, 2).flatten(1), weights(f"{self.name}.conv.bias"))
        self.norm = ChannelNorm(weights, self.name, norm) if norm in ("layer", "rms") else None

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """Convolve a block (batch, n, channels); blocks are multiples of the stride long, the first one longer."""
        y: Tensor = self.product(self._stretches(x, tails))
        if self.norm is not None:
            y = self.norm(y)
        return y

    def plus(self, x: Tensor, other: Tensor, tails: Tails) -> Tensor:
        """`other` plus the convolution of `x`."""
        if self.norm is None:
            return self.product.plus(self._stretches(x, tails), other)
        y: Tensor = self(x, tails)
        return other + y

    def _stretches(self, x: Tensor, tails: Tails) -> Tensor:
        """What the kernel sees at each of its steps, (batch, steps, kernel * channels)."""
        if self.reach:
            tail = tails.get(self.name)
            x = pad_start(x, self.reach, self.pad_mode) if tail is None else torch.cat((tail, x), 1)
            # The next step of the kernel ends one stride after this block's last sample.
            tails[self.name] = x[:, x.shape[1] - self.reach + self.stride - 1 :].clone()
        if self.kernel == self.stride == 1:
            return x
        batch, n, channels = x.shape
        steps = (n - self.reach - 1) // self.stride + 1
        of_signal, of_row, of_channel = x.stride()
        strides = (of_signal, self.stride * of_row, self.dilation * of_row, of_channel)
        return x.as_strided((batch, steps, self.kernel, channels), strides).reshape(batch, steps, -1)


class ChannelNorm(nn.Module):
    """Layer or RMS norm over the channels of each sample."""

    def __init__(self, weights: Weights, name: str, kind: str) -> None:
        super().__init__()
        self.weight = frozen(weights(f"{name}.norm.weight").flatten())
        self.bias = frozen(weights(f"{name}.norm.bias").flatten()) if kind == "layer" else None

    def forward(self, y: Tensor) -> Tensor:
        """Normalise (batch, n, channels)."""
        if self.bias is not None:
            y = y - y.mean(-1, keepdim=True)
        y = y / torch.sqrt(y.square().mean(-1, keepdim=True) + CHANNEL_NORM_EPS)
        return y * self.weight if self.bias is None else y * self.weight + self.bias


def conv_weight(weights: Weights, name: str, norm: str | None) -> Tensor:
    """Weight of a convolution as the file format stores it, weight norm (over the first axis) folded in."""
    if norm != "weight":
        return weights(f"{name}.conv.weight")
    direction = weights(f"{name}.conv.parametrizations.weight.original1")
    gain = weights(f"{name}.conv.parametrizations.weight.original0")
    length: Tensor = direction.flatten(1).norm(dim=1)
    return direction * (gain / length[:, None, None])


def pad_start(x: Tensor, n: int, mode: str) -> Tensor:
    """Put `n` samples in front of (batch, samples, channels): mirrored, repeated or zero."""
    if mode == "reflect":
        front = x[:, 1 : n + 1].flip(1)
    elif mode == "replicate":
        front = x[:, :1].expand(-1, n, -1)
    else:
        front = x.new_zeros(x.shape[0], n, x.shape[2])
    return torch.cat((front, x), 1)


class ConvEncoder(nn.Module):
    """Residual blocks and strided convolutions down to one vector per token.

    Parameters
    ----------
    weights : Weights
    config : TokenizerConfig
    """

    def __init__(self, weights: Weights, config: TokenizerConfig) -> None:
        super().__init__()
        self._act = act = ACTIVATIONS[config.activation]
        # For what nothing else needs any more: half of the traffic to memory.
        self._act_on = partial(act, inplace=True) if config.activation in _IN_PLACE else act
        convs = [StreamConv(weights, spec, config.norm, config.pad_mode) for spec in conv_specs(config)]
        per_stage = 2 * config.n_residual_layers + 1
        self.first = convs[0]
        self.stages = nn.ModuleList(
            nn.ModuleList(convs[i : i + per_stage]) for i in range(1, len(convs) - 1, per_stage)
        )
        self.last = convs[-1]
        self._reflects = config.pad_mode == "reflect"
        self.hop = config.hop

    def fits(self, n_samples: int) -> bool:
        """Whether a first block of `n_samples` is long enough to be mirrored in front of every convolution."""
        n = n_samples
        for conv in self.modules():
            if isinstance(conv, StreamConv):
                if self._reflects and conv.reach >= n:
                    return False
                n = -(-n // conv.stride)
        return n_samples > 0

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """Encode a block: (batch, 1, n) to (batch, ceil(n / hop), embed_dim)."""
        x = self.first(x.transpose(1, 2), tails)
        for stage in self.stages:
            convs = [conv for conv in stage.children() if isinstance(conv, StreamConv)]
            for narrow, widen in zip(convs[0:-1:2], convs[1:-1:2], strict=True):
                x = widen.plus(self._act_on(narrow(self._act(x), tails)), x, tails)
            x = convs[-1](self._act_on(x), tails)
        out: Tensor = self.last(x, tails)
        return out
