"""Families of hypotheses, declared before a p-value exists, and their adjusted p-values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypnos_bench.errors import UsageError

F64 = NDArray[np.float64]
Method = Literal["bh", "bonferroni", "holm"]


@dataclass(frozen=True)
class Adjusted:
    """Benjamini-Hochberg adjusted p-values in the order given, NaN where p was NaN, and how many were."""

    p: F64
    n_undefined: int


def benjamini_hochberg(p: ArrayLike) -> Adjusted:
    """Adjust the p-values of one family fixed in advance (Benjamini & Hochberg 1995).

    NaN values do not count as tests: they stay NaN and are counted.

    Raises
    ------
    ValueError
        When a p-value lies outside [0, 1].
    """
    from scipy.stats import false_discovery_control

    values, defined = _checked(p)
    adjusted = np.full(values.shape, np.nan)
    if defined.any():
        # The largest p comes back as p * m / m, which may be one bit short of p.
        adjusted[defined] = np.maximum(false_discovery_control(values[defined], method="bh"), values[defined])
    return Adjusted(adjusted, int((~defined).sum()))


def bonferroni(p: ArrayLike) -> Adjusted:
    """Each p times the number of defined ones, at most 1. NaN and errors as :func:`benjamini_hochberg`."""
    values, defined = _checked(p)
    return Adjusted(np.minimum(values * defined.sum(), 1.0), int((~defined).sum()))


def holm(p: ArrayLike) -> Adjusted:
    """Step-down Bonferroni (Holm 1979): never larger, same guarantee. NaN and errors as :func:`benjamini_hochberg`."""
    values, defined = _checked(p)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(defined)
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return Adjusted(adjusted, int((~defined).sum()))


def _checked(p: ArrayLike) -> tuple[F64, NDArray[np.bool_]]:
    values = np.asarray(p, dtype=np.float64)
    defined = ~np.isnan(values)
    if (values[defined] < 0).any() or (values[defined] > 1).any():
        raise ValueError(f"p-values run from {np.nanmin(values)} to {np.nanmax(values)}, outside 0..1")
    return values, defined


@dataclass(frozen=True)
class Family:
    """The hypotheses tested together, fixed before any of their p-values is known.

    Parameters
    ----------
    name : str
        What they are about, e.g. task, cohort, head, label budget and metric of one table.
    members : tuple of str
        One id per hypothesis, without repeats.

    Raises
    ------
    UsageError
        When there is no member, or one twice.
    """

    name: str
    members: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError(f"family {self.name!r}: no hypotheses; a family is declared before testing")
        if twice := sorted({m for m in self.members if self.members.count(m) > 1}):
            raise UsageError(f"family {self.name!r}: declared twice: {', '.join(twice)}")


@dataclass(frozen=True)
class AdjustedFamily:
    """P-values of a family, raw and adjusted by every method, keyed by member; NaN where p is undefined.

    `method` is the one that decides, chosen with the family; the others stand beside it. `n_tests` counts the defined
    p-values, which the adjustments count as tests; `n_undefined` the declared hypotheses without one.
    """

    family: Family
    method: Method
    p: Mapping[str, float]
    bh: Mapping[str, float]
    bonferroni: Mapping[str, float]
    holm: Mapping[str, float]
    n_tests: int
    n_undefined: int

    @property
    def adjusted(self) -> Mapping[str, float]:
        """Adjusted p-values by the method that decides."""
        return {"bh": self.bh, "bonferroni": self.bonferroni, "holm": self.holm}[self.method]


def adjust(family: Family, p: Mapping[str, float], method: Method = "bh") -> AdjustedFamily:
    """Adjust the p-values of a declared family.

    Parameters
    ----------
    family : Family
    p : mapping of str to float
        Exactly one value per member; NaN for a hypothesis that could not be tested, which is counted.
    method : {"bh", "bonferroni", "holm"}
        False discovery rate (Benjamini & Hochberg 1995; valid under independence and positive dependence), or
        family-wise error.

    Raises
    ------
    UsageError
        When a member has no value, a value belongs to no member, or the method does not exist.
    ValueError
        When a p-value lies outside [0, 1].
    """
    if method not in get_args(Method):
        raise UsageError(f"family {family.name!r}: {method!r} is none of {', '.join(get_args(Method))}")
    missing, extra = [m for m in family.members if m not in p], sorted(set(p) - set(family.members))
    if missing or extra:
        parts = [f"{word} {', '.join(ids)}" for word, ids in (("without p:", missing), ("not declared:", extra)) if ids]
        raise UsageError(f"family {family.name!r}: {'; '.join(parts)}; declare the family before testing, in full")
    values = np.array([p[m] for m in family.members], dtype=np.float64)
    found = {"bh": benjamini_hochberg(values), "bonferroni": bonferroni(values), "holm": holm(values)}
    columns = {name: dict(zip(family.members, a.p.tolist(), strict=True)) for name, a in found.items()}
    undefined = found["bh"].n_undefined
    raw = dict(zip(family.members, values.tolist(), strict=True))
    return AdjustedFamily(family, method, raw, **columns, n_tests=values.size - undefined, n_undefined=undefined)
