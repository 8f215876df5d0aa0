"""Causal self-attention over a stream: blocks of queries against carried keys, never a (T, T) matrix.

A layer keeps the keys and values of the last ``window - 1`` positions. Feeding a sequence in blocks of
any size gives what one pass over all of it gives; memory depends on block and window alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.linear import Linear, frozen

LAYER_NORM_EPS = 1e-5
ROPE_THETA = 10000.0

_LEAST_SLACK = 64  # positions that fit beside the window before a buffer is moved on


class Carry:
    """Keys and values of a layer's recent past, in one buffer that is moved on when it is full."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None  # (keys and values, rows, capacity, heads, head_dim)
        self._stop = 0

    def extend(self, k: Tensor, v: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
        """Append a block (rows, n, heads, head_dim); return all keys and values it may see, earlier ones in front."""
        n = k.shape[1]
        past = self._stop if window is None else min(window - 1, self._stop)
        buffer = self._buffer
        if buffer is None or self._stop + n > buffer.shape[2]:
            # A layer without a window keeps all of its past, in a buffer that doubles.
            capacity = (2 * past if window is None else window - 1) + max(n, _LEAST_SLACK)
            moved = buffer
            if moved is None or moved.shape[2] < past + n:
                moved = k.new_empty(2, k.shape[0], capacity, *k.shape[2:])
            if buffer is not None:
                moved[:, :, :past] = buffer[:, :, self._stop - past : self._stop].clone()
            self._buffer, self._stop, buffer = moved, past, moved
        buffer[0, :, self._stop : self._stop + n] = k
        buffer[1, :, self._stop : self._stop + n] = v
        self._stop += n
        seen = buffer[:, :, self._stop - n - past : self._stop]
        return seen[0], seen[1]


def band_mask(n_queries: int, n_keys: int, window: int | None, like: Tensor) -> Tensor:
    """Additive mask (n_queries, n_keys), 0 or -inf: the last query sits on the last key, each sees `window` back."""
    lag = torch.arange(n_queries)[:, None] + (n_keys - n_queries) - torch.arange(n_keys)[None, :]
    visible = lag >= 0 if window is None else (lag >= 0) & (lag < window)
    mask = torch.zeros(n_queries, n_keys).masked_fill_(~visible, float("-inf"))
    return mask.to(like.device, like.dtype)


class Masks:
    """Masks by size; a steady stream needs one per window."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int | None], Tensor] = {}

    def get(self, n_queries: int, n_keys: int, window: int | None, like: Tensor) -> Tensor:
        """Return the mask, from memory when it is known."""
        key = (n_queries, n_keys, window)
        mask = self._known.get(key)
        if mask is None or mask.device != like.device or mask.dtype != like.dtype:
            if len(self._known) >= 8:  # a growing past (no window) would otherwise fill memory with old masks
                self._known.clear()
            mask = self._known[key] = band_mask(n_queries, n_keys, window, like)
        return mask


def rope_table(start: int, stop: int, head_dim: int, like: Tensor) -> Tensor:
    """Rotations of positions ``start..stop-1`` as complex numbers of modulus 1, (stop - start, 1, 1, head_dim / 2)."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    frequencies = 1.0 / (ROPE_THETA ** (torch.arange(0, head_dim, 2, dtype=dtype, device=like.device) / head_dim))
    positions = torch.arange(start, stop, dtype=dtype, device=like.device)
    angles = torch.outer(positions, frequencies)[:, None, None, :]
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate neighbouring pairs (2i, 2i+1) of (rows, n, ..., head_dim); `x` is changed when it has the table's type."""
    pairs = torch.view_as_complex(x.to(rope.real.dtype).view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs.mul_(rope)).flatten(-2)


class Norm(nn.Module):
    """LayerNorm with weights from a bundle; gives the type that the next product wants."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.weight, self.bias = frozen(weights(f"{name}.weight")), frozen(weights(f"{name}.bias"))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis, in the type of the weights."""
        return self.full(x).to(self.weight.dtype)

    def full(self, x: Tensor) -> Tensor:
        """Normalise the last axis, in the type of `x`."""
        return F.layer_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.bias.to(x.dtype), LAYER_NORM_EPS)


class FeedForward(nn.Module):
    """``x + scale * ffn(norm(x))``: SwiGLU without biases, or GELU (erf) with them; the scale is folded in."""

    def __init__(self, weights: Weights, prefix: str, *, swiglu: bool, scaled: bool = True) -> None:
        super().__init__()
        self.norm = Norm(weights, f"{prefix}norm2")
        scale = weights(f"{prefix}layer_scale_ffn") if scaled else torch.ones(1)
        if swiglu:
            self.gate: Linear | None = Linear(weights(f"{prefix}ffn.w_gate.weight"))
            self.up = Linear(weights(f"{prefix}ffn.w_up.weight"))
            self.down = Linear(weights(f"{prefix}ffn.w_down.weight").mul_(scale[:, None]))
        else:
            self.gate = None
            self.up = Linear(weights(f"{prefix}ffn.0.weight"), weights(f"{prefix}ffn.0.bias"))
            down, bias = weights(f"{prefix}ffn.2.weight"), weights(f"{prefix}ffn.2.bias")
            self.down = Linear(down.mul_(scale[:, None]), bias.mul_(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Residual stream `x` (..., width) after this part."""
        h = self.norm(x)
        h = self.up(h, "gelu") if self.gate is None else self.up.times(h, self.gate(h, "swish"))
        return self.down.plus(h, x)


class Projections(nn.Module):
    """Fused q, k, v projections and the output projection with its LayerScale folded in."""

    def __init__(self, weights: Weights, prefix: str, heads: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(weights, f"{prefix}norm1")
        self.qkv = Linear(torch.cat([weights(f"{prefix}{name}_proj.weight") for name in "qkv"]))
        scale = weights(f"{prefix}layer_scale_attn") if scaled else torch.ones(1)
        self.out = Linear(weights(f"{prefix}out_proj.weight").mul_(scale[:, None]))

    def split(self, x: Tensor) -> Tensor:
        """q, k and v of (rows, n, width) in one tensor (rows, n, 3, heads, head_dim)."""
        projected: Tensor = self.qkv(self.norm(x))
        return projected.view(*x.shape[:2], 3, self.heads, -1)

    def merge(self, x: Tensor, h: Tensor) -> Tensor:
        """Residual stream `x` (rows, n, width) plus what the heads found, `h` (rows, n, heads, head_dim)."""
        return self.out.plus(h.flatten(-2), x)


class StreamLayer(nn.Module):
    """Pre-norm transformer layer with rotary positions over a carried past.

    Parameters
    ----------
    weights : Weights
    prefix : str
        Of the layer's tensors.
    heads : int
    window : int or None
        Keys a query sees, itself included; ``None`` is the whole past.
    qk_norm : bool
        RMS-normalise q and k per head before the rotation.
    swiglu : bool
    xsa : bool
        Take the part along the position's own value out of the attention output (arXiv:2603.09078).
    """

    def __init__(
        self,
        weights: Weights,
        prefix: str,
        heads: int,
        window: int | None,
        *,
        qk_norm: bool = False,
        swiglu: bool = False,
        xsa: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.xsa = window, xsa
        self.attention = Projections(weights, prefix, heads)
        self.qk_scale = None
        if qk_norm:
            q, k = weights(f"{prefix}q_norm.weight"), weights(f"{prefix}k_norm.weight")
            self.qk_scale = frozen(torch.stack((q, k))[:, None])  # (2, 1, head_dim)
        self.ffn = FeedForward(weights, prefix, swiglu=swiglu)

    def forward(self, x: Tensor, rope: Tensor, carry: Carry, masks: Masks) -> Tensor:
        """Residual stream `x` (rows, n, width) after this layer; `carry` moves on."""
        qkv = self.attention.split(x)
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        if self.qk_scale is not None:
            qk = _rms_normalised(qk, self.qk_scale)
        q, k = rotate(qk, rope).to(v.dtype).unbind(2)
        keys, values = carry.extend(k, v, self.window)
        mask = masks.get(q.shape[1], keys.shape[1], self.window, q)
        h = F.scaled_dot_product_attention(
            q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask
        ).transpose(1, 2)
        if self.xsa:
            own = F.normalize(v, dim=-1)
            h = h - (h * own).sum(-1, keepdim=True) * own
        x = self.attention.merge(x, h)
        out: Tensor = self.ffn(x)
        return out


def _rms_normalised(x: Tensor, scale: Tensor) -> Tensor:
    """RMS norm of the last axis in float32 or longer: PyTorch's own is slow where `x` is a strided view."""
    full = x.to(torch.promote_types(x.dtype, torch.float32))
    rms = full.square().mean(-1, keepdim=True).add_(torch.finfo(full.dtype).eps).rsqrt_()
    return (full * scale).mul_(rms)
