"""The MIT annotation format of WFDB: little-endian words of a 6-bit code and a 10-bit step in samples.

Source: WFDB Applications Guide, annot(5).
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence

from hypnos_bench.errors import DataError

WfdbAnnotation = tuple[int, str, str]
"""Sample, symbol, text."""

MAX_ANNOTATION_BYTES = 8 * 1024 * 1024
"""A day of beats, each with its rhythm, is about 1 MiB."""

SYMBOLS = {
    **dict(enumerate("NLRaVFJASEj/Q~", start=1)),
    16: "|",
    **dict(enumerate('sT*D"=pB^t+u?![]en@xf()r', start=18)),
}
"""Annotation codes to the symbols that WFDB prints for them."""

NOTE = 22
"""Code of a comment (``"``); at sample 0 it may also describe the file itself."""

# Words that are no annotation: a long step, and four fields of the annotation before them.
_SKIP, _NUM, _SUB, _CHAN, _AUX = 59, 60, 61, 62, 63
_MAX_STEP = 1023
_MAX_TEXT = 255
_LONGEST_SKIP = 2**31 - 1

# Comments by which a file describes itself.
_RESOLUTION = re.compile(r"## time resolution: (\d+(?:\.\d*)?)")
_TYPES, _END_OF_TYPES = "## annotation type definitions", "## end of definitions"
_TYPE = re.compile(r"(\d{1,2}) (\S+) ")


def decode_annotations(data: bytes) -> list[WfdbAnnotation]:
    r"""Annotations in file order.

    Comments by which a file describes itself are left out; symbols that it defines are used. Codes without a
    symbol read ``[42]``.

    Parameters
    ----------
    data : bytes
        An annotation file.

    Returns
    -------
    list of (sample, symbol, text)
        Texts are stripped of trailing ``\x00``.

    Raises
    ------
    DataError
        When the file is cut off or larger than `MAX_ANNOTATION_BYTES`.
    """
    symbols = dict(SYMBOLS)
    annotations: list[WfdbAnnotation] = []
    defining = False
    for sample, code, text in _entries(data):
        if code == NOTE and sample == 0 and (defining or text.startswith("## ")):
            match = _TYPE.match(f"{text} ") if defining else None
            if match is not None:
                symbols[int(match[1])] = match[2]
            defining = (defining or text == _TYPES) and text != _END_OF_TYPES
        else:
            annotations.append((sample, symbols.get(code) or f"[{code}]", text))
    return annotations


def time_resolution_hz(data: bytes) -> float | None:
    """Ticks per second in which a file counts when it says so itself; otherwise they are the record's samples.

    Raises
    ------
    DataError
        As `decode_annotations`.
    """
    for sample, code, text in _entries(data):
        if sample != 0 or code != NOTE:
            return None
        match = _RESOLUTION.match(text)
        if match is not None and float(match[1]) > 0:
            return float(match[1])
    return None


def encode_annotations(annotations: Sequence[WfdbAnnotation], *, ordered: bool = True) -> bytes:
    """An annotation file.

    Parameters
    ----------
    annotations : sequence of (sample, symbol, text)
    ordered : bool
        Write them in time order, as WFDB programs expect; otherwise as given, which the format allows.

    Raises
    ------
    ValueError
        For a symbol without a code, a text that is too long, or a sample out of reach.
    """
    codes = {symbol: code for code, symbol in SYMBOLS.items()}
    words = bytearray()
    now = 0
    for sample, symbol, text in sorted(annotations, key=lambda a: a[0]) if ordered else annotations:
        step, now = sample - now, sample
        if symbol not in codes or abs(step) > _LONGEST_SKIP:
            raise ValueError(f"annotation {symbol!r} at sample {sample} cannot be written")
        if not 0 <= step <= _MAX_STEP:
            # A long step: its high word, then its low word, each little-endian.
            words += struct.pack("<HHH", _SKIP << 10, step >> 16 & 0xFFFF, step & 0xFFFF)
            step = 0
        words += struct.pack("<H", codes[symbol] << 10 | step)
        if text:
            aux = text.encode("latin-1")
            if len(aux) > _MAX_TEXT:
                raise ValueError(f"text of {len(aux)} bytes at sample {sample}; the format holds {_MAX_TEXT}")
            words += struct.pack("<H", _AUX << 10 | len(aux)) + aux + b"\x00" * (len(aux) % 2)
    return bytes(words) + b"\x00\x00"


def _entries(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Sample, code and text of every annotation; words of code 0 only move time on."""
    words = _words(data)
    now, code, text, at = 0, 0, "", 0
    while at < len(words):
        word = words[at]
        kind, step = word >> 10, word & _MAX_STEP
        at += 1
        if kind == _AUX:
            n = word & 0xFF
            end = at + (n + 1) // 2
            if end > len(words):
                raise DataError("truncated: it ends within a text; fetch it again")
            text = data[2 * at : 2 * at + n].decode("latin-1").rstrip("\x00")
            at = end
        elif kind in (_NUM, _SUB, _CHAN):
            continue  # a number, a subtype or a channel: nothing here needs them
        else:
            if code:
                yield now, code, text
            code, text = 0, ""
            if kind == _SKIP:
                if at + 2 > len(words):
                    raise DataError("truncated: it ends within a long step; fetch it again")
                skip = words[at] << 16 | words[at + 1]
                now += skip - (1 << 32) if skip >> 31 else skip
                at += 2
            else:
                now, code = now + step, kind
    if code:
        yield now, code, text


def _words(data: bytes) -> array[int]:
    """All words before the end mark."""
    if len(data) > MAX_ANNOTATION_BYTES:
        raise DataError(f"{len(data)} bytes, above the limit of {MAX_ANNOTATION_BYTES} for WFDB annotations")
    # A file that was cut off could otherwise pass for a shorter one.
    if len(data) % 2 or data[-2:] != b"\x00\x00":
        raise DataError("truncated: the end mark of WFDB annotations is missing; fetch it again")
    words = array("H", data[:-2])
    if sys.byteorder == "big":
        words.byteswap()
    return words
