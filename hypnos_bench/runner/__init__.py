"""The only loop: plan -> embed -> what encoders have in common -> run the cells that are lacking -> save.

``request`` is what a user asked for and ``plan`` turns it into cells; ``embedding`` and ``gather`` make rows of
recordings, ``common`` restricts all encoders to what each of them has, ``families`` says who must stay on one side of a
split, ``seen`` who was seen in pre-training, and ``loop`` runs what is lacking.
"""

from hypnos_bench.runner.loop import RunOutcome, execute
from hypnos_bench.runner.plan import Block, CohortPlan, PlannedCell, open_cohort, plan
from hypnos_bench.runner.request import RunRequest

__all__ = ["Block", "CohortPlan", "PlannedCell", "RunOutcome", "RunRequest", "execute", "open_cohort", "plan"]
