"""One generic registry: lazy ``"module:object"`` strings, entry points, and "did you mean"."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from hypnos_bench.errors import UsageError


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


class Registry:
    """Named things that are imported only when asked for.

    Parameters
    ----------
    kind : str
        Word used in messages (``"encoder"``).
    builtin : mapping of str to str
        Id to ``"module:object"``, or to ``"module:function:word"`` for what the function makes of the word.
    group : str, optional
        Entry-point group through which other packages add to it.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], group: str | None = None) -> None:
        self.kind = kind
        self._builtin = dict(builtin)
        self._group = group

    def _targets(self) -> dict[str, str]:
        targets = dict(self._builtin)
        if self._group:
            for point in entry_points(group=self._group):
                if point.name in targets and targets[point.name] != point.value:
                    raise UsageError(
                        f"{self.kind} {point.name!r} is registered twice: {targets[point.name]} and {point.value}"
                    )
                targets[point.name] = point.value
        return targets

    def ids(self) -> list[str]:
        """Known ids, sorted."""
        return sorted(self._targets())

    def is_builtin(self, name: str) -> bool:
        """Whether a known name is the suite's own."""
        return name in self._builtin

    def unknown(self, name: str) -> str:
        """Say that a name is unknown, with the nearest known one and all of them."""
        known = self.ids()
        return f"unknown {self.kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"

    def load(self, name: str) -> Any:
        """Import and return the object behind `name`.

        Raises
        ------
        UsageError
            When `name` is unknown (with the nearest known one) or its target cannot be found.
        """
        targets = self._targets()
        if name not in targets:
            raise UsageError(self.unknown(name))
        try:
            module, attribute, *words = targets[name].split(":")
            found = getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # another package's module may raise anything
            text = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"{self.kind} {name!r} points to {targets[name]}, which fails to load: {text}") from error
        return found(*words) if words else found
