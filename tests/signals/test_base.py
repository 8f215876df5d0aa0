from datetime import time
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.array_folder import ArrayFile
from hypnos_bench.signals.base import SignalFile
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.signals.wfdb_files import WfdbFile

MEMBERS = sorted(name for name in vars(SignalFile) if not name.startswith("_"))


@pytest.mark.parametrize("kind", [EdfFile, WfdbFile, ArrayFile])
def test_every_kind_of_file_has_what_the_protocol_asks_for(kind):
    assert {"start_clock", "repairs", "unreadable"} < set(MEMBERS)
    missing = [name for name in MEMBERS if not hasattr(kind, name) and name not in kind.__annotations__]
    assert missing == []


def test_a_file_of_arrays_has_no_clock_and_nothing_to_repair(tmp_path):
    file = ArrayFile("r1", Path("r1.npz"), 3)
    assert (file.start_clock(), file.repairs(), file.unreadable()) == (None, (), {})
    write_edf(tmp_path / "a.edf", [("C3", 10, "uV", np.ones(50))])
    edf = EdfFile(tmp_path / "a.edf")
    assert (edf.start_clock(), edf.repairs(), edf.unreadable()) == (time(22), (), {})
