"""What embedding with OSF costs, beside plain torch layers: CPU seconds per hour of recording, and peak memory.

The peer is the same network out of torch's own modules (`PlainViT`: Conv2d, LayerNorm, Linear, GELU, fused attention)
with the same random weights, as upstream computes it: all tokens in every block, 32 epochs at a time. Both take turns
on the same epochs in one process. A night is then read, prepared and embedded by either in a process of its own, for
its memory by stage. The last line printed is JSON.

    python benchmarks/osf.py                           the released size; three rounds of 64 epochs, a night of 1 h
    python benchmarks/osf.py --hours 8 --threads 2     a whole night
    python benchmarks/osf.py --quick                   one round of 32 epochs, a quarter of an hour
    python benchmarks/osf.py --sweep                   also batches of 4 to 64 epochs
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from _inputs import write_synthetic_psg
from _measure import Meter, Neighbours, machine
from torch import Tensor, nn

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.osf import OSFUntrained, adapter
from hypnos_bench.encoders.osf.layout import SIZES, Geometry
from hypnos_bench.encoders.osf.model import ViT
from hypnos_bench.encoders.osf.weights import random_state
from hypnos_bench.errors import BenchError
from hypnos_bench.hypnos.linear import settle
from hypnos_bench.signals.channels import resolve_montage
from hypnos_bench.signals.edf import EdfFile

PLAIN_BATCH = 32
EPOCHS_PER_HOUR = 120
SIDES = ("ours", "plain")

Network = Callable[[Tensor], Tensor]


class PlainBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width, inner, self.heads = geometry.width, geometry.heads * geometry.head_dim, geometry.heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.up, self.down = nn.Linear(width, geometry.hidden), nn.Linear(geometry.hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Residual stream (rows, tokens, width) after this block."""
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class PlainViT(nn.Module):
    """The network out of torch's modules; gives the class token (rows, width)."""

    def __init__(self, state: Mapping[str, Tensor], geometry: Geometry) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, geometry.width, (4, 64), stride=(4, 64), bias=False)
        self.blocks = nn.Sequential(*(PlainBlock(geometry) for _ in range(geometry.depth)))
        self.norm = nn.LayerNorm(geometry.width)
        self.cls, self.positions = (nn.Parameter(state[name]) for name in ("cls_token", "pos_embedding"))
        renamed = {"patch.weight": state["to_patch_embedding.weight"], "cls": self.cls, "positions": self.positions}
        parts = {"attn.norm": "norm1", "attn.fn.to_qkv": "qkv", "attn.fn.to_out.0": "out"}
        parts |= {"ff.norm": "norm2", "ff.fn.net.0": "up", "ff.fn.net.3": "down"}
        for kind in ("weight", "bias"):
            renamed[f"norm.{kind}"] = state[f"norm.{kind}"]
            for i in range(geometry.depth):
                renamed |= {f"blocks.{i}.{own}.{kind}": state[f"block{i}.{name}.{kind}"] for name, own in parts.items()}
        self.load_state_dict(renamed)

    def forward(self, x: Tensor) -> Tensor:
        """Class tokens of epochs (rows, 12, 1920)."""
        tokens = self.patch(x[:, None]).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls.expand(len(x), 1, -1), tokens], dim=1) + self.positions
        return self.norm(self.blocks(h))[:, 0]


def make_side(side: str, size: str, dtype: torch.dtype = torch.float32) -> Network:
    """One of the two networks, with the weights of the untrained control."""
    state, geometry = random_state(SIZES[size], 0), SIZES[size]
    if side == "plain":
        return PlainViT(state, geometry).eval()
    model = settle(ViT(state, geometry), torch.device("cpu"), dtype)
    return lambda x: model(x, patches=False)[0]


@torch.inference_mode()
def timed(network: Network, x: Tensor, batch: int) -> tuple[float, Tensor]:
    """CPU seconds per hour of recording, and the rows."""
    start = time.process_time()
    rows = torch.cat([network(x[i : i + batch]) for i in range(0, len(x), batch)])
    return (time.process_time() - start) * EPOCHS_PER_HOUR / len(x), rows


def turns(options: argparse.Namespace) -> dict[str, Any]:
    """Both networks, and ours in bfloat16, on the same epochs in turn."""
    x = torch.randn(options.epochs, 12, 1920, generator=torch.Generator().manual_seed(0)).clamp_(-6, 6)
    sides = {side: make_side(side, options.size) for side in SIDES}
    sides["ours, bf16"] = make_side("ours", options.size, torch.bfloat16)
    batches = {side: PLAIN_BATCH if side == "plain" else adapter.BATCH["cpu"] for side in sides}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    rows: dict[str, Tensor] = {}
    for network in sides.values():  # first use arranges weights
        timed(network, x[:4], 4)
    for _ in range(options.rounds):
        for side, network in sides.items():
            spent, rows[side] = timed(network, x, batches[side])
            seconds[side].append(spent)
    found: dict[str, Any] = {
        "cpu_s_per_hour": {side: round(statistics.median(spent), 2) for side, spent in seconds.items()},
        "least_cpu_s_per_hour": {side: round(min(spent), 2) for side, spent in seconds.items()},
        "cpu_ratio": round(statistics.median(p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True)), 3),
        "batches": batches,
        "max_difference": float((rows["ours"] - rows["plain"]).abs().max()),
        "bf16_least_cosine": float(F.cosine_similarity(rows["ours, bf16"], rows["ours"], dim=1).min()),
    }
    for side, spent in found["cpu_s_per_hour"].items():
        print(f"{side:>10}: {spent:6.2f} CPU s per hour, batches of {batches[side]}", flush=True)
    if options.sweep:
        found["sweep"] = {str(n): round(timed(sides["ours"], x, n)[0], 2) for n in (4, 8, 16, 32, 64)}
        print(f"ours by batch: {found['sweep']}")
    return found


def night(path: Path, side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Read, prepare and embed a recording in this process, by stage."""
    file = EdfFile(path)
    montage = resolve_montage([channel.label for channel in file.channels()])
    recording = Recording("benchmark", path.stem, "nobody", file, None, montage)  # type: ignore[arg-type]
    settings = {"osf-untrained": {"size": options.size}}
    encoder, meter = OSFUntrained(EncoderOptions(device="cpu", settings=settings)), Meter()
    with meter.stage("load"):
        network = make_side(side, options.size) if side == "plain" else None
        if network is None:
            encoder._loaded  # noqa: B018
    with meter.stage("prepare"):
        prepared = encoder.prepare(recording)
    with meter.stage("embed"), torch.inference_mode():
        if network is None:
            n_rows = len(encoder.encode_prepared([prepared])[0].arrays["osf"])  # type: ignore[union-attr]
        else:
            n_rows = len(adapter.batch.recorded(prepared))
            for start in range(0, n_rows, PLAIN_BATCH):
                places = [(0, row) for row in range(start, min(start + PLAIN_BATCH, n_rows))]
                network(torch.from_numpy(adapter.batch.epochs([prepared], places)))
    return {"rows": n_rows, "stages": meter.stages, "peak_is_per_stage": meter.resets}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 32 epochs, a quarter of an hour")
    parser.add_argument("--size", choices=list(SIZES), default="vit_base")
    parser.add_argument("--rounds", type=_count, default=3)
    parser.add_argument("--epochs", type=_count, default=64, help="per round and side")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the night, 0 for none")
    parser.add_argument("--threads", type=_count, default=1)
    parser.add_argument("--sweep", action="store_true", help="also other batches")
    parser.add_argument("--night", nargs=2, metavar=("EDF", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.epochs, options.hours = 1, 32, 0.25
    torch.set_num_threads(options.threads)
    if options.night:
        print(json.dumps(night(Path(options.night[0]), options.night[1], options)))
        return
    print(f"OSF {options.size}, random weights, synthetic signals, {options.threads} threads")
    neighbours = Neighbours()
    try:
        found = turns(options) | ({"night": _nights(options)} if options.hours else {})
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    told = {"benchmark": "osf", "weights": "random (untrained)", "size": options.size, "hours": options.hours}
    print(json.dumps({**told, **found, "others_used": neighbours.share(), "machine": machine(options.threads)}))


def _nights(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_synthetic_psg(Path(folder) / "night.edf", round(3600 * options.hours))
        found = {side: _child(path, side, options) for side in SIDES}
    for side, one in found.items():
        stages = "; ".join(
            f"{name} {stage['cpu_s']:.1f} CPU s, peak {stage['peak_mb']:.0f} MB"
            for name, stage in one["stages"].items()
        )
        print(f"{side:>10}, {options.hours:g} h: {stages}")
    return found


def _child(path: Path, side: str, options: argparse.Namespace) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    command = [sys.executable, str(Path(__file__)), "--night", str(path), side, "--size", options.size]
    done = subprocess.run(
        [*command, "--threads", str(options.threads)],
        env={**os.environ, **dict.fromkeys(names, str(options.threads))},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{side}: ended with code {done.returncode}; see its message above")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _count(word: str) -> int:
    if int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {word}")
    return int(word)


if __name__ == "__main__":
    main()
