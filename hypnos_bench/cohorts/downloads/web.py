"""The only module that opens connections: what fails for a moment is tried again, what is refused is said at once."""

from __future__ import annotations

import http.client
import io
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from hypnos_bench import __version__
from hypnos_bench.errors import DataError, UsageError

T = TypeVar("T")

_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


class Transient(Exception):  # noqa: N818 - never leaves this package as an error
    """A fault of the moment: a reset, a timeout, a server error. Trying again may help."""


class Stopped(Exception):  # noqa: N818
    """Another thread has ended the download."""


class RefusedError(DataError):
    """The server said no, and would say so again.

    Parameters
    ----------
    message : str
        One line with the address.
    status : int
        HTTP status, 0 when there was none.
    total : int, optional
        Size of the file, when a refused range came with it (status 416).
    """

    def __init__(self, message: str, status: int = 0, total: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.total = total


class UnreachableError(RefusedError):
    """A fault of the moment that did not go away."""


class NoRangesError(DataError):
    """The server sends whole files only."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url}: the server ignores Range requests, without which single members of an archive cannot be fetched; "
            "use another --url, or fetch and unpack the archive by hand"
        )


@dataclass(frozen=True)
class Answer:
    """An open response.

    Parameters
    ----------
    body : response
        To be closed by who asked.
    first : int
        Position of its first byte in the file.
    length : int or None
        Bytes that will come, if the server says so.
    """

    body: http.client.HTTPResponse
    first: int
    length: int | None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https, or to the scheme that was asked for; never from https to anything else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("https", urlsplit(req.full_url).scheme):
            fp.close()
            raise RefusedError(f"{req.full_url}: redirects to {newurl}, and {scheme} is not followed", code)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()  # HEAD stays HEAD
        return new


@dataclass(frozen=True)
class Web:
    """How patient a download is, and the switch that ends it.

    Parameters
    ----------
    timeout_s : float
        Silence after which a connection counts as lost, in seconds.
    attempts : int
        How often one file is tried.
    first_wait_s : float
        Pause before the second attempt, in seconds; it doubles every time.
    """

    timeout_s: float = 60.0
    attempts: int = 5
    first_wait_s: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)

    def patiently(self, what: Callable[[], T], where: str) -> T:
        """Call `what` until it works, a few times at most.

        Raises
        ------
        UnreachableError
            When the last attempt failed too.
        """
        for attempt in range(self.attempts):
            if attempt and self.stop.wait(self.first_wait_s * 2 ** (attempt - 1)):
                raise Stopped
            try:
                return what()
            except Transient as error:
                last = error
        raise UnreachableError(
            f"{where}: {last}; tried {self.attempts} times; the same command goes on where this one ended"
        )

    def read(self, url: str, most: int) -> bytes:
        """A whole small document of at most `most` bytes."""

        def once() -> bytes:
            answer = self.open(url)
            with answer.body:
                data = read_some(answer.body, most + 1)
            if len(data) > most:
                raise DataError(f"{url}: longer than {most} bytes, which no listing is")
            if answer.length is not None and len(data) < answer.length:
                raise Transient(f"the connection closed after {len(data)} of {answer.length} bytes")
            return data

        return self.patiently(once, url)

    def read_range(self, url: str, first: int, length: int) -> bytes:
        """Exactly `length` bytes from position `first` on."""

        def once() -> bytes:
            answer = self.open(url, first, first + length - 1)
            with answer.body:
                if answer.first != first or answer.body.status != http.HTTPStatus.PARTIAL_CONTENT:
                    raise NoRangesError(url)
                data = read_some(answer.body, length)
            if len(data) < length:
                raise Transient(f"the connection closed after {len(data)} of {length} bytes")
            return data

        return self.patiently(once, url)

    def size(self, url: str) -> int | None:
        """Bytes of a file, if the server tells."""

        def once() -> int | None:
            answer = self.open(url, method="HEAD")
            answer.body.close()
            return answer.length

        return self.patiently(once, url)

    def open(self, url: str, first: int = 0, last: int | None = None, method: str = "GET") -> Answer:
        """One request, for the bytes `first` to `last` if either is given.

        Raises
        ------
        Transient, RefusedError
            When there is no answer, or one with an error status.
        """
        headers = {"User-Agent": f"hypnos-bench/{__version__}", "Accept-Encoding": "identity"}
        if first or last is not None:
            headers["Range"] = f"bytes={first}-{'' if last is None else last}"
        request = urllib.request.Request(check_url(url), headers=headers, method=method)  # noqa: S310 - checked
        opener = urllib.request.build_opener(_SafeRedirects)
        try:
            body = opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(url, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise _network_error(url, error) from error
        length = body.headers.get("Content-Length")
        return Answer(body, _first(body), int(length) if length and length.isdigit() else None)


def read_some(body: http.client.HTTPResponse, most: int) -> bytes:
    """Up to `most` bytes; fewer only at the end. Raises ``Transient`` when the connection breaks."""
    buffer = io.BytesIO()
    while (missing := most - buffer.tell()) > 0:
        data = read_piece(body, missing)
        if not data:
            break
        buffer.write(data)
    return buffer.getvalue()


def read_piece(body: http.client.HTTPResponse, most: int) -> bytes:
    """What has arrived, at most `most` bytes; empty at the end. Raises ``Transient`` when the connection breaks."""
    try:
        return body.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise Transient(f"the connection broke ({_reason(error)})") from error


def check_url(url: str) -> str:
    """The address itself, when it is http or https with a host; ``UsageError`` otherwise."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        usable = parts.port is None or parts.port > 0  # reading the port checks it
    except (ValueError, UnicodeError) as error:
        raise UsageError(f"{url!r} is no http or https address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not usable or not url.isascii() or " " in url:
        raise UsageError(f"{url!r} is no http or https address in plain characters")
    return url


def _first(body: http.client.HTTPResponse) -> int:
    if body.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    match = _CONTENT_RANGE.fullmatch(body.headers.get("Content-Range", "").strip())
    return int(match["first"]) if match and match["first"] else -1  # -1: fits no request


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return Transient(f"the server answers {error.code} {error.reason}")
    match = _CONTENT_RANGE.fullmatch((error.headers.get("Content-Range") or "").strip())
    total = int(match["total"]) if match and match["total"] != "*" else None
    return RefusedError(f"{url}: the server answers {error.code} {error.reason}", error.code, total)


def _network_error(url: str, error: Exception) -> Exception:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RefusedError(f"{url}: the certificate is not valid ({cause.verify_message})")
    if isinstance(cause, (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)):
        return Transient(f"no connection ({_reason(cause)})")
    return RefusedError(f"{url}: no connection ({_reason(cause)}); check the network and the address")


def _reason(error: object) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
