"""Which encoder really is better: paired tests between the rows of one table, read from side files.

Where a recording has a score of its own (kappa of a night, absolute error of an age) the signed-rank test runs over
persons. Where it has none, because each is a single answer or a place in a ranking, the difference is taken in every
bootstrap replicate, on draws of persons that both rows share. All tests of one table (pairs of rows, label budgets
and outcomes, on the main metric) are one family.
"""

from hypnos_bench.significance.evidence import MANY_OUTCOMES, Drawn, Kept, SideFiles
from hypnos_bench.significance.pairs import LEVEL, MIN_BOOTSTRAP_PERSONS, Tested, compare_rows

__all__ = ["LEVEL", "MANY_OUTCOMES", "MIN_BOOTSTRAP_PERSONS", "Drawn", "Kept", "SideFiles", "Tested", "compare_rows"]
