"""The command line. A subcommand's module is imported when the subcommand is used, and not before.

One place, `Root.invoke`, turns what a user can put right into one line on stderr, the failures of a plugin that is
not in-tree among them; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from kdbench import __version__
from kdbench.errors import KdbenchError

# name -> (module:attribute, one-line help). The help stands here too, so that `kdbench --help` imports nothing.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("kdbench.cli.run:run", "Train one student on a board and write its record."),
    "sweep": ("kdbench.cli.sweep:sweep", "Fill the cells of a board, teachers first."),
    "data": ("kdbench.cli.data:data", "Fetch, prepare and check the videos of a data set."),
    "plugins": ("kdbench.cli.plugins:plugins", "List the plugins, show one in full, check one, begin a new one."),
    "board": ("kdbench.cli.board:board", "Show a board: its pins, its cells and its rows."),
    "bench": ("kdbench.cli.bench:bench", "Measure what a cell costs on this machine, and what limits it."),
    "doctor": ("kdbench.cli.doctor:doctor", "Say what this machine can do, and what is wrong with it."),
    "compare": ("kdbench.cli.compare:compare", "Show where runs would stand, without submitting them."),
    "submit": ("kdbench.cli.records:submit", "Put the records of finished runs on their leaderboard."),
    "validate": ("kdbench.cli.records:validate", "Check records against the schema and their own numbers."),
    "reproduce": ("kdbench.cli.records:reproduce", "Do a record's run again and say whether the two agree."),
    "mark": ("kdbench.cli.records:mark", "Say who checked a record, and with what outcome."),
    "withdraw": ("kdbench.cli.records:withdraw", "Take a record out of its leaderboard's tables."),
    "site": ("kdbench.cli.site:site", "Build the leaderboard pages and check that they are fresh."),
}

# What a full, read-only, forbidden or failing disk says, and a path that leads nowhere or is too long; every other
# OSError is a bug until proven otherwise.
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
    | {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
)
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Root(click.Group):
    """A group that knows its subcommands by name and imports only the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands in the order of the table: the order in which a newcomer needs them."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand. A module that cannot be imported is our bug and keeps its traceback."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}:{attribute} is no click command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and a mistyped subcommand is told the nearest known one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            ctx.fail(f"no command is called '{args[0]}'; {hint}known: {', '.join(self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The subcommands and their one-line helps, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; what is no bug of ours becomes one line on stderr.

        That is a KdbenchError, a full or forbidden disk, Ctrl-C, and an error in somebody else's plugin.
        """
        try:
            return super().invoke(ctx)
        except KdbenchError as error:
            _stop(ctx, f"error: {error}", 1)
        except KeyboardInterrupt:
            _stop(ctx, "interrupted", _INTERRUPTED)
        except OSError as error:
            # A closed pipe (`| head`) passes too: click itself ends quietly there.
            if error.errno not in _DISK_ERRORS:
                _stop_at_plugin(ctx, error)
                raise
            place = error.filename2 or error.filename
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            way_out = "; make room and give the same command again" if full else ""
            _stop(ctx, f"error: {f'{place}: ' if place else ''}{error.strerror}{way_out}", 1)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise  # click's own ends
        except Exception as error:
            _stop_at_plugin(ctx, error)
            raise


def _stop_at_plugin(ctx: click.Context, error: Exception) -> None:
    """End with one line where a plugin that is not in-tree failed; return where none had a part in it."""
    registry = sys.modules.get("kdbench.registry")  # where that was not needed, no plugin ran
    if registry and (fault := registry.fault_of(error)):
        _stop(ctx, f"error: {fault}", 1)


def _stop(ctx: click.Context, line: str, code: int) -> NoReturn:
    one_line = " ".join(line.split("\n"))
    click.echo(f"kdbench: {one_line}", err=True)
    ctx.exit(code)


@click.group(
    cls=Root, context_settings={"help_option_names": ["-h", "--help"]}, epilog="`kdbench COMMAND --help` says more."
)
@click.version_option(__version__, prog_name="kdbench", message="%(prog)s %(version)s")
def main() -> None:
    """Measure how much a teacher helps a video action-recognition student."""
