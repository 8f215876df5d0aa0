"""A fake tree of every cohort, laid out as its documentation says: what the cohort cards are tested on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean
from hypnos_bench.spec import EPOCH_S

WriteTree = Callable[[Path, int, int, int, bool], tuple[Written, ...]]
"""Takes root, persons, epochs, seed, and whether the cohort's own folder is made."""


def write_tree(
    cohort_id: str, root: Path, *, n_persons: int = 2, n_epochs: int = 14, seed: int = 0, folder: bool = True
) -> tuple[Written, ...]:
    """Write a small download of a cohort.

    Parameters
    ----------
    cohort_id : str
        Key of `TREES`.
    root : Path
    n_persons : int
        Persons take turns in the variants of a cohort (labels, sites, kinds of annotation).
    n_epochs : int
        Scored epochs of 30 s per night; 14 hold every stage. ECG sets that have short recordings keep their length.
    seed : int
    folder : bool
        Whether the tree lies in the cohort's own folder below `root`, or at the root itself.

    Returns
    -------
    tuple of Written
        What the cohort uses by default, with the covariates that its tables tell. Families are only set where a
        table says them.

    Raises
    ------
    UsageError
        When there is no such tree.
    """
    if cohort_id not in TREES:
        raise UsageError(f"there is no fake tree of {cohort_id!r}.{did_you_mean(cohort_id, TREES)}")
    target = TREES[cohort_id]
    write = _resolved(target) if isinstance(target, str) else target
    return tuple(write(root, n_persons, n_epochs, seed, folder))


def _resolved(target: str) -> Any:
    module, name = target.split(":")
    return getattr(importlib.import_module(f"hypnos_bench.cohorts.writers.{module}"), name)


def _mros(root: Path, n_persons: int, n_epochs: int, seed: int, folder: bool) -> tuple[Written, ...]:
    from hypnos_bench.cohorts.writers.mros import write_mros_tree

    return write_mros_tree(root, n_persons, n_epochs * EPOCH_S / 3600, seed, folder="mros" if folder else "")


@dataclass(frozen=True)
class _OpenSet:
    """A set that anybody may fetch.

    Parameters
    ----------
    target : str
        ``module:function`` of its writer.
    folder : str
        Its own folder, as a recursive download makes it; empty when there is none.
    unit : str
        How the writer takes lengths; empty when they are those of the set.
    labelled : bool
        Whether a part without labels is left out of what is returned.
    """

    target: str
    folder: str = ""
    unit: Literal["n_epochs", "minutes", "seconds", ""] = "n_epochs"
    labelled: bool = False

    def __call__(self, root: Path, n_persons: int, n_epochs: int, seed: int, folder: bool) -> tuple[Written, ...]:
        base = root / self.folder if folder else root
        base.mkdir(parents=True, exist_ok=True)
        lengths = {"n_epochs": n_epochs, "minutes": n_epochs * EPOCH_S / 60, "seconds": n_epochs * EPOCH_S}
        length = {self.unit: lengths[self.unit]} if self.unit else {}
        written: tuple[Written, ...] = _resolved(self.target)(base, n_persons=n_persons, seed=seed, **length)
        return tuple(w for w in written if w.stages) if self.labelled else written


_PHYSIONET = "physionet.org/files"

TREES: Mapping[str, str | WriteTree] = {
    "mros": _mros,
    **{name: f"nsrr_trees:{name.upper()}" for name in ("shhs", "mesa", "cfs", "ccshs", "sof")},
    **{name: f"trial_trees:{name.upper()}" for name in ("chat", "homepap", "abc")},
    **{name: f"clinical_trees:{name.upper()}" for name in ("wsc", "nchsdb", "mnc", "apples", "hsp")},
    "stages": "stages_tree:STAGES",
    "dod-h": _OpenSet("open_trees:write_dod_h_tree"),
    "dod-o": _OpenSet("open_trees:write_dod_o_tree"),
    "sleep-edf": _OpenSet("open_trees:write_sleep_edf_tree", f"{_PHYSIONET}/sleep-edfx/1.0.0"),
    "isruc": _OpenSet("open_trees:write_isruc_tree"),
    "hmc": _OpenSet("open_trees:write_hmc_tree", f"{_PHYSIONET}/hmc-sleep-staging/1.1"),
    "cap": _OpenSet("open_trees:write_cap_tree", f"{_PHYSIONET}/capslpdb/1.0.0"),
    "mass": _OpenSet("open_trees:write_mass_tree"),
    "ucddb": _OpenSet("open_trees:write_ucddb_tree", f"{_PHYSIONET}/ucddb/1.0.0"),
    "slpdb": _OpenSet("wfdb_sleep:write_slpdb_tree", f"{_PHYSIONET}/slpdb/1.0.0", "seconds"),
    "physionet-2018": _OpenSet(
        "wfdb_sleep:write_cinc2018_tree", f"{_PHYSIONET}/challenge-2018/1.0.0", "seconds", labelled=True
    ),
    "apnea-ecg": _OpenSet("wfdb_sleep:write_apnea_ecg_tree", f"{_PHYSIONET}/apnea-ecg/1.0.0", "seconds"),
    "afdb": _OpenSet("ecg_sets:write_afdb_tree", f"{_PHYSIONET}/afdb/1.0.0", "seconds"),
    "ltafdb": _OpenSet("ecg_sets:write_ltafdb_tree", f"{_PHYSIONET}/ltafdb/1.0.0", "seconds"),
    "shdb-af": _OpenSet("ecg_sets:write_shdb_af_tree", f"{_PHYSIONET}/shdb-af/1.0.1", "seconds"),
    "mitdb": _OpenSet("ecg_sets:write_mitdb_tree", f"{_PHYSIONET}/mitdb/1.0.0", "seconds"),
    "cinc2017": _OpenSet("ecg_sets:write_cinc2017_tree", f"{_PHYSIONET}/challenge-2017/1.0.0", ""),
    "ptb-xl": _OpenSet("ecg_sets:write_ptbxl_tree", f"{_PHYSIONET}/ptb-xl/1.0.3", ""),
    "cpsc2021": _OpenSet("cpsc2021:write_cpsc2021_tree", f"{_PHYSIONET}/cpsc2021/1.0.0", "minutes"),
}
"""Cohort id to its tree: ``module:name`` in this package, imported when asked for, or a callable."""
