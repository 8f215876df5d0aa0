"""The command line. One file per command; a command's module is imported only when it is used."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from hypnos_bench import __version__
from hypnos_bench.cli.stopping import Terminated, drop_unwritable, reader_gone, stop_on_signals
from hypnos_bench.errors import BenchError, DataError

INTERRUPTED, TERMINATED = 130, 143
_PROGRAM = "hypnos-bench"

_COMMANDS = {
    "run": "Ask a task of encoders on cohorts: embed, probe, save cells, print the table.",
    "embed": "Embed a cohort's recordings into the store (phase 1 of run).",
    "export": "Write embeddings of the store in shapes that others read.",
    "convert": "Turn SleepFM's pickles of 2024 into array files, without running them.",
    "synthesize": "Generate signals with Hypnos: an EDF file and a picture.",
    "report": "Tables and figures from saved cells.",
    "doctor": "Check a cohort on disk (what would be lost) or an encoder (does it keep its promises).",
    "exposure": "Who an encoder has seen before, and who sits on both sides of a published split.",
    "download": "Fetch an open cohort, or say how to get one that needs an agreement.",
    "list": "List tasks, cohorts, encoders or heads.",
    "show": "Show one task, cohort or encoder in full.",
}


class _LazyGroup(click.Group):
    """Lists commands without importing them, and turns expected errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]  # not list(): once imported, the command's module has that name here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load_command(cmd_name) if cmd_name in _COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from hypnos_bench.registry import did_you_mean

            hint = did_you_mean(args[0], _COMMANDS)
            raise click.UsageError(f"unknown command {args[0]!r}.{hint} Commands: {', '.join(_COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*_COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  hypnos-bench run staging --cohort demo --shots 1%
  hypnos-bench run staging --cohort mros --root ~/nsrr --shots 1% --shots 100% --encoder hypnos --encoder features
  hypnos-bench run af --cohort cpsc2021 --root ~/physionet/cpsc2021 --dry-run
  hypnos-bench list cohorts --json
  hypnos-bench show task staging

Exit codes: 0 done or cached; 1 some cells failed, others saved; 2 usage; 3 data or weights missing;
4 integrity (hash, schema); 130 interrupted; 143 terminated.""",
)
@click.version_option(__version__, prog_name=_PROGRAM)
def cli() -> None:
    """Find out what a sleep or ECG foundation model's embeddings are worth."""


def load_command(name: str) -> click.Command:
    """Import one command by name."""
    command: click.Command = importlib.import_module(f"hypnos_bench.cli.{name}").command
    return command


def all_commands() -> list[click.Command]:
    """Import every command; those within a command follow it."""
    found: list[click.Command] = []
    for name in _COMMANDS:
        command = load_command(name)
        found += [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run a command and end with the suite's exit codes."""
    if "_HYPNOS_BENCH_COMPLETE" in os.environ:  # the shell asks for completions
        cli.main(args=arguments, prog_name=_PROGRAM)
    stop_on_signals()
    code = run_command(arguments)
    drop_unwritable(sys.stdout, sys.stderr)
    sys.exit(code)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Every expected error becomes one line on stderr."""
    try:
        code = _invoke(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        _say("interrupted; what was finished is kept, rerun to go on")
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except OSError as error:
        # Rooms name the files they fail on; what is left is mostly the output itself.
        if isinstance(error, BrokenPipeError) and reader_gone():
            return 0  # head, less: nobody is left to print to
        where = error.filename or "cannot write the output"
        _say(f"error: {where}: {error.strerror or error}")
        return DataError.exit_code
    return code


def _invoke(arguments: Sequence[str]) -> int:
    """Click's own ``main`` is not used: it prints a blank line on Ctrl-C and exits by itself on a closed pipe."""
    try:
        with cli.make_context(_PROGRAM, [*arguments]) as ctx:
            result: Any = cli.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BenchError as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    return result if isinstance(result, int) else 0


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # when stderr is broken too, the exit code remains
        click.echo(line, err=True)
