"""Which class a label of the cohort belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hypnos_bench.spec import TaskSpec

CATCH_ALL = "*"
"""Key of ``class_map`` for every label that is not listed."""


@dataclass(frozen=True)
class ClassMap:
    """A task's ``class_map`` as codes.

    Parameters
    ----------
    codes : mapping of str to int
        Label to class code; the catch-all under ``"*"``.
    ignore : frozenset of str
        Labels that the catch-all must not take.
    """

    codes: Mapping[str, int]
    ignore: frozenset[str] = frozenset()

    @classmethod
    def of(cls, task: TaskSpec, spelt: Callable[[str], str] = str) -> ClassMap:
        """The map of a task; `spelt` brings labels of the task to the spelling that they are asked in."""
        codes = {spelt(label): task.classes.index(name) for label, name in task.class_map.items()}
        return cls(codes, frozenset(spelt(label) for label in task.ignore))

    def code(self, label: str) -> int | None:
        """Class of one label, ``None`` when it is unlabelled for the task."""
        if label in self.ignore:
            return None
        return self.codes.get(label, self.codes.get(CATCH_ALL))

    def code_of_all(self, labels: Iterable[str]) -> tuple[int | None, str]:
        """Class of something that carries several labels at once, or ``None`` and why.

        Labels that are listed decide; the catch-all takes what carries none of them. One that is ignored, or two of
        different classes, leave no class.
        """
        told = list(labels)
        if ignored := [label for label in told if label in self.ignore]:
            return None, f"labelled {', '.join(ignored)}, which the task ignores"
        listed = {label: self.codes[label] for label in told if label in self.codes}
        if len(set(listed.values())) > 1:
            return None, f"labelled {', '.join(listed)}, which are of different classes"
        if listed:
            return next(iter(listed.values())), ""
        code = self.codes.get(CATCH_ALL)
        return code, "" if code is not None else f"labelled {', '.join(told)}, which is of no class of the task"
