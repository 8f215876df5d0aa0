"""Bundles with random weights, in the exact file layout of trained ones.

For tests, for timing, and as the honest lower bound "same architecture, never trained". The weights are
not degenerate: every layer moves the result, codebooks are drawn from what the encoder really produces,
and a fair share of the codes is in use. The file says ``"untrained": "true"`` in its metadata.

Equal configuration and seed give equal bytes: every tensor has its own generator, seeded by its name, and
uses uniform numbers only. Codebooks depend on an encoder run; it is done in float64 and rounded to a
coarse grid, so that only a change of torch's float32 ``pow`` could alter them between machines.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hypnos_bench.hypnos.attention import ROPE_THETA
from hypnos_bench.hypnos.config import FORMAT_VERSION, ModelMetadata, parse_config
from hypnos_bench.hypnos.layout import Layout, Slot, bundle_layout
from hypnos_bench.hypnos.tokenizer import SignalTokenizer

_NUMPY: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "BOOL": np.dtype("?")}
_CODEBOOK_GRID = 2.0**-12
_TRIAL_SIGNALS = 4
# Signal types that take a filter of another name.
_FILTERS = {"eog": "eeg", "resp": "respiratory"}

Array = NDArray[Any]


def make_config(
    model: Mapping[str, Any],
    tokenizers: Mapping[str, tuple[str, Mapping[str, Any]]],
    modalities: Mapping[str, tuple[str, str]],
) -> dict[str, Any]:
    """Assemble a bundle's config.

    Parameters
    ----------
    model : mapping
        ``model_kwargs``.
    tokenizers : mapping of str to (str, mapping)
        Stem to signal type and complete ``tokenizer_kwargs``.
    modalities : mapping of str to (str, str)
        Name to canonical channel and stem, in the order of the token tensor.
    """
    shared = ("num_quantizers", "codebook_size", "token_duration_sec", "sample_rate")
    stems = {
        stem: {"signal_type": kind, **{k: kwargs[k] for k in shared}, "tokenizer_kwargs": dict(kwargs)}
        for stem, (kind, kwargs) in tokenizers.items()
    }
    rows = [
        {
            "name": name,
            "signal_type": stems[stem]["signal_type"],
            "channels": [channel],
            "tokenizer": stem,
            **{k: stems[stem][k] for k in shared},
            "preprocess_modality": _FILTERS.get(stems[stem]["signal_type"], stems[stem]["signal_type"]),
        }
        for name, (channel, stem) in modalities.items()
    ]
    target = "hypnos.models.rq_transformer.MultiModalRQTransformer"
    return {"model_target": target, "model_kwargs": dict(model), "modalities": rows, "tokenizers": stems}


def _tokenizer_kwargs(sample_rate: int, **sizes: Any) -> dict[str, Any]:
    fixed = {"in_channels": 1, "token_duration_sec": 1.0, "n_residual_layers": 1, "causal": True, "mode": "discrete"}
    return fixed | {"sample_rate": sample_rate, "activation": "elu", "norm": "weight"} | sizes


_STANDARD_MODALITIES = {
    "eeg_c3": ("C3", "eeg"),
    "eeg_c4": ("C4", "eeg"),
    "eog_e1": ("E1", "eog"),
    "eog_e2": ("E2", "eog"),
    "emg_chin": ("Chin", "emg"),
    "ecg": ("ECG", "ecg"),
    "resp_abd": ("ABD", "resp"),
    "resp_thx": ("THX", "resp"),
}


def _standard(model: Mapping[str, Any], sizes: Mapping[str, Any], ratios: list[int], belt: list[int]) -> dict[str, Any]:
    tokenizers = {kind: (kind, _tokenizer_kwargs(128, ratios=ratios, **sizes)) for kind in ("eeg", "eog", "emg", "ecg")}
    tokenizers["resp"] = ("resp", _tokenizer_kwargs(32, ratios=belt, **sizes))
    return make_config(model, tokenizers, _STANDARD_MODALITIES)


SMALL_CONFIG: Mapping[str, Any] = _standard(
    {
        "embed_dim": 64,
        "temporal_depth": 2,
        "temporal_heads": 2,
        "temporal_mlp_ratio": 2.0,
        "depth_dim": 16,
        "depth_depth": 1,
        "depth_heads": 2,
        "modality_attn_every_n": 2,
        "sliding_window": 32,
        "max_seq_len": 64,
        "qk_norm": True,
        "channel_embeddings": True,
        "swiglu": True,
        "use_cls": False,
        "share_trunk_depth_emb": True,
    },
    {
        "embed_dim": 32,
        "n_filters": 4,
        "codebook_size": 256,
        "codebook_dim": 16,
        "num_quantizers": 4,
        "attention_depth": 1,
        "attention_heads": 2,
        "window_size": 8,
        "transformer_dim_feedforward": 64,
    },
    [16, 8],
    [8, 4],
)
"""All eight modalities, small enough for a night to take seconds on one core."""

ASSUMED_RELEASED_CONFIG: Mapping[str, Any] = _standard(
    {
        "embed_dim": 768,
        "temporal_depth": 12,
        "temporal_heads": 12,
        "temporal_mlp_ratio": 4.0,
        "depth_dim": 512,
        "depth_depth": 4,
        "depth_heads": 8,
        "modality_attn_every_n": 2,
        "sliding_window": 64,
        "global_every_n": 4,
        "global_window": 256,
        "qk_norm": True,
        "channel_embeddings": True,
        "swiglu": True,
        "use_cls": False,
        "share_trunk_depth_emb": True,
    },
    {
        "embed_dim": 512,
        "n_filters": 64,
        "codebook_size": 2048,
        "codebook_dim": 128,
        "num_quantizers": 8,
        "attention_depth": 4,
        "attention_heads": 8,
        "window_size": 24,
        "transformer_dim_feedforward": 2048,
    },
    [4, 4, 4, 2],
    [4, 4, 2],
)
"""Sizes that reproduce the released file's 1.9 GB; the true ones were never seen. For timing only."""


def write_random_bundle(path: str | Path, *, seed: int = 0, config: Mapping[str, Any] = SMALL_CONFIG) -> Path:
    """Write a bundle with seeded random weights; tensor by tensor, so that memory stays small.

    Parameters
    ----------
    path : str or Path
        File to write; it appears only when complete.
    seed : int
    config : mapping
        The bundle's config block, see :func:`make_config`.

    Returns
    -------
    Path
        `path`.
    """
    path = Path(path)
    plain = json.loads(json.dumps(config))
    marks = {"format_version": FORMAT_VERSION, "untrained": "true", "seed": str(seed)}
    metadata = parse_config(plain, where="random bundle", file_metadata=marks)
    layout = {name: slot for name, slot in bundle_layout(metadata).items() if slot.alias_of is None}
    marks["config"] = json.dumps(plain, sort_keys=True)
    draw = _Drawing(metadata, layout, seed)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for chunk in _file_chunks(layout, marks, draw):
                file.write(chunk)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _file_chunks(layout: Layout, marks: Mapping[str, str], draw: _Drawing) -> Iterator[bytes | memoryview]:
    # Wide types first keeps every tensor aligned, as the format asks.
    order = sorted(layout, key=lambda name: -_NUMPY[layout[name].dtype].itemsize)
    header: dict[str, Any] = {"__metadata__": dict(marks)}
    offset = 0
    for name in order:
        slot = layout[name]
        end = offset + math.prod(slot.shape) * _NUMPY[slot.dtype].itemsize
        header[name] = {"dtype": slot.dtype, "shape": list(slot.shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    yield len(head).to_bytes(8, "little") + head
    for name in order:
        yield np.ascontiguousarray(draw(name), _NUMPY[layout[name].dtype]).reshape(-1).view(np.uint8).data


class _Drawing:
    """The values of every tensor, by name."""

    def __init__(self, metadata: ModelMetadata, layout: Layout, seed: int) -> None:
        self._metadata, self._layout, self._seed = metadata, layout, seed
        self._codebooks: dict[str, list[Array]] = {}

    def __call__(self, name: str) -> Array:
        slot = self._layout[name]
        stem = name.split("/")[1] if name.startswith("tok/") else ""
        param = name.rsplit("/", 1)[-1]
        parts = param.split(".")
        if parts[0] == "quantizer":
            return self._quantizer(stem, int(parts[2]), parts[3], slot)
        if "rope" in parts:
            return _rope(parts[-1], slot)
        if slot.dtype == "BOOL":
            return np.ones(slot.shape, bool)
        low, high = _range(param, slot.shape)
        value = _draw_uniform(generator(self._seed, name), slot.shape, low, high)
        # Normalised directions of single numbers would all be +-1 or undefined next to zero: keep them away from it.
        return np.where(np.abs(value) < 1e-3, np.float32(1e-3), value) if parts[-1] == "original1" else value

    def _quantizer(self, stem: str, level: int, what: str, slot: Slot) -> Array:
        if what == "usage_count":
            return np.zeros(slot.shape, np.int64)
        if what in ("initialized", "ema_cluster_size"):
            return np.ones(slot.shape, _NUMPY[slot.dtype])
        if stem not in self._codebooks:
            self._codebooks[stem] = self._draw_codebooks(stem)
        return self._codebooks[stem][level]

    def _draw_codebooks(self, stem: str) -> list[Array]:
        """Codebooks from what this stem's encoder leaves at each level for made-up signals."""
        config = self._metadata.tokenizers[stem].config
        empty = np.zeros((config.codebook_size, config.code_dim), np.float32)

        def weights(param: str) -> torch.Tensor:
            known = not param.startswith("quantizer.")
            return torch.from_numpy(np.array(self(f"tok/{stem}/{param}") if known else empty, np.float64))

        # All in float64: rounding differs between versions and processors, and must not show in the file.
        tokenizer = SignalTokenizer(config, weights)
        random = generator(self._seed, f"tok/{stem}/signals")
        seconds = -(-5 * config.codebook_size // (4 * _TRIAL_SIGNALS)) + 8
        signals = np.stack([_signal(random, seconds, config.hop, config.sample_rate) for _ in range(_TRIAL_SIGNALS)])
        latents = torch.cat(list(tokenizer.latents(torch.from_numpy(signals)[:, None])), 1)
        rest = latents.flatten(0, 1).numpy()
        books = []
        for _ in range(config.num_quantizers):
            book = _codebook(random, rest, config.codebook_size)
            books.append(book.astype(np.float32))
            rest = rest - book[_nearest(rest, book)]
        return books


def generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers that belong to one name, whatever was drawn before."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _draw_uniform(random: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    return np.asarray(random.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low))


def _range(param: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Range of the uniform draw: variance-keeping products and layer scales that matter."""
    owner, leaf = ("." + param).rsplit(".", 2)[-2:]
    if leaf.startswith("layer_scale"):
        return 0.2, 0.6
    if leaf == "original0":  # length of a weight-normalised filter
        return 0.9, 1.5
    if "norm" in owner and leaf == "weight":
        return 0.8, 1.2
    if leaf in ("bias", "null_mod_ctx"):
        return -0.1, 0.1
    half_width = math.sqrt(3) * _spread(param, owner, leaf, shape)
    return -half_width, half_width


def _spread(param: str, owner: str, leaf: str, shape: tuple[int, ...]) -> float:
    if param.startswith("token_embeddings."):
        return 0.75 ** int(owner)  # deeper levels refine: they count for less
    if owner in ("channel_embed", "pos_embed", "modality_id_embed"):
        return 0.3
    if param.startswith("bos_embeds.") or leaf in ("cls_embed", "modality_embeddings"):
        return 0.7
    return 1 / math.sqrt(math.prod(shape[1:]))


def _rope(what: str, slot: Slot) -> Array:
    half = slot.shape[-1]
    frequencies = 1.0 / (ROPE_THETA ** (torch.arange(0, 2 * half, 2).float() / (2 * half)))
    if what == "freqs":
        return frequencies.numpy()
    angles = torch.outer(torch.arange(slot.shape[0]), frequencies)
    return (angles.cos() if what == "cos_cached" else angles.sin()).numpy()


def _signal(random: np.random.Generator, seconds: int, hop: int, rate: int) -> Array:
    """A z-scored-looking signal whose rhythm, strength and noise change every second."""
    frequency = np.repeat(0.5 * 40 ** random.random(seconds), hop)
    strength = np.repeat(0.2 + 2 * random.random(seconds), hop)
    noise = np.repeat(0.1 + 0.8 * random.random(seconds), hop) * (2 * random.random(seconds * hop) - 1)
    return np.asarray(strength * np.sin(2 * np.pi * np.cumsum(frequency) / rate) + noise)


def _codebook(random: np.random.Generator, rest: Array, size: int) -> Array:
    chosen = rest[random.permutation(len(rest))[np.arange(size) % len(rest)]]
    # Not quite what was seen: otherwise the next level would find residuals of exactly zero.
    spread = rest.std() * 0.3 * np.sqrt(3) * (2 * random.random(chosen.shape) - 1)
    shrunk = chosen * (0.7 + 0.3 * random.random((size, 1))) + spread
    return np.asarray(np.round(shrunk / _CODEBOOK_GRID) * _CODEBOOK_GRID)


def _nearest(rest: Array, book: Array) -> Array:
    found = np.empty(len(rest), np.int64)
    for i in range(0, len(rest), 512):
        part = rest[i : i + 512]
        found[i : i + 512] = ((book**2).sum(1) - 2 * part @ book.T).argmin(1)
    return found
