"""``hypnos-bench synthesize``: generated signals as an EDF file and a picture."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from hypnos_bench.cli.options import Folder, config_option
from hypnos_bench.cli.output import progress, say
from hypnos_bench.cli.settings import apply_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNIT = "z-score"
_LONGEST_PLOT_IN = 24.0


class _Trace(NamedTuple):
    label: str
    rate_hz: float
    values: NDArray[Any]


@click.command(
    "synthesize",
    epilog="""\b
Examples:
  hypnos-bench synthesize --modality ecg --seconds 30
  hypnos-bench synthesize --modality eeg_c3 --modality eog_e1 --seconds 60 --seed 7 --out made-up
  hypnos-bench synthesize --untrained --seconds 10
  hypnos-bench synthesize --weights hypnos.safetensors --temperature 0 --modality resp_thx""",
)
@click.option("--modality", "modality", multiple=True, help="Modality to generate; repeat for several (default: all).")
@click.option("--seconds", type=click.IntRange(min=1), default=30, show_default=True, help="Length of the signals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random draws.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.7,
    show_default=True,
    help="Lower is more regular; 0 takes the most likely code each time.",
)
@click.option(
    "--top-k", type=click.IntRange(min=0), default=0, show_default=True, help="Draw from the k likeliest; 0: all."
)
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.95,
    show_default=True,
    help="Draw from the likeliest codes that make up this probability; 1: all.",
)
@click.option("--weights", metavar="FILE|FOLDER|REPO", help="Hypnos weights (default: the released ones).")
@click.option("--untrained", is_flag=True, help="Small random weights instead: to try the command, not for a signal.")
@click.option("--device", default="auto", show_default=True, help="auto (cuda, then mps, then cpu), or a torch device.")
@click.option(
    "--out", type=Folder(), default="synthetic", show_default=True, help="Folder for synthetic-seedN.edf and .png."
)
@config_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Generate signals with Hypnos: an EDF file, and a PNG of the traces.

    The values are z-scores, as the model knows signals; they have no physical unit. Equal seeds give equal files on
    one machine.
    """
    values = apply_settings(ctx)
    from hypnos_bench.errors import UsageError
    from hypnos_bench.store.atomic import atomic_write, check_writable

    if values["untrained"] and ctx.get_parameter_source("weights") is ParameterSource.COMMANDLINE:
        raise UsageError("--untrained and --weights exclude each other; give one of them")
    if not math.isfinite(values["temperature"]):
        raise UsageError(f"--temperature must be a finite number, not {values['temperature']}")
    out, stem = values["out"], f"synthetic-seed{values['seed']}"
    check_writable(out, instead="--out FOLDER")
    traces, untrained = _generate(values)
    edf, png = out / f"{stem}.edf", out / f"{stem}.png"
    atomic_write(edf, lambda path: _write_edf(path, traces, untrained), instead="--out FOLDER")
    title = f"seed {values['seed']}, temperature {values['temperature']:g}"
    atomic_write(png, lambda path: _draw(path, traces, title, untrained), instead="--out FOLDER")
    for path in (edf, png):
        click.echo(path)
    return 0


def _generate(values: dict[str, Any]) -> tuple[list[_Trace], bool]:
    """Traces in the order asked for, and whether the weights are random."""
    import torch

    from hypnos_bench.hypnos import load_model, pick_device, synthesize

    device, line = pick_device(values["device"])
    with _bundle(values) as bundle:
        model, tokenizers, metadata = load_model(bundle, device)
        say(line)
        if metadata.untrained:
            say("untrained: the weights are random, and so is what they make")
        signals = synthesize(
            model,
            tokenizers,
            metadata,
            modalities=values["modality"] or None,
            num_steps=math.ceil(values["seconds"] / metadata.modalities[0].token_duration_sec),
            temperature=values["temperature"],
            top_k=values["top_k"],
            top_p=values["top_p"],
            generator=torch.Generator(device).manual_seed(values["seed"]),
            progress=progress,
        )
    specs = {m.name: m for m in metadata.modalities}
    traces = []
    for name, signal in signals.items():
        m = specs[name]
        traces.append(_Trace(m.channels[0], float(m.sample_rate), signal[: values["seconds"] * m.sample_rate]))
    return traces, metadata.untrained


@contextmanager
def _bundle(values: dict[str, Any]) -> Iterator[str | Path]:
    """Where the weights are; random ones exist for the moment only."""
    from hypnos_bench.hypnos import DEFAULT_REPO, write_random_bundle

    if not values["untrained"]:
        yield values["weights"] or DEFAULT_REPO
        return
    with tempfile.TemporaryDirectory(prefix="hypnos-bench-") as folder:
        yield write_random_bundle(Path(folder) / "untrained.safetensors")


def _write_edf(path: Path, traces: list[_Trace], untrained: bool) -> None:
    from hypnos_bench.signals.edf_writer import write_edf

    seconds = len(traces[0].values) / traces[0].rate_hz
    what = "synthetic signal, not a recording" + (", untrained weights" if untrained else "")
    channels = [(t.label, t.rate_hz, _UNIT, t.values) for t in traces]
    mark = "synthetic_untrained" if untrained else "synthetic"
    write_edf(path, channels, annotations=[(0.0, seconds, what)], recording=f"{mark} X hypnos-bench")


def _draw(path: Path, traces: list[_Trace], title: str, untrained: bool) -> None:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seconds = len(traces[0].values) / traces[0].rate_hz
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9, "agg.path.chunksize": 10_000})
        width = min(max(8.0, 0.3 * seconds), _LONGEST_PLOT_IN)
        figure = Figure(figsize=(width, 1.0 + 1.1 * len(traces)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"synthetic signal, {title}" + (" – UNTRAINED weights" if untrained else ""))
        axes = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
        for axis, trace in zip(axes, traces, strict=True):
            axis.plot(np.arange(len(trace.values)) / trace.rate_hz, trace.values, color="black", linewidth=0.6)
            axis.set_ylabel(f"{trace.label}\n(z)", rotation=0, ha="right", va="center")
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_xlim(0, seconds)
        axes[-1].set_xlabel("time (s)")
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
