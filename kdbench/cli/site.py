"""`kdbench site`: build the leaderboard pages, check that they are fresh, look at them."""

from __future__ import annotations

from pathlib import Path

import click

from kdbench.cli.board import BOARDS_OPTION, boards_folder

OUT_OPTION = click.option(
    "--out",
    default="site",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the pages.",
)


@click.group()
def site() -> None:
    """Build the leaderboard pages and check that they are fresh."""


@site.command(short_help="Write the pages of all boards.")
@OUT_OPTION
@BOARDS_OPTION
def build(out: Path, boards: Path | None) -> None:
    """Write the pages of all boards; the same records give the same bytes."""
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.leaderboard.site import build_site

    with TerminalWatcher() as watcher:
        written = build_site(out, boards_folder(boards), watch=watcher.stage)
    click.echo(f"{out}: {len(written)} files; open {out / 'index.html'} or `kdbench site serve --out {out}`")


@site.command(short_help="Check that the pages are fresh and their links lead on.")
@OUT_OPTION
@BOARDS_OPTION
def check(out: Path, boards: Path | None) -> None:
    """Compare the pages with a fresh build, and follow every link and every row to its records.

    Exits with 1 and names the files that differ, or else each fault: a link that leads nowhere, a number without
    its record, a file that no build wrote.
    """
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.leaderboard.audit import faults_of
    from kdbench.leaderboard.parallel import usable_cores
    from kdbench.leaderboard.site import stale_files

    with TerminalWatcher() as watcher:
        stale = stale_files(out, boards_folder(boards), watch=watcher.stage)
    for name in stale:
        click.echo(out / name)
    if stale:
        click.echo(f"{out}: {len(stale)} files differ from the records; run `kdbench site build --out {out}`", err=True)
        raise click.exceptions.Exit(1)
    faults = faults_of(out, usable_cores())
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise click.exceptions.Exit(1)
    click.echo(f"{out}: every page is fresh, every link leads somewhere, and every row has its records")


@site.command()
@OUT_OPTION
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
def serve(out: Path, port: int) -> None:
    """Serve the pages on this machine alone, until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    if not (out / "index.html").is_file():
        raise click.ClickException(f"{out}: has no index.html; run `kdbench site build --out {out}` first")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(out)))
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror}; name another with --port, 0 for any") from error
    with server:
        click.echo(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        server.serve_forever()
