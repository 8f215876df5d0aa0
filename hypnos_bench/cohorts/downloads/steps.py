"""What to do for cohorts that need an agreement: exact where the suite knows it, and pointing elsewhere where not."""

from __future__ import annotations

import shlex
from pathlib import Path

from hypnos_bench.cohorts.downloads.source import Download

NSRR_LICENCE = "NSRR data use agreement of the dataset; no redistribution of signals, labels or person-level rows"
NSRR_CITATION = (
    "Zhang GQ, Cui L, Mueller R, et al. The National Sleep Research Resource: towards a sleep data commons. "
    "J Am Med Inform Assoc 25(10):1351-1358 (2018); and what the dataset page asks for."
)

PHYSIONET_CITATION = (
    "Goldberger AL, Amaral LAN, Glass L, et al. PhysioBank, PhysioToolkit, and PhysioNet: components of a new "
    "research resource for complex physiologic signals. Circulation 101(23):e215-e220 (2000)."
)


def terms(source: Download) -> tuple[str, str]:
    """Licence and citation."""
    if source.kind == "nsrr":
        return source.licence or NSRR_LICENCE, source.citation or NSRR_CITATION
    both = f"{source.citation} And {PHYSIONET_CITATION}" if source.kind == "physionet" else source.citation
    return source.licence, both


def page(source: Download) -> str:
    """Where a person reads the terms."""
    if source.kind == "nsrr":
        return f"https://sleepdata.org/datasets/{source.slug}"
    return source.page or source.url.replace("/files/", "/content/").replace("/api/records/", "/records/")


def instructions(source: Download, cohort_id: str, root: Path | None) -> list[str]:
    """The steps, in order, with the commands to type. Without a root its place is taken by ``DIR``."""
    folder = "DIR" if root is None else shlex.quote(str(root))
    if source.kind == "nsrr":
        steps = _nsrr(source, folder)
    else:
        steps = [step.replace("{root}", folder) for step in source.steps]
    last = f"Use it: hypnos-bench run TASK --cohort {cohort_id} --root {folder} (tasks: hypnos-bench list tasks)"
    return [*steps, last]


def _nsrr(source: Download, folder: str) -> list[str]:
    wanted = [f"nsrr download {shlex.quote(f'{source.slug}/{name}')}" for name in source.folders]
    return [
        "Make an account at https://sleepdata.org.",
        f"Request data access on {page(source)} and wait for the approval, which can take days.",
        "Get your download token at https://sleepdata.org/token; the download program asks for it.",
        "Install NSRR's download program, which needs Ruby: gem install nsrr --no-document",
        f"Go to the folder: cd {folder}",
        "Fetch what hypnos-bench reads (all of it is resumed when the command is repeated): " + "; ".join(wanted),
        f"Or fetch the whole dataset, which is more than that: nsrr download {source.slug}",
    ]
