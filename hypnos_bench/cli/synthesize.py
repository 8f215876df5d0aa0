"""``hypnos-bench synthesize``: generated signals as an EDF file and a picture."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from hypnos_bench.cli.options import Folder
from hypnos_bench.cli.output import progress, say
from hypnos_bench.cli.settings import apply_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_UNIT = "z-score"
_LONGEST_PLOT_IN = 24.0
_DPI = 120
_MOST_PER_PIXEL = 20  # samples that a line can show


class _Trace(NamedTuple):
    label: str
    rate_hz: float
    values: NDArray[Any]


class _Made(NamedTuple):
    """Traces in the order asked for, and what they were made by."""

    traces: list[_Trace]
    untrained: bool
    weights_sha256: str


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
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Of the random draws.")
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
    "--out",
    type=Folder(),
    default="synthetic",
    show_default=True,
    help="Folder for synthetic-seedN.edf and .png; files of these names are replaced, with a remark.",
)
@click.option("--config", type=Folder(), help="TOML file with any of these options; the command line wins over it.")
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Generate signals with Hypnos: an EDF file, and a PNG of the traces.

    The values are z-scores, as the model knows signals; they have no physical unit. Equal seeds give equal files on
    one machine. Both files say which seed, sampling and weights made them. Modalities that are asked for stand in
    the file names: synthetic-ecg-seed0.edf.
    """
    values = apply_settings(ctx)
    from hypnos_bench.store.atomic import atomic_write, safe_name

    values["untrained"] = _wants_untrained(ctx, values)
    asked = dict.fromkeys(values["modality"])
    stem = safe_name("-".join(("synthetic", *asked, f"seed{values['seed']}")))
    with _folder(values["out"]) as out:
        made = _generate(values)
        edf, png = out / f"{stem}.edf", out / f"{stem}.png"
        origin = _origin(values, made)
        for path, write in ((edf, _write_edf), (png, _draw)):
            replaced = path.exists()
            atomic_write(path, partial(write, made, origin), instead="--out FOLDER")
            if replaced:
                say(f"replaced {path}")
    for path in (edf, png):
        click.echo(path)
    return 0


def _wants_untrained(ctx: click.Context, values: dict[str, Any]) -> bool:
    """Whether random weights are asked for; of two that exclude each other, the one on the command line wins."""
    from hypnos_bench.errors import UsageError

    names = ("untrained", "weights")
    typed = [name for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if values["untrained"] and values["weights"] and len(typed) != 1:
        raise UsageError("--untrained and --weights exclude each other; give one of them on the command line")
    return values["untrained"] and typed != ["weights"]


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Make the folder before the work, and take it away again when nothing came of it."""
    from hypnos_bench.errors import DataError

    new: list[Path] = []
    try:
        try:
            new += [path for path in (out, *out.parents) if not path.exists()]
            out.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=out).close()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(f"{out}: no folder to write to ({reason}); choose another --out FOLDER") from error
        yield out
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # not empty, or never made
                path.rmdir()
        raise


def _generate(values: dict[str, Any]) -> _Made:
    import torch

    from hypnos_bench.hypnos import load_model, pick_device, synthesize
    from hypnos_bench.hypnos.depth import Sampling
    from hypnos_bench.spec import file_sha256

    sampling = {name: values[name] for name in ("temperature", "top_k", "top_p")}
    Sampling(**sampling)  # wrong values are found before the weights are read
    device, line = pick_device(values["device"])
    with _bundle(values) as bundle:
        model, tokenizers, metadata = load_model(bundle, device)
        say(line)
        if metadata.untrained:
            say("untrained: the weights are random, and so is what they make")
        sha256 = file_sha256(tokenizers.path)
        signals = synthesize(
            model,
            tokenizers,
            metadata,
            modalities=values["modality"] or None,
            num_steps=math.ceil(values["seconds"] / metadata.modalities[0].token_duration_sec),
            **sampling,
            generator=torch.Generator(device).manual_seed(values["seed"]),
            progress=progress,
        )
    specs = {m.name: m for m in metadata.modalities}
    traces = []
    for name, signal in signals.items():
        m = specs[name]
        traces.append(_Trace(m.channels[0], float(m.sample_rate), signal[: values["seconds"] * m.sample_rate]))
    return _Made(traces, metadata.untrained, sha256)


@contextlib.contextmanager
def _bundle(values: dict[str, Any]) -> Iterator[str | Path]:
    """Where the weights are; random ones exist for the moment only."""
    from hypnos_bench.hypnos import DEFAULT_REPO, write_random_bundle

    if not values["untrained"]:
        yield values["weights"] or DEFAULT_REPO
        return
    with tempfile.TemporaryDirectory(prefix="hypnos-bench-") as folder:
        yield write_random_bundle(Path(folder) / "untrained.safetensors")


def _origin(values: dict[str, Any], made: _Made) -> str:
    """Everything that another run needs to make the same signals."""
    sampling = f"temperature {values['temperature']}, top-k {values['top_k']}, top-p {values['top_p']}"
    weights = f"{'UNTRAINED ' if made.untrained else ''}weights {made.weights_sha256[:12]}"
    return f"seed {values['seed']}, {sampling}, {weights}"


def _write_edf(made: _Made, origin: str, path: Path) -> None:
    from hypnos_bench.signals.edf_writer import write_edf

    seconds = len(made.traces[0].values) / made.traces[0].rate_hz
    channels = [(t.label, t.rate_hz, _UNIT, t.values) for t in made.traces]
    text = f"synthetic signal, not a recording; {origin}"
    mark = "synthetic_untrained" if made.untrained else "synthetic"
    write_edf(path, channels, annotations=[(0.0, seconds, text)], recording=f"{mark} X hypnos-bench")


def _draw(made: _Made, origin: str, path: Path) -> None:
    os.environ.pop("MPLBACKEND", None)  # not used here, and a wrong name in it would fail the import
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    traces = made.traces
    seconds = len(traces[0].values) / traces[0].rate_hz
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9, "agg.path.chunksize": 10_000})
        width = min(max(8.0, 0.3 * seconds), _LONGEST_PLOT_IN)
        figure = Figure(figsize=(width, 1.2 + 1.1 * len(traces)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"synthetic signal, not a recording\n{origin}", fontsize=9)
        axes = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
        for axis, trace in zip(axes, traces, strict=True):
            _draw_trace(axis, trace, round(width * _DPI))
            axis.set_ylabel(f"{trace.label}\n(z)", rotation=0, ha="right", va="center")
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_xlim(0, seconds)
        axes[-1].set_xlabel("time (s)")
        figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None})


def _draw_trace(axis: Axes, trace: _Trace, pixels: int) -> None:
    """A line; where that would be a solid band, the extremes of each pixel, and its mean plus and minus sd."""
    import numpy as np

    x = trace.values
    if len(x) <= _MOST_PER_PIXEL * pixels:
        axis.plot(np.arange(len(x)) / trace.rate_hz, x, color="black", linewidth=0.6)
        return
    starts = np.arange(pixels) * len(x) // pixels
    counts = np.diff(starts, append=len(x))
    mean = np.add.reduceat(x, starts, dtype=float) / counts
    spread = np.sqrt(np.add.reduceat((x - np.repeat(mean, counts)) ** 2, starts) / counts)
    t = (starts + counts / 2) / trace.rate_hz
    bands = {
        "0.75": (np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)),
        "black": (mean - spread, mean + spread),
    }
    for color, (low, high) in bands.items():
        axis.fill_between(t, low, high, color=color, linewidth=0)
    axis.set_title("grey: extremes, black: mean ± sd, per pixel", fontsize=7, loc="right", pad=2)
