from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError
from hypnos_bench.signals.wfdb_annotations import (
    MAX_ANNOTATION_BYTES,
    NOTE,
    SYMBOLS,
    decode_annotations,
    encode_annotations,
    time_resolution_hz,
)

REAL = [
    *(f"cpsc2021-af/data_{record}.atr" for record in ("101_6", "101_8", "101_9", "21_7", "21_8", "21_9")),
    *(f"cpsc2021-af/data_84_{record}.atr" for record in (1, 2, 3)),
    "ecg-non-af/mitdb/100.atr",
    "ecg-non-af/mitdb/102.atr",
    "cinc2017-6/sel100.atr",
    "apneaecg-rr70/wfdb/a01.apn",
    "apneaecg-rr70/wfdb/a02.apn",
    "apneaecg-rr70/wfdb/a02.qrs",
    *(f"ecg-non-af/nsr2db/nsr00{number}.ecg" for number in (1, 4, 9)),
]


def oracle(path: Path) -> list[tuple[int, str, str]]:
    wfdb = pytest.importorskip("wfdb", reason="the optional wfdb package is not installed")
    read = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:])
    notes = [str(note).rstrip("\x00") for note in read.aux_note]
    return list(zip(read.sample.tolist(), read.symbol, notes, strict=True))


@pytest.mark.parametrize("name", REAL)
def test_real_files_equal_wfdb(shared_data, name):
    path = shared_data / name
    decoded = decode_annotations(path.read_bytes())
    assert len(decoded) > 100
    assert decoded == oracle(path)


def test_real_files_survive_a_round_trip(shared_data):
    data = (shared_data / "cpsc2021-af/data_101_6.atr").read_bytes()
    assert decode_annotations(encode_annotations(decode_annotations(data))) == decode_annotations(data)


# At sample 0 wfdb drops every comment, also one that carries a rhythm; see below.
items = st.lists(
    st.tuples(
        st.integers(1, 2**31 - 1),
        st.sampled_from(sorted(set(SYMBOLS.values()))),
        st.one_of(st.just(""), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=255)),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=50, deadline=None)
@given(items)
def test_generated_files_equal_wfdb(tmp_path_factory, annotations):
    path = tmp_path_factory.mktemp("generated") / "x.atr"
    path.write_bytes(encode_annotations(annotations))
    decoded = decode_annotations(path.read_bytes())
    assert decoded == oracle(path)
    expected = sorted(annotations, key=lambda annotation: annotation[0])
    assert decoded == [(sample, symbol, text.rstrip("\x00")) for sample, symbol, text in expected]


def test_what_wfdb_writes(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    sample = np.array([10, 20, 2000, 500_000])
    wfdb.wrann(
        "x",
        "atr",
        sample,
        symbol=["N", "+", "V", "z"],
        subtype=np.array([0, 1, -1, 0]),
        chan=np.array([0, 1, 1, 0]),
        num=np.array([3, 0, 0, 1]),
        aux_note=["", "(AFIB", "odd", "even"],
        fs=250,
        custom_labels=[(42, "z", "my own"), (43, "y", "another")],
        write_dir=str(tmp_path),
    )
    data = (tmp_path / "x.atr").read_bytes()
    expected = [(10, "N", ""), (20, "+", "(AFIB"), (2000, "V", "odd"), (500_000, "z", "even")]
    assert decode_annotations(data) == expected == oracle(tmp_path / "x.atr")
    assert time_resolution_hz(data) == 250


def word(code: int, step: int) -> bytes:
    return struct.pack("<H", code << 10 | step)


END = b"\x00\x00"


def test_fields_and_long_steps_by_hand():
    skip = word(59, 0) + struct.pack("<HH", 1, 2)  # 0x10002 samples
    back = word(59, 0) + struct.pack("<hH", -1, 0xFFFF)  # one back
    text = word(63, 3) + b"(N\x00\x00"
    data = word(1, 5) + word(62, 1) + word(61, 2) + word(60, 3) + skip + word(28, 7) + text + back + word(5, 0) + END
    assert decode_annotations(data) == [(5, "N", ""), (65550, "+", "(N"), (65549, "V", "")]


def test_words_of_code_0_only_move_time_on():
    assert decode_annotations(word(0, 9) + word(1, 1) + word(0, 0) + END) == [(10, "N", "")]


def test_codes_without_a_symbol_keep_their_number():
    assert decode_annotations(word(42, 1) + word(15, 1) + END) == [(1, "[42]", ""), (2, "[15]", "")]


def test_a_comment_at_the_first_sample_that_does_not_describe_the_file_is_kept():
    """SHDB-AF has its rhythm in comments; a record may begin with one."""
    data = encode_annotations([(0, '"', "(AFIB"), (90, '"', "")])
    assert decode_annotations(data) == [(0, '"', "(AFIB"), (90, '"', "")]
    assert time_resolution_hz(data) is None


def test_files_that_count_in_their_own_ticks():
    data = encode_annotations([(0, '"', "## time resolution: 12.5"), (7, "N", "")])
    assert decode_annotations(data) == [(7, "N", "")]
    assert time_resolution_hz(data) == 12.5
    assert time_resolution_hz(encode_annotations([(7, "N", "")])) is None


def test_symbols_that_the_file_defines_win():
    texts = ("## annotation type definitions", "42 & a thing", "1 M a beat of another name", "## end of definitions")
    head = b"".join(word(NOTE, 0) + word(63, len(t)) + t.encode() + b"\0" * (len(t) % 2) for t in texts)
    data = head + word(42, 1) + word(1, 1) + word(NOTE, 0) + END
    assert decode_annotations(data) == [(1, "&", ""), (2, "M", ""), (2, '"', "")]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 9])
def test_a_file_that_is_cut_off_is_refused(cut):
    data = encode_annotations([(5000, "+", "(AFIB"), (5100, "N", "")])
    with pytest.raises(DataError, match="truncated"):
        decode_annotations(data[:-cut])


def test_a_cut_that_leaves_two_zero_bytes_is_refused_too():
    """Within a long step, and within a text: zeros there are no end mark."""
    with pytest.raises(DataError, match="ends within a long step"):
        decode_annotations(word(59, 0) + b"\x00\x00")
    with pytest.raises(DataError, match="ends within a text"):
        decode_annotations(word(28, 1) + word(63, 4) + b"ab\x00\x00")
    with pytest.raises(DataError, match="truncated"):
        decode_annotations(b"")
    assert decode_annotations(END) == []


def test_size_is_bounded():
    with pytest.raises(DataError, match=f"above the limit of {MAX_ANNOTATION_BYTES}"):
        decode_annotations(b"\x00" * (MAX_ANNOTATION_BYTES + 2))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_read_or_refused(data):
    for candidate in (data, data + END):
        try:
            decoded = decode_annotations(candidate)
        except DataError:
            continue
        assert all(isinstance(sample, int) for sample, _, _ in decoded)


def test_what_the_format_cannot_hold_is_not_written():
    with pytest.raises(ValueError, match="'P' at sample 3 cannot be written"):
        encode_annotations([(3, "P", "")])
    with pytest.raises(ValueError, match="text of 256 bytes"):
        encode_annotations([(3, "N", "x" * 256)])
    with pytest.raises(ValueError, match="cannot be written"):
        encode_annotations([(2**31, "N", "")])


def test_files_out_of_order_are_read_as_they_are():
    annotations = [(9000, "N", ""), (30, "+", "(N"), (31, "V", "")]
    assert decode_annotations(encode_annotations(annotations, ordered=False)) == annotations
