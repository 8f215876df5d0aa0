"""A seeded simulator of polysomnographies: whole nights of signals with the stages and events that made them.

Nobody was recorded. The nights have the field's landmarks (spindles, atonia, desaturations, ...) and
persons who differ, so that staging is learnable but not trivial, and so that a split by epoch cheats.
Scores on them say that the machinery works; they say nothing about any encoder's worth in people.
"""

SIM_VERSION = 1
"""Changes whenever the same seed would give other nights."""
