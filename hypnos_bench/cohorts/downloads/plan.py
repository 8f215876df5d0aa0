"""What a download will do: which files, how much of them is there, and whether the disk has room for the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypnos_bench.cohorts.downloads import physionet, zenodo
from hypnos_bench.cohorts.downloads.fetch import is_present, part_of, target_of
from hypnos_bench.cohorts.downloads.listing import Listing, RemoteFile, select
from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.cohorts.downloads.web import RefusedError, Web, check_url
from hypnos_bench.errors import DataError

# Sizes that the listing does not give cost one request each.
MOST_SIZES_ASKED = 40

State = Literal["present", "partial", "missing"]

_LISTERS: Mapping[str, Callable[[Web, Download, str], Listing]] = {
    "physionet": physionet.list_files,
    "zenodo-zip": zenodo.list_files,
}


@dataclass(frozen=True)
class Plan:
    """Files of one download, with what is known before anything is fetched.

    Parameters
    ----------
    source : Download
        Where they come from.
    url : str
        The address used: the source's own or a mirror.
    root : Path
        Folder they go to.
    files : tuple of RemoteFile
        In the order in which they are fetched.
    states : mapping of str to State
        By path; from existence and size only, no checksum is computed for a plan.
    limited : bool
        Whether this is a part of the set.
    asked : mapping of str to int
        Sizes in bytes by path that the listing does not give and the server told: to announce, not to check with.
    remarks : tuple of str
        What the user should hear.
    """

    source: Download
    url: str
    root: Path
    files: tuple[RemoteFile, ...]
    states: Mapping[str, State]
    limited: bool
    asked: Mapping[str, int]
    remarks: tuple[str, ...] = ()

    @property
    def recordings(self) -> int:
        """Number of recordings among the files."""
        return len({file.recording for file in self.files} - {None})

    @property
    def checksums(self) -> str | None:
        """Algorithm that every file is checked with, if there is one."""
        algorithms = {file.checksum.algorithm if file.checksum else None for file in self.files}
        return algorithms.pop() if len(algorithms) == 1 else None

    def pending(self) -> list[RemoteFile]:
        """Files that are not there in full."""
        return [file for file in self.files if self.states[file.path] != "present"]

    def transfer(self, file: RemoteFile) -> int | None:
        """Bytes of a file that go over the network, if known."""
        return self.asked.get(file.path) if file.transfer is None else file.transfer

    def total_bytes(self) -> int | None:
        """Bytes of all files in :meth:`pending` with what is there of them, if all sizes are known."""
        sizes = [self.transfer(file) for file in self.pending()]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def pending_bytes(self) -> int | None:
        """Bytes still to come over the network, if all sizes are known."""
        total = self.total_bytes()
        return None if total is None else max(0, total - self.part_bytes())

    def part_bytes(self) -> int:
        """Bytes that earlier, interrupted downloads have left of :meth:`pending`."""
        return sum(_part_bytes(self.root, file) for file in self.pending())


def make_plan(source: Download, root: Path, web: Web, *, url: str | None = None, limit: int | None = None) -> Plan:
    """Ask the source what there is, and choose.

    Parameters
    ----------
    source : Download
        An open source.
    root : Path
        Folder; need not exist.
    web : Web
        How to ask.
    url : str, optional
        Mirror to use in place of the source's own address.
    limit : int, optional
        Recordings at most.

    Raises
    ------
    UsageError
        When `url` is no http or https address.
    DataError
        When the source cannot be listed, or a path would leave the root.
    """
    address = check_url(url or source.url)
    listing = _LISTERS[source.kind](web, source, address)
    files = select(listing.files, source, limit)
    states = {file.path: _state(root, file) for file in files}
    asked = _ask_sizes(web, [file for file in files if states[file.path] != "present" and file.transfer is None])
    return Plan(source, address, root, tuple(files), states, limit is not None, asked, listing.remarks)


def check_room(plan: Plan) -> None:
    """Find out beforehand that the disk is too small.

    Raises
    ------
    DataError
        Naming what is free and what is needed.
    """
    needed = plan.pending_bytes()
    if needed is None:
        if plan.limited or not plan.source.about_gb:
            return  # every file is checked when it comes
        needed = max(0, int(plan.source.about_gb * 1e9) - sum(_present_bytes(plan.root, file) for file in plan.files))
    folder = next(folder for folder in (plan.root, *plan.root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{plan.root}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed; make room, choose another "
            "--root DIR, or take fewer recordings with --limit N"
        )


def _ask_sizes(web: Web, files: Sequence[RemoteFile]) -> dict[str, int]:
    """Sizes of a few files; of many, they stay unknown until they come."""
    if len(files) > MOST_SIZES_ASKED:
        return {}
    sizes = {file.path: _size(web, file.url) for file in files}
    return {path: size for path, size in sizes.items() if size is not None}


def _size(web: Web, url: str) -> int | None:
    try:
        return web.size(url)
    except RefusedError:
        return None  # fetching it will meet the same fault and report it


def _state(root: Path, file: RemoteFile) -> State:
    target = target_of(root, file)
    if is_present(target, file, verify=False):
        return "present"
    return "partial" if part_of(target).exists() else "missing"


def _part_bytes(root: Path, file: RemoteFile) -> int:
    part = part_of(root / file.path)
    return part.stat().st_size if part.exists() else 0


def _present_bytes(root: Path, file: RemoteFile) -> int:
    target = root / file.path
    return (target.stat().st_size if target.is_file() else 0) + _part_bytes(root, file)
