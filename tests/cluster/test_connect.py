"""Addresses, scheduler files, and schedulers that do not answer."""

import json
import logging
import socket
import sys

import pytest

pytest.importorskip("distributed")

from hypnos_bench.cluster.connect import open_cluster
from hypnos_bench.errors import DataError, UsageError


def connect(where, wait_s=0.0, said=None):
    with open_cluster(str(where), wait_s=wait_s, say=(said if said is not None else []).append):
        raise AssertionError("nobody is there")


def nobody():
    """An address of this machine at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def test_a_scheduler_that_does_not_answer_is_told_in_one_line_and_quietly(capfd):
    address, level = nobody(), logging.getLogger("distributed").level
    with pytest.raises(DataError, match=rf"scheduler {address} does not answer \([^\n]*\); see that it runs"):
        connect(address)
    assert logging.getLogger("distributed").level == level
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_file_is_read_and_waited_for(tmp_path):
    said = []
    with pytest.raises(DataError, match=r"no scheduler file there after 0.3 s; write tcp://HOST:PORT, or start"):
        connect(tmp_path / "s.json", 0.3, said)
    assert said == [f"waiting for scheduler file {tmp_path / 's.json'}, at most 0.3 s"]
    address = nobody()
    (tmp_path / "s.json").write_text(json.dumps({"address": address}))
    with pytest.raises(DataError, match=f"scheduler {address} does not answer"):
        connect(tmp_path / "s.json")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"address": 3}', "[" * 100_000])
def test_a_half_written_file_is_no_file(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(DataError, match="no scheduler file there"):
        connect(tmp_path / "s.json")


@pytest.mark.parametrize("address", ["http://host:8786", "node7://", "://"])
def test_an_address_that_is_none(address):
    with pytest.raises(UsageError, match="write tcp://HOST:PORT or tls://HOST:PORT, or name a scheduler file"):
        connect(address)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'hypnos-bench\[cluster\]'"):
        connect("tcp://127.0.0.1:1")


def test_host_and_port_without_a_protocol_are_no_file():
    with pytest.raises(UsageError, match=r"write tcp://127\.0\.0\.1:8786"), open_cluster("127.0.0.1:8786", say=print):
        pass
