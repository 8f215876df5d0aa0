"""The convolutional encoder of a tokenizer, as a stream of samples.

Every convolution looks back only, so it carries the few input samples the next block needs; the
result does not depend on where blocks end. Only the start of a signal is padded, by mirroring it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.hypnos.attention import frozen
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import TokenizerConfig
from hypnos_bench.hypnos.layout import conv_specs

CHANNEL_NORM_EPS = 1e-5

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky": F.leaky_relu,
    "gelu": F.gelu,
    "elu": F.elu,
    "silu": F.silu,
    "swish": F.silu,
    "linear": lambda x: x,
}

Tails = dict[str, Tensor]
"""Per convolution, the input samples carried to the next block."""


class StreamConv(nn.Module):
    """Strided, dilated convolution that looks back only; weight norm is folded into the weight at load."""

    def __init__(
        self, weights: Weights, spec: tuple[str, int, int, int, int, int], norm: str | None, pad_mode: str
    ) -> None:
        super().__init__()
        self.name, _, _, kernel, self.stride, self.dilation = spec
        self.reach = (kernel - 1) * self.dilation
        self.pad_mode = pad_mode
        conv = f"{self.name}.conv."
        if norm == "weight":
            direction = weights(f"{conv}parametrizations.weight.original1")
            gain = weights(f"{conv}parametrizations.weight.original0")
            weight = direction * (gain / direction.flatten(1).norm(dim=1)[:, None, None])
        else:
            weight = weights(f"{conv}weight")
        self.weight, self.bias = frozen(weight), frozen(weights(f"{conv}bias"))
        self.norm_weight = frozen(weights(f"{self.name}.norm.weight")) if norm in ("layer", "rms") else None
        self.norm_bias = frozen(weights(f"{self.name}.norm.bias")) if norm == "layer" else None

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """Convolve a block (batch, channels, n); all blocks but the last are multiples of the stride long."""
        if self.reach:
            tail = tails.get(self.name)
            x = F.pad(x, (self.reach, 0), mode=self.pad_mode) if tail is None else torch.cat((tail, x), -1)
            tails[self.name] = x[..., x.shape[-1] - self.reach :].clone()
        y = F.conv1d(x, self.weight, self.bias, self.stride, dilation=self.dilation)
        return y if self.norm_weight is None else self._normalise(y, self.norm_weight)

    def _normalise(self, y: Tensor, weight: Tensor) -> Tensor:
        if self.norm_bias is not None:
            y = y - y.mean(1, keepdim=True)
        y = weight * (y / torch.sqrt(y.square().mean(1, keepdim=True) + CHANNEL_NORM_EPS))
        return y if self.norm_bias is None else y + self.norm_bias


class ConvEncoder(nn.Module):
    """Residual blocks and strided convolutions down to one vector per token.

    Parameters
    ----------
    weights : Weights
    config : TokenizerConfig
    """

    def __init__(self, weights: Weights, config: TokenizerConfig) -> None:
        super().__init__()
        self._act = ACTIVATIONS[config.activation]
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
        # CUDA would round the inputs of convolutions to 10 bits (TF32) unless told not to.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._encode(x, tails)

    def _encode(self, x: Tensor, tails: Tails) -> Tensor:
        x = self.first(x, tails)
        for stage in self.stages:
            convs = list(stage.children())
            for narrow, widen in zip(convs[0:-1:2], convs[1:-1:2], strict=True):
                x = x + widen(self._act(narrow(self._act(x), tails)), tails)
            x = convs[-1](self._act(x), tails)
        out: Tensor = self.last(x, tails)
        return out.transpose(1, 2)
