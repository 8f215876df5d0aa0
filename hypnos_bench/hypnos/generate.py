"""Signals out of nothing, or as the continuation of a recording: token roll-out, then decoding.

The temporal model carries its keys, so a step costs the same however long the roll-out is. The depth transformer and
the decoders are read from the bundle here and nowhere else, and dropped when the call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.bundle import Bundle
from hypnos_bench.hypnos.config import CHANNEL_ROWS, ModelMetadata
from hypnos_bench.hypnos.decoder import SignalDecoder, shortest_tokens
from hypnos_bench.hypnos.depth import DepthTransformer, Sampling
from hypnos_bench.hypnos.infer import Tokenizers
from hypnos_bench.hypnos.linear import settle
from hypnos_bench.hypnos.memory import give_back_memory
from hypnos_bench.hypnos.temporal import RQTransformer
from hypnos_bench.registry import did_you_mean

Progress = Callable[[Iterator[Any], int, str], Iterator[Any]]
"""Wraps an iterator: ``progress(iterator, total, description)``."""

_PROMPT_BLOCK = 64


def synthesize(
    model: RQTransformer,
    tokenizers: Tokenizers,
    metadata: ModelMetadata,
    *,
    modalities: Sequence[str] | None = None,
    num_steps: int = 30,
    prompt_tokens: Tensor | None = None,
    temperature: float = 0.7,
    top_k: int = 0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Generate signals: new ones, or what could follow a prompt.

    Parameters
    ----------
    model, tokenizers, metadata
        From :func:`load_model`. `tokenizers` says where the bundle is.
    modalities : sequence of str, optional
        What to generate; the others are absent. Default: all.
    num_steps : int
        Tokens to generate, one per second in the released model.
    prompt_tokens : Tensor of int64, shape (1, S0, all levels), optional
        From :func:`tokenize`; without it generation starts from the learned start embedding.
    temperature : float
        Below 1 the signals are more regular; 0 takes the most likely code each time.
    top_k, top_p : int, float
        Draw from the k most likely codes, or from the most likely ones that make up this probability.
    generator : torch.Generator, optional
        On the model's device; equal seeds give equal signals there, and those of the published package.
    progress : callable, optional
        ``progress(iterator, total, description)`` wraps the iterator of steps.

    Returns
    -------
    dict of str to ndarray of float32, shape ((S0 + num_steps) * samples per token,)
        In the order asked for, at each modality's rate: the prompt as decoded, then what was generated. The scale is
        that of preprocessed signals, a z-score; a trace has no physical unit.

    Raises
    ------
    UsageError
        An unknown modality, sampling values or a prompt that do not fit, too few tokens to decode, or tokenizers and
        metadata of different bundles.
    DataError
        The bundle was made for embedding only, is not the one that was loaded, or holds damaged weights.
    """
    _refuse_mixed(tokenizers, metadata)
    chosen = _chosen(metadata, modalities)
    prompt = _checked_prompt(metadata, prompt_tokens, chosen)
    n = prompt.shape[1] + num_steps
    for i in chosen:
        least = shortest_tokens(metadata.tokenizers[metadata.modalities[i].tokenizer].config)
        if n < least:
            m = metadata.modalities[i]
            raise UsageError(
                f"{n * m.token_duration_sec:g} s of {m.name} are too short to be decoded; "
                f"prompt and new steps must make {least * m.token_duration_sec:g} s"
            )
    tokens = generate_tokens(
        model,
        tokenizers,
        metadata,
        modalities=modalities,
        num_steps=num_steps,
        prompt_tokens=prompt,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=generator,
        progress=progress,
    )
    with tokenizers.open(generating=True) as bundle:
        signals = _decode(bundle, tokens, chosen)
    return {metadata.modalities[i].name: signals[i] for i in chosen}


def generate_tokens(
    model: RQTransformer,
    tokenizers: Tokenizers,
    metadata: ModelMetadata,
    *,
    modalities: Sequence[str] | None = None,
    num_steps: int = 30,
    prompt_tokens: Tensor | None = None,
    temperature: float = 0.7,
    top_k: int = 0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Generate tokens; parameters and errors are those of :func:`synthesize`.

    The codes of the modalities asked for are those of the published package, also from a seeded generator: its random
    numbers are used up in the same order. The package draws codes for the other modalities too, from frames
    that mean nothing; here those columns are zero, as :func:`tokenize` leaves them for absent modalities.

    Returns
    -------
    Tensor of int64, shape (1, S0 + num_steps, all levels)
        The prompt as it was given, then the generated tokens.
    """
    _refuse_mixed(tokenizers, metadata)
    present = sorted(_chosen(metadata, modalities))
    sampling = Sampling(temperature, top_k, top_p)
    if num_steps < 0:
        raise UsageError(f"num_steps must not be negative, got {num_steps}")
    if generator is not None and generator.device.type != model.device.type:
        raise UsageError(f"the generator is on {generator.device}, the model on {model.device}; put both on one device")
    prompt = _checked_prompt(metadata, prompt_tokens, present).to(model.device)
    if num_steps == 0:
        return prompt.clone()
    with tokenizers.open(generating=True) as bundle:
        depth = DepthTransformer(model, metadata, bundle.weights("model/"), present)
    settle(depth, model.device, torch.float32)
    rows = _rows(model, depth, metadata, prompt, num_steps, sampling, generator, present)
    steps = rows if progress is None else progress(rows, num_steps, "generate")
    generated = [row[None, None] for row in steps]
    return torch.cat((prompt, *generated), 1)


def _rows(
    model: RQTransformer,
    depth: DepthTransformer,
    metadata: ModelMetadata,
    prompt: Tensor,
    num_steps: int,
    sampling: Sampling,
    generator: torch.Generator | None,
    present: Sequence[int],
) -> Iterator[Tensor]:
    """Codes of one step after the other, (all levels,)."""
    stream = model.stream(present, [CHANNEL_ROWS[metadata.modalities[i].channels[0]] for i in present])
    # An empty prompt is one empty block: what comes back is the frame of the start embedding.
    for start in range(0, max(prompt.shape[1], 1), _PROMPT_BLOCK):
        frames = stream.advance(prompt[:, start : start + _PROMPT_BLOCK])
    for step in range(num_steps):
        row = depth.sample(frames[0, :, -1], sampling, generator)
        yield row
        if step + 1 < num_steps:
            frames = stream.advance(row[None, None])


def _decode(bundle: Bundle, tokens: Tensor, chosen: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """Signals by modality index; modalities of one tokenizer share a batch, one decoder is in memory at a time."""
    metadata, signals = bundle.metadata, {}
    for stem in metadata.unique_tokenizers:
        members = [i for i in chosen if metadata.modalities[i].tokenizer == stem]
        if not members:
            continue
        decoder = SignalDecoder(metadata.tokenizers[stem].config, bundle.weights(f"tok/{stem}/"))
        settle(decoder, tokens.device, torch.float32)
        batch = decoder.decode(torch.cat([tokens[..., metadata.columns[i]] for i in members])).cpu().numpy()
        del decoder
        give_back_memory()
        for i, signal in zip(members, batch, strict=True):
            if not np.isfinite(signal).all():
                name = metadata.modalities[i].name
                raise DataError(f"{bundle.path}: the signal of {name} is not finite: decoder {stem} is damaged")
            signals[i] = signal
    return signals


def _refuse_mixed(tokenizers: Tokenizers, metadata: ModelMetadata) -> None:
    """Tokenizers know the bundle that the weights are read from, so `metadata` must describe the same one."""
    if not isinstance(tokenizers, Tokenizers):
        raise UsageError("generating reads its weights from the bundle; give the tokenizers that load_model returned")
    if metadata != tokenizers.metadata:
        raise UsageError(f"metadata is not that of {tokenizers.path}; give all three that one load_model returned")


def _chosen(metadata: ModelMetadata, modalities: Sequence[str] | None) -> list[int]:
    """Indices of the modalities asked for, each once, in the order asked for."""
    if isinstance(modalities, str):
        raise UsageError(f"modalities must be a list of names, not text: [{modalities!r}]")
    names = [m.name for m in metadata.modalities]
    asked = names if modalities is None else list(dict.fromkeys(modalities))
    if not asked:
        raise UsageError(f"no modality is asked for; choose from {', '.join(names)}")
    for name in asked:
        if name not in names:
            raise UsageError(f"unknown modality {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}")
    return [names.index(name) for name in asked]


def _checked_prompt(metadata: ModelMetadata, prompt: Tensor | None, present: Sequence[int]) -> Tensor:
    width = metadata.columns[-1].stop
    if prompt is None:
        return torch.zeros(1, 0, width, dtype=torch.long)
    wanted = f"prompt_tokens must be a Tensor of whole numbers of shape (1, S0, {width})"
    if not isinstance(prompt, Tensor):
        raise UsageError(f"{wanted}, not {type(prompt).__name__}; tokenize gives one")
    whole = not (prompt.is_floating_point() or prompt.is_complex() or prompt.dtype == torch.bool)
    if not whole or prompt.ndim != 3 or prompt.shape[0] != 1 or prompt.shape[2] != width:
        raise UsageError(f"{wanted}, not {prompt.dtype} {tuple(prompt.shape)}")
    for i in present:
        m, part = metadata.modalities[i], prompt[..., metadata.columns[i]]
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < m.codebook_size:
            raise UsageError(f"prompt_tokens of {m.name} must lie in 0..{m.codebook_size - 1}")
    return prompt.long()
