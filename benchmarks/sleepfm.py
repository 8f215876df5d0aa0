"""What embedding a night with SleepFM costs: CPU seconds per hour of recording, and peak memory, one thread.

Nights are EDF files with noise in them: brain, eyes, heart and muscle channels at 256 Hz, breathing channels at 32 Hz
and the oximeter at 1 Hz. Weights are random, in the released size. Each montage is measured in a process of its own,
by stage: ``build`` (weights and model), ``read`` (reading and preprocessing alone), ``encode`` (all that a night takes,
reading included). The last line printed is JSON.

    python benchmarks/sleepfm.py                    8 h; 5/4/1/2, 10/7/2/4 and 1/1/1/1 channels of BAS/RESP/EKG/EMG
    python benchmarks/sleepfm.py --quick            half an hour
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Meter, Neighbours, machine

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.sleepfm import SleepFMUntrained, signals
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.threads import one_thread

MONTAGES = {"5/4/1/2": (5, 4, 1, 2), "10/7/2/4": (10, 7, 2, 4), "1/1/1/1": (1, 1, 1, 1)}
_LABELS = {  # label and rate of the first channel of each modality, and of the second ...
    "BAS": [(label, 256) for label in ("C3", "C4", "F3", "E1", "E2", "F4", "O1", "O2", "M1", "M2")],
    "RESP": [("Thor", 32), ("Abdo", 32), ("Flow", 32), ("SpO2", 1), ("Snore", 256), ("Therm", 32), ("Pulse", 1)],
    "EKG": [("ECG", 256), ("ECG 2", 256)],
    "EMG": [("Chin", 256), ("Leg L", 256), ("Leg R", 256), ("Chin 2", 256)],
}


def write_night(path: Path, counts: tuple[int, ...], seconds: int) -> None:
    """Write noise under real labels; an annotation says that it is synthetic."""
    rng = np.random.default_rng(0)
    chosen = [entry for name, n in zip(signals.MODALITIES, counts, strict=True) for entry in _LABELS[name][:n]]
    channels = [
        (label, float(rate), "uV", 50 * rng.standard_normal(seconds * rate, np.float32)) for label, rate in chosen
    ]
    write_edf(path, channels, annotations=[(0.0, 0.0, "synthetic signals, no person")])


def measure(path: Path, cache: Path) -> dict[str, Any]:
    """Embed one night in this process."""
    one_thread()
    recording = Recording("benchmark", path.stem, "nobody", EdfFile(path), None, {})  # type: ignore[arg-type]
    encoder = SleepFMUntrained(EncoderOptions(cache=cache, device="cpu"))
    meter = Meter()
    with meter.stage("build"):
        encoder._model  # noqa: B018
    with meter.stage("read"):
        common_hz = signals.common_rate_hz(recording.signals)
        for source in signals.find_sources(recording, None)[0]:
            signal = signals.read_source(recording, source, canonical=False)
            if isinstance(signal, str) or isinstance(signals.prepare(signal, recording.duration_s(), common_hz), str):
                raise SystemExit(f"{source.name} was not usable")
            del signal
    with meter.stage("encode"):
        rows = encoder.encode(recording).arrays["concat"]
    hours = recording.duration_s() / 3600
    return {
        "rows": len(rows),
        "cpu_s_per_hour": meter.stages["encode"]["cpu_s"] / hours,
        "read_cpu_s_per_hour": meter.stages["read"]["cpu_s"] / hours,
        "peak_mb": meter.stages["encode"]["peak_mb"],
        "peak_without_night_mb": meter.stages["build"]["peak_mb"],
        "peak_is_of_stage": meter.resets,
    }


def main() -> None:
    """Measure every montage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half an hour instead of eight")
    parser.add_argument("--hours", type=float, help="length of the nights (default: 8)")
    parser.add_argument("--one", nargs=2, type=Path, metavar=("EDF", "CACHE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    hours = options.hours or (0.5 if options.quick else 8.0)
    print(f"SleepFM, random weights, synthetic nights of {hours:g} h, one thread")
    neighbours, found = Neighbours(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, counts in MONTAGES.items():
            path = Path(folder) / "night.edf"
            write_night(path, counts, round(hours * 3600))
            found[name] = _child(path, Path(folder))
            one = found[name]
            print(
                f"{name:>9} channels: {one['cpu_s_per_hour']:.2f} CPU s per hour "
                f"({one['read_cpu_s_per_hour']:.2f} reading), peak {one['peak_mb']:.0f} MB "
                f"({one['peak_without_night_mb']:.0f} MB without a night)"
            )
    result = {"benchmark": "sleepfm", "weights": "random (untrained)", "hours": hours, "montages": found}
    print(json.dumps({**result, "others_used": neighbours.share(), "machine": machine(1)}))


def _child(path: Path, cache: Path) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, str(Path(__file__)), "--one", str(path), str(cache)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **threads}, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
