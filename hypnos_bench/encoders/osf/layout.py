"""What OSF's network looks like: the shape of its input, its sizes, the names and shapes of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEADS = 12
RATE_HZ = 64
EPOCH_SAMPLES = 1920
PATCH_LEADS, PATCH_SAMPLES = 4, 64
GROUPS, SECONDS = LEADS // PATCH_LEADS, EPOCH_SAMPLES // PATCH_SAMPLES
TOKENS = 1 + GROUPS * SECONDS
HEAD_DIM = 64
"""Width of a head in every released and published size, also where heads together are wider than the network."""

UNUSED = "lead_emb.weight"
"""In every file, and read by nothing."""


@dataclass(frozen=True)
class Geometry:
    """What differs between sizes.

    Parameters
    ----------
    width, depth, heads : int
    hidden : int
        Width inside the feed-forward part.
    head_dim : int
    """

    width: int
    depth: int
    heads: int
    hidden: int
    head_dim: int = HEAD_DIM

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of a file, in the order of the network."""
        w, inner = self.width, self.heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "cls_token": (1, 1, w),
            "pos_embedding": (1, TOKENS, w),
            "to_patch_embedding.weight": (w, 1, PATCH_LEADS, PATCH_SAMPLES),
            UNUSED: (GROUPS, w),
        }
        for i in range(self.depth):
            attn, ff = f"block{i}.attn", f"block{i}.ff"
            shapes |= _norm_shapes(f"{attn}.norm", w)
            shapes |= _linear_shapes(f"{attn}.fn.to_qkv", w, 3 * inner)
            shapes |= _linear_shapes(f"{attn}.fn.to_out.0", inner, w)
            shapes |= _norm_shapes(f"{ff}.norm", w)
            shapes |= _linear_shapes(f"{ff}.fn.net.0", w, self.hidden)
            shapes |= _linear_shapes(f"{ff}.fn.net.3", self.hidden, w)
        return shapes | _norm_shapes("norm", w)

    def parameters(self) -> int:
        """Numbers in a file."""
        return sum(math.prod(shape) for shape in self.shapes().values())


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear_shapes(name: str, n_in: int, n_out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


SIZES: Mapping[str, Geometry] = {
    "vit_nano": Geometry(128, 6, 4, 512),
    "vit_tiny": Geometry(192, 12, 3, 768),
    "vit_small": Geometry(384, 12, 6, 1536),
    "vit_middle": Geometry(512, 12, 8, 2048),
    "vit_base": Geometry(768, 12, 12, 3072),
    "vit_large": Geometry(1024, 24, 16, 4096),
    "vit_xl": Geometry(1536, 24, 24, 6144),
}
"""Sizes that upstream names; of these ``vit_base`` alone is released."""
