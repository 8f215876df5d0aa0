"""Signals to tokens: convolutional encoder, windowed transformer, residual vector quantiser.

Always computed in float32: with shorter types a few percent of the tokens change (so leave torch's float32
matmul precision at "highest"). The signal streams through in blocks, so a whole night needs no more
memory than a few minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.errors import DataError
from hypnos_bench.hypnos.attention import Carry, Masks, Norm, StreamLayer, frozen, rope_table
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import TokenizerConfig
from hypnos_bench.hypnos.convolution import ConvEncoder, Tails

TokenCount = Literal["auto", "ceil"]

# Tokens per block: the widest layer, measured in numbers, should fit a core's cache; attention wants short blocks.
_SHORTEST_BLOCK, _LONGEST_BLOCK = 64, 256
_BLOCK_NUMBERS = 2**18
LONGEST_SINGLE_PASS = 1800
"""Whole tokens up to which the published package runs one pass, and counts a last partial token."""


def token_count(n_samples: int, hop: int, rule: TokenCount = "auto") -> int:
    """Tokens of a signal.

    ``"ceil"`` (package 0.1.0) counts a partial last token. ``"auto"`` (newest package) does so for signals
    of at most 1800 whole tokens and drops it for longer ones.
    """
    whole, rest = divmod(n_samples, hop)
    return whole + (rest > 0 and (rule == "ceil" or whole <= LONGEST_SINGLE_PASS))


class SignalTokenizer(nn.Module):
    """Encoder side of one tokenizer.

    Parameters
    ----------
    config : TokenizerConfig
    weights : Weights
        Reader of the tensors below ``tok/<stem>/``.
    """

    def __init__(self, config: TokenizerConfig, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.samples_per_token = config.hop
        self.num_quantizers = config.num_quantizers
        self.codebook_size = config.codebook_size
        self.sample_rate = config.sample_rate
        self.encoder = ConvEncoder(weights, config)
        side = "encoder_transformer."
        self.layers = nn.ModuleList(
            StreamLayer(weights, f"{side}layers.{i}.", config.attention_heads, config.window_size)
            for i in range(config.attention_depth)
        )
        self.norm = Norm(weights, f"{side}norm") if config.attention_depth else None
        self.project = frozen(weights("project_in.weight"))
        self.project_bias = frozen(weights("project_in.bias"))
        levels = range(config.num_quantizers)
        self.codebooks = nn.ParameterList(frozen(weights(f"quantizer.quantizers.{k}.embedding.weight")) for k in levels)

    @torch.inference_mode()
    def tokenize(self, x: Tensor, *, count: TokenCount = "ceil", block_tokens: int | None = None) -> Tensor:
        """Tokens of signals of equal length.

        Parameters
        ----------
        x : Tensor of float32, shape (batch, 1, samples)
            At the tokenizer's rate.
        count : {"ceil", "auto"}
            See :func:`token_count`; the published package's method of this name uses ``"ceil"``.
        block_tokens : int, optional
            Tokens per block, chosen for speed when not given; the result does not depend on it beyond rounding.

        Returns
        -------
        Tensor of int64, shape (batch, tokens, num_quantizers)

        Raises
        ------
        DataError
            When the signal is too short to be mirrored in front of the convolutions.
        """
        n = token_count(x.shape[-1], self.samples_per_token, count)
        out = torch.empty(x.shape[0], n, self.num_quantizers, dtype=torch.long, device=x.device)
        start = 0
        for z in self.latents(x, block_tokens=block_tokens):
            part = z[:, : n - start]
            out[:, start : start + part.shape[1]] = self.quantize(part)
            start += part.shape[1]
            if start == n:
                break
        return out

    @torch.inference_mode()
    def latents(self, x: Tensor, *, block_tokens: int | None = None) -> Iterator[Tensor]:
        """Blocks of vectors before quantisation, (batch, n, codebook width), ceil(samples / hop) in all."""
        hop = self.samples_per_token
        # One hop of zeros at the end lets the last token see its own second; the first output is dropped for it.
        total = x.shape[-1] + hop
        if not self.encoder.fits(total):
            shortest = next(n for n in range(1, 2**31) if self.encoder.fits(n * hop))
            raise DataError(
                f"a signal of {x.shape[-1] / self.config.sample_rate:g} s is too short for this tokenizer; "
                f"it needs more than {(shortest - 2) * self.config.token_duration_sec:g} s"
            )
        block = (block_tokens or self._block_tokens(x.shape[0])) * hop
        while not self.encoder.fits(min(block, total)):
            block += hop
        tails: Tails = {}
        carries, masks = [Carry() for _ in self.layers], Masks()
        position = 0
        for start in range(0, total, block):
            piece = x[..., start : start + block]
            missing = min(block, total - start) - piece.shape[-1]
            z = self.encoder(F.pad(piece, (0, missing)) if missing else piece, tails)
            z = z[:, 1:] if start == 0 else z
            if z.shape[1]:
                z = z.contiguous()
                self._attend(z, position, carries, masks)
                position += z.shape[1]
                yield F.linear(z if self.norm is None else self.norm(z), self.project, self.project_bias)

    def _block_tokens(self, batch: int) -> int:
        fitting = _BLOCK_NUMBERS // (batch * self.config.n_filters * self.samples_per_token)
        return min(max(fitting, _SHORTEST_BLOCK), _LONGEST_BLOCK)

    def _attend(self, z: Tensor, position: int, carries: list[Carry], masks: Masks) -> None:
        if not len(self.layers):
            return
        head_dim = self.config.embed_dim // self.config.attention_heads
        cos, sin = rope_table(position, position + z.shape[1], head_dim, z)
        for layer, carry in zip(self.layers, carries, strict=True):
            layer(z, (cos, sin), carry, masks)

    @torch.inference_mode()
    def quantize(self, z: Tensor) -> Tensor:
        """Residual vector quantisation of (batch, n, width): per level the nearest row, the first of equals."""
        rest = z.flatten(0, 1)
        codes = []
        for book in self.codebooks:
            # |x|^2 - 2 x.e + |e|^2, added in this order: near ties fall as they do in the published package.
            distance = rest @ book.T
            distance.mul_(-2).add_(rest.square().sum(1, keepdim=True)).add_(book.square().sum(1))
            nearest = distance.argmin(1)
            codes.append(nearest)
            rest = rest - book[nearest]
        return torch.stack(codes, -1).view(*z.shape[:2], -1)
