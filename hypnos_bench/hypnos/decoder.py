"""Tokens back to a signal: codebook rows, windowed transformer, transposed convolutions.

The decoder half of a tokenizer looks back only, so tokens stream through it in blocks and memory does not grow with
their number. Always float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypnos_bench.errors import UsageError
from hypnos_bench.hypnos.attention import Carry, Masks, Norm, StreamLayer, rope_table
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import TokenizerConfig
from hypnos_bench.hypnos.convolution import ACTIVATIONS, ChannelNorm, StreamConv, Tails, conv_weight
from hypnos_bench.hypnos.layout import ConvSpec, decoder_norm, decoder_specs
from hypnos_bench.hypnos.linear import Linear, frozen

_BLOCK_TOKENS = 64


class StreamUpsampling(nn.Module):
    """Transposed convolution that looks back only: every input adds a stretch of ``kernel`` samples, `stride` apart."""

    def __init__(self, weights: Weights, spec: ConvSpec, norm: str | None) -> None:
        super().__init__()
        self.name, _, self.width, kernel, self.stride, _ = spec
        self.overlap = kernel // self.stride  # inputs that add to one output sample
        weight = conv_weight(weights, self.name, norm)  # (in, out, kernel)
        self.product = Linear(weight.permute(2, 1, 0).flatten(0, 1).contiguous())
        self.bias = frozen(weights(f"{self.name}.conv.bias"))
        self.norm = ChannelNorm(weights, self.name, norm) if norm in ("layer", "rms") else None

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """Upsample a block: (batch, n, channels) to (batch, n * stride, channels out)."""
        batch, n, channels = x.shape
        before = self.overlap - 1
        if before:
            tail = tails.get(self.name)
            x = torch.cat((x.new_zeros(batch, before, channels) if tail is None else tail, x), 1)
            tails[self.name] = x[:, n:].clone()
        parts = self.product(x).view(batch, n + before, self.overlap, self.stride * self.width)
        y: Tensor = parts[:, before:, 0]
        for lag in range(1, self.overlap):
            y = y + parts[:, before - lag : before - lag + n, lag]
        y = y.reshape(batch, n * self.stride, self.width) + self.bias
        if self.norm is not None:
            y = self.norm(y)
        return y


class SignalDecoder(nn.Module):
    """Decoder side of one tokenizer.

    Parameters
    ----------
    config : TokenizerConfig
    weights : Weights
        Reader of the tensors below ``tok/<stem>/``, of a bundle opened for generating.
    """

    def __init__(self, config: TokenizerConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        levels = range(config.num_quantizers)
        self.codebooks = nn.ParameterList(frozen(weights(f"quantizer.quantizers.{k}.embedding.weight")) for k in levels)
        self.project = Linear(weights("project_out.weight"), weights("project_out.bias"))
        side = "decoder_transformer."
        self.layers = nn.ModuleList(
            StreamLayer(weights, f"{side}layers.{i}.", config.attention_heads, config.window_size)
            for i in range(config.attention_depth)
        )
        self.norm = Norm(weights, f"{side}norm") if config.attention_depth else None
        convs: list[StreamConv | StreamUpsampling] = []
        for transposed, spec in decoder_specs(config):
            norm = decoder_norm(spec[0], config)
            convs.append(
                StreamUpsampling(weights, spec, norm)
                if transposed
                else StreamConv(weights, spec, norm, config.pad_mode)
            )
        per_stage = 2 * config.n_residual_layers + 1
        self.first, self.last = convs[0], convs[-1]
        self.stages = nn.ModuleList(
            nn.ModuleList(convs[i : i + per_stage]) for i in range(1, len(convs) - 1, per_stage)
        )
        self._act = ACTIVATIONS[config.activation]

    @torch.inference_mode()
    def decode(self, tokens: Tensor, *, block_tokens: int = _BLOCK_TOKENS) -> Tensor:
        """Signals of tokens.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n, num_quantizers)
        block_tokens : int
            Tokens per block; the result does not depend on it beyond rounding.

        Returns
        -------
        Tensor of float32, shape (batch, n * samples per token)
            At the tokenizer's rate, in the scale of preprocessed signals.

        Raises
        ------
        UsageError
            When there are fewer tokens than :func:`shortest_tokens`.
        """
        n, least = tokens.shape[1], shortest_tokens(self.config)
        if n < least:
            raise UsageError(f"{n} tokens are too few to be decoded; this tokenizer needs {least}")
        carries, masks, tails = [Carry() for _ in self.layers], Masks(), Tails()
        parts, start = [], 0
        while start < n:
            stop = start + (block_tokens if start else max(block_tokens, least))
            parts.append(self._decode(tokens[:, start:stop], start, carries, masks, tails))
            start = stop
        return torch.cat(parts, 1)

    def _decode(self, tokens: Tensor, start: int, carries: list[Carry], masks: Masks, tails: Tails) -> Tensor:
        z = self.codebooks[0][tokens[..., 0]]
        for k in range(1, len(self.codebooks)):
            z = z + self.codebooks[k][tokens[..., k]]
        x: Tensor = self.project(z)
        if self.norm is not None:
            rope = rope_table(start, start + x.shape[1], self.config.embed_dim // self.config.attention_heads, x)
            for layer, carry in zip(self.layers, carries, strict=True):
                x = layer(x, rope, carry, masks)
            x = self.norm(x)
        x = self.first(x, tails)
        for stage in self.stages:
            convs = [*stage.children()]
            x = convs[0](self._act(x), tails)
            residuals = [conv for conv in convs if isinstance(conv, StreamConv)]
            for narrow, widen in zip(residuals[::2], residuals[1::2], strict=True):
                x = widen.plus(self._act(narrow(self._act(x), tails)), x, tails)
        signal: Tensor = self.last(x, tails)
        return signal[..., 0]


def shortest_tokens(config: TokenizerConfig) -> int:
    """Fewest tokens that can be decoded: mirroring in front of a convolution needs samples to mirror."""
    if config.pad_mode != "reflect":
        return 1
    least, samples = 1, 1  # samples per token so far
    for transposed, (_, _, _, kernel, stride, dilation) in decoder_specs(config):
        if transposed:
            samples *= stride
        else:
            reach = (kernel - 1) * dilation
            least = max(least, reach // samples + 1)
    return least
