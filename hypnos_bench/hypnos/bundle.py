"""One safetensors file: find it, distrust its header, and read single tensors by their byte ranges.

The file is neither mapped nor loaded as a whole: mapping adds its pages to the resident memory, and
embedding has no use for a third of a released bundle (decoder, depth transformer, training statistics).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from hypnos_bench.errors import DataError
from hypnos_bench.hypnos.config import ModelMetadata, parse_config
from hypnos_bench.hypnos.layout import Layout, bundle_layout

DEFAULT_REPO = "joncarter/hypnos"
BUNDLE_FILENAME = "hypnos.safetensors"

_MAX_HEADER_BYTES = 100 * 2**20
_ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
_ITEM_BYTES |= {"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
_FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
_REPO_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


Weights = Callable[[str], Tensor]
"""Where modules take their tensors from: the named one as float32 on the CPU, owned by the caller."""


@dataclass(frozen=True)
class Entry:
    """One tensor of the file: type, shape, first and last byte within the data part."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def resolve_bundle(path_or_repo: str | Path = DEFAULT_REPO, filename: str = BUNDLE_FILENAME) -> Path:
    """Find a bundle: a file, a folder that holds `filename`, or a Hub repository (``owner/name``, ``hf://owner/name``).

    Raises
    ------
    DataError
        When it is not there and cannot be fetched, saying how to get it.
    """
    text = str(path_or_repo)
    local = Path(text).expanduser()
    if local.is_dir():
        if not (local / filename).is_file():
            raise DataError(f"{local}: the folder holds no {filename}; download it from {_url(DEFAULT_REPO)}")
        return local / filename
    if local.is_file():
        return local
    repo = text.removeprefix("hf://")
    if not _REPO_ID.fullmatch(repo) or repo.endswith(".safetensors"):
        raise DataError(
            f"{text}: no such file or folder, and not a Hub repository (owner/name); "
            f"download {filename} from {_url(DEFAULT_REPO)} and give its path"
        )
    return _download(repo, filename)


def _download(repo: str, filename: str) -> Path:
    """File from the Hub's cache or the Hub; a copy in the cache is used as it is, its hash is in every card."""
    from huggingface_hub import get_session, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            return Path(hf_hub_download(repo_id=repo, filename=filename, local_files_only=True))
        except LocalEntryNotFoundError:
            # One short question first: without network the Hub client would retry for half a minute, aloud.
            get_session().head(hf_hub_url(repo, filename), timeout=10)
            return Path(hf_hub_download(repo_id=repo, filename=filename))
    except Exception as error:
        # The transport below (requests, httpx, httpx2: by version) has its own error types for a broken connection.
        transport = type(error).__module__.startswith(("httpx", "requests", "urllib3"))
        if not transport and not isinstance(error, (HfHubHTTPError, HFValidationError, OSError)):
            raise
        raise DataError(
            f"{repo}: {filename} cannot be fetched from the Hub ({type(error).__name__}); "
            f"download it elsewhere from {_url(repo)} and give its path"
        ) from error


def _url(repo: str) -> str:
    return f"https://huggingface.co/{repo}"


class Bundle:
    """An opened bundle: checked header, parsed config, tensors on demand.

    Parameters
    ----------
    path : Path
        The safetensors file.
    generating : bool
        Also ask for the tensors that generating signals needs. Without it they are not looked at.

    Attributes
    ----------
    metadata : ModelMetadata
    layout : dict
        Every tensor the config implies.
    bytes_read : int
        Tensor bytes read so far.

    Raises
    ------
    DataError
        When the file cannot be read, is damaged, or does not hold what its config implies.
    """

    def __init__(self, path: Path, *, generating: bool = False) -> None:
        self.path = path
        self.bytes_read = 0
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened ({error.strerror})") from error
        try:
            self._data_start, self.entries, marks = _read_header(path, self._file)
            self.metadata = _metadata(path, marks)
            self.layout: Layout = bundle_layout(self.metadata)
            self._sources = _match(path, self.entries, self.layout, generating)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str) -> Tensor:
        """Read one needed tensor as float32 (float16, bfloat16 and float64 are converted)."""
        entry = self.entries[self._sources[name]]
        raw = np.empty(entry.end - entry.start, np.uint8)
        view, done = memoryview(raw.data), 0
        self._file.seek(self._data_start + entry.start)
        while done < len(view):
            n = self._file.readinto(view[done:])
            if not n:
                raise DataError(f"{self.path}: ends inside tensor {name!r}; fetch the file again")
            done += n
        self.bytes_read += done
        return torch.from_numpy(raw).view(_FLOATS[entry.dtype]).reshape(entry.shape).float()

    def weights(self, prefix: str) -> Weights:
        """Reader of the tensors below `prefix`."""
        return lambda name: self.read(prefix + name)


def _read_header(path: Path, file: Any) -> tuple[int, dict[str, Entry], dict[str, str]]:
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
        raise DataError(f"{path}: not a safetensors file, or cut off ({size} bytes); fetch it again")
    raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its safetensors header is not valid JSON; fetch the file again") from error
    if not isinstance(header, dict):
        raise DataError(f"{path}: its safetensors header is not a JSON object; fetch the file again")
    marks = header.pop("__metadata__", {})
    if not isinstance(marks, dict) or not all(isinstance(v, str) for v in marks.values()):
        raise DataError(f"{path}: its safetensors metadata are not text; fetch the file again")
    entries = {name: _entry(path, name, raw_entry) for name, raw_entry in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise DataError(f"{path}: tensor {name!r} overlaps another or leaves a gap; fetch the file again")
        end = entry.end
    if size != 8 + length + end:
        raise DataError(f"{path}: {size} bytes long instead of {8 + length + end}; it is cut off, fetch it again")
    return 8 + length, entries, marks


def _entry(path: Path, name: str, raw: Any) -> Entry:
    def refuse(reason: str) -> NoReturn:
        raise DataError(f"{path}: header of tensor {name!r} is damaged ({reason}); fetch the file again")

    if not isinstance(raw, dict) or set(raw) != {"dtype", "shape", "data_offsets"}:
        refuse("fields")
    dtype, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        refuse(f"unknown type {dtype!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        refuse("shape or offsets")
    start, end = offsets
    if end - start != math.prod(shape) * _ITEM_BYTES[dtype]:
        refuse("shape and offsets disagree")
    return Entry(dtype, tuple(shape), start, end)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in value)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} appears twice")
        found[name] = value
    return found


def _metadata(path: Path, marks: Mapping[str, str]) -> ModelMetadata:
    if "config" not in marks:
        raise DataError(f"{path}: a safetensors file, but not a Hypnos bundle (no config in its metadata)")
    try:
        config = json.loads(marks["config"])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: the bundle's config is not valid JSON") from error
    if not isinstance(config, dict):
        raise DataError(f"{path}: the bundle's config is not a JSON object")
    return parse_config(config, where=str(path), file_metadata=marks)


def _match(path: Path, entries: Mapping[str, Entry], layout: Layout, generating: bool) -> dict[str, str]:
    """Map every needed tensor to the entry that holds it, itself or a tied copy; refuse what does not fit."""
    unknown = sorted(set(entries) - set(layout))
    if unknown:
        raise DataError(
            f"{path}: unexpected tensor {unknown[0]!r} ({len(unknown)} such) does not belong to the model "
            "its config describes; the file is from another version"
        )
    copies: dict[str, list[str]] = {}
    for name, slot in layout.items():
        if slot.alias_of is not None and name in entries:
            copies.setdefault(slot.alias_of, []).append(name)
    sources: dict[str, str] = {}
    for name, slot in layout.items():
        if not (slot.needed or (generating and slot.generates)):
            continue
        source = name if name in entries else next(iter(copies.get(name, [])), None)
        if source is None:
            advice = "fetch the file again"
            if not slot.needed:
                advice = "this file can embed but not generate, use the complete bundle"
            raise DataError(f"{path}: tensor {name!r} of shape {list(slot.shape)} is missing; {advice}")
        entry = entries[source]
        if entry.shape != slot.shape:
            raise DataError(
                f"{path}: tensor {source!r} has shape {list(entry.shape)}, its config implies {list(slot.shape)}"
            )
        if entry.dtype not in _FLOATS:
            raise DataError(f"{path}: tensor {source!r} holds {entry.dtype}, not floating-point numbers")
        sources[name] = source
    return sources
