"""Files in which OSF's weights come, and what must be in them; random weights of the same shapes."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hypnos_bench.encoders.checkpoint import check_state, load_checkpoint
from hypnos_bench.encoders.osf.layout import (
    EPOCH_SAMPLES,
    HEAD_DIM,
    LEADS,
    PATCH_LEADS,
    PATCH_SAMPLES,
    RATE_HZ,
    SIZES,
    UNUSED,
    Geometry,
)
from hypnos_bench.errors import DataError

RELEASED_SHA256 = "c51190b1942556969af3c3d63c2e59430ddb1ea0377c50ea87df83712fc31857"
"""Of ``osf_backbone.pth`` in yang-ai-lab/OSF-Base at f2067f2 as a third party states it; not verified."""

BRANCHES = ("student", "teacher")
"""Networks in a pre-training checkpoint: the one that was trained, and its moving average."""

# Where training scripts keep the network; a fine-tuned file has it under two of these names.
_PREFIXES = {
    "student": ("encoders.all.backbone.", "backbones.all.", "backbone."),
    "teacher": ("teacher_encoder.backbone.",),
}
_BARE_IS: Mapping[str, tuple[str, ...]] = {"student": ("",), "teacher": ()}
_PARALLEL = "module."

_FIXED = {
    "num_leads": LEADS,
    "patch_size_time": PATCH_SAMPLES,
    "patch_size_ch": PATCH_LEADS,
    "lead_wise": 1,
    "sample_rate": RATE_HZ,
    "window_size_sec": EPOCH_SAMPLES // RATE_HZ,
    "seq_len": EPOCH_SAMPLES,
}
"""What the metadata must say where they say anything: channels and times mean something else otherwise."""

_BLOCK = re.compile(r"block(\d+)\.")
_BARE = re.compile(r"(?:cls_token|pos_embedding|to_patch_embedding\.|lead_emb\.|block\d+\.|norm\.)")
_FINE_TUNED = re.compile(r"(?:module\.)?backbones\.all\.|(?:.*\.)?linear_layer\.")
"""Names that fine-tuning leaves: its own name for the network, and the classifier."""

_MAX_DEPTH = 256


class Loaded(NamedTuple):
    """What is in a file: the network, its size, and whether a classifier was trained together with it."""

    state: dict[str, Tensor]
    geometry: Geometry
    fine_tuned: bool


def load(path: Path, branch: str = "student") -> Loaded:
    """Read a user's file: the released payload, a bare dict, safetensors, or a Lightning checkpoint of either stage.

    Parameters
    ----------
    path : Path
    branch : str
        One of `BRANCHES`; the teacher is in pre-training checkpoints only.

    Returns
    -------
    state : dict of str to Tensor
        Every live tensor of `Geometry.shapes`, and `UNUSED` when the file has it.
    geometry : Geometry
        One of upstream's `SIZES`, or one whose width and depth the metadata state.
    fine_tuned : bool
        Whether the file is laid out as fine-tuning leaves it.

    Raises
    ------
    DataError
        When the file is missing, damaged, incomplete, of another network or of another input, naming what was found.
    """
    found, about = load_checkpoint(path)
    state = _network(path, found, branch)
    _check_input(path, about)
    geometry = _geometry(path, state, about)
    check_state(state, geometry.shapes(), ignore=(UNUSED,), where=str(path))
    _check_size(path, geometry, about)
    return Loaded(state, geometry, any(map(_FINE_TUNED.match, found)))


def random_state(geometry: Geometry, seed: int) -> dict[str, Tensor]:
    """Weights that were never trained; equal on every machine.

    Each tensor has a generator of its own, seeded by its name, and uniform numbers only: products as PyTorch draws
    them, positions and class token with deviation 0.02, norms plain.
    """
    return {name: _drawn(name, shape, geometry, seed) for name, shape in geometry.shapes().items()}


def _drawn(name: str, shape: tuple[int, ...], geometry: Geometry, seed: int) -> Tensor:
    if "norm." in name:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    if name in ("cls_token", "pos_embedding", UNUSED):
        bound = 0.02 * math.sqrt(3.0)
    else:
        weight = name.removesuffix("bias").removesuffix("weight") + "weight"
        bound = 1.0 / math.sqrt(math.prod(geometry.shapes()[weight][1:]))
    entropy = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    values = np.random.Generator(np.random.PCG64(entropy)).random(shape, dtype=np.float32)
    values -= np.float32(0.5)
    values *= np.float32(2.0 * bound)
    return torch.from_numpy(values)


def _network(path: Path, found: Mapping[str, Tensor], branch: str) -> dict[str, Tensor]:
    """The network out of what may be a whole training state, under its bare names."""
    if all(name.startswith(_PARALLEL) for name in found):
        found = {name.removeprefix(_PARALLEL): value for name, value in found.items()}
    copies = {prefix: _under(found, prefix) for prefixes in _PREFIXES.values() for prefix in prefixes}
    bare = {name: value for name, value in found.items() if _BARE.match(name)}
    copies = {prefix: part for prefix, part in copies.items() if part}
    if copies and "cls_token" in bare:  # one more copy; alone it is judged together with all else that is there
        copies[""] = bare
    wanted = {prefix: part for prefix, part in copies.items() if prefix in (*_PREFIXES[branch], *_BARE_IS[branch])}
    if branch == "teacher" and not wanted:
        raise DataError(
            f"{path}: no teacher in it (names that begin with {_PREFIXES['teacher'][0]}); it is in checkpoints of "
            "pre-training only; leave --set osf.branch=teacher out"
        )
    if copies and not wanted:
        raise DataError(f"{path}: only the teacher is in it; ask for it with --set osf.branch=teacher")
    if not wanted:
        return dict(found)
    (first, state), *others = wanted.items()
    for prefix, other in others:
        differing = next((name for name in [*state, *other] if not _equal(state, other, name)), None)
        if differing is not None:
            raise DataError(
                f"{path}: two networks in it, and they differ: {first}{differing} and {prefix}{differing}; "
                "save the state_dict of the one you want"
            )
    return state


def _under(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors below a prefix, which may stand behind that of a parallel wrapper, or in front of it."""
    part = {}
    for name, value in found.items():
        plain = name.removeprefix(_PARALLEL)
        if plain.startswith(prefix):
            part[plain.removeprefix(prefix).removeprefix(_PARALLEL)] = value
    return part


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str) -> bool:
    return name in one and name in other and torch.equal(one[name], other[name])


def _check_input(path: Path, about: Mapping[str, Any]) -> None:
    for name, wanted in _FIXED.items():
        if name in about and _number(about[name]) != wanted:
            raise DataError(
                f"{path}: made for another input: {name} is {about[name]}, wanted {wanted} "
                f"({LEADS} channels, {EPOCH_SAMPLES // RATE_HZ} s at {RATE_HZ} Hz, patches of {PATCH_LEADS} x 1 s)"
            )


def _geometry(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> Geometry:
    """Size of the network, from its shapes, and from the metadata what shapes do not tell: the heads.

    Where a shape is missing or odd, the released size's stands in: comparing all tensors will name it.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    usual = SIZES["vit_base"]
    width = _axis(shapes, "cls_token", 3, 2) or _axis(shapes, "norm.weight", 1, 0) or usual.width
    depth = 1 + max((int(match[1]) for match in map(_BLOCK.match, shapes) if match), default=usual.depth - 1)
    depth = depth if depth <= _MAX_DEPTH else usual.depth
    for name, is_there in (("width", width), ("depth", depth)):
        if name in about and _number(about[name]) != is_there:
            raise DataError(f"{path}: metadata and tensors disagree: {name} {about[name]} is stated, {is_there} found")
    inner = (
        _axis(shapes, "block0.attn.fn.to_out.0.weight", 2, 1) or _axis(shapes, "block0.attn.fn.to_qkv.bias", 1, 0) // 3
    )
    hidden = _axis(shapes, "block0.ff.fn.net.0.weight", 2, 0) or _axis(shapes, "block0.ff.fn.net.0.bias", 1, 0)
    heads, head_dim = _heads(path, inner, about)
    geometry = Geometry(width, depth, heads, hidden or usual.hidden, head_dim)
    known = SIZES.get(str(about.get("encoder_name")))
    if known is not None and known != geometry:
        raise DataError(f"{path}: metadata and tensors disagree: {about['encoder_name']} is {known}, found {geometry}")
    return geometry


def _check_size(path: Path, geometry: Geometry, about: Mapping[str, Any]) -> None:
    """Refuse a depth that nobody states: a file cut short has whole blocks, too."""
    if geometry in SIZES.values() or {"width", "depth"} <= set(about):  # stated: compared with what is there
        return
    near = ", ".join(f"{name} {size.depth}" for name, size in SIZES.items() if size.width == geometry.width)
    raise DataError(
        f"{path}: {geometry.depth} blocks of width {geometry.width} and {geometry.heads} heads are none of upstream's "
        f"sizes ({near + ' blocks' if near else ', '.join(SIZES)}); parts may be missing. If they are not, state width "
        "and depth in the file's metadata"
    )


def _axis(shapes: Mapping[str, tuple[int, ...]], name: str, n_dims: int, axis: int) -> int:
    """One size of a tensor; 0 when there is no such tensor or it has another number of dimensions."""
    shape = shapes.get(name, ())
    return shape[axis] if len(shape) == n_dims else 0


def _heads(path: Path, inner: int, about: Mapping[str, Any]) -> tuple[int, int]:
    """Heads and width of a head, from the columns that all heads share."""
    if not inner:  # refused later
        return SIZES["vit_base"].heads, HEAD_DIM
    heads = _number(about["heads"]) if "heads" in about else inner / HEAD_DIM
    if heads is None or heads < 1 or heads != int(heads) or inner % int(heads):
        said = f"metadata say heads {about['heads']}" if "heads" in about else f"heads of {HEAD_DIM} do not fit"
        raise DataError(f"{path}: how many heads share {inner} columns cannot be told: {said}; state heads in metadata")
    return int(heads), inner // int(heads)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
