"""What a reference names: an id, ``module:object``, ``file.py:object`` or ``precomputed:FOLDER``; and loading it.

A plug-in is code of the user's own: whatever it raises while it is loaded becomes one line that says so.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypnos_bench.errors import BenchError, UsageError
from hypnos_bench.registry import Registry
from hypnos_bench.spec import digest, file_sha256

if TYPE_CHECKING:
    from hypnos_bench.encoders.base import EncoderOptions

PRECOMPUTED = "precomputed"
FORMS = "module:object, path/file.py:object or precomputed:FOLDER"


@dataclass(frozen=True)
class Target:
    """What a reference leads to.

    Parameters
    ----------
    found : object
        A class or function that makes an encoder, or an encoder.
    plugin : bool
        Whether it is not one of the suite's own.
    source : str or None
        SHA-256 of the code that defines it, for code that is named by module or file: it may be under work.
    name : str or None
        Its name in there.
    folder : Path or None
        Of ``precomputed:FOLDER``.
    """

    found: Any
    plugin: bool
    source: str | None = None
    name: str | None = None
    folder: Path | None = None


def find(reference: str, registry: Registry) -> Target:
    """Import what a reference names; makes no encoder.

    Raises
    ------
    UsageError
        When there is nothing of that name, or its module cannot be imported.
    """
    if reference in registry.ids():
        return Target(registry.load(reference), not registry.is_builtin(reference))
    place, colon, name = reference.rpartition(":")
    if not colon:
        unknown = registry.unknown(reference)
        raise UsageError(f"{unknown}. One of your own is named as {FORMS}")
    if reference.startswith(f"{PRECOMPUTED}:"):
        folder = reference.removeprefix(f"{PRECOMPUTED}:")
        if not folder:
            raise UsageError(f"encoder {reference!r} names no folder; write {PRECOMPUTED}:FOLDER")
        return Target(registry.load(PRECOMPUTED), plugin=False, folder=Path(folder).expanduser())
    if not place or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"encoder {reference!r} is neither a known id nor {FORMS}")
    if place.endswith(".py"):
        return _in_file(reference, Path(place).expanduser(), name)
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(f"encoder {reference!r}: {place!r} is no module name; a file needs its .py, as in {place}.py")
    return _in_module(reference, place, name)


def settled(reference: str) -> str:
    """The reference with its file or folder made absolute: it means the same in a process that runs elsewhere."""
    place, colon, name = reference.rpartition(":")
    if colon and place.endswith(".py"):
        return f"{Path(place).expanduser().resolve()}:{name}"
    if reference.startswith(f"{PRECOMPUTED}:"):
        return f"{PRECOMPUTED}:{Path(reference.partition(':')[2]).expanduser().resolve()}"
    return reference


def make(target: Target, options: EncoderOptions, reference: str) -> Any:
    """Call what makes an encoder, with the options where it takes them; an encoder that is there already is returned.

    Raises
    ------
    UsageError
        When it cannot be called so, or fails.
    """
    if target.folder is not None:
        options = replace(options, embeddings=target.folder)
    if not target.plugin:
        return target.found(options)
    found = target.found
    if not isinstance(found, type) and (not callable(found) or has_encode(found)):
        return found
    with_options = _takes_options(found, reference)
    with Guarded(f"encoder {reference} cannot be made"):
        return found(options) if with_options else found()


def has_encode(found: Any) -> bool:
    """Whether something has a method ``encode``."""
    return callable(getattr(found, "encode", None))


class Guarded:
    """Turns what a plug-in raises, other than the suite's own errors, into a ``UsageError`` of one line."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, (BenchError, MemoryError)):
            raise UsageError(f"{self._what}: {told(error)}") from error


def told(error: BaseException) -> str:
    """An exception's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _takes_options(found: Any, reference: str) -> bool:
    """Whether it is called with options: it requires one argument, or has one of that name."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # written in C
        return True
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind not in several]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        names = ", ".join(p.name for p in required)
        raise UsageError(f"encoder {reference} requires the arguments {names}; it may require EncoderOptions only")
    first = next((p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)), None)
    return bool(required) or (first is not None and first.name == "options")


def _in_module(reference: str, place: str, name: str) -> Target:
    _search_last(Path.cwd())
    with Guarded(f"encoder {reference}: module {place} fails to import"):
        module = importlib.import_module(place)
    found = _attribute(module, name, reference)
    return Target(found, plugin=True, source=_source_of(module, found, reference), name=name)


def _in_file(reference: str, path: Path, name: str) -> Target:
    try:
        code = path.read_bytes()
    except OSError as error:
        raise UsageError(f"encoder {reference}: {path} cannot be read ({error.strerror})") from error
    module = _module_of_file(reference, path.resolve(), code)
    found = _attribute(module, name, reference)
    return Target(found, plugin=True, source=hashlib.sha256(code).hexdigest(), name=name)


class _Code(SourceLoader):
    """Loads the very bytes that were hashed, and writes no bytecode beside them."""

    def __init__(self, path: Path, code: bytes) -> None:
        self._path, self._code = path, code

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: object) -> bytes:
        return self._code


def _module_of_file(reference: str, path: Path, code: bytes) -> types.ModuleType:
    """The module in a file; the same one again in this process for as long as the file does not change."""
    unique = digest([str(path), hashlib.sha256(code).hexdigest()])[:12]
    name = f"hypnos_bench_file_{unique}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    _search_last(path.parent)  # for what lies beside it
    spec = spec_from_loader(name, _Code(path, code))
    if spec is None:
        raise UsageError(f"encoder {reference}: {path} cannot be loaded")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is executed
    try:
        with Guarded(f"encoder {reference}: {path} fails to import"):
            _Code(path, code).exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: types.ModuleType, name: str, reference: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            from hypnos_bench.registry import did_you_mean

            public = [known for known in vars(found) if not known.startswith("_")]
            raise UsageError(f"encoder {reference}: there is no {part!r} in it.{did_you_mean(part, public)}")
        found = getattr(found, part)
    return found


def _search_last(folder: Path) -> None:
    """Let modules be found in a folder, unless one of that name is found elsewhere."""
    if not {str(folder), ""} & set(sys.path):
        sys.path.append(str(folder))


def _source_of(module: types.ModuleType, found: Any, reference: str) -> str:
    """Hash of the files that define an object: that of the module named, and that of its class where it is another."""
    maker = found if isinstance(found, (type, types.FunctionType)) else type(found)
    files = [_file_of(m) for m in (module, sys.modules.get(maker.__module__, module))]
    several = _hashes(tuple(dict.fromkeys(file for file in files if file is not None)))
    if not several:
        raise UsageError(f"encoder {reference}: its module has no file, so that no change of its code could be seen")
    return several[0] if len(several) == 1 else digest(list(several))


@functools.cache
def _hashes(files: Sequence[Path]) -> tuple[str, ...]:
    """Hashes of files when they were first asked for: what is imported once is not imported again when it changes."""
    return tuple(file_sha256(file) for file in files)


def _file_of(module: types.ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if file and Path(file).is_file() else None
