"""Other people's checkpoints: tensors by name out of a torch or safetensors file that is not to be trusted.

Nothing in a file is run: torch files go through the weights-only reader, and sizes are bounded before anything is
allocated. What a file holds is compared with what a network wants, name by name, before any of it is used.
"""

from __future__ import annotations

import functools
import pickle
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnos_bench.errors import DataError
from hypnos_bench.spec import file_sha256

MAX_BYTES = 8 * 2**30
"""Largest file, and largest content of one, that is opened."""

WRAPPINGS = ("state_dict", "model_state_dict")
"""Names under which training scripts keep the weights; a file may also hold them bare."""

MAX_REPEATED_BYTES = 2**30
"""Most that tensors may hold beyond what the file stores: a view can repeat one stored number without end."""

_COUNTERS = "num_batches_tracked"
_VARIANCES = "running_var"

Shapes = Mapping[str, tuple[int, ...]]


def load_state(path: Path, prefixes: Sequence[str] = ()) -> dict[str, Tensor]:
    """Read the weights of a checkpoint; see `load_checkpoint`, which also gives what the file says about them."""
    return load_checkpoint(path, prefixes)[0]


def load_checkpoint(path: Path, prefixes: Sequence[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of a checkpoint, and the plain values of its ``metadata``.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or a torch file (zip format) with a dict of tensors, bare or under one of `WRAPPINGS`.
    prefixes : sequence of str
        Taken off every name that begins with them, one after the other: ``("module.",)``.

    Returns
    -------
    state : dict of str to Tensor
        On the CPU; floating point as float32. In the file's order.
    about : dict
        Numbers and texts under ``metadata``; texts only in a ``.safetensors`` file. Empty when there is none.

    Raises
    ------
    DataError
        When the file is missing, damaged, too large, or holds anything but plain finite tensors.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes, more than the {MAX_BYTES} that are opened; is it the right file?")
        found, about = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); give an existing file") from error
    _check_sizes(path, found)
    state: dict[str, Tensor] = {}
    for key, value in found.items():
        name = key
        for prefix in prefixes:
            name = name.removeprefix(prefix)
        if name in state:
            raise DataError(f"{path}: {name} is there twice, with and without a prefix")
        state[name] = _plain(path, key, value)
    return state, {name: value for name, value in about.items() if isinstance(value, (str, int, float))}


def sha256_of(path: Path) -> str:
    """SHA-256 of a weights file, read once per process as long as the file does not change.

    Raises
    ------
    DataError
        When it is not there.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); give an existing file") from error
    return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the key only
    return file_sha256(path)


def check_state(
    found: Mapping[str, Tensor], wanted_shapes: Shapes, ignore: Collection[str] = (), *, where: str = "weights"
) -> None:
    """Refuse weights whose names or shapes are not exactly those that are wanted, or that cannot be weights.

    Weights are floating-point numbers, but for counters of batches; variances are not negative.

    Parameters
    ----------
    found : mapping of str to Tensor
    wanted_shapes : mapping of str to tuple of int
        In the order in which they are compared.
    ignore : collection of str
        Names that may be there or not, in any shape.
    where : str
        The file, for the message.

    Raises
    ------
    DataError
        Naming the first that differs, with the wanted and the found shape, and how many differ in all.
    """
    differing = []
    for name, shape in wanted_shapes.items():
        if name in ignore:
            continue
        if name not in found:
            differing.append(f"{name}: wanted {_shape(shape)}, found nothing")
        elif tuple(found[name].shape) != tuple(shape):
            differing.append(f"{name}: wanted {_shape(shape)}, found {_shape(found[name].shape)}")
    for name in found:
        if name not in wanted_shapes and name not in ignore:
            differing.append(f"{name}: wanted nothing, found {_shape(found[name].shape)}")
    if differing:
        count = f"{len(differing)} of {len(set(wanted_shapes) | set(found))} tensors differ"
        raise DataError(f"{where}: not the weights of this network; {count}, the first is {differing[0]}")
    _check_numbers(where, {name: found[name] for name in wanted_shapes if name not in ignore})


def _check_numbers(where: str, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if not tensor.is_floating_point() and not name.endswith(_COUNTERS):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DataError(f"{where}: {name} holds {kind}, not floating-point numbers; save the weights as trained")
        if name.endswith(_VARIANCES) and bool((tensor < 0).any()):
            raise DataError(f"{where}: {name} holds negative variances; the weights are damaged")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise DataError(f"{path}: damaged or no safetensors file ({error}); download it again") from error


def _read_torch(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dict of weights in a torch file, and its metadata. Raises ``DataError`` and ``OSError``."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: damaged or no torch checkpoint ({error}); download it again") from error
    if content > MAX_BYTES:
        raise DataError(f"{path}: unpacks to {content} bytes, more than the {MAX_BYTES} that are read")
    try:
        with torch.serialization.safe_globals(_plain_numbers()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))  # torch's own text ends with advice to trust the file
        reason = f"it asks for {asked[1]}" if asked else "it holds objects other than tensors"
        raise DataError(f"{path}: cannot be read as weights only: {reason}; save its state_dict alone") from error
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: damaged torch checkpoint ({reason}); download it again") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: holds {type(loaded).__name__}, not a dict of weights; save its state_dict")
    for name in WRAPPINGS:
        if isinstance(loaded.get(name), dict):
            about = loaded.get("metadata")
            return dict(loaded[name]), about if isinstance(about, dict) else {}
    return loaded, {}


def _plain_numbers() -> list[Any]:
    """What a NumPy number is pickled with: training scripts leave their last loss beside the weights."""
    kinds = (np.float64, np.float32, np.int64)
    # The function behind a scalar has two public addresses: NumPy 2's, and the one that older files name.
    make = np.float64(0).__reduce__()[0]
    dtypes: list[Any] = [np.dtype, *(type(np.dtype(kind)) for kind in kinds)]
    return [*dtypes, make, (make, "numpy.core.multiarray.scalar"), (make, "numpy._core.multiarray.scalar")]


def _check_sizes(path: Path, found: Mapping[Any, Any]) -> None:
    """Bound what tensors take as float32 before any is converted: each, all together, and what they only repeat."""
    total = 0
    stored: dict[int, int] = {}
    for key, value in found.items():
        _check_kind(path, key, value)
        size = 4 * value.numel()
        if size > MAX_BYTES:
            raise DataError(f"{path}: {key} has {value.numel()} numbers, more than are read")
        total += size
        storage = value.untyped_storage()
        start, there = storage.data_ptr(), 4 * (storage.nbytes() // value.element_size())
        stored[start] = max(stored.get(start, 0), there)
    if total > MAX_BYTES:
        raise DataError(f"{path}: its tensors take {total} bytes as float32, more than the {MAX_BYTES} that are read")
    if total - sum(stored.values()) > MAX_REPEATED_BYTES:
        raise DataError(f"{path}: its tensors take {total} bytes as float32, of which it stores {sum(stored.values())}")


def _check_kind(path: Path, key: Any, value: Any) -> None:
    if not isinstance(key, str) or not isinstance(value, Tensor):
        what = type(value).__name__
        raise DataError(f"{path}: {key!r} is {what}, not a tensor; the file must hold a state_dict and nothing else")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
        raise DataError(f"{path}: {key} is no plain tensor ({value.layout}, {value.dtype}, {value.device})")


def _plain(path: Path, key: Any, value: Tensor) -> Tensor:
    """A tensor as float32 with finite numbers; one of integers stays so."""
    plain = value.detach()
    if plain.is_floating_point():
        plain = plain.to(torch.float32)
        if not bool(torch.isfinite(plain).all()):
            raise DataError(f"{path}: {key} holds numbers that are not finite; the weights are damaged")
    return plain
