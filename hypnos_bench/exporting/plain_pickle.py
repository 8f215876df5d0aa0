"""Reads pickles of plain data without Python's unpickler: a small machine that knows no way to call anything.

A pickle is a program. Python's ``pickle`` runs it; here :mod:`pickletools` only takes it apart, and the machine below
executes the instructions that build lists, tuples, dicts, texts, bytes and numbers. A name in a pickle stays a pair of
words: the few that NumPy arrays and PyTorch tensors need stand for functions of this suite, any other ends the reading.
Nothing is imported, no object of a class is made, and every length is held against the bytes that are there.
"""

from __future__ import annotations

import mmap
import pickletools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

from hypnos_bench.errors import DataError

MAX_BYTES = 16 * 2**30
MAX_INSTRUCTIONS = 50_000_000
MAX_STACK = 100_000
MAX_MARKS = 64
MAX_DEPTH = 16
MAX_INTEGER_BYTES = 64

_MARK = object()

Names = Mapping[tuple[str, str], Callable[..., Any]]


class NotPlainError(ValueError):
    """A pickle holds something else than plain data. One line, without the path."""


class Buildable(ABC):
    """What a stand-in returns when the pickle sets its state afterwards."""

    @abstractmethod
    def build(self, state: Any) -> None:
        """Take the state. Raises ``NotPlainError`` when it is not of the expected kind."""


class Name:
    """A global of a pickle that is admitted: words, and what stands for it here."""

    def __init__(self, module: str, name: str, stand_in: Callable[..., Any]) -> None:
        self.words, self.stand_in = (module, name), stand_in


def read_pickle(path: Path, names: Names) -> Any:
    """Read a pickle file of plain data.

    Parameters
    ----------
    path : Path
    names : mapping of (module, name) to callable
        Globals that are admitted, and what stands for them.

    Raises
    ------
    DataError
        When the file cannot be opened, is cut off, too large, or holds anything else. Nothing of it was run.
    """
    try:
        size = path.stat().st_size if path.is_file() else 0
        if not 0 < size <= MAX_BYTES:
            raise DataError(f"{path}: no file of 1 byte to {MAX_BYTES / 2**30:g} GiB")
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            value = run(content, names)
            if content.tell() != size:
                raise NotPlainError(f"{size - content.tell()} bytes follow its end")
            return value
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except NotPlainError as error:
        raise DataError(
            f"{path}: {error}; only lists, tuples, dicts, texts, numbers, NumPy arrays and CPU tensors are read, and "
            "nothing of it was run"
        ) from error


def run(source: IO[bytes] | mmap.mmap, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """Value of the pickle that begins where `source` stands; leaves it behind the pickle.

    Raises
    ------
    NotPlainError
        When it is damaged or not plain.
    """
    machine = _Machine(names, persistent)
    at = 0
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(cast(IO[bytes], source))):
            at = position or 0
            if count >= MAX_INSTRUCTIONS:
                raise NotPlainError(f"has more than {MAX_INSTRUCTIONS} instructions")
            machine.do(opcode.name, argument)
    except NotPlainError as error:
        raise NotPlainError(f"{error} (byte {at})") from error
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError, MemoryError) as error:
        text = (str(error).splitlines() or [""])[0][:100]
        raise NotPlainError(f"is damaged or no pickle ({text or type(error).__name__}, byte {at})") from error
    return machine.result()


class _Machine:
    """A stack, a memo, and one method per kind of instruction."""

    def __init__(self, names: Names, persistent: Callable[[Any], Any] | None) -> None:
        self._names, self._persistent = names, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._depth: dict[int, int] = {}  # id of a container that holds containers: how deep

    def do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > 8 * MAX_INTEGER_BYTES:
                raise NotPlainError("holds a number of more than 64 bytes")
            self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _NOTHING:
            raise NotPlainError(f"uses {name}, which plain data has no need of")
        if len(self._stack) > MAX_STACK or len(self._marks) > MAX_MARKS:
            raise NotPlainError("nests more than plain data does")

    def result(self) -> Any:
        if len(self._stack) != 1 or self._marks or self._stack[0] is _MARK:
            raise NotPlainError("does not end in one value")
        return self._stack[0]

    # Containers

    def _container(self, made: Any, held: Any) -> None:
        self._stack.append(made)
        self._depth.pop(id(made), None)  # may be that of an object that is gone
        self._deepen(made, held)

    def _deepen(self, holder: Any, held: Any) -> None:
        deepest = max((self._depth.get(id(v), 1) for v in held if isinstance(v, (list, tuple, dict))), default=0)
        if deepest >= MAX_DEPTH:
            raise NotPlainError(f"nests deeper than {MAX_DEPTH} containers")
        if deepest:
            self._depth[id(holder)] = max(self._depth.get(id(holder), 1), deepest + 1)

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise NotPlainError("closes what it did not open")
        at = self._marks.pop()
        held = self._stack[at:]
        del self._stack[at:]
        return held

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise NotPlainError("takes more from the stack than is there")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0) or type(self._stack[-1]) is not kind:
            raise NotPlainError(f"adds to what is no {kind.__name__}")
        return self._stack[-1]

    def make_tuple(self, _: Any) -> None:
        held = self._since_mark()
        self._container(tuple(held), held)

    def make_short_tuple(self, n: int) -> None:
        held = [self._pop() for _ in range(n)][::-1]
        self._container(tuple(held), held)

    def make_list(self, _: Any) -> None:
        held = self._since_mark()
        self._container(held, held)

    def make_dict(self, _: Any) -> None:
        held = self._since_mark()
        self._container({}, ())
        self._fill(held)

    def append(self, _: Any) -> None:
        self._extend([self._pop()])

    def appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, held: list[Any]) -> None:
        into = self._top(list)
        into.extend(held)
        self._deepen(into, held)

    def set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._fill([key, value])

    def set_items(self, _: Any) -> None:
        self._fill(self._since_mark())

    def _fill(self, held: list[Any]) -> None:
        into = self._top(dict)
        keys, values = held[::2], held[1::2]
        if len(keys) != len(values) or not all(isinstance(key, (str, int, float)) for key in keys):
            raise NotPlainError("has a dict whose keys are neither texts nor numbers")
        into.update(zip(keys, values, strict=True))
        self._deepen(into, values)

    # Memo

    def put(self, index: int | None) -> None:
        if not self._stack:
            raise NotPlainError("remembers what is not there")
        self._memo[len(self._memo) if index is None else int(index)] = self._stack[-1]

    def get(self, index: int) -> None:
        if int(index) not in self._memo:
            raise NotPlainError("refers to what it did not remember")
        self._stack.append(self._memo[int(index)])

    # Names, and what stands for them

    def name(self, words: str) -> None:
        module, _, name = words.partition(" ")
        self._push_name(module, name)

    def name_from_stack(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push_name(module, name)

    def _push_name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str or (module, name) not in self._names:
            raise NotPlainError(f"names {str(module)[:60]!r} {str(name)[:60]!r}, which is no plain data")
        self._stack.append(Name(module, name, self._names[module, name]))

    def stand_in(self, _: Any) -> None:
        arguments, name = self._pop(), self._pop()
        if type(name) is not Name or type(arguments) is not tuple:
            raise NotPlainError("calls what is no name")
        self._stack.append(name.stand_in(*arguments))

    def build(self, _: Any) -> None:
        state = self._pop()
        target = self._stack[-1] if self._stack else None
        if not isinstance(target, Buildable):
            raise NotPlainError(f"sets the state of a {type(target).__name__}")
        target.build(state)

    def persistent(self, _: Any) -> None:
        if self._persistent is None:
            raise NotPlainError("refers to something outside itself")
        self._stack.append(self._persistent(self._pop()))


_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NOTHING = frozenset({"PROTO", "FRAME", "STOP"})
_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "EMPTY_LIST": lambda machine, _: machine._container([], ()),
    "EMPTY_DICT": lambda machine, _: machine._container({}, ()),
    "EMPTY_TUPLE": lambda machine, _: machine._container((), ()),
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": lambda machine, _: machine.make_short_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_short_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_short_tuple(3),
    "LIST": _Machine.make_list,
    "DICT": _Machine.make_dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.stand_in,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
