from __future__ import annotations

import io
import urllib.request

import pytest

from hypnos_bench.cohorts.downloads.web import (
    RefusedError,
    Stopped,
    Transient,
    UnreachableError,
    Web,
    _SafeRedirects,
    check_url,
)
from hypnos_bench.errors import DataError, UsageError


def test_server_errors_are_tried_again(mirror, web) -> None:
    mirror.files["/a"] = b"abc"
    mirror.status["/a"] = [503, 500]
    assert web.read(mirror.url + "/a", 10) == b"abc"
    assert len(mirror.log) == 3


def test_tries_are_few(mirror, web) -> None:
    mirror.status["/a"] = [500] * 9
    with pytest.raises(UnreachableError, match="500.*tried 3 times"):
        web.read(mirror.url + "/a", 10)
    assert len(mirror.log) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 429])
def test_refusals_are_not_tried_again(mirror, web, code: int) -> None:
    mirror.status["/a"] = [code] * 2
    with pytest.raises(RefusedError) as caught:
        web.read(mirror.url + "/a", 10)
    assert caught.value.status == code
    assert str(code) in str(caught.value)
    assert len(mirror.log) == 1


def test_a_broken_connection_is_tried_again(mirror, web) -> None:
    mirror.files["/a"] = b"0123456789"
    mirror.drop["/a"] = [4, 0]
    assert web.read(mirror.url + "/a", 100) == b"0123456789"
    assert len(mirror.log) == 3


def test_nobody_listening_is_said_after_some_tries(mirror, web) -> None:
    address = mirror.url
    mirror.__exit__()
    with pytest.raises(UnreachableError, match="no connection"):
        web.read(address + "/a", 10)
    mirror.__enter__()  # the fixture closes it once more


def test_silence_is_a_timeout(mirror) -> None:
    import threading

    release = threading.Event()
    mirror.on_request = lambda path: release.wait(5)
    try:
        with pytest.raises(UnreachableError, match="timed out"):
            Web(timeout_s=0.05, attempts=2, first_wait_s=0.001).read(mirror.url + "/a", 10)
    finally:
        release.set()


def test_the_stop_switch_ends_waiting(web) -> None:
    web.stop.set()

    def fail() -> None:
        raise Transient("x")

    with pytest.raises(Stopped):
        web.patiently(fail, "here")


def test_documents_are_bounded(mirror, web) -> None:
    mirror.files["/a"] = b"0123456789"
    with pytest.raises(DataError, match="longer than 9 bytes"):
        web.read(mirror.url + "/a", 9)


def test_size_asks_for_the_head_only(mirror, web) -> None:
    mirror.files["/a"] = b"0123456789"
    mirror.redirect["/b"] = mirror.url + "/a"
    assert web.size(mirror.url + "/b") == 10
    assert [method for method, _, _ in mirror.log] == ["HEAD", "HEAD"]


def test_redirects_within_the_scheme_are_followed(mirror, web) -> None:
    mirror.files["/a"] = b"abc"
    mirror.redirect["/b"] = mirror.url + "/a"
    assert web.read(mirror.url + "/b", 10) == b"abc"


def test_a_redirected_range_is_still_a_range(mirror, web) -> None:
    mirror.files["/a"] = b"0123456789"
    mirror.redirect["/b"] = mirror.url + "/a"
    assert web.read_range(mirror.url + "/b", 3, 4) == b"3456"


@pytest.mark.parametrize(
    ("asked", "new", "followed"),
    [
        ("https://a/x", "https://b/y", True),
        ("http://a/x", "https://b/y", True),
        ("http://a/x", "http://b/y", True),
        ("https://a/x", "http://b/y", False),
        ("http://a/x", "ftp://b/y", False),
        ("https://a/x", "file:///etc/passwd", False),
    ],
)
def test_redirects_go_to_https_or_stay_in_their_scheme(asked: str, new: str, followed: bool) -> None:
    def redirect():
        return _SafeRedirects().redirect_request(urllib.request.Request(asked), io.BytesIO(), 302, "Found", {}, new)

    if followed:
        assert redirect().full_url == new
    else:
        with pytest.raises(RefusedError, match="is not followed"):
            redirect()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "physionet.org", "", "https://"])
def test_only_web_addresses_are_opened(url: str) -> None:
    with pytest.raises(UsageError, match="no http or https address"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://[", "http://a..b/", "http://é.example/", "http://h:nope/", "http://h/a b", "ftp://h/"]
)
def test_an_address_that_is_none_is_refused_at_once(url):
    from hypnos_bench.cohorts.downloads.web import check_url

    with pytest.raises(UsageError, match="is no http or https address"):
        check_url(url)
