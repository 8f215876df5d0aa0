"""Where a number came from: versions, commit, machine, command."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("hypnos-bench", "torch", "numpy", "scipy", "scikit-learn", "pandas", "safetensors", "wfdb")


def provenance(command: str) -> dict[str, Any]:
    """Versions, git commit and dirty flag of a checkout, machine, command and UTC time."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git(),
        "platform": platform.platform(),
        "command": command,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def command_line() -> str:
    """The command as typed, with the program's name instead of its path."""
    import shlex

    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an optional extra that is not installed is simply not part of the run
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the checkout this package runs from; ``None`` for an installed wheel or without git."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _run_git(checkout, "rev-parse", "HEAD")
        dirty = bool(_run_git(checkout, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "dirty": dirty}


def _run_git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
