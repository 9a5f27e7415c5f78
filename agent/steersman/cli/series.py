"""`steersman series JOB [NAME]`."""

from __future__ import annotations

import click

from steersman.cli.errors import UsageError
from steersman.cli.options import daemon_option, json_option
from steersman.cli.views import Series


@click.command(name="series", help="Print a series of a job, or, without NAME, list what there is.")
@click.argument("job")
@click.argument("name", required=False)
@click.option(
    "--resolution",
    default=None,
    metavar="full|N",
    help="At most N points a rank, extremes kept; full: every point. [default: full with --json]",
)
@click.option(
    "--rank", "ranks", type=click.IntRange(0), multiple=True, metavar="R", help="Only this rank; may be repeated."
)
@daemon_option
@json_option
def command(
    job: str, name: str | None, resolution: str | None, ranks: tuple[int, ...], address: str, json_output: bool
) -> None:
    """Print a series, or list them."""
    from steersman.cli.client import connect

    points = _resolution(resolution)
    with connect(address, timeout=60.0) as client:
        if name is None:
            infos, series = client.series_list(job), Series(job, "", "", {})
        else:
            infos = ()
            if points is None:
                points = 0 if json_output else 1000
            series = client.series(job, name, points, ranks)
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps({"job": job, "series": infos} if name is None else _shape(series)))
        return
    from steersman.cli.render import console
    from steersman.cli.series_page import series_chart, series_table

    out = console()
    out.print(series_table(infos) if name is None else series_chart(series, min(out.width, 120)))


def _resolution(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "full":
        return 0
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"{text!r} is no resolution", "write `full`, or the number of points, as in --resolution 500")


def _shape(series: Series) -> dict[str, object]:
    return {"job": series.job, "series": series.name, "unit": series.unit or None, "ranks": series.ranks}
