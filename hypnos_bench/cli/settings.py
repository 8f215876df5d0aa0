"""Where a setting comes from: command line > ``--config`` file > environment > default.

Click's own order puts the environment before a file, so the choice is made here, once for all commands.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.types import FloatParamType, IntParamType

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

ENVIRONMENT_PREFIX = "HYPNOS_BENCH_"
COMMAND_LINE, FILE, ENVIRONMENT = "command line", "file", "environment"
ROOTS = "roots"  # table in the config file: cohort id -> folder
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def apply_settings(ctx: click.Context) -> dict[str, Any]:
    """Parameters of the command after file and environment had their say; ``root`` becomes a function of the cohort id.

    Raises
    ------
    UsageError
        Unreadable file, a key that no command has, or a value that the option would refuse.
    """
    values = dict(ctx.params)
    config = values.pop("config", None)
    table = _read_config(config) if config else {}
    options = _options(ctx.command)
    _refuse_unknown(table, options, config)
    sources: dict[str, str] = {}
    for public, option in options.items():
        name, variable = str(option.name), ENVIRONMENT_PREFIX + public.upper().replace("-", "_")
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            sources[name] = COMMAND_LINE
        elif public in table:
            values[name] = _from_file(option, table[public], ctx, f"--config {config}: {public}")
            sources[name] = FILE
        elif text := os.environ.get(variable):
            values[name] = _from_environment(option, text, ctx, variable)
            sources[name] = ENVIRONMENT
    roots = _roots(table.get(ROOTS, {}), config)
    values["root"] = _root_chooser(values.get("root"), sources.get("root"), roots, values.get("cohort") or ())
    return values


def _options(command: click.Command) -> dict[str, click.Option]:
    """Options by the name a user writes (``--chunk-tokens``: ``chunk-tokens``)."""
    options = [p for p in command.params if isinstance(p, click.Option) and p.name != "config"]
    return {max(option.opts, key=len).removeprefix("--"): option for option in options}


def _root_chooser(
    root: Path | None, source: str | None, roots: Mapping[str, Path], cohorts: Iterable[str]
) -> Callable[[str], Path | None]:
    """Where a cohort lies; a source that names the cohort wins over one that does not, within the same rank.

    A simulated cohort lies nowhere: a root that is meant for the others is not passed on to it.
    """
    asked = set(cohorts)

    def choose(cohort_id: str) -> Path | None:
        from hypnos_bench.cohorts.registry import COHORTS

        simulated = COHORTS.load(cohort_id).card.simulated
        own = os.environ.get(f"{ENVIRONMENT_PREFIX}ROOT_{cohort_id.upper().replace('-', '_')}")
        if source == COMMAND_LINE and (not simulated or asked == {cohort_id}):
            return root
        if cohort_id in roots:
            return roots[cohort_id]
        if own and (simulated or source != FILE):
            return Path(own).expanduser()
        return None if simulated else root

    return choose


def _read_config(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--config {path}: not a readable TOML file: {error}") from error
    public = {key.replace("_", "-"): value for key, value in table.items()}
    if len(public) < len(table):
        twice = next(key for key in table if "-" in key and key.replace("-", "_") in table)
        raise UsageError(f"--config {path}: {twice} is given twice, with - and with _; keep one")
    return public


def _refuse_unknown(table: Mapping[str, Any], options: Mapping[str, click.Option], path: Path | None) -> None:
    if all(key in options or key == ROOTS for key in table):
        return
    from hypnos_bench.cli import all_commands

    # One file serves all commands: what another command understands is passed over here.
    known = {ROOTS, *(name for command in all_commands() for name in _options(command))}
    for key in table:
        if key not in known:
            raise UsageError(f"--config {path}: unknown key {key!r}.{did_you_mean(key, known)}")


def _from_file(option: click.Option, value: Any, ctx: click.Context, where: str) -> Any:
    """Check a TOML value's type strictly (1.7 is no count, 5 is no name), then as the option does."""
    if not option.multiple:
        if isinstance(value, list):
            raise UsageError(f"{where}: takes one value, not a list")
        return _cast(option, _plain(option, value, where), ctx, where)
    values = value if isinstance(value, list) else [value]
    return _cast(option, [_plain(option, each, where) for each in values], ctx, where)


def _plain(option: click.Option, value: Any, where: str) -> Any:
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where}: must be true or false, not {value!r}")
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(option.type, IntParamType):
        if not whole:
            raise UsageError(f"{where}: must be a whole number, not {value!r}")
        return value
    if isinstance(option.type, FloatParamType):
        if not whole and not isinstance(value, float):
            raise UsageError(f"{where}: must be a number, not {value!r}")
        return value
    if isinstance(option.type, click.Choice) and whole:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: must be text in quotes, not {value!r}")
    return value


def _from_environment(option: click.Option, text: str, ctx: click.Context, where: str) -> Any:
    if option.is_flag:
        if text.strip().lower() not in _FLAGS:
            raise UsageError(f"{where}: must be one of {', '.join(_FLAGS)}, not {text!r}")
        return _FLAGS[text.strip().lower()]
    return _cast(option, text.split() if option.multiple else text, ctx, where)


def _cast(option: click.Option, value: Any, ctx: click.Context, where: str) -> Any:
    if value == []:
        raise UsageError(f"{where}: is empty; give at least one value or leave it out")
    try:
        return option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error


def _roots(table: Any, config: Path | None) -> dict[str, Path]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise UsageError(f"--config {config}: [{ROOTS}] must map cohort ids to folders")
    if table:
        from hypnos_bench.cohorts.registry import COHORTS

        for cohort_id in table:
            if cohort_id not in (known := COHORTS.ids()):
                hint = did_you_mean(cohort_id, known)
                raise UsageError(f"--config {config}: [{ROOTS}] names an unknown cohort {cohort_id!r}.{hint}")
    return {cohort: Path(folder).expanduser() for cohort, folder in table.items()}
