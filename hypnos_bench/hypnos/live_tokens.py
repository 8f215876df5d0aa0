"""The way of live channels from samples to tokens: gaps held, preprocessing and tokenizers as streams."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnos_bench.errors import DataError
from hypnos_bench.hypnos.config import ModalitySpec
from hypnos_bench.hypnos.tokenizer import SignalTokenizer
from hypnos_bench.signals.streaming import StreamingPreprocessor

BLOCK_TOKENS = 64
"""Tokens computed at once when many arrive together; bounds the memory of a push."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class LiveChannel:
    """One channel on its way to tokens."""

    name: str
    modality: ModalitySpec
    rate_hz: float
    chain: StreamingPreprocessor | None
    n_samples: int = 0
    last: float = 0.0
    waiting: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))  # for its group
    tokens: Tensor = field(init=False)  # for the other channels: (n, levels)

    def __post_init__(self) -> None:
        self.tokens = torch.empty(0, self.modality.num_quantizers, dtype=torch.long)

    def push(self, values: NDArray[np.float64]) -> tuple[int, ...]:
        """Preprocess samples; return the seconds in which they were no finite numbers."""
        known = np.abs(values) <= _LARGEST  # neither NaN nor infinite, here and as float32
        seconds: NDArray[np.int64] = np.empty(0, np.int64)
        if not known.all():
            seconds = np.unique((self.n_samples + np.flatnonzero(~known)) // self.rate_hz).astype(np.int64)
            latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
            values = np.where(latest < 0, self.last, values[latest])
        if len(values):
            self.last = float(values[-1])
        self.n_samples += len(values)
        self._wait(values.astype(np.float32) if self.chain is None else self.chain.push(values))
        return tuple(seconds.tolist())

    def finish(self) -> None:
        """Preprocess to the end."""
        if self.chain is not None:
            self._wait(self.chain.finish())

    def take(self, n: int) -> Tensor:
        """Remove the oldest `n` tokens and return them."""
        taken, self.tokens = self.tokens[:n], self.tokens[n:]
        return taken

    def _wait(self, ready: NDArray[np.float32]) -> None:
        self.waiting = np.concatenate((self.waiting, ready))


class TokenGroup:
    """Channels of one tokenizer, tokenised side by side as far as all of them have come."""

    def __init__(self, tokenizer: SignalTokenizer, channels: list[LiveChannel]) -> None:
        self._channels = channels
        self._block = BLOCK_TOKENS * tokenizer.samples_per_token
        self._stream = tokenizer.stream(len(channels))

    def push(self) -> None:
        """Tokenise what has come on all channels."""
        n = min(len(one.waiting) for one in self._channels)
        x = torch.from_numpy(np.stack([one.waiting[:n] for one in self._channels])[:, None])
        for one in self._channels:
            one.waiting = one.waiting[n:].copy()
        for start in range(0, n, self._block):
            self._give(self._stream.push(x[..., start : start + self._block]))

    def finish(self) -> None:
        """Tokenise to the end of the shortest channel."""
        for one in self._channels:
            one.finish()
        self.push()
        try:
            self._give(self._stream.finish("ceil"))
        except DataError as error:
            raise DataError(f"channel {' and '.join(one.name for one in self._channels)}: {error}") from error

    def _give(self, codes: Tensor) -> None:
        if any(self._stream.tainted):
            names = " or ".join(one.name for one in self._channels)
            raise DataError(f"channel {names}: samples too large to be computed with; preprocessed ones are around 1")
        for one, row in zip(self._channels, codes.cpu(), strict=True):
            one.tokens = torch.cat((one.tokens, row))
