"""The arithmetic floor: floating-point operations that a bundle's config implies, over the machine's measured rate.

Counted are products that cannot be avoided: linear layers, convolutions, attention inside its window, and the search
of the codebooks, each for the modalities that are present. A multiplication with its addition counts as two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from hypnos_bench.hypnos.config import ModelConfig, ModelMetadata, TokenizerConfig
from hypnos_bench.hypnos.layout import conv_specs, swiglu_hidden

# Rows, inner width, columns: 64 seconds of eight modalities through the fused layers of the assumed model.
GEMM_SHAPES = ((512, 768, 2304), (512, 768, 4096), (512, 2048, 768))


class Work(NamedTuple):
    """Floating-point operations per second of recording."""

    temporal: float
    tokenizer: float

    @property
    def total(self) -> float:
        return self.temporal + self.tokenizer


def work_per_second(metadata: ModelMetadata, present: Collection[str] | None = None) -> Work:
    """Operations per second of recording with the modalities `present` (default: all), far from its start."""
    chosen = [m for m in metadata.modalities if present is None or m.name in present]
    temporal = _temporal_macs(metadata.config, len(chosen)) / chosen[0].token_duration_sec
    tokenizer = sum(_tokenizer_macs(metadata.tokenizers[m.tokenizer].config) for m in chosen)
    return Work(2 * temporal * len(chosen), 2 * tokenizer)


def _temporal_macs(c: ModelConfig, n_modalities: int) -> float:
    """Multiply-adds per token and modality; a layer without window is counted as if nothing lay behind it."""
    width = c.embed_dim
    projections = 4 * width**2
    ffn = 3 * width * swiglu_hidden(c.feedforward) if c.swiglu else 2 * width * c.feedforward
    total = 0
    for i in range(c.temporal_depth):
        total += projections + ffn + 2 * width * (c.window(i) or 0)
        if c.modality_layer_after(i):
            total += projections + (ffn if c.modality_use_ffn else 0) + 2 * width * n_modalities
    return total


def _tokenizer_macs(c: TokenizerConfig) -> float:
    """Multiply-adds per second of one signal."""
    rate, convolutions = float(c.sample_rate), 0.0
    for _, n_in, n_out, kernel, stride, _ in conv_specs(c):
        rate /= stride
        convolutions += rate * n_in * n_out * kernel
    width = c.embed_dim
    layer = 4 * width**2 + 2 * width * c.transformer_dim_feedforward + 2 * width * (c.window_size or 0)
    search = width * c.code_dim + c.num_quantizers * c.codebook_size * c.code_dim
    return convolutions + (c.attention_depth * layer + search) / c.token_duration_sec


def floor_s(work: Work, seconds: float, gemm: dict[str, dict[str, float]], dtype: str) -> dict[str, float]:
    """Least seconds for a recording of `seconds`, by stage; tokenizers always run in float32."""
    tokenize = work.tokenizer * seconds / (gemm["float32"]["mm"] * 1e9)
    embed = work.temporal * seconds / (gemm[dtype]["mm"] * 1e9)
    return {"tokenize": tokenize, "embed": embed, "total": tokenize + embed}


def gemm_rates(dtype: str, *, passes: int = 11) -> dict[str, float]:
    """GFLOP/s of this process at :data:`GEMM_SHAPES`: plain products, and with weights rearranged once by oneDNN."""
    kind: torch.dtype = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, float] = {}
    for rows, inner, columns in GEMM_SHAPES:
        x = torch.randn(rows, inner, generator=generator).to(kind)
        weight = torch.randn(columns, inner, generator=generator).to(kind)
        out = torch.empty(rows, columns, dtype=kind)
        products = {"mm": lambda x=x, w=weight.T, out=out: torch.mm(x, w, out=out)}
        if _can_pack(kind):
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
            products["packed"] = lambda x=x, w=packed: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
        for name, product in products.items():
            seconds[name] = seconds.get(name, 0.0) + _median_s(product, passes)
    operations = sum(2 * rows * inner * columns for rows, inner, columns in GEMM_SHAPES)
    return {name: operations / spent / 1e9 for name, spent in seconds.items()}


def _can_pack(kind: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return kind == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _median_s(product: Any, passes: int) -> float:
    """Median seconds of a call, after a few that warm up."""
    times = []
    for _ in range(3 + passes):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])
