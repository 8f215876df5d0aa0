"""The public calls: load a bundle, tokenise signals, embed tokens, or all of it from an EDF file.

Names, arguments and returns are those of the published package ``hypnos``; what is added is keyword-only.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.bundle import DEFAULT_REPO, Bundle, resolve_bundle
from hypnos_bench.hypnos.config import CHANNEL_ROWS, ModelMetadata, TokenizerConfig
from hypnos_bench.hypnos.device import pick_device
from hypnos_bench.hypnos.layout import tokenizer_layout
from hypnos_bench.hypnos.linear import settle
from hypnos_bench.hypnos.memory import give_back_memory
from hypnos_bench.hypnos.temporal import RQTransformer
from hypnos_bench.hypnos.tokenizer import SignalTokenizer, TokenCount
from hypnos_bench.registry import did_you_mean

Context = Literal["chunked", "continuous"]

# Tokenizers kept in memory: those of a released bundle (87 MB each) one at a time, small ones all together.
_KEEP_BYTES = 128 * 2**20
# Seconds per block: small ones stay in the processor's cache, a GPU wants larger ones.
_BLOCK_TOKENS = {"cpu": 64, "cuda": 512, "mps": 256}
_CHUNK_TOKENS = {"cpu": 2048, "cuda": 32768, "mps": 2048}


class Tokenizers(Mapping[str, SignalTokenizer]):
    """Tokenizers by modality name, each read from the bundle when first used and dropped when memory is dear."""

    def __init__(self, path: Path, metadata: ModelMetadata, device: torch.device) -> None:
        self.path, self.metadata, self.device = path, metadata, device
        self._stems = {m.name: m.tokenizer for m in metadata.modalities}
        self._kept: OrderedDict[str, SignalTokenizer] = OrderedDict()
        self._state = _file_state(path)

    def __getitem__(self, modality: str) -> SignalTokenizer:
        stem = self._stems[modality]
        if stem not in self._kept:
            config = self.metadata.tokenizers[stem].config
            kept = sum(_bytes(tokenizer.config) for tokenizer in self._kept.values())
            while self._kept and kept + _bytes(config) > _KEEP_BYTES:
                kept -= _bytes(self._kept.popitem(last=False)[1].config)
            with self.open() as bundle:
                self._kept[stem] = SignalTokenizer(config, bundle.weights(f"tok/{stem}/"), self.device)
            give_back_memory()
        self._kept.move_to_end(stem)
        return self._kept[stem]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stems)

    def __len__(self) -> int:
        return len(self._stems)

    def open(self, *, generating: bool = False) -> Bundle:
        """Open the bundle again, which must be the file that was loaded."""
        if _file_state(self.path) not in (None, self._state):  # one that is gone cannot be opened, which says so
            raise DataError(f"{self.path}: the bundle changed since it was loaded; load it again")
        return Bundle(self.path, generating=generating)

    def release(self) -> None:
        """Drop all tokenizers from memory; they are read again when needed."""
        self._kept.clear()
        give_back_memory()


def load_model(
    path_or_repo: str | Path = DEFAULT_REPO,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[RQTransformer, Tokenizers, ModelMetadata]:
    """Read what embedding needs from a bundle.

    Parameters
    ----------
    path_or_repo : str or Path
        File, folder holding ``hypnos.safetensors``, or Hub repository.
    device : str or torch.device
        ``"auto"`` picks the best one present.
    dtype : torch.dtype
        Of the temporal model: float32, or bfloat16/float16 for speed. Tokenizers are always float32.

    Returns
    -------
    model : RQTransformer
    tokenizers : Tokenizers
        By modality name, read from the file on first use.
    metadata : ModelMetadata

    Raises
    ------
    DataError
        When the bundle is missing, damaged or does not fit its own config.
    UsageError
        When the device is not present, or the type is none of the three.
    """
    chosen, _ = pick_device(device)
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UsageError(f"dtype must be float32, bfloat16 or float16, not {dtype}")
    path = resolve_bundle(path_or_repo)
    with Bundle(path) as bundle:
        metadata = bundle.metadata
        model = RQTransformer(metadata, bundle.weights("model/"), chosen, dtype)
    give_back_memory()
    return model, Tokenizers(path, metadata, chosen), metadata


def tokenize(
    tokenizers: Mapping[str, SignalTokenizer],
    metadata: ModelMetadata,
    signals: Mapping[str, NDArray[np.floating[Any]] | None],
    device: str | torch.device | None = None,
    *,
    count: TokenCount = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens of all present modalities, cut to the shortest.

    Parameters
    ----------
    tokenizers, metadata
        From :func:`load_model`.
    signals : mapping of str to ndarray
        Preprocessed signals at each modality's rate; absent ones are left out.
    device : str or torch.device, optional
        Default: where the tokenizers are.
    count : {"auto", "ceil"}
        Whether a partial last second counts, see :func:`hypnos_bench.hypnos.tokenizer.token_count`.

    Returns
    -------
    tokens : Tensor of int64, shape (1, T, all levels)
        Zeros for absent modalities.
    modality_mask : Tensor of bool, shape (1, modalities)
    channel_ids : Tensor of int64, shape (1, modalities)

    Raises
    ------
    UsageError
        When a signal's name is no modality.
    DataError
        When no signal is given, one is too short, or one has no stretch of finite values.

    Warns
    -----
    UserWarning
        When a signal holds values that are not finite: it says how many and which tokens they reached. Those tokens
        are code 0; all others are what they would be without the gap.
    """
    arrays = _checked_signals(metadata, signals)
    # Signals of one tokenizer and length share a batch, and each tokenizer is read once.
    batches: dict[tuple[str, int], list[str]] = {}
    for m in metadata.modalities:
        if m.name in arrays:
            batches.setdefault((m.tokenizer, len(arrays[m.name])), []).append(m.name)
    found: dict[str, Tensor] = {}
    for (stem, _), names in sorted(batches.items(), key=lambda item: metadata.unique_tokenizers.index(item[0][0])):
        tokenizer = tokenizers[names[0]]
        if device is not None and tokenizer.device != (wanted := pick_device(device)[0]):
            settle(tokenizer, wanted, torch.float32)
        x = torch.from_numpy(np.stack([arrays[name] for name in names])[:, None]).to(tokenizer.device)
        try:
            codes, tainted = tokenizer.tokenize_and_report(x, count=count)
        except DataError as error:
            raise DataError(f"modality {' and '.join(names)} (tokenizer {stem}): {error}") from error
        found |= dict(zip(names, codes.cpu(), strict=True))
        for name, ranges in zip(names, tainted, strict=True):
            _report_tainted(name, arrays[name], ranges, codes.shape[1], tokenizer.config.token_duration_sec)
    n = min(len(codes) for codes in found.values())
    tokens = torch.zeros(1, n, metadata.columns[-1].stop, dtype=torch.long)
    mask = torch.tensor([[m.name in found for m in metadata.modalities]])
    channel_ids = torch.zeros(1, len(metadata.modalities), dtype=torch.long)
    for i, (m, columns) in enumerate(zip(metadata.modalities, metadata.columns, strict=True)):
        if m.name in found:
            tokens[0, :, columns] = found[m.name][:n]
            channel_ids[0, i] = CHANNEL_ROWS[m.channels[0]]
    return tokens, mask, channel_ids


def frames(
    model: RQTransformer,
    tokens: Tensor,
    modality_mask: Tensor,
    channel_ids: Tensor,
    *,
    chunk_tokens: int | None = None,
    context: Context = "chunked",
    block_tokens: int | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Float32 frames block by block: start second and a tensor (present modalities, n, embed_dim) on the CPU.

    ``context="chunked"`` starts anew every `chunk_tokens` tokens as the published package does;
    ``"continuous"`` never forgets, which is what the chunks approximate. See :func:`embed`.
    """
    check_tokens(model, tokens, modality_mask, channel_ids)
    if context not in ("chunked", "continuous"):
        raise UsageError(f"context must be 'chunked' or 'continuous', not {context!r}")
    kind = model.device.type
    T = tokens.shape[1]
    chunk = T if context == "continuous" else _CHUNK_TOKENS[kind] if chunk_tokens is None else chunk_tokens
    chunk = max(1, chunk)
    block = _BLOCK_TOKENS[kind] if block_tokens is None else max(1, block_tokens)
    present = [i for i, there in enumerate(modality_mask[0].tolist()) if there]
    if not present:
        return
    channels = channel_ids[0, present].tolist()
    for first in range(0, T, chunk):
        stream = model.stream(present, channels)
        last = min(first + chunk, T)
        for start in range(first, last, block):
            with _autocast(kind, autocast_dtype):
                part = stream.push(tokens[:, start : min(start + block, last)])[0]
            yield start, part.cpu()


def embed(
    model: RQTransformer,
    tokens: Tensor,
    modality_mask: Tensor,
    channel_ids: Tensor,
    metadata: ModelMetadata,
    *,
    chunk_tokens: int | None = None,
    device: str | torch.device | None = None,
    autocast_dtype: torch.dtype | None = None,
    context: Context = "chunked",
) -> dict[str, NDArray[np.float16]]:
    """One embedding per second and present modality.

    Row t has seen the tokens before t: it stands for second t but knows seconds up to t-1.

    Parameters
    ----------
    model, metadata
        From :func:`load_model`.
    tokens, modality_mask, channel_ids
        From :func:`tokenize`.
    chunk_tokens : int, optional
        Tokens after which the context starts anew; default 2048, on CUDA 32768. Memory does not depend on it.
    device : str or torch.device, optional
        Default: where the model is; another one moves the model there.
    autocast_dtype : torch.dtype, optional
        Mixed precision on CUDA. Elsewhere it has no effect, as in the published package, and warns.
    context : {"chunked", "continuous"}
        ``"continuous"`` keeps the context through the whole recording.

    Returns
    -------
    dict of str to ndarray of float16, shape (T, embed_dim)
        Present modalities in the bundle's order.

    Raises
    ------
    UsageError
        When tokens, mask and ids do not fit the model.
    DataError
        When the weights produce values that are not finite.
    """
    if device is not None and model.device != (wanted := pick_device(device)[0]):
        model.to(wanted)
    if autocast_dtype is not None and model.device.type != "cuda":
        warnings.warn(
            "autocast_dtype acts on CUDA only; for speed on a CPU load the model with dtype=torch.bfloat16",
            UserWarning,
            stacklevel=2,
        )
    check_tokens(model, tokens, modality_mask, channel_ids)
    present = [m.name for m, there in zip(metadata.modalities, modality_mask[0].tolist(), strict=True) if there]
    out = {name: np.empty((tokens.shape[1], model.embed_dim), np.float16) for name in present}
    blocks = frames(
        model,
        tokens,
        modality_mask,
        channel_ids,
        chunk_tokens=chunk_tokens,
        context=context,
        autocast_dtype=autocast_dtype,
    )
    for start, block in blocks:
        half = block.to(torch.float16)
        if not bool(torch.isfinite(half).all()):
            raise DataError(f"embeddings near second {start} are not finite numbers: the weights are damaged")
        for name, rows in zip(present, half.numpy(), strict=True):
            out[name][start : start + rows.shape[0]] = rows
    return out


def embed_edf(
    edf_path: str | Path,
    model_repo_or_path: str | Path = DEFAULT_REPO,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    notch_freq: float = 50.0,
    causal: bool = True,
    chunk_tokens: int | None = None,
    autocast_dtype: torch.dtype | None = None,
    context: Context = "chunked",
) -> dict[str, NDArray[np.float16]]:
    """Load a bundle, preprocess an EDF file, tokenise and embed it; see the single steps.

    For many files call :func:`load_model` once and the steps yourself.
    """
    from hypnos_bench.hypnos.preprocess import preprocess_edf

    model, tokenizers, metadata = load_model(model_repo_or_path, device=device, dtype=dtype)
    signals = preprocess_edf(edf_path, metadata, notch_freq=notch_freq, causal=causal)
    tokens, mask, channel_ids = tokenize(tokenizers, metadata, signals)
    tokenizers.release()
    return embed(
        model,
        tokens,
        mask,
        channel_ids,
        metadata,
        chunk_tokens=chunk_tokens,
        autocast_dtype=autocast_dtype,
        context=context,
    )


def _checked_signals(
    metadata: ModelMetadata, signals: Mapping[str, NDArray[np.floating[Any]] | None]
) -> dict[str, NDArray[np.float32]]:
    known = [m.name for m in metadata.modalities]
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, signal in signals.items():
        if name not in known:
            raise UsageError(f"signal {name!r} is none of the model's modalities.{did_you_mean(name, known)}")
        if signal is None:
            continue
        arrays[name] = np.asarray(signal, np.float32).reshape(-1)
    if not arrays:
        raise DataError(f"no modality is present; the model knows {', '.join(known)}")
    return arrays


def _report_tainted(
    name: str, signal: NDArray[np.float32], ranges: list[tuple[int, int]], n_tokens: int, token_s: float
) -> None:
    """Say where a signal is not finite and which tokens that reached; refuse a signal of which nothing is left."""
    ranges = [(first, min(stop, n_tokens)) for first, stop in ranges if first < n_tokens]
    if not ranges:
        return
    count = int(np.count_nonzero(~np.isfinite(signal)))
    bad = f"modality {name}: {count} of {len(signal)} samples are not finite numbers"
    if not count:
        bad = f"modality {name}: samples are so large that the tokenizer's numbers overflow"
    if sum(stop - first for first, stop in ranges) == n_tokens:
        raise DataError(f"{bad}, and they reach every token; repair the signal or leave the modality out")
    spans = ", ".join(f"{first * token_s:g}-{stop * token_s:g} s" for first, stop in ranges[:5])
    more = f" and {len(ranges) - 5} more stretches" if len(ranges) > 5 else ""
    warnings.warn(
        f"{bad}; its tokens at {spans}{more} say nothing (code 0), and embeddings remember them for a while",
        UserWarning,
        stacklevel=3,
    )


def check_tokens(model: RQTransformer, tokens: Tensor, modality_mask: Tensor, channel_ids: Tensor) -> None:
    """Refuse tokens, mask and ids that do not fit a model, with a UsageError."""
    n_modalities, width = len(model.columns), model.columns[-1].stop
    if tokens.ndim != 3 or tokens.shape[0] != 1 or tokens.shape[2] != width or tokens.dtype != torch.long:
        raise UsageError(f"tokens must be int64 of shape (1, T, {width}), not {tokens.dtype} {tuple(tokens.shape)}")
    for name, value in (("modality_mask", modality_mask), ("channel_ids", channel_ids)):
        if tuple(value.shape) != (1, n_modalities):
            raise UsageError(f"{name} must have shape (1, {n_modalities}), not {tuple(value.shape)}")
    if int(channel_ids.max()) >= len(CHANNEL_ROWS):
        raise UsageError(f"channel_ids must lie below {len(CHANNEL_ROWS)}, not {int(channel_ids.max())}")
    for columns, codes in zip(model.columns, model.codebook_sizes, strict=True):
        part = tokens[0, :, columns]
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < codes:
            raise UsageError(f"tokens in columns {columns.start}..{columns.stop - 1} must lie in 0..{codes - 1}")


def _autocast(kind: str, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return torch.autocast("cuda", dtype) if kind == "cuda" and dtype is not None else nullcontext()


def _file_state(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None


def _bytes(config: TokenizerConfig) -> int:
    """Memory that a tokenizer's weights take."""
    return sum(4 * math.prod(slot.shape) for slot in tokenizer_layout(config).values() if slot.needed)
