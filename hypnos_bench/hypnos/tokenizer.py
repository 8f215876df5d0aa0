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

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.attention import Carry, Masks, Norm, StreamLayer, rope_table
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import TokenizerConfig
from hypnos_bench.hypnos.convolution import ConvEncoder, Tails
from hypnos_bench.hypnos.linear import Linear, M, frozen, settle

TokenCount = Literal["auto", "ceil"]

BLOCK_TOKENS = {"cpu": 256, "cuda": 512, "mps": 256}
"""Tokens per block."""

_CONV_NUMBERS = 2**19  # in the widest layer of what a CPU convolves at once: near the core's cache
LONGEST_SINGLE_PASS = 1800
"""Whole tokens up to which the published package runs one pass, and counts a last partial token."""


def token_count(n_samples: int, hop: int, rule: TokenCount = "auto") -> int:
    """Tokens of a signal.

    ``"ceil"`` (package 0.1.0) counts a partial last token. ``"auto"`` (newest package) does so for signals
    of at most 1800 whole tokens and drops it for longer ones.
    """
    if rule not in ("auto", "ceil"):
        raise UsageError(f"the token count must be 'auto' or 'ceil', not {rule!r}")
    whole, rest = divmod(n_samples, hop)
    return whole + (rest > 0 and (rule == "ceil" or whole <= LONGEST_SINGLE_PASS))


class SignalTokenizer(nn.Module):
    """Encoder side of one tokenizer.

    Parameters
    ----------
    config : TokenizerConfig
    weights : Weights
        Reader of the tensors below ``tok/<stem>/``.
    device : torch.device, optional
        Where to settle in float32, part by part, so that no second copy is ever held; otherwise the tensors stay as
        they are read.
    """

    def __init__(self, config: TokenizerConfig, weights: Weights, device: torch.device | None = None) -> None:
        super().__init__()
        self.config = config
        self.samples_per_token = config.hop
        self.num_quantizers = config.num_quantizers
        self.codebook_size = config.codebook_size
        self.sample_rate = config.sample_rate

        def placed(part: M) -> M:
            return part if device is None else settle(part, device, torch.float32)

        self.encoder = placed(ConvEncoder(weights, config))
        side = "encoder_transformer."
        self.layers = nn.ModuleList(
            placed(StreamLayer(weights, f"{side}layers.{i}.", config.attention_heads, config.window_size))
            for i in range(config.attention_depth)
        )
        self.norm = placed(Norm(weights, f"{side}norm")) if config.attention_depth else None
        self.project = placed(Linear(weights("project_in.weight"), weights("project_in.bias")))
        levels = range(config.num_quantizers)
        books = [weights(f"quantizer.quantizers.{k}.embedding.weight").to(device) for k in levels]
        self.codebooks = nn.ParameterList(map(frozen, books))
        # -2 x.e as one product: doubling is exact.
        self._products = nn.ModuleList(placed(Linear(-2 * book)) for book in books)
        self._squares = nn.ParameterList(frozen(book.square().sum(1)) for book in books)

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
        return self.tokenize_and_report(x, count=count, block_tokens=block_tokens)[0]

    def tokenize_and_report(
        self, x: Tensor, *, count: TokenCount = "ceil", block_tokens: int | None = None
    ) -> tuple[Tensor, list[list[tuple[int, int]]]]:
        """Tokens as :meth:`tokenize` gives them, and :attr:`TokenStream.tainted`."""
        stream = self.stream(x.shape[0])
        parts = [stream.push(piece) for piece in self._pieces(x, block_tokens)]
        return torch.cat((*parts, stream.finish(count)), 1), stream.tainted

    @torch.inference_mode()
    def latents(self, x: Tensor, *, block_tokens: int | None = None) -> Iterator[Tensor]:
        """Blocks of vectors before quantisation, (batch, n, codebook width), ceil(samples / hop) in all."""
        stream = self.stream(x.shape[0])
        for piece in self._pieces(x, block_tokens):
            yield stream.push_latents(piece)
        yield stream.finish_latents()

    def stream(self, batch: int = 1) -> TokenStream:
        """Start tokenising `batch` signals of equal rate that arrive piece by piece."""
        return TokenStream(self, batch)

    def _pieces(self, x: Tensor, block_tokens: int | None) -> Iterator[Tensor]:
        block = (block_tokens or BLOCK_TOKENS[self.device.type]) * self.samples_per_token
        return (x[..., start : start + block] for start in range(0, x.shape[-1], block))

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return next(self.parameters()).device

    @property
    def attention_reach(self) -> int | None:
        """Tokens back from which one token can be reached through all layers; ``None`` when there is no limit."""
        window = self.config.window_size
        return len(self.layers) * (window - 1) if window is not None else None if len(self.layers) else 0

    @torch.inference_mode()
    def quantize(self, z: Tensor) -> Tensor:
        """Residual vector quantisation of (batch, n, width): per level the nearest row, the first of equals."""
        rest = z.flatten(0, 1)
        codes = torch.empty(len(rest), self.num_quantizers, dtype=torch.long, device=z.device)
        for level, (book, product, squares) in enumerate(
            zip(self.codebooks, self._products, self._squares, strict=True)
        ):
            # |x|^2 - 2 x.e + |e|^2, added in this order: near ties fall as they do in the published package.
            distance = product(rest).add_(rest.square().sum(1, keepdim=True)).add_(squares)
            nearest = distance.argmin(1)
            codes[:, level] = nearest
            rest = rest - book[nearest]
        return codes.view(*z.shape[:2], self.num_quantizers)


class TokenStream:
    """Tokens of signals that arrive piece by piece; the tokens do not depend on how a signal is cut.

    A token is complete with the first sample after its own second. At the start nothing comes out until the signal
    is long enough to be mirrored in front of the convolutions (six seconds, with a final kernel of seven).

    A sample that is not finite reaches the tokens that causality says it must and no others. Their codes are 0.

    Parameters
    ----------
    tokenizer : SignalTokenizer
    batch : int
        Signals side by side.

    Attributes
    ----------
    tainted : list of list of (int, int)
        Per signal, the ranges (first, stop) of tokens that a non-finite sample reached.
    """

    def __init__(self, tokenizer: SignalTokenizer, batch: int) -> None:
        self._tokenizer = tokenizer
        first = next(tokenizer.parameters())
        self._waiting = torch.empty(batch, 1, 0, device=first.device, dtype=first.dtype)
        self._samples = 0
        self._finished = False
        self._tails: Tails = {}
        self._carries, self._masks = [Carry() for _ in tokenizer.layers], Masks()
        self._position = 0  # tokens so far
        self._last_bad: Tensor | None = None  # per signal, the last token that was not finite itself
        self.tainted: list[list[tuple[int, int]]] = [[] for _ in range(batch)]

    @torch.inference_mode()
    def push(self, x: Tensor) -> Tensor:
        """Tokens that are complete now, int64 (batch, n, num_quantizers), of samples (batch, 1, any number)."""
        return self._codes(self.push_latents(x), None)

    @torch.inference_mode()
    def finish(self, count: TokenCount = "ceil") -> Tensor:
        """Tokens that are left at the end of the signal.

        Raises
        ------
        DataError
            When the whole signal is too short to be mirrored in front of the convolutions.
        UsageError
            When the signal has ended before.
        """
        z = self.finish_latents()
        left = token_count(self._samples, self._tokenizer.samples_per_token, count) - (self._position - z.shape[1])
        return self._codes(z, left)

    def push_latents(self, x: Tensor) -> Tensor:
        """Vectors before quantisation of the tokens that are complete now, (batch, n, codebook width)."""
        if self._finished:
            raise UsageError("the signal has ended; start another stream for another signal")
        self._samples += x.shape[-1]
        x = x.to(self._waiting)
        x = x.masked_fill(x.isinf(), torch.nan)  # an activation may make an infinite value finite again
        samples = torch.cat((self._waiting, x), -1) if self._waiting.shape[-1] else x
        # The first block is one sample longer than whole tokens: a token is complete with the sample after its second.
        hop, ahead = self._tokenizer.samples_per_token, 0 if self._tails else 1
        whole = max(samples.shape[-1] - ahead, 0) // hop * hop + ahead
        if ahead and not (whole <= samples.shape[-1] and self._tokenizer.encoder.fits(whole)):
            whole = 0
        self._waiting = samples[..., whole:].clone()
        return self._latents(samples[..., :whole])

    def finish_latents(self) -> Tensor:
        """Vectors of the tokens that are left, a last one with less than a second of signal among them."""
        tokenizer, hop = self._tokenizer, self._tokenizer.samples_per_token
        if self._finished:
            raise UsageError("the signal has ended already")
        self._finished = True
        # Zeros let the last token see its whole second and the sample after it.
        left = self._waiting.shape[-1]
        total = hop if self._tails else -(-left // hop) * hop + 1
        if not self._tails and not tokenizer.encoder.fits(total):
            shortest = next(n for n in range(2**31) if tokenizer.encoder.fits(n * hop + 1))
            raise DataError(
                f"a signal of {self._samples / tokenizer.sample_rate:g} s is too short for this tokenizer; "
                f"it needs more than {(shortest - 1) * tokenizer.config.token_duration_sec:g} s"
            )
        samples = F.pad(self._waiting, (0, total - left))
        self._waiting = samples[..., :0]
        return self._latents(samples)

    def _latents(self, samples: Tensor) -> Tensor:
        tokenizer = self._tokenizer
        if not samples.shape[-1]:
            return samples.new_empty(samples.shape[0], 0, tokenizer.config.code_dim)
        first = not self._tails
        z = torch.cat([tokenizer.encoder(piece, self._tails) for piece in self._pieces(samples)], 1)
        z = self._without_bad(z[:, 1:] if first else z)  # the first output precedes all tokens
        if z.shape[1] and len(tokenizer.layers):
            head_dim = tokenizer.config.embed_dim // tokenizer.config.attention_heads
            rope = rope_table(self._position, self._position + z.shape[1], head_dim, z)
            for layer, carry in zip(tokenizer.layers, self._carries, strict=True):
                z = layer(z, rope, carry, self._masks)
        self._position += z.shape[1]
        latents: Tensor = tokenizer.project(z if tokenizer.norm is None else tokenizer.norm(z))
        return latents

    def _pieces(self, samples: Tensor) -> Iterator[Tensor]:
        """A block in the portions that suit the convolutions; the first one is a sample longer than whole tokens."""
        tokenizer, hop, n = self._tokenizer, self._tokenizer.samples_per_token, samples.shape[-1]
        at_once = max(_CONV_NUMBERS // (samples.shape[0] * tokenizer.config.n_filters * hop), 1) * hop
        ahead = 0 if self._tails else 1
        if samples.device.type != "cpu" or (ahead and not tokenizer.encoder.fits(at_once + 1)):
            at_once = n
        yield samples[..., : at_once + ahead]
        for start in range(at_once + ahead, n, at_once):
            yield samples[..., start : start + at_once]

    def _without_bad(self, z: Tensor) -> Tensor:
        """Zeros in place of vectors that are not finite: attention would spread them over earlier tokens too."""
        bad = ~z.sum(-1).isfinite()
        if self._last_bad is None and not bad.any():
            return z.contiguous()
        if self._last_bad is None:
            self._last_bad = torch.full((len(z), 1), -(2**62), device=z.device)
        index = torch.arange(self._position, self._position + z.shape[1], device=z.device).expand(bad.shape)
        latest = torch.cat((self._last_bad, torch.where(bad, index, self._last_bad)), 1).cummax(1).values[:, 1:]
        self._last_bad = latest[:, -1:]
        reach = self._tokenizer.attention_reach
        tainted = latest >= 0 if reach is None else index - latest <= reach
        for ranges, row in zip(self.tainted, tainted, strict=True):
            for t in (row.nonzero()[:, 0] + self._position).tolist():
                if ranges and ranges[-1][1] == t:
                    ranges[-1] = (ranges[-1][0], t + 1)
                else:
                    ranges.append((t, t + 1))
        return z.masked_fill(bad[..., None], 0.0)

    def _codes(self, z: Tensor, keep: int | None) -> Tensor:
        start = self._position - z.shape[1]
        codes = self._tokenizer.quantize(z[:, :keep])
        for row, ranges in zip(codes, self.tainted, strict=True):
            for first, stop in ranges:
                row[max(first - start, 0) : max(stop - start, 0)] = 0
        return codes
