"""Options that several commands share, defined once, and what they turn into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hypnos_bench.cli.output import say

if TYPE_CHECKING:
    from hypnos_bench.cohorts.base import CohortOptions
    from hypnos_bench.encoders.base import EncoderOptions

F = TypeVar("F", bound=Callable[..., Any])


class Folder(click.Path):
    """A path with ``~`` expanded; whether it exists is said later, in the words of the room that needs it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand ``~`` and give a Path."""
        return Path(os.fsdecode(super().convert(value, param, ctx))).expanduser()


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


config_option = click.option(
    "--config", type=Folder(), help="TOML file with any of these options (and [roots]); the command line wins over it."
)
results_option = click.option(
    "--results", type=Folder(), default="results", show_default=True, help="Folder for embeddings and cells."
)
reports_option = click.option(
    "--reports", type=Folder(), default="reports", show_default=True, help="Folder for tables and figures."
)
tasks_dir_option = click.option("--tasks-dir", type=Folder(), help="Folder with task files of your own.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table.")

cohort_settings_option = click.option(
    "--cohort-settings",
    type=Folder(),
    help="TOML file with a table per cohort that adds to its card: words, channels, tables, outcomes ...",
)
cohort_options = _together(
    click.option("--root", type=Folder(), help="Folder the cohort was downloaded to."),
    click.option(
        "--cache", type=Folder(), help="Where the simulated demo cohort and small untrained weights are kept."
    ),
    click.option(
        "--person-pattern",
        metavar="REGEX",
        help="Folder cohorts: regex on the recording id; its first group is the person.",
    ),
    click.option(
        "--mains", type=click.Choice(["50", "60"]), help="Folder cohorts: mains frequency in Hz (default: 50)."
    ),
    cohort_settings_option,
)
encoder_options = _together(
    click.option(
        "--weights",
        multiple=True,
        metavar="[ENCODER=]FILE|FOLDER|REPO",
        help="Weights of an encoder, as in sleepfm=best.pt; without a name: of hypnos (default: the released ones).",
    ),
    click.option(
        "--set", "set_", multiple=True, metavar="ENCODER.NAME=VALUE", help="A setting that one encoder has; repeat."
    ),
    click.option("--embeddings", type=Folder(), help="Folder of arrays for --encoder precomputed."),
    click.option(
        "--device", default="auto", show_default=True, help="auto (cuda, then mps, then cpu), or a torch device."
    ),
    click.option(
        "--per-modality", is_flag=True, help="Hypnos: store each modality instead of their mean (8 times the space)."
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bf16"]),
        default="float32",
        show_default=True,
        help="Hypnos: type of the temporal layers; tokens are always made in float32.",
    ),
    click.option("--chunk-tokens", type=click.IntRange(min=1), help="Hypnos: restart context every N seconds."),
    click.option("--zero-phase", is_flag=True, help="Hypnos: zero-phase instead of causal preprocessing."),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Processes that embed, or that read and preprocess for a GPU (default: one per core).",
    ),
)


def make_cohort_options(values: Mapping[str, Any], cohort_id: str) -> CohortOptions:
    """Cohort options for one cohort."""
    from hypnos_bench.cohorts.base import CohortOptions

    return CohortOptions(
        root=values["root"](cohort_id),
        cache=values["cache"],
        person_pattern=values["person_pattern"],
        mains_hz=float(values["mains"]) if values["mains"] else None,
        settings=values["cohort_settings"],
    )


def make_encoder_options(values: Mapping[str, Any], references: Iterable[str] = ()) -> EncoderOptions:
    """Encoder options of a command that asks some encoders.

    Raises
    ------
    UsageError
        When weights or settings are given to an encoder that there is not. One that this command does not ask may have
        some: a config file serves several commands.
    """
    from hypnos_bench.encoders.base import EncoderOptions

    options = EncoderOptions(
        weights=_named_weights(values["weights"]),
        settings=_own_settings(values["set_"]),
        embeddings=values["embeddings"],
        device=values["device"],
        per_modality=values["per_modality"],
        precision=values["precision"],
        chunk_tokens=values["chunk_tokens"],
        zero_phase=values["zero_phase"],
        cache=values["cache"],
    )
    _check_names(options, references)
    return options


def _check_names(options: EncoderOptions, references: Iterable[str]) -> None:
    """Refuse a misspelt id before ``--set`` or ``--weights``, where it would change nothing."""
    from hypnos_bench.encoders.registry import ENCODERS, make_encoder
    from hypnos_bench.registry import did_you_mean

    known = set(ENCODERS.ids())
    given = [("--weights", name) for name in options.weights] + [("--set", name) for name in options.settings]
    asked = set(references)
    asked |= {"hypnos"} if "hypnos-tokens" in asked else set()  # which takes the weights of hypnos
    if asked and asked <= known:
        for option, name in given:
            if name in known - asked:
                say(f"note: {option} is given for {name}, which this command does not ask ({', '.join(sorted(asked))})")
    if all(name in known for _, name in given):
        return
    # Only its card says under which id a plug-in asks for its own.
    known |= {make_encoder(name, options).card.id for name in references if not ENCODERS.is_builtin(name.split(":")[0])}
    for option, name in given:
        if name not in known:
            raise click.UsageError(
                f"{option} {name}...: no encoder of that name.{did_you_mean(name, known)} Known: "
                f"{', '.join(sorted(known))}"
            )


def _named_weights(given: Sequence[str]) -> dict[str, str]:
    """Encoder id to weights; a value that names no encoder is for hypnos, and a path may hold ``=`` after a slash."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, where = text.partition("=")
        named = bool(equals) and not {"/", "\\", "."} & set(name)
        encoder, path = (name, str(Path(where).expanduser())) if named else ("hypnos", text)  # no shell expands x=~/y
        if not path or not encoder or found.setdefault(encoder, path) != path:
            raise click.UsageError(f"--weights {text}: give one file per encoder, as in sleepfm=best.pt")
    return found


def _own_settings(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """Encoder id to its settings."""
    found: dict[str, dict[str, str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        encoder, dot, setting = name.partition(".")
        if not (equals and dot and encoder and setting):
            raise click.UsageError(f"--set {text}: write ENCODER.NAME=VALUE, as in osf.resampler=polyphase")
        if found.setdefault(encoder, {}).setdefault(setting, value) != value:
            raise click.UsageError(f"--set {name} is given twice, with different values")
    return found


def choose_device(options: EncoderOptions, needed: bool) -> tuple[EncoderOptions, str | None]:
    """Settle ``auto`` once for all processes; returns the line that says so, or ``None`` when no model is run."""
    if not needed:
        return options, None
    from hypnos_bench.hypnos.device import pick_device

    device, line = pick_device(options.device)
    return replace(options, device=str(device)), line


def choose_workers(values: Mapping[str, Any]) -> int:
    """``--workers``, or one process per core."""
    from hypnos_bench.threads import usable_cores

    return int(values["workers"] or usable_cores())
