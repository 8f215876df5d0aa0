"""Several recordings through the core side by side, which keeps an accelerator busy.

Each recording gets what it gets alone, to rounding: shorter ones are padded at their end, and everything here looks
back only. On a CPU there is nothing to gain, since the modalities of one recording fill its products already.

CUDA graphs would not pay: with 32 recordings a block of 128 seconds is 32768 rows in every product, some 20 ms of
work for about 600 kernels, which are queued in half that time while the block before is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.budget import BLOCK_TOKENS, recordings_at_once, tokenizer_block
from hypnos_bench.hypnos.config import CHANNEL_ROWS, ModelMetadata
from hypnos_bench.hypnos.infer import Context, check_tokens, tokenize
from hypnos_bench.hypnos.temporal import RQTransformer
from hypnos_bench.hypnos.tokenizer import SignalTokenizer, TokenCount, token_count

Signals = Mapping[str, NDArray[np.floating[Any]] | None]
"""Preprocessed signals of a recording by modality."""

Tokens = tuple[Tensor, Tensor, Tensor]
"""Tokens (1, T, all levels), modality mask (1, modalities) and channel ids (1, modalities) of a recording."""


def tokenize_many(
    tokenizers: Mapping[str, SignalTokenizer],
    metadata: ModelMetadata,
    several: Sequence[Signals],
    *,
    count: TokenCount = "auto",
) -> list[Tokens | DataError]:
    """Tokens of several recordings, each as from :func:`hypnos_bench.hypnos.infer.tokenize`.

    Parameters
    ----------
    tokenizers, metadata
        From :func:`hypnos_bench.hypnos.infer.load_model`.
    several : sequence of mapping of str to ndarray
        Preprocessed signals by modality, per recording.
    count : {"auto", "ceil"}
        Applied to each recording by itself.

    Returns
    -------
    list of (tokens, modality_mask, channel_ids) or DataError
        What the single call returns or raises, on the CPU.

    Raises
    ------
    UsageError
        When a signal's name is no modality.
    """
    found: dict[int, Tokens | DataError] = {}
    rows: dict[str, list[tuple[int, str, NDArray[np.float32]]]] = {stem: [] for stem in metadata.unique_tokenizers}
    for i, signals in enumerate(several):
        arrays = {name: np.asarray(s, np.float32).reshape(-1) for name, s in signals.items() if s is not None}
        if not _in_order(arrays, metadata):
            found[i] = _alone(tokenizers, metadata, signals, count)
            continue
        for m in metadata.modalities:
            if m.name in arrays:
                rows[m.tokenizer].append((i, m.name, arrays[m.name]))
    codes: list[dict[str, Tensor]] = [{} for _ in several]
    for members in filter(None, rows.values()):
        made = _rows(tokenizers[members[0][1]], [array for _, _, array in members], count)
        for (i, name, _), row in zip(members, made, strict=True):
            if row is None:
                found[i] = _alone(tokenizers, metadata, several[i], count)
            else:
                codes[i][name] = row
    return [found[i] if i in found else _assembled(metadata, codes[i]) for i in range(len(several))]


def _in_order(arrays: Mapping[str, NDArray[np.float32]], metadata: ModelMetadata) -> bool:
    names = {m.name for m in metadata.modalities}
    return bool(arrays) and all(name in names and bool(np.isfinite(array).all()) for name, array in arrays.items())


def _alone(
    tokenizers: Mapping[str, SignalTokenizer], metadata: ModelMetadata, signals: Signals, count: TokenCount
) -> Tokens | DataError:
    """A recording that cannot go with others: the single call says what is wrong with it."""
    try:
        return tokenize(tokenizers, metadata, signals, count=count)
    except DataError as error:
        return error


@torch.inference_mode()
def _rows(tokenizer: SignalTokenizer, arrays: Sequence[NDArray[np.float32]], count: TokenCount) -> list[Tensor | None]:
    """Codes (tokens, levels) of signals on the CPU; ``None`` for one that is too short or overflows.

    A shorter signal is followed by zeros, in company as alone: its last token sees them beyond the signal's end.
    """
    hop = tokenizer.samples_per_token
    fitting = [i for i, array in enumerate(arrays) if tokenizer.encoder.fits(-(-len(array) // hop) * hop + 1)]
    rows: list[Tensor | None] = [None] * len(arrays)
    if fitting:
        stream = tokenizer.stream(len(fitting))
        block = tokenizer_block(tokenizer, len(fitting)) * hop
        parts = [stream.push(piece) for piece in _pieces([arrays[i] for i in fitting], block, tokenizer.device)]
        codes = torch.cat((*parts, stream.finish()), 1).cpu()
        for i, row, tainted in zip(fitting, codes, stream.tainted, strict=True):
            rows[i] = None if tainted else row[: token_count(len(arrays[i]), hop, count)]
    return rows


def _pieces(arrays: Sequence[NDArray[np.float32]], block: int, device: torch.device) -> Iterator[Tensor]:
    """Stretches (signals, 1, n) on the device; the next one is gathered while this one is computed on."""
    longest, pinned = max(map(len, arrays)), device.type == "cuda"
    for start in range(0, longest, block):
        piece = torch.zeros(len(arrays), 1, min(block, longest - start), pin_memory=pinned)
        for row, array in zip(piece.numpy(), arrays, strict=True):
            part = array[start : start + block]
            row[0, : len(part)] = part
        yield piece.to(device, non_blocking=pinned)


def _assembled(metadata: ModelMetadata, codes: Mapping[str, Tensor]) -> Tokens:
    n = min(map(len, codes.values()))
    tokens = torch.zeros(1, n, metadata.columns[-1].stop, dtype=torch.long)
    channel_ids = torch.zeros(1, len(metadata.modalities), dtype=torch.long)
    for i, (m, columns) in enumerate(zip(metadata.modalities, metadata.columns, strict=True)):
        if m.name in codes:
            tokens[0, :, columns] = codes[m.name][:n]
            channel_ids[0, i] = CHANNEL_ROWS[m.channels[0]]
    return tokens, torch.tensor([[m.name in codes for m in metadata.modalities]]), channel_ids


def embed_many(
    model: RQTransformer,
    several: Sequence[Tokens],
    metadata: ModelMetadata,
    *,
    context: Context = "continuous",
    chunk_tokens: int | None = None,
    average: bool = False,
    at_once: int | None = None,
) -> list[dict[str, NDArray[np.float16]]]:
    """Embeddings of several recordings, each as from :func:`hypnos_bench.hypnos.infer.embed`.

    Parameters
    ----------
    model, metadata
        From :func:`hypnos_bench.hypnos.infer.load_model`.
    several : sequence of (tokens, modality_mask, channel_ids)
        From :func:`tokenize_many`.
    context : {"continuous", "chunked"}
    chunk_tokens : int, optional
        Where ``"chunked"`` starts anew; to be given with it and only with it.
    average : bool
        Give the mean over modalities, under ``"mean"``: taken on the device, in float32, over the float16 rows.
    at_once : int, optional
        Recordings side by side; default :func:`recordings_at_once`. Those with the same modalities go together.

    Returns
    -------
    list of dict of str to ndarray of float16, shape (T, embed_dim)

    Raises
    ------
    UsageError
        When tokens, masks and ids do not fit the model, or the context and `chunk_tokens` do not fit each other.
    DataError
        When the weights produce values that are not finite.
    """
    if context not in ("chunked", "continuous") or (context == "chunked") != bool(chunk_tokens):
        raise UsageError(
            f"context {context!r} with chunk_tokens={chunk_tokens}: 'chunked' needs them, 'continuous' none"
        )
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for i, (tokens, mask, channel_ids) in enumerate(several):
        check_tokens(model, tokens, mask, channel_ids)
        present = tuple(k for k, there in enumerate(mask[0].tolist()) if there)
        channels = tuple(channel_ids[0, list(present)].tolist())
        groups.setdefault((present, channels), []).append(i)
    at_once = at_once or recordings_at_once(model, metadata, chunk_tokens)
    out: list[dict[str, NDArray[np.float16]]] = [{} for _ in several]
    for (present, channels), members in groups.items():
        names = ["mean"] if average else [metadata.modalities[k].name for k in present]
        members.sort(key=lambda i: several[i][0].shape[1])  # neighbours in length waste little on padding
        for first in range(0, len(members) if present else 0, at_once):
            chosen = members[first : first + at_once]
            group = [several[i][0][0] for i in chosen]
            blocks = _blocks(model, group, present, channels, chunk_tokens, average)
            for i, arrays in zip(chosen, _collected(blocks, group, len(names), model.embed_dim), strict=True):
                out[i] = dict(zip(names, arrays, strict=True))
    return out


Block = tuple[Tensor, Tensor]
"""Float16 rows (recordings, modalities or 1, n, embed_dim), and whether each second is finite (recordings, n)."""


@torch.inference_mode()
def _blocks(
    model: RQTransformer,
    group: Sequence[Tensor],
    present: Sequence[int],
    channels: Sequence[int],
    chunk_tokens: int | None,
    average: bool,
) -> Iterator[tuple[int, Block]]:
    """First second and rows, on the device, block by block; what follows a recording's end is of no meaning."""
    longest, device = max(map(len, group)), model.device
    pinned = device.type == "cuda"
    padded = torch.zeros(len(group), longest, group[0].shape[1], dtype=torch.long, pin_memory=pinned)
    for row, tokens in zip(padded, group, strict=True):
        row[: len(tokens)] = tokens
    padded = padded.to(device, non_blocking=pinned)
    block, chunk = BLOCK_TOKENS[device.type], chunk_tokens or max(longest, 1)
    for first in range(0, longest, chunk):
        stream = model.stream(present, channels, batch=len(group))
        last = min(first + chunk, longest)
        for start in range(first, last, block):
            half = stream.push(padded[:, start : min(start + block, last)]).to(torch.float16)
            finite = half.isfinite().all(-1).all(1)
            yield start, (_mean(half) if average else half, finite)


def _mean(half: Tensor) -> Tensor:
    """Mean over modalities (batch, 1, n, width), added one by one in float32."""
    total = half[:, :1].float()
    for k in range(1, half.shape[1]):
        total = total + half[:, k : k + 1]
    return (total / half.shape[1]).to(torch.float16)


def _collected(
    blocks: Iterable[tuple[int, Block]], group: Sequence[Tensor], n_arrays: int, width: int
) -> list[list[NDArray[np.float16]]]:
    """Arrays (T, width) per recording, each cut at its own end."""
    out = [[np.empty((len(tokens), width), np.float16) for _ in range(n_arrays)] for tokens in group]
    for start, (half, finite) in _on_host(blocks):
        for arrays, rows, good in zip(out, half.numpy(), finite.numpy(), strict=True):
            n = max(0, min(len(arrays[0]) - start, len(good)))
            if not good[:n].all():
                raise DataError(f"embeddings near second {start} are not finite numbers: the weights are damaged")
            for array, part in zip(arrays, rows, strict=True):
                array[start : start + n] = part[:n]
    return out


def _on_host(blocks: Iterable[tuple[int, Block]]) -> Iterator[tuple[int, Block]]:
    """Blocks on the CPU. From CUDA each arrives when the next one has been queued, so that nothing waits for a copy."""
    coming: tuple[int, Block, torch.cuda.Event] | None = None
    for start, (half, finite) in blocks:
        if half.device.type != "cuda":
            yield start, (half.cpu(), finite.cpu())
            continue
        copies = (_pinned_copy(half), _pinned_copy(finite))
        copied = torch.cuda.current_stream(half.device).record_event()
        if coming is not None:
            coming[2].synchronize()
            yield coming[:2]
        coming = start, copies, copied
    if coming is not None:
        coming[2].synchronize()
        yield coming[:2]


def _pinned_copy(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
