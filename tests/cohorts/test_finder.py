from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.card import CohortLayout
from hypnos_bench.cohorts.card_toml import compiled, parse_layout
from hypnos_bench.cohorts.finder import Found, find_files
from hypnos_bench.errors import UsageError

CARD = """
id = "x"
title = "X"
labels = ["stage"]
mains_hz = 50
[layout]
file = 'x(?P<visit>[12])?-(?P<person>[A-Z]?\\d+)'
visit = "{visit}"
example = "x-1.edf"
{layout}
[channels]
C3 = ["C3"]
{more}
"""


def card(layout: str = "", more: str = "", file: str | None = None) -> CohortLayout:
    text = CARD.replace("{layout}", layout).replace("{more}", more)
    if file is not None:
        text = text.replace("x(?P<visit>[12])?-(?P<person>[A-Z]?\\d+)", file).replace('visit = "{visit}"', "")
    return parse_layout(text, "x.toml")


def find(base: Path, *names: str, layout: CohortLayout | None = None) -> Found:
    for name in names:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return find_files(base, layout or card())


def ids(found: Found) -> list[str]:
    return [file.id for file in found.recordings]


def places(found: Found, base: Path) -> list[str]:
    return [file.path.relative_to(base).as_posix() for file in found.recordings]


def test_persons_visits_and_groups_come_from_the_name(tmp_path: Path) -> None:
    first, second = find(tmp_path, "a/x1-A7.edf", "x-8.EDF").recordings
    assert (first.id, first.person, first.visit) == ("x-8", "8", None)
    assert (second.id, second.person, second.visit) == ("x1-A7", "a7", "1")
    assert second.groups == {"visit": "1", "person": "A7", "stem": "x1-A7", "name": "x1-A7.edf", "dir": "a/"}
    assert first.groups["dir"] == ""
    assert first.groups["visit"] == ""


def test_templates_make_ids_persons_and_visits(tmp_path: Path) -> None:
    layout = card('id = "{dir}{stem}"\nperson = "p{person}"\n')
    file = find(tmp_path, "b/x2-7.edf", layout=layout).recordings[0]
    assert (file.id, file.person, file.visit) == ("b/x2-7", "p7", "2")


def test_recordings_are_sorted_by_id(tmp_path: Path) -> None:
    assert ids(find(tmp_path, "a/x-3.edf", "b/x-1.edf", "x-2.edf")) == ["x-1", "x-2", "x-3"]


def test_names_and_suffixes_in_any_case(tmp_path: Path) -> None:
    assert ids(find(tmp_path, "X-1.EDF", "x-2.Edf", "x-3.edf.txt")) == ["X-1", "x-2"]
    assert ids(find(tmp_path, layout=card('suffixes = [".EDF"]'))) == ["X-1", "x-2"]


def test_several_suffixes(tmp_path: Path) -> None:
    assert ids(find(tmp_path, "x-1.edf", "x-2.rec", "x-3.bdf", layout=card('suffixes = [".edf", ".rec"]'))) == [
        "x-1",
        "x-2",
    ]


def test_only_the_signal_folder_is_searched(tmp_path: Path) -> None:
    found = find(tmp_path, "edfs/deep/x-1.edf", "other/x-2.edf", layout=card('signals = "edfs"'))
    assert places(found, tmp_path) == ["edfs/deep/x-1.edf"]
    assert found.recordings[0].groups["dir"] == "edfs/deep/"


def test_a_repaired_copy_counts_once_and_is_read(tmp_path: Path) -> None:
    found = find(tmp_path, "a/x-1.edf", "a/x-1_fixed.edf", "x-2.edf")
    assert ids(found) == ["x-1", "x-2"]
    assert places(found, tmp_path) == ["a/x-1_fixed.edf", "x-2.edf"]
    assert found.recordings[0].groups["stem"] == "x-1"
    assert found.remarks == {"a repaired copy (_fixed) is read in place of the original": 1}


def test_a_repaired_copy_stands_for_an_original_that_is_gone(tmp_path: Path) -> None:
    found = find(tmp_path, "x-1_fixed.edf")
    assert ids(found) == ["x-1"]
    assert places(found, tmp_path) == ["x-1_fixed.edf"]
    assert found.recordings[0].groups == {"visit": "", "person": "1", "stem": "x-1", "name": "x-1.edf", "dir": ""}


@pytest.mark.parametrize(("original", "copy"), [("x-1.EDF", "x-1_fixed.edf"), ("x-1.edf", "x-1_FIXED.EDF")])
def test_a_repaired_copy_may_be_spelled_in_another_case(tmp_path: Path, original: str, copy: str) -> None:
    found = find(tmp_path, original, copy)
    assert places(found, tmp_path) == [copy]
    assert found.recordings[0].groups["name"] == original
    assert found.excluded == ()


def test_a_copy_in_another_folder_is_a_second_recording_of_the_id(tmp_path: Path) -> None:
    found = find(tmp_path, "a/x-1.edf", "b/x-1_fixed.edf", "x-2.edf")
    assert ids(found) == ["x-2"]
    assert [e.reason for e in found.excluded] == ["found 2 times: a/x-1.edf, b/x-1_fixed.edf; keep one"]


def test_an_id_in_two_places_is_left_out_and_both_are_named(tmp_path: Path) -> None:
    found = find(tmp_path, "b/x-1.edf", "a/x-1.edf", "x-2.edf")
    assert ids(found) == ["x-2"]
    assert [(e.recording, e.reason) for e in found.excluded] == [
        ("x-1", "found 2 times: a/x-1.edf, b/x-1.edf; keep one")
    ]


def test_one_stem_with_two_suffixes_is_two_files(tmp_path: Path) -> None:
    found = find(tmp_path, "x-1.edf", "x-1.EDF", "x-2.edf")
    assert ids(found) == ["x-2"]
    assert [e.reason for e in found.excluded] == ["found 2 times: x-1.EDF, x-1.edf; keep one"]


def test_shadows_and_hidden_folders_are_no_recordings(tmp_path: Path) -> None:
    found = find(
        tmp_path, "x-1.edf", "._x-1.edf", ".x-2.edf", "__MACOSX/x-3.edf", "a/__MACOSX/._x-3.edf", ".trash/x-4.edf"
    )
    assert ids(found) == ["x-1"]
    assert found.excluded == ()


def test_names_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    found = find(tmp_path, "x-1.edf", "a/y-1.edf", "x-1 (2).edf", "x3-1.edf")
    assert ids(found) == ["x-1"]
    reasons = {e.recording: e.reason for e in found.excluded}
    assert sorted(reasons) == ["x-1 (2)", "x3-1", "y-1"]
    assert reasons["y-1"].startswith("a/y-1.edf: the name does not fit x(?P<visit>")


@pytest.mark.parametrize("name", ["x-١٢.edf", "x-१.edf", "x-1２.edf"])
def test_digits_of_other_scripts_are_no_digits(tmp_path: Path, name: str) -> None:
    found = find(tmp_path, "x-1.edf", name)
    assert ids(found) == ["x-1"]
    assert len(found.excluded) == 1


def test_files_to_pass_over_are_counted_by_reason(tmp_path: Path) -> None:
    skips = """
[[skip]]
file = 'x-9\\d+'
reason = "test files"
[[skip]]
file = '(?:.*/)?old/.*'
reason = "old"
"""
    found = find(
        tmp_path,
        "x-1.edf",
        "a/x-90.edf",
        "x-91.edf",
        "x-91_fixed.edf",
        "a/old/x-2.edf",
        "old/zzz.edf",
        layout=card(more=skips),
    )
    assert ids(found) == ["x-1"]
    assert found.excluded == ()
    assert found.remarks == {"passed over: test files": 2, "passed over: old": 2}


def test_a_pattern_without_a_slash_fits_names_and_no_folder(tmp_path: Path) -> None:
    found = find(tmp_path, "x-1.edf", "a/b/x-2.edf", "x-a/y-3.edf", layout=card(file="x-(?P<person>.+)"))
    assert [(f.id, f.person) for f in found.recordings] == [("x-1", "1"), ("x-2", "2")]
    assert [e.recording for e in found.excluded] == ["y-3"]


def test_a_pattern_with_a_slash_fits_the_whole_path(tmp_path: Path) -> None:
    layout = card('id = "{site}-{person}"', file=r"(?P<site>[a-z]+)/(?P<person>\d+)")
    found = find(tmp_path, "ssc/1.edf", "cnc/1.edf", "1.edf", "deep/ssc/2.edf", layout=layout)
    assert ids(found) == ["cnc-1", "ssc-1"]
    assert sorted(e.recording for e in found.excluded) == ["1", "2"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    base = tmp_path / "root"
    find(base, "a/x-1.edf")
    (base / "a/loop").symlink_to(base)
    (base / "again").symlink_to(base / "a")
    outside = tmp_path / "disk"
    find(outside, "x-2.edf")
    (base / "link").symlink_to(outside)
    found = find(base)
    assert ids(found) == ["x-1", "x-2"]
    assert found.excluded == ()


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert find(tmp_path) == Found((), (), {})


def test_a_wrong_pattern_is_named() -> None:
    with pytest.raises(UsageError, match="^file: "):
        compiled("(", "file")


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["", "a/", "a/b/", ".h/", "__MACOSX/"]),
        st.sampled_from(["x-1", "x-2", "X1-3", "y", "._x-1"]),
        st.sampled_from(["", "_fixed"]),
        st.sampled_from([".edf", ".EDF", ".txt"]),
    ).map("".join),
    max_size=8,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(names=NAMES)
def test_every_signal_file_is_accounted_for_once(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    base = tmp_path_factory.mktemp("x")
    found = find(base, *names)
    visible = [
        n for n in names if n.casefold().endswith(".edf") and not n.startswith((".h", "__M", "._")) and "/._" not in n
    ]
    spoken = " ".join([*places(found, base), *(e.reason for e in found.excluded)])
    for name in visible:
        fixed = name[: -len(".edf")] + "_fixed"
        superseded = any(n.casefold() == f"{fixed}.edf".casefold() for n in visible)
        assert superseded or name in spoken
    assert len(set(ids(found))) == len(ids(found))
    assert not set(ids(found)) & {e.recording for e in found.excluded}
