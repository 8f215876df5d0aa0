from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from hypnos_bench.cohorts.downloads import plan as plan_module
from hypnos_bench.cohorts.downloads.engine import MOST_UNREACHABLE, Outcome, run_plan
from hypnos_bench.cohorts.downloads.fetch import DiskError
from hypnos_bench.cohorts.downloads.plan import Plan, check_room, make_plan
from hypnos_bench.cohorts.downloads.source import Download
from hypnos_bench.cohorts.downloads.web import Stopped
from hypnos_bench.errors import DataError, UsageError

FILES = {f"r{i}.{kind}": f"{kind} {i} ".encode() * 200 for i in range(4) for kind in ("dat", "hea")} | {
    "RECORDS": b"all\n"
}
JOBS = pytest.mark.parametrize("jobs", [1, 4])


class Watch:
    def __init__(self) -> None:
        self.n_bytes, self.paths = 0, []

    def received(self, n_bytes: int) -> None:
        self.n_bytes += n_bytes

    def finished(self, outcome: Outcome) -> None:
        self.paths.append(outcome.path)


def source_at(url: str, **more: object) -> Download:
    return Download("physionet", url=url, licence="l", citation="c", recordings=r"^(?P<id>r\d)\.", **more)


def download(plan: Plan, web, jobs: int = 1, verify: bool = True, watch: Watch | None = None) -> dict[str, str]:
    return {o.path: o.state for o in run_plan(plan, web, jobs=jobs, verify=verify, watch=watch or Watch())}


def on_disk(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@JOBS
def test_everything_comes_and_a_second_time_nothing(mirror, web, tmp_path: Path, jobs: int) -> None:
    source, watch = source_at(mirror.publish("/db", FILES)), Watch()
    plan = make_plan(source, tmp_path / "new", web)
    assert (plan.recordings, plan.checksums, len(plan.pending())) == (4, "sha256", 9)
    assert plan.pending_bytes() == sum(map(len, FILES.values()))
    assert set(download(plan, web, jobs, watch=watch).values()) == {"fetched"}
    assert on_disk(tmp_path / "new") == FILES
    assert watch.n_bytes == sum(map(len, FILES.values()))
    assert sorted(watch.paths) == sorted(FILES)
    web.stop.clear()
    mirror.log.clear()
    again = make_plan(source, tmp_path / "new", web)
    assert (again.pending(), again.pending_bytes()) == ([], 0)
    assert set(download(again, web, jobs).values()) == {"present"}
    assert [path for _, path, _ in mirror.log] == ["/db/SHA256SUMS.txt"]


def test_limit_fetches_whole_recordings(mirror, web, tmp_path: Path) -> None:
    plan = make_plan(source_at(mirror.publish("/db", FILES)), tmp_path, web, limit=1)
    download(plan, web)
    assert sorted(on_disk(tmp_path)) == ["RECORDS", "r0.dat", "r0.hea"]


def test_a_mirror_stands_in_for_the_source(mirror, web, tmp_path: Path) -> None:
    url = mirror.publish("/elsewhere", FILES)
    plan = make_plan(source_at("https://source.invalid/"), tmp_path, web, url=url)
    assert plan.url == url
    assert set(download(plan, web).values()) == {"fetched"}
    with pytest.raises(UsageError, match="no http or https address"):
        make_plan(source_at(url), tmp_path, web, url="ftp://x/")


@JOBS
def test_one_missing_file_does_not_end_the_download(mirror, web, tmp_path: Path, jobs: int) -> None:
    source = source_at(mirror.publish("/db", FILES))
    mirror.files["/db/r1.dat"] = b"not what was published"
    del mirror.files["/db/r2.hea"]
    plan = make_plan(source, tmp_path, web)
    outcomes = {o.path: o for o in run_plan(plan, web, jobs=jobs, watch=Watch())}
    assert [o.path for o in outcomes.values() if o.state == "failed"] == ["r1.dat", "r2.hea"]
    assert "404" in outcomes["r2.hea"].reason
    assert hashlib.sha256(FILES["r1.dat"]).hexdigest() in outcomes["r1.dat"].reason
    assert on_disk(tmp_path) == {name: data for name, data in FILES.items() if name not in ("r1.dat", "r2.hea")}


def test_a_file_that_is_not_the_published_one_is_replaced(mirror, web, tmp_path: Path) -> None:
    (tmp_path / "r0.dat").write_bytes(b"older")
    plan = make_plan(source_at(mirror.publish("/db", FILES)), tmp_path, web)
    states = download(plan, web)
    assert states.pop("r0.dat") == "replaced"
    assert set(states.values()) == {"fetched"}
    assert on_disk(tmp_path) == FILES


def test_without_verifying_files_that_are_there_are_trusted(mirror, web, tmp_path: Path) -> None:
    (tmp_path / "r0.dat").write_bytes(b"mine")
    plan = make_plan(source_at(mirror.publish("/db", FILES)), tmp_path, web)
    assert download(plan, web, verify=False)["r0.dat"] == "present"
    assert (tmp_path / "r0.dat").read_bytes() == b"mine"


def test_a_download_without_checksums(mirror, web, tmp_path: Path) -> None:
    url = mirror.publish("/db", {**FILES, "RECORDS": b"r0\nr1\n"}, sums=False)
    plan = make_plan(source_at(url, extensions=(".hea", ".dat")), tmp_path, web)
    assert plan.checksums is None
    assert plan.remarks[0].startswith("NO CHECKSUMS")
    assert set(download(plan, web).values()) == {"fetched"}
    assert sorted(on_disk(tmp_path)) == ["RECORDS", "r0.dat", "r0.hea", "r1.dat", "r1.hea"]


def test_an_archive_comes_member_by_member(mirror, web, tmp_path: Path) -> None:
    members = {"__MACOSX/dodo/._a.h5": b"x", **{f"dodo/{name}.h5": name.encode() * 5000 for name in "abc"}}
    record, _ = mirror.publish_zip(members)
    source = Download("zenodo-zip", url=record, recordings=r"^dodo/(?P<id>\w+)\.h5$", archive="dodo.zip")
    plan = make_plan(source, tmp_path, web, limit=2)
    assert (plan.recordings, plan.checksums) == (2, "crc32")
    assert set(download(plan, web).values()) == {"fetched"}
    assert on_disk(tmp_path) == {name: members[name] for name in ("dodo/a.h5", "dodo/b.h5")}
    mirror.log.clear()
    assert download(make_plan(source, tmp_path, web), web) == {
        "dodo/a.h5": "present",
        "dodo/b.h5": "present",
        "dodo/c.h5": "fetched",
    }
    assert on_disk(tmp_path) == {name: data for name, data in members.items() if name.startswith("dodo/")}


@JOBS
def test_a_source_that_went_away_is_not_asked_for_every_file(mirror, web, tmp_path: Path, jobs: int) -> None:
    files = {f"r{i}.dat": b"x" for i in range(10)}
    plan = make_plan(source_at(mirror.publish("/db", files)), tmp_path, web)
    for name in files:
        mirror.status[f"/db/{name}"] = [500] * 9
    mirror.log.clear()
    outcomes = run_plan(plan, web, jobs=jobs, watch=Watch())
    assert {o.state for o in outcomes} == {"failed"}
    assert any("not tried" in o.reason for o in outcomes)
    if jobs == 1:
        assert len(mirror.log) == MOST_UNREACHABLE * web.attempts


def test_sizes_of_few_files_are_asked_for_and_of_many_not(mirror, web, tmp_path: Path, monkeypatch) -> None:
    source = source_at(mirror.publish("/db", FILES))
    (tmp_path / "r0.dat.part").write_bytes(FILES["r0.dat"][:50])
    (tmp_path / "r1.dat").write_bytes(FILES["r1.dat"])
    plan = make_plan(source, tmp_path, web)
    assert plan.states["r0.dat"] == "partial"
    assert plan.states["r1.dat"] == "present"
    whole = sum(map(len, FILES.values())) - len(FILES["r1.dat"])
    assert (plan.total_bytes(), plan.pending_bytes()) == (whole, whole - 50)
    monkeypatch.setattr(plan_module, "MOST_SIZES_ASKED", 3)
    assert make_plan(source, tmp_path, web).pending_bytes() is None


def test_a_size_that_the_server_does_not_tell_stays_unknown(mirror, web, tmp_path: Path) -> None:
    source = source_at(mirror.publish("/db", FILES))
    del mirror.files["/db/r0.dat"]
    assert make_plan(source, tmp_path, web).pending_bytes() is None


class _Usage:
    def __init__(self, free: float) -> None:
        self.free = free


def test_a_disk_that_is_too_small_is_found_beforehand(mirror, web, tmp_path: Path, monkeypatch) -> None:
    source = source_at(mirror.publish("/db", FILES), about_gb=2)
    plan = make_plan(source, tmp_path / "not/yet/there", web)
    needed = plan.pending_bytes()
    monkeypatch.setattr(plan_module.shutil, "disk_usage", lambda path: _Usage(needed))
    check_room(plan)
    monkeypatch.setattr(plan_module.shutil, "disk_usage", lambda path: _Usage(needed - 1))
    with pytest.raises(DataError, match="make room"):
        check_room(plan)


def test_unknown_sizes_leave_what_the_source_states(mirror, web, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(plan_module, "MOST_SIZES_ASKED", 0)
    monkeypatch.setattr(plan_module.shutil, "disk_usage", lambda path: _Usage(1e9))
    url = mirror.publish("/db", FILES)
    with pytest.raises(DataError, match="2.0 GB needed"):
        check_room(make_plan(source_at(url, about_gb=2), tmp_path, web))
    check_room(make_plan(source_at(url, about_gb=2), tmp_path, web, limit=1))
    check_room(make_plan(source_at(url), tmp_path, web))


@JOBS
def test_a_folder_that_cannot_be_written_ends_everything(mirror, web, tmp_path: Path, jobs: int) -> None:
    plan = make_plan(source_at(mirror.publish("/db", FILES), into="sub"), tmp_path, web)
    (tmp_path / "sub").write_text("a file where the folder goes")
    with pytest.raises(DiskError):
        run_plan(plan, web, jobs=jobs, watch=Watch())


def test_ctrl_c_stops_the_threads(mirror, web, tmp_path: Path) -> None:
    plan = make_plan(source_at(mirror.publish("/db", FILES)), tmp_path, web)

    class Impatient(Watch):
        def finished(self, outcome: Outcome) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, web, jobs=2, watch=Impatient())
    assert web.stop.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]


def test_a_stopped_download_writes_nothing_more(mirror, web, tmp_path: Path) -> None:
    plan = make_plan(source_at(mirror.publish("/db", FILES)), tmp_path, web)
    web.stop.set()
    with pytest.raises(Stopped):
        run_plan(plan, web, watch=Watch())
    assert all(data == b"" for data in on_disk(tmp_path).values())
