"""Causal self-attention over a stream: blocks of queries against carried keys, never a (T, T) matrix.

A layer keeps the keys and values of the last ``window - 1`` positions. Feeding a sequence in blocks of
any size gives what one pass over all of it gives; memory depends on block and window alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.hypnos.bundle import Weights

LAYER_NORM_EPS = 1e-5
ROPE_THETA = 10000.0


@dataclass
class Carry:
    """Keys and values of a layer's recent past, each (rows, n, heads, head_dim)."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def extend(self, k: Tensor, v: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
        """Append a block, return all keys and values it may see, and keep what the next block may see."""
        if self.keys is not None and self.values is not None:
            k, v = torch.cat((self.keys, k), 1), torch.cat((self.values, v), 1)
        keep = k.shape[1] if window is None else min(window - 1, k.shape[1])
        first = k.shape[1] - keep
        self.keys, self.values = k[:, first:], v[:, first:]
        return k, v


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


def rope_table(start: int, stop: int, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions ``start..stop-1``, each (stop - start, 1, head_dim / 2)."""
    frequencies = 1.0 / (ROPE_THETA ** (torch.arange(0, head_dim, 2).float() / head_dim))
    angles = torch.outer(torch.arange(start, stop), frequencies)[:, None, :]
    angles = angles.to(torch.promote_types(like.dtype, torch.float32))
    return angles.cos().to(like.device), angles.sin().to(like.device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim/2) of (rows, n, heads, head_dim); see :func:`even_first` for the order."""
    a, b = x.to(cos.dtype).chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


def even_first(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder rows within each head: even ones, then odd ones.

    The file format rotates neighbouring pairs (2i, 2i+1). With q and k both reordered their products
    stay the same, and the rotation works on two contiguous halves.
    """
    by_head = weight.view(-1, head_dim, *weight.shape[1:])
    return torch.cat((by_head[:, 0::2], by_head[:, 1::2]), 1).flatten(0, 1)


def frozen(tensor: Tensor) -> nn.Parameter:
    """Wrap a weight that is never trained."""
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


def add_linear(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """``x += h @ weight.T + bias`` in place; `x` stays float32 when the weights are of a shorter type."""
    if x.dtype == weight.dtype and not x.is_cuda:
        flat = x.view(-1, x.shape[-1])
        flat.addmm_(h.reshape(-1, h.shape[-1]), weight.T)
        if bias is not None:
            x.add_(bias)
    else:
        x.add_(F.linear(h, weight, bias))


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
    """``x += scale * ffn(norm(x))``: SwiGLU without biases, or GELU (erf) with them; the scale is folded in."""

    def __init__(self, weights: Weights, prefix: str, *, swiglu: bool) -> None:
        super().__init__()
        self.swiglu = swiglu
        self.norm = Norm(weights, f"{prefix}norm2")
        scale = weights(f"{prefix}layer_scale_ffn")
        if swiglu:
            up = torch.cat((weights(f"{prefix}ffn.w_gate.weight"), weights(f"{prefix}ffn.w_up.weight")))
            self.up, self.up_bias = frozen(up), None
            self.down, self.down_bias = frozen(weights(f"{prefix}ffn.w_down.weight").mul_(scale[:, None])), None
        else:
            self.up, self.up_bias = frozen(weights(f"{prefix}ffn.0.weight")), frozen(weights(f"{prefix}ffn.0.bias"))
            self.down = frozen(weights(f"{prefix}ffn.2.weight").mul_(scale[:, None]))
            self.down_bias = frozen(weights(f"{prefix}ffn.2.bias").mul_(scale))

    def forward(self, x: Tensor) -> None:
        """Update the residual stream `x` in place."""
        h = F.linear(self.norm(x), self.up, self.up_bias)
        if self.swiglu:
            gate, up = h.chunk(2, -1)
            h = F.silu(gate).mul_(up)
        else:
            h = F.gelu(h)
        add_linear(x, h, self.down, self.down_bias)


class Projections(nn.Module):
    """Fused q, k, v projections and the output projection with its LayerScale folded in."""

    def __init__(self, weights: Weights, prefix: str, heads: int, *, rotary: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(weights, f"{prefix}norm1")
        q, k, v = (weights(f"{prefix}{name}_proj.weight") for name in "qkv")
        if rotary:
            q, k = even_first(q, len(q) // heads), even_first(k, len(k) // heads)
        self.qkv = frozen(torch.cat((q, k, v)))
        scale = weights(f"{prefix}layer_scale_attn")
        self.out = frozen(weights(f"{prefix}out_proj.weight").mul_(scale[:, None]))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of (rows, n, width), each (rows, n, heads, head_dim)."""
        q, k, v = F.linear(self.norm(x), self.qkv).view(*x.shape[:2], 3, self.heads, -1).unbind(2)
        return q, k, v


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
        self.attention = Projections(weights, prefix, heads, rotary=True)
        self.q_norm = self.k_norm = None
        if qk_norm:
            q, k = weights(f"{prefix}q_norm.weight"), weights(f"{prefix}k_norm.weight")
            self.q_norm, self.k_norm = frozen(even_first(q, len(q))), frozen(even_first(k, len(k)))
        self.ffn = FeedForward(weights, prefix, swiglu=swiglu)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], carry: Carry, masks: Masks) -> None:
        """Update the residual stream `x` (rows, n, width) in place and move `carry` on."""
        q, k, v = self.attention.split(x)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = F.rms_norm(q, q.shape[-1:], self.q_norm), F.rms_norm(k, k.shape[-1:], self.k_norm)
        q, k = rotate(q, *rope), rotate(k, *rope)
        keys, values = carry.extend(k, v, self.window)
        mask = masks.get(q.shape[1], keys.shape[1], self.window, q)
        h = F.scaled_dot_product_attention(
            q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask
        ).transpose(1, 2)
        if self.xsa:
            own = F.normalize(v, dim=-1)
            h = h - (h * own).sum(-1, keepdim=True) * own
        add_linear(x, h.flatten(-2), self.attention.out)
        self.ffn(x)
