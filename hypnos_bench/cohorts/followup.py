"""Units of follow-up times, and how a wrong one shows."""

from __future__ import annotations

from collections.abc import Mapping

from hypnos_bench.errors import DataError

PER_YEAR: Mapping[str, float] = {"days": 365.25, "years": 1.0}
"""Units in a year."""

MISSING = ("", ".", "NA", "NaN", "null", "None")
"""Cells that mean missing in tables of outcomes, in any case."""


def check_unit(value: float, unit: str, max_years: float, where: str) -> None:
    """Stop at a time that is longer than any follow-up.

    Raises
    ------
    DataError
        Naming the place, and the unit that it looks like.
    """
    if abs(value) <= max_years * PER_YEAR[unit]:
        return
    looks = 'looks like days: set unit = "days"' if unit == "years" else "looks like another unit, a code or a date"
    raise DataError(f"{where} is {value:g} {unit}, more than the {max_years:g} years of [clock] max_years; {looks}")


def check_longest(longest: float, unit: str, max_years: float) -> tuple[str, ...]:
    """Stop where days can only be years; a remark where all follow-ups are short.

    Sixty days are no follow-up of a cohort, but sixty years can be: when the longest time of all
    would pass as years too, days are not believed.

    Raises
    ------
    DataError
        When the unit is days and no time exceeds `max_years` as a number.
    """
    if unit != "days" or longest <= 0:
        return ()
    if longest <= max_years:
        raise DataError(
            f'the longest follow-up of all is {longest:g} days, which looks like years: set unit = "years", '
            f"or [clock] max_years below {longest:g} if days are right"
        )
    if longest < PER_YEAR["days"]:
        return (f"the longest follow-up of all is {longest:g} days: is the unit right?",)
    return ()
