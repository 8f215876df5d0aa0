"""OSF's network: a pre-norm vision transformer over 12 channels x 30 s, one epoch at a time.

Written anew from its published description (github.com/yang-ai-lab/OSF-Open-Sleep-FM, MIT); names of the weights are
theirs, so that their files can be read.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.encoders.osf.layout import (
    EPOCH_SAMPLES,
    GROUPS,
    LEADS,
    PATCH_LEADS,
    PATCH_SAMPLES,
    SECONDS,
    TOKENS,
    UNUSED,
    Geometry,
)
from hypnos_bench.hypnos.linear import Linear, frozen

_PATCH = PATCH_LEADS * PATCH_SAMPLES
_EPS = 1e-5


class _Norm(nn.Module):
    def __init__(self, state: MutableMapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.weight, self.bias = frozen(state.pop(f"{name}.weight")), frozen(state.pop(f"{name}.bias"))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis in the type of `x`; give the type of the weights."""
        y = F.layer_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.bias.to(x.dtype), _EPS)
        return y.to(self.weight.dtype)


def _linear(state: MutableMapping[str, Tensor], name: str) -> Linear:
    return Linear(state.pop(f"{name}.weight"), state.pop(f"{name}.bias"))


class _Block(nn.Module):
    """Attention of all tokens to all tokens, then a feed-forward part, each on a normalised residual stream."""

    def __init__(self, state: MutableMapping[str, Tensor], name: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attn_norm, self.ff_norm = _Norm(state, f"{name}.attn.norm"), _Norm(state, f"{name}.ff.norm")
        self.qkv, self.out = _linear(state, f"{name}.attn.fn.to_qkv"), _linear(state, f"{name}.attn.fn.to_out.0")
        self.up, self.down = _linear(state, f"{name}.ff.fn.net.0"), _linear(state, f"{name}.ff.fn.net.3")

    def forward(self, x: Tensor, n_kept: int) -> Tensor:
        """Residual stream (rows, tokens, width) of the first `n_kept` tokens after this block."""
        n_rows, n_tokens, _ = x.shape
        qkv = self.qkv(self.attn_norm(x)).view(n_rows, n_tokens, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        h = F.scaled_dot_product_attention(q[:, :, :n_kept], k, v).transpose(1, 2).flatten(-2)
        x = self.out.plus(h, x[:, :n_kept].contiguous())
        return self.down.plus(self.up(self.ff_norm(x), "gelu"), x)


class ViT(nn.Module):
    """The frozen network.

    Parameters
    ----------
    state : mutable mapping of str to Tensor
        Weights of :meth:`Geometry.shapes`. Emptied on the way, so that weights are never held twice.
    geometry : Geometry
    """

    def __init__(self, state: MutableMapping[str, Tensor], geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        state.pop(UNUSED, None)
        self.patch = Linear(state.pop("to_patch_embedding.weight").reshape(geometry.width, _PATCH))
        positions = state.pop("pos_embedding")[0]
        self.cls = frozen(state.pop("cls_token")[0] + positions[:1])  # (1, width)
        self.positions = frozen(positions[1:])  # (90, width)
        self.blocks = nn.ModuleList(_Block(state, f"block{i}", geometry.heads) for i in range(geometry.depth))
        self.norm = _Norm(state, "norm")
        if state:
            raise ValueError(f"weights of no part of the network: {', '.join(sorted(state))}")

    def forward(self, x: Tensor, *, patches: bool) -> tuple[Tensor, Tensor | None]:
        """Embed epochs.

        Parameters
        ----------
        x : Tensor, shape (rows, 12, 1920)
            Channels in OSF's order at 64 Hz, about unit variance, missing ones zero.
        patches : bool
            Whether patches are wanted; without them the last block computes the class token alone.

        Returns
        -------
        cls : Tensor of float32, shape (rows, width)
        patches : Tensor of float32, shape (rows, 90, width), or None
            By group of four channels, then second.

        Raises
        ------
        ValueError
            For another number of channels or samples: such input would run, with positions that mean something else.
        """
        if x.shape[1:] != (LEADS, EPOCH_SAMPLES):
            raise ValueError(f"an epoch is ({LEADS}, {EPOCH_SAMPLES}), not {tuple(x.shape[1:])}")
        n_rows = len(x)
        cut = x.view(n_rows, GROUPS, PATCH_LEADS, SECONDS, PATCH_SAMPLES).transpose(2, 3)
        embedded = self.patch(cut.reshape(n_rows, TOKENS - 1, _PATCH).to(self.norm.weight.dtype))
        # The stream stays float32 beside shorter weights.
        h = torch.cat([self.cls.float().expand(n_rows, 1, -1), embedded.float() + self.positions.float()], dim=1)
        for block in self.blocks:
            last = block is self.blocks[-1]
            h = block(h, TOKENS if patches or not last else 1)
        y = self.norm(h).float()
        return y[:, 0], y[:, 1:] if patches else None
