"""The demo cohort: simulated nights that are written on first use and read back as MrOS is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Outcome
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.cohorts.scan import refuse_person_pattern
from hypnos_bench.cohorts.simulator import SIM_VERSION
from hypnos_bench.cohorts.simulator.build import Settings, ensure_built
from hypnos_bench.cohorts.simulator.outcomes import simulated_outcomes
from hypnos_bench.cohorts.simulator.tables import person_id
from hypnos_bench.errors import UsageError
from hypnos_bench.spec import SplitSpec

CACHE_VARIABLE = "HYPNOS_BENCH_CACHE"

CARD = CohortCard(
    id="demo",
    title="Simulated demo cohort (nobody was recorded)",
    labels=("stage", "events"),
    split=SplitSpec("cv5"),
    encoders=("hypnos-untrained", "features"),
    simulated=True,
    licence="none needed: simulated",
    source=f"hypnos-bench simulator, version {SIM_VERSION}",
    note=(
        "36 simulated men, 4 of them seen twice, in the files, labels and tables of MrOS. Nights are shortened "
        "to two sleep cycles, 2 to 3.5 hours; EEG, EOG, chin and ECG are stored at 128 Hz (MrOS: 256 and 512). About "
        "15 % of the men are in atrial fibrillation. The scorer errs on purpose. Deaths, strokes and heart failure "
        "within 13 years are drawn from age, rhythm, apnea and build. Results show that everything runs, not what an "
        "encoder is worth in people."
    ),
)


class DemoSource:
    """Opener of the simulated cohort; other settings than the default are for tests.

    Parameters
    ----------
    settings : Settings, optional
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()

    @property
    def card(self) -> CohortCard:
        """The card."""
        return CARD

    def pending(self, options: CohortOptions) -> str | None:
        """Line that says what opening will write, or ``None`` when the cohort is in the cache."""
        home = (options.cache or default_cache()) / self._settings.name
        if home.exists():
            return None
        nights = self._settings.n_persons + self._settings.n_second_visits
        return f"simulating {nights} nights into {home}, once (the default cohort takes 1 GB and half a minute)"

    def open(self, options: CohortOptions) -> Cohort:
        """Simulate the cohort if it is not in the cache yet, then scan it.

        Raises
        ------
        UsageError
            When a root is given: there is nothing to read but what was simulated.
        DataError
            When it cannot be written.
        IntegrityError
            When the cache holds something else under its name.
        """
        if options.root is not None:
            raise UsageError(
                "cohort demo is simulated and takes no --root; choose where it is written with --cache DIR"
            )
        refuse_person_pattern(options, CARD.id)
        tree = ensure_built(options.cache or default_cache(), self._settings)
        found = card_cohort("mros").open(CohortOptions(root=tree))
        outcomes = self._outcomes()
        recordings = tuple(
            replace(recording, cohort=CARD.id, outcomes=outcomes[recording.person, recording.visit])
            for recording in found.recordings
        )
        return Cohort(CARD, recordings, found.excluded)

    def _outcomes(self) -> dict[tuple[str, str | None], Mapping[str, Outcome]]:
        """Outcomes by person and visit; they are drawn, not read from the tree."""
        visits: dict[int, list[int]] = {}
        for number, visit in self._settings.visits():
            visits.setdefault(number, []).append(visit)
        return {
            (person_id(number), str(visit)): told
            for number, of_person in visits.items()
            for visit, told in simulated_outcomes(self._settings.seed, number, of_person).items()
        }


def default_cache(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Folder for files that can be made again: ``HYPNOS_BENCH_CACHE``, or the platform's cache folder."""
    env = os.environ if environ is None else environ
    if chosen := env.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if platform == "win32" and (local := env.get("LOCALAPPDATA")):
        return Path(local) / "hypnos-bench" / "Cache"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hypnos-bench"
    xdg = env.get("XDG_CACHE_HOME", "")
    # The XDG standard has relative paths ignored.
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache") / "hypnos-bench"


SOURCE = DemoSource()
