"""The command line. One file per command; a command's module is imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from hypnos_bench import __version__
from hypnos_bench.errors import BenchError

INTERRUPTED = 130

_COMMANDS = {
    "run": "Ask a task of encoders on cohorts: embed, probe, save cells, print the table.",
    "embed": "Embed a cohort's recordings into the store (phase 1 of run).",
    "report": "Tables and figures from saved cells.",
    "list": "List tasks, cohorts, encoders or heads.",
    "show": "Show one task, cohort or encoder in full.",
}


class _LazyGroup(click.Group):
    """Lists commands without importing them, and turns expected errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"hypnos_bench.cli.{cmd_name}").command
        return command

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
            formatter.write_dl(list(_COMMANDS.items()))


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
4 integrity (hash, schema); 130 interrupted.""",
)
@click.version_option(__version__, prog_name="hypnos-bench")
def cli() -> None:
    """Find out what a sleep or ECG foundation model's embeddings are worth."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run a command and end with the suite's exit codes."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Every expected error becomes one line on stderr."""
    try:
        result: Any = cli.main(args=arguments, prog_name="hypnos-bench", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        click.echo("interrupted; finished cells and embeddings are kept, rerun to resume", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BenchError as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has gone: nobody is left to print to.
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0
