"""The SleepFM network (Thapa et al., Nature Medicine 32:752-762, 2026), for inference only.

One network serves every modality. Each channel is cut into patches of 5 s, and each patch becomes one token by itself;
the tokens of a modality's channels at one time are pooled into one, whatever their number and order; a transformer
looks along the 60 tokens of a 5-min window; attention and a mean make one vector of the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.hypnos.linear import Linear, frozen, settle

CHANNELS = (1, 4, 8, 16, 32, 64, 128)
"""Width of the tokenizer before and after each of its convolutions, every one of which halves the length."""

KERNEL = 5
HIDDEN = 2048
"""Width of the feed-forward part of every transformer layer."""

_EPS = 1e-5


@dataclass(frozen=True)
class Sizes:
    """What is not fixed by the architecture; the defaults are those of the released model."""

    dim: int = 128
    heads: int = 8
    layers: int = 6
    pooling_heads: int = 8
    patch: int = 640
    max_tokens: int = 128


RELEASED = Sizes()


class Blocks(NamedTuple):
    """How many patches, times and windows are computed together: a matter of speed and memory only."""

    patches: int
    times: int
    windows: int


CPU_BLOCKS = Blocks(128, 64, 2)  # what is at work stays in the processor's cache
GPU_BLOCKS = Blocks(4096, 2048, 96)


class Output(NamedTuple):
    """One vector per window (n_windows, dim), and one per token (n_windows, n_tokens, dim)."""

    pooled: Tensor
    tokens: Tensor


class SleepFM(nn.Module):
    """The encoder.

    Every step works on blocks of fixed size that know nothing of each other, so that memory does not grow with the
    recording.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights under their released names, without prefix (`weights.shapes`); not changed.
    sizes : Sizes
    device : torch.device, optional
        The CPU when not given.
    blocks : Blocks, optional
        What suits the device when not given.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        sizes: Sizes = RELEASED,
        device: torch.device | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        device = device or torch.device("cpu")
        self.blocks = blocks or (CPU_BLOCKS if device.type == "cpu" else GPU_BLOCKS)
        self.tokenizer = _Tokenizer(state, "patch_embedding.tokenizer.")
        self.across_channels = _Layer(state, "spatial_pooling.transformer_layer.", sizes.pooling_heads, pre_norm=False)
        self.position = frozen(state["positional_encoding.pe"][0])
        self.norm = _Norm(state, "layer_norm.")
        self.along_time = nn.ModuleList(
            _Layer(state, f"transformer_encoder.layers.{i}.", sizes.heads, pre_norm=True) for i in range(sizes.layers)
        )
        self.over_window = _Layer(state, "temporal_pooling.transformer_layer.", sizes.pooling_heads, pre_norm=False)
        settle(self.eval(), device, torch.float32)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.position.device
        return device

    @torch.inference_mode()
    def embed_patches(self, patches: Tensor) -> Tensor:
        """Tokens of single channels: (n, patch) to (n, dim)."""
        # Convolutions on CUDA would else be done in TF32, whose numbers have ten bits.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return torch.cat(
                [self.tokenizer(part.to(self.device)) for part in torch.split(patches, self.blocks.patches)]
            )

    @torch.inference_mode()
    def pool_channels(self, tokens: Tensor, absent: Tensor | None = None) -> Tensor:
        """One token per time from those of all channels: (n, channels, dim) to (n, dim).

        A single channel passes as it is, as in the released network: its attention layer is only run for more.

        Parameters
        ----------
        tokens : Tensor
        absent : Tensor of bool, shape (n, channels), optional
            True for a channel that is only padding.
        """
        if tokens.shape[1] == 1:
            return tokens[:, 0]
        parts = torch.split(tokens, self.blocks.times)
        masks = [None] * len(parts) if absent is None else torch.split(absent, self.blocks.times)
        return torch.cat([self._pool(part, mask) for part, mask in zip(parts, masks, strict=True)])

    def _pool(self, tokens: Tensor, absent: Tensor | None) -> Tensor:
        mixed: Tensor = self.across_channels(tokens, absent)
        if absent is None:
            return mixed.mean(dim=1)
        there = (~absent).to(mixed.dtype)[..., None]
        together: Tensor = (mixed * there).sum(dim=1) / there.sum(dim=1)
        return together

    @torch.inference_mode()
    def contextualise(self, tokens: Tensor) -> Tensor:
        """Tokens that know their window: (n_windows, n_tokens, dim), at most `Sizes.max_tokens` of them."""
        if tokens.shape[1] > self.sizes.max_tokens:
            raise ValueError(f"{tokens.shape[1]} tokens in a window, the network has {self.sizes.max_tokens} positions")
        done = []
        for part in torch.split(tokens, self.blocks.windows):
            x = self.norm(part + self.position[: part.shape[1]])
            for layer in self.along_time:
                x = layer(x)
            done.append(x)
        return torch.cat(done)

    @torch.inference_mode()
    def pool_windows(self, tokens: Tensor) -> Tensor:
        """One vector per window: (n_windows, n_tokens, dim) to (n_windows, dim)."""
        return torch.cat([self.over_window(part).mean(dim=1) for part in torch.split(tokens, self.blocks.windows)])

    def forward(self, signals: Tensor, absent: Tensor | None = None) -> Output:
        """Embed windows of one modality.

        Parameters
        ----------
        signals : Tensor, shape (n_windows, channels, n_samples)
            At 128 Hz, z-scored; a multiple of `Sizes.patch` samples.
        absent : Tensor of bool, shape (n_windows, channels), optional
            True for a channel that is only padding.
        """
        n, channels, samples = signals.shape
        times = samples // self.sizes.patch
        single = self.embed_patches(signals.reshape(-1, self.sizes.patch)).view(n, channels, times, -1)
        masks = None if absent is None else absent[:, None].expand(n, times, channels).reshape(n * times, channels)
        together = self.pool_channels(single.transpose(1, 2).flatten(0, 1), masks)
        tokens = self.contextualise(together.view(n, times, -1))
        return Output(self.pool_windows(tokens), tokens)


class _Tokenizer(nn.Module):
    """Six halving convolutions, a mean over time, a projection. Batch statistics are folded into the convolutions."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str) -> None:
        super().__init__()
        weights, biases, scales, shifts = [], [], [], []
        for block in range(len(CHANNELS) - 1):
            convolution, batch, layer = (f"{prefix}{4 * block + part}." for part in (0, 1, 3))
            variance = state[f"{batch}running_var"].double()
            gain = state[f"{batch}weight"].double() / torch.sqrt(variance + _EPS)
            centred = state[f"{convolution}bias"].double() - state[f"{batch}running_mean"].double()
            weights.append(frozen((state[f"{convolution}weight"].double() * gain[:, None, None]).float()))
            biases.append(frozen((centred * gain + state[f"{batch}bias"].double()).float()))
            scales.append(frozen(state[f"{layer}weight"]))
            shifts.append(frozen(state[f"{layer}bias"]))
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)
        self.scales, self.shifts = nn.ParameterList(scales), nn.ParameterList(shifts)
        self.projection = _linear(state, f"{prefix}{4 * (len(CHANNELS) - 1) + 2}.")

    def forward(self, patches: Tensor) -> Tensor:
        x = patches[:, None]
        for weight, bias, scale, shift in zip(self.weights, self.biases, self.scales, self.shifts, strict=True):
            x = F.elu(F.conv1d(x, weight, bias, stride=2, padding=KERNEL // 2), inplace=True)
            x = F.layer_norm(x, scale.shape, scale, shift, _EPS)
        tokens: Tensor = self.projection(x.mean(dim=-1))
        return tokens


class _Layer(nn.Module):
    """A transformer layer; normalises before its two parts or after each."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, heads: int, *, pre_norm: bool) -> None:
        super().__init__()
        self.heads, self.pre_norm = heads, pre_norm
        self.into = Linear(state[f"{prefix}self_attn.in_proj_weight"], state[f"{prefix}self_attn.in_proj_bias"])
        self.out = _linear(state, f"{prefix}self_attn.out_proj.")
        self.up, self.down = _linear(state, f"{prefix}linear1."), _linear(state, f"{prefix}linear2.")
        self.norm1, self.norm2 = _Norm(state, f"{prefix}norm1."), _Norm(state, f"{prefix}norm2.")

    def forward(self, x: Tensor, absent: Tensor | None = None) -> Tensor:
        if self.pre_norm:
            x = x + self._attend(self.norm1(x), absent)
            return x + self._feed_forward(self.norm2(x))
        attended: Tensor = self.norm1(x + self._attend(x, absent))
        changed: Tensor = self.norm2(attended + self._feed_forward(attended))
        return changed

    def _attend(self, x: Tensor, absent: Tensor | None) -> Tensor:
        n, length, dim = x.shape
        q, k, v = self.into(x).view(n, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if absent is None else ~absent[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended: Tensor = self.out(mixed.transpose(1, 2).reshape(n, length, dim))
        return attended

    def _feed_forward(self, x: Tensor) -> Tensor:
        fed: Tensor = self.down(F.relu(self.up(x), inplace=True))
        return fed


class _Norm(nn.Module):
    def __init__(self, state: Mapping[str, Tensor], prefix: str) -> None:
        super().__init__()
        self.scale, self.shift = frozen(state[f"{prefix}weight"]), frozen(state[f"{prefix}bias"])

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.scale.shape, self.scale, self.shift, _EPS)


def _linear(state: Mapping[str, Tensor], prefix: str) -> Linear:
    return Linear(state[f"{prefix}weight"], state[f"{prefix}bias"])
