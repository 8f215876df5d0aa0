"""Names and shapes of the released SleepFM weights, reading a user's file of them, and random ones of the same kind."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hypnos_bench.encoders.checkpoint import check_state, load_state
from hypnos_bench.encoders.sleepfm.model import CHANNELS, HIDDEN, KERNEL, RELEASED, Sizes
from hypnos_bench.errors import DataError

PREFIX = "module."
"""Before every name in a released file."""

_HEADS = (
    # The released heads by what only they have; each is a file of its own beside the encoder's.
    ("disease_heads.weight", "the diagnosis head"),
    ("fc.weight", "the sleep staging head"),
)
_ENCODER_KEY = "patch_embedding.tokenizer.0.weight"

Shapes = dict[str, tuple[int, ...]]


def shapes(sizes: Sizes = RELEASED) -> Shapes:
    """Every tensor of the encoder, without prefix; with the released sizes 155 of them."""
    dim, tokenizer = sizes.dim, "patch_embedding.tokenizer."
    wanted: Shapes = {}
    length = sizes.patch
    for block, (before, after) in enumerate(pairwise(CHANNELS)):
        convolution, batch, layer = (f"{tokenizer}{4 * block + part}." for part in (0, 1, 3))
        length = (length + 1) // 2
        wanted |= {f"{convolution}weight": (after, before, KERNEL), f"{convolution}bias": (after,)}
        wanted |= {f"{batch}{name}": (after,) for name in ("weight", "bias", "running_mean", "running_var")}
        wanted |= {f"{batch}num_batches_tracked": ()}
        wanted |= {f"{layer}{name}": (after, length) for name in ("weight", "bias")}
    last = 4 * (len(CHANNELS) - 1) + 2
    wanted |= {f"{tokenizer}{last}.weight": (dim, CHANNELS[-1]), f"{tokenizer}{last}.bias": (dim,)}
    wanted |= _layer("spatial_pooling.transformer_layer.", dim)
    wanted |= {"positional_encoding.pe": (1, sizes.max_tokens, dim)}
    wanted |= {"layer_norm.weight": (dim,), "layer_norm.bias": (dim,)}
    for i in range(sizes.layers):
        wanted |= _layer(f"transformer_encoder.layers.{i}.", dim)
    return wanted | _layer("temporal_pooling.transformer_layer.", dim)


def _layer(prefix: str, dim: int) -> Shapes:
    return {
        f"{prefix}self_attn.in_proj_weight": (3 * dim, dim),
        f"{prefix}self_attn.in_proj_bias": (3 * dim,),
        f"{prefix}self_attn.out_proj.weight": (dim, dim),
        f"{prefix}self_attn.out_proj.bias": (dim,),
        f"{prefix}linear1.weight": (HIDDEN, dim),
        f"{prefix}linear1.bias": (HIDDEN,),
        f"{prefix}linear2.weight": (dim, HIDDEN),
        f"{prefix}linear2.bias": (dim,),
        **{f"{prefix}norm{i}.{name}": (dim,) for i in (1, 2) for name in ("weight", "bias")},
    }


def load(path: Path, sizes: Sizes = RELEASED) -> dict[str, Tensor]:
    """Read the encoder's weights.

    Raises
    ------
    DataError
        When the file is missing, damaged or of another network, naming the first tensor that differs; a file of one
        of the released heads is told as what it is.
    """
    state = load_state(path, (PREFIX,))
    if _ENCODER_KEY not in state:
        head = next((title for key, title in _HEADS if key in state), None)
        if head is not None:
            raise DataError(
                f"{path}: this is {head} of SleepFM ({len(state)} tensors), which works on embeddings; "
                "the encoder's file is model_base/best.pt"
            )
    check_state(state, shapes(sizes), where=str(path))
    return state


def random_state(seed: int, sizes: Sizes = RELEASED) -> dict[str, NDArray[np.generic]]:
    """Weights that were never trained, under the released names with prefix; the same on every machine.

    Each tensor has its own generator, seeded by its name, and uniform numbers only. They keep the variance of what
    goes through, and no part of the network is idle. Positions are the sinusoids of the released file's buffer.
    """
    return {PREFIX + name: _draw(seed, name, shape) for name, shape in shapes(sizes).items()}


def _draw(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    owner, leaf = name.rsplit(".", 1)
    if leaf == "num_batches_tracked":
        return np.zeros((), np.int64)
    if leaf == "pe":
        return _sinusoids(*shape[1:])[None]
    low, high = _range(leaf, shape, is_norm=_is_norm(owner))
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
    return np.asarray(random.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low))


def _is_norm(owner: str) -> bool:
    """Whether a tensor belongs to a normalisation: in the tokenizer two of four parts of a block are one."""
    last = owner.rsplit(".", 1)[-1]
    return "norm" in last or (last.isdigit() and int(last) % 4 in (1, 3))


def _range(leaf: str, shape: tuple[int, ...], *, is_norm: bool) -> tuple[float, float]:
    """Range of the uniform draw."""
    if leaf.endswith("bias") or leaf == "running_mean":
        return -0.1, 0.1
    if leaf == "running_var":
        return 0.5, 1.5
    if is_norm:
        return 0.8, 1.2
    half_width = math.sqrt(3 / math.prod(shape[1:]))
    return -half_width, half_width


def _sinusoids(length: int, dim: int) -> NDArray[np.float32]:
    """Sine and cosine of each position, in turn, over wavelengths from 2 pi to 10,000 times that."""
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, dim, 2) / dim)
    # Rounded to a coarse grid: sines differ in their last digit between machines, and the file's hash must not.
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, dim).round(6).astype(np.float32)
