"""The two sides of the comparison, behind the same few calls: this package and the published one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Signals = Mapping[str, NDArray[np.float32]]

WINDOW_TOKENS, CONTEXT_TOKENS = 1800, 128
"""Windows in which the published package tokenizes long signals since 0.3.0, and their context on both sides."""


class Tokens(NamedTuple):
    """What ``tokenize`` gives and ``embed`` takes."""

    tokens: Any  # int64, (1, T, all levels)
    mask: Any  # bool, (1, modalities)
    channel_ids: Any  # int64, (1, modalities)


class Side(Protocol):
    """One implementation with its bundle; every call but the first needs `load`."""

    metadata: Any

    def load(self, bundle: str) -> None: ...
    def preprocess(self, edf: str) -> Signals: ...
    def tokenize(self, signals: Signals) -> Tokens: ...
    def embed(self, given: Tokens) -> dict[str, NDArray[np.float16]]: ...

    def frames(self, given: Tokens) -> NDArray[np.float32]:
        """What `embed` rounds to float16: (present modalities, T, width), in one chunk."""

    def generate(self, given: Tokens, steps: int) -> NDArray[np.int64]:
        """Greedy roll-out after the tokens given: (1, T + steps, all levels)."""


class Ours:
    """This package, by the steps of ``embed_edf``."""

    def __init__(self, dtype: str) -> None:
        import torch

        from hypnos_bench.hypnos import infer, preprocess

        self._infer, self._preprocess, self._dtype = infer, preprocess, getattr(torch, dtype)

    def load(self, bundle: str) -> None:
        self.model, self.tokenizers, self.metadata = self._infer.load_model(bundle, dtype=self._dtype)

    def preprocess(self, edf: str) -> Signals:
        return self._preprocess.preprocess_edf(edf, self.metadata)

    def tokenize(self, signals: Signals) -> Tokens:
        made = Tokens(*self._infer.tokenize(self.tokenizers, self.metadata, signals))
        self.tokenizers.release()
        return made

    def embed(self, given: Tokens) -> dict[str, NDArray[np.float16]]:
        return self._infer.embed(self.model, *given, self.metadata)

    def frames(self, given: Tokens) -> NDArray[np.float32]:
        parts = [part.numpy() for _, part in self._infer.frames(self.model, *given, chunk_tokens=given.tokens.shape[1])]
        return np.concatenate(parts, 1)

    def generate(self, given: Tokens, steps: int) -> NDArray[np.int64]:
        from hypnos_bench.hypnos.generate import generate_tokens

        names = [m.name for m, there in zip(self.metadata.modalities, given.mask[0].tolist(), strict=True) if there]
        rollout = generate_tokens(
            self.model,
            self.tokenizers,
            self.metadata,
            modalities=names,
            num_steps=steps,
            prompt_tokens=given.tokens,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            generator=None,
        )
        return np.asarray(rollout.numpy())


class Reference:
    """The models of ``hypnos`` 0.1.0, with long signals tokenized in the windows of 0.3.0 (its default)."""

    def __init__(self) -> None:
        import torch
        from hypnos import embedding
        from hypnos.embedding import infer

        # Tied weights and the slow attention of CPUs are as its authors want them; saying so each time is noise.
        logging.getLogger("hypnos").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
        self._torch, self._embedding, self._infer = torch, embedding, infer

    def load(self, bundle: str) -> None:
        self.model, self.tokenizers, self.metadata = self._embedding.load_model(bundle)
        self._windowed = {name: _Windowed(tokenizer) for name, tokenizer in self.tokenizers.items()}

    def preprocess(self, edf: str) -> Signals:
        signals: Signals = self._embedding.preprocess_edf(edf, self.metadata)
        return signals

    def tokenize(self, signals: Signals) -> Tokens:
        return Tokens(*self._embedding.tokenize(self._windowed, self.metadata, signals))

    def embed(self, given: Tokens) -> dict[str, NDArray[np.float16]]:
        made: dict[str, NDArray[np.float16]] = self._embedding.embed(self.model, *given, self.metadata)
        return made

    def frames(self, given: Tokens) -> NDArray[np.float32]:
        out = self._infer.temporal_context(self.model, *given, chunk_tokens=given.tokens.shape[1])
        return np.asarray(out[:, given.mask[0]].transpose(0, 1).numpy())

    def generate(self, given: Tokens, steps: int) -> NDArray[np.int64]:
        with self._torch.inference_mode():
            tokens, mask, channel_ids = given
            rollout = self.model.generate(tokens, channel_ids, mask, num_steps=steps, temperature=0.0)
        return np.asarray(rollout.numpy())


class _Windowed:
    """A tokenizer of the published package 0.1.0 that goes through long signals window by window."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def tokenize(self, x: Any) -> Any:
        """Tokens of a signal (1, 1, samples): (1, n, levels)."""
        import torch

        hop = self._tokenizer.samples_per_token
        n_tokens = x.shape[-1] // hop
        if n_tokens <= WINDOW_TOKENS:
            return self._tokenizer.tokenize(x)
        parts = []
        for first, stop, begin, end in token_windows(n_tokens):
            codes = self._tokenizer.tokenize(x[..., begin * hop : end * hop])
            parts.append(codes[:, first - begin : stop - begin])
        return torch.cat(parts, 1)


def token_windows(n_tokens: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows over the whole tokens of a long signal: first and last kept (exclusive), then first and last computed."""
    for first in range(0, n_tokens, WINDOW_TOKENS):
        stop = min(first + WINDOW_TOKENS, n_tokens)
        yield first, stop, max(0, first - CONTEXT_TOKENS), min(n_tokens, stop + CONTEXT_TOKENS)


def make_side(name: str, dtype: str) -> Side:
    """``"reference"`` or ``"ours"``; the imports it needs happen here."""
    return Reference() if name == "reference" else Ours(dtype)


def random_tokens(metadata: Any, steps: int, present: Sequence[str]) -> Tokens:
    """Seeded random tokens of some modalities, each from its own channel."""
    import torch

    from hypnos_bench.hypnos.config import CHANNEL_ROWS

    generator = torch.Generator().manual_seed(0)
    columns = []
    for m in metadata.modalities:
        codes = torch.randint(m.codebook_size, (1, steps, m.num_quantizers), generator=generator)
        columns.append(codes * (m.name in present))
    mask = torch.tensor([[m.name in present for m in metadata.modalities]])
    channel_ids = torch.tensor([[CHANNEL_ROWS[m.channels[0]] for m in metadata.modalities]])
    return Tokens(torch.cat(columns, 2), mask, channel_ids * mask)
