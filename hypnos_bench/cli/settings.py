"""Where a setting comes from: command line > ``--config`` file > environment > default.

Click's own order puts the environment before a file, so the choice is made here, once for all commands.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

ENVIRONMENT_PREFIX = "HYPNOS_BENCH_"
COMMAND_LINE, FILE, ENVIRONMENT = "command line", "file", "environment"
ROOTS = "roots"  # table in the config file: cohort id -> folder


def apply_settings(ctx: click.Context) -> dict[str, Any]:
    """Parameters of the command after file and environment had their say; ``root`` becomes a function of the cohort id.

    Raises
    ------
    UsageError
        Unreadable file, unknown key, or a value that the option would refuse.
    """
    values = dict(ctx.params)
    config = values.pop("config", None)
    table = _read_config(config) if config else {}
    options = {p.name: p for p in ctx.command.params if isinstance(p, click.Option) and p.name and p.name != "config"}
    _refuse_unknown(table, options, config)
    sources: dict[str, str] = {}
    for name, option in options.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            sources[name] = COMMAND_LINE
        elif name in table:
            values[name] = _convert(option, table[name], ctx, f"{config}: {name}")
            sources[name] = FILE
        elif text := os.environ.get(ENVIRONMENT_PREFIX + name.upper()):
            raw: Any = text.split() if option.multiple else text
            values[name] = _convert(option, raw, ctx, ENVIRONMENT_PREFIX + name.upper())
            sources[name] = ENVIRONMENT
    values["root"] = _root_chooser(values.get("root"), sources.get("root"), _roots(table.get(ROOTS, {}), config))
    return values


def _root_chooser(root: Path | None, source: str | None, roots: Mapping[str, Path]) -> Callable[[str], Path | None]:
    """Where a cohort lies; a source that names the cohort wins over one that does not, within the same rank."""

    def choose(cohort_id: str) -> Path | None:
        own = os.environ.get(f"{ENVIRONMENT_PREFIX}ROOT_{cohort_id.upper().replace('-', '_')}")
        if source == COMMAND_LINE:
            return root
        if cohort_id in roots:
            return roots[cohort_id]
        if own and source != FILE:
            return Path(own).expanduser()
        return root

    return choose


def _read_config(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--config {path}: not a readable TOML file: {error}") from error
    return {key.replace("-", "_"): value for key, value in table.items()}


def _refuse_unknown(table: Mapping[str, Any], options: Mapping[str, click.Option], path: Path | None) -> None:
    for key in table:
        if key not in options and key != ROOTS:
            raise UsageError(f"--config {path}: unknown key {key!r}.{did_you_mean(key, [*options, ROOTS])}")


def _convert(option: click.Option, value: Any, ctx: click.Context, where: str) -> Any:
    if option.multiple and not isinstance(value, list):
        value = [value]
    if option.is_flag and isinstance(value, str):
        value = value.strip().lower()
    try:
        return option.type_cast_value(ctx, value)
    except (click.BadParameter, TypeError) as error:
        message = error.message if isinstance(error, click.BadParameter) else str(error)
        raise UsageError(f"{where}: {message}") from error


def _roots(table: Any, config: Path | None) -> dict[str, Path]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise UsageError(f"--config {config}: [{ROOTS}] must map cohort ids to folders")
    return {cohort: Path(folder).expanduser() for cohort, folder in table.items()}
