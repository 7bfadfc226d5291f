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


@site.command()
@OUT_OPTION
@BOARDS_OPTION
def build(out: Path, boards: Path | None) -> None:
    """Write the pages of all boards; the same records give the same bytes."""
    from kdbench.leaderboard.site import build_site

    written = build_site(out, boards_folder(boards))
    click.echo(f"{out}: {len(written)} files; open {out / 'index.html'} or `kdbench site serve --out {out}`")


@site.command()
@OUT_OPTION
@BOARDS_OPTION
def check(out: Path, boards: Path | None) -> None:
    """Compare the pages with a fresh build; exit 1 and name the files that differ."""
    from kdbench.leaderboard.site import stale_files

    stale = stale_files(out, boards_folder(boards))
    for name in stale:
        click.echo(out / name)
    if stale:
        click.echo(f"{out}: {len(stale)} files differ from the records; run `kdbench site build --out {out}`", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{out}: every page is fresh")


@site.command()
@OUT_OPTION
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
def serve(out: Path, port: int) -> None:
    """Serve the pages on this machine alone, until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    if not (out / "index.html").is_file():
        raise click.ClickException(f"{out}: has no index.html; run `kdbench site build --out {out}` first")
    with ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(out))) as server:
        click.echo(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        server.serve_forever()
