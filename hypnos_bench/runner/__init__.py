"""The only loop: plan -> skip what is done -> gather rows -> run cells -> save.

``plan`` turns a request into cells, ``gather`` embeddings and labels into rows, ``families`` says who must stay on one
side of a split, and ``loop`` runs what is lacking.
"""

from hypnos_bench.runner.loop import RunOutcome, execute
from hypnos_bench.runner.plan import Block, PlannedCell, RunRequest, open_cohort, plan

__all__ = ["Block", "PlannedCell", "RunOutcome", "RunRequest", "execute", "open_cohort", "plan"]
