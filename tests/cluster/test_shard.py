"""Shares: complete, without overlap, and the same on every machine."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cluster.shard import Shard, in_shard, shard_of_key
from hypnos_bench.errors import UsageError


@given(st.text(), st.text(), st.integers(1, 50))
def test_everything_belongs_to_one_share(cohort, recording, count):
    assert sum(in_shard(cohort, recording, Shard(i, count)) for i in range(1, count + 1)) == 1


def test_shares_are_of_like_size():
    sizes = [sum(in_shard("mros", f"r{n}", Shard(i, 8)) for n in range(4000)) for i in range(1, 9)]
    assert sum(sizes) == 4000
    assert min(sizes) > 400  # 500 +- 21 were chance even


def test_shares_are_those_of_every_release_and_machine():
    digest = hashlib.sha256(b"mros\0mros-visit1-aa0001").hexdigest()
    assert int(digest[:16], 16) % 8 == 6
    assert [i for i in range(1, 9) if in_shard("mros", "mros-visit1-aa0001", Shard(i, 8))] == [7]
    assert [i for i in range(1, 1001) if shard_of_key("0" * 64, Shard(i, 1000))] == [224]


def test_cohort_and_recording_are_kept_apart():
    share = next(i for i in range(1, 10**4 + 1) if in_shard("a", "bc", Shard(i, 10**4)))
    assert not in_shard("ab", "c", Shard(share, 10**4))


def test_one_share_is_everything():
    assert in_shard("c", "r", Shard.parse("1/1"))


@pytest.mark.parametrize(("text", "shard"), [("2/8", Shard(2, 8)), (" 8/8 ", Shard(8, 8)), ("01/3", Shard(1, 3))])
def test_what_is_read(text, shard):
    assert Shard.parse(text) == shard
    assert Shard.parse(str(shard)) == shard


@pytest.mark.parametrize("text", ["", "2", "0/8", "9/8", "1/0", "-1/8", "1/2/3", "a/b", "1.5/3", "1 / 3", "١/٣"])
def test_what_is_refused(text):
    with pytest.raises(UsageError, match=r"--shard .*(write I/N, as in 2/8|numbered from 1 to N)"):
        Shard.parse(text)
