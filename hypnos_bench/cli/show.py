"""``hypnos-bench show``: one task, cohort or encoder in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from hypnos_bench.cli.options import (
    Folder,
    cohort_settings_option,
    config_option,
    encoder_options,
    json_option,
    make_encoder_options,
    tasks_dir_option,
)
from hypnos_bench.cli.output import print_json
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.spec import TaskSpec, plain

if TYPE_CHECKING:
    from hypnos_bench.encoders.base import EncoderOptions

_ALIGNMENT = {
    "reference": (
        "rows with the unit's own indices, as the Hypnos authors pool them; for an encoder that trails its signal by "
        "one row (Hypnos), the last second of each unit is not seen and the row before it is"
    ),
    "covered": "rows shifted by the encoder's stated lag, so that the pooled rows have seen exactly the unit",
}


@click.command(
    "show",
    epilog="""\b
Examples:
  hypnos-bench show task staging
  hypnos-bench show cohort mros
  hypnos-bench show cohort shhs --cohort-settings mine.toml
  hypnos-bench show encoder features --json
  hypnos-bench show encoder my_encoder.py:MyEncoder""",
)
@click.argument("kind", type=click.Choice(["task", "cohort", "encoder"]))
@click.argument("name")
@click.option("--cache", type=Folder(), hidden=True)
@cohort_settings_option
@encoder_options
@tasks_dir_option
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Show the resolved definition of a task, cohort or encoder."""
    values = apply_settings(ctx)
    shown = {"task": _task, "cohort": _cohort, "encoder": _encoder}[values["kind"]](values)
    if values["as_json"]:
        print_json(shown)
        return 0
    width = max(len(key) for key in shown)
    for key, value in shown.items():
        click.echo(f"{key.ljust(width)}  {_text(value, width)}")
    return 0


def _task(values: dict[str, Any]) -> dict[str, Any]:
    from hypnos_bench.taskfiles import load_task

    task: TaskSpec = load_task(values["name"], values["tasks_dir"])
    if task.by_person:
        pooling = "mean over modalities, then over the whole recording; --pooling mean-sd puts the sd beside it"
        told = {**plain(task), "pooling": pooling}
    else:
        pooling = "mean over modalities, then mean over the rows of the unit"
        told = {**plain(task), "pooling": pooling, "alignment": f"{task.alignment}: {_ALIGNMENT[task.alignment]}"}
    return told if values["as_json"] else {name: value for name, value in told.items() if _matters(task, name)}


def _matters(task: TaskSpec, name: str) -> bool:
    """Whether a field says anything about this task: most fields are for one kind of label."""
    if name in ("overlap_s", "overlap_share"):
        return bool(task.events)
    if name == "mixed":
        return task.label == "rhythm"
    if name in ("unit_s", "alignment"):
        return not task.by_person
    return getattr(task, name, True) not in (None, "", (), {})


def _cohort(values: dict[str, Any]) -> dict[str, Any]:
    from hypnos_bench.cli.cohort_text import describe
    from hypnos_bench.cohorts.registry import COHORTS

    source = COHORTS.load(values["name"])
    settings = values["cohort_settings"]
    if getattr(source, "layout", None) is None:
        card: dict[str, Any] = plain(source.card)
        return card
    from hypnos_bench.cohorts.card_toml import load_layout

    layout = load_layout(values["name"], settings)
    return plain(layout) if values["as_json"] else describe(layout)


def _encoder(values: dict[str, Any]) -> dict[str, Any]:
    from hypnos_bench.encoders.registry import make_encoder

    options, heard = _listening(make_encoder_options(values, [values["name"]]))
    card = make_encoder(values["name"], options).card
    told: dict[str, Any] = {**plain(card), "alignment": card.alignment, "known_settings": heard}
    if values["as_json"]:
        return told
    weights = [card.weights_name, f"SHA-256 {card.weights}"] if card.weights else ["none"]
    known = {name: " | ".join(several) if several else "any text" for name, several in heard.items()}
    return {
        **{name.replace("_", " "): value for name, value in told.items()},
        "dim": "not known before" if card.dim is None else card.dim,
        "step s": "as each recording states" if card.step_s is None else card.step_s,
        "window s": "unbounded, or not known" if card.window_s is None else card.window_s,
        "weights": ", ".join(filter(None, weights)),
        "weights name": card.weights_name,
        "pretrained on": "not known" if card.pretrained_on is None else ", ".join(card.pretrained_on) or "none",
        "known settings": known or "none",
    }


def _listening(options: EncoderOptions) -> tuple[EncoderOptions, dict[str, list[str] | None]]:
    """Options that remember which own settings an encoder asks for, with their possible values."""
    from hypnos_bench.encoders.base import EncoderOptions

    heard: dict[str, list[str] | None] = {}

    class Listening(EncoderOptions):
        def choose(self, encoder: str, known: Mapping[str, Sequence[str] | None]) -> dict[str, str]:
            heard.update({name: None if several is None else list(several) for name, several in known.items()})
            return super().choose(encoder, known)

    return Listening(**{field.name: getattr(options, field.name) for field in dataclasses.fields(options)}), heard


def _text(value: Any, indent: int) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} -> {v}" if isinstance(v, str) else f"{k}={v}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if value is None or value == "":
        return "-"
    return str(value).replace("\n", "\n" + " " * (indent + 2))
