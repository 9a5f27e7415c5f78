"""`steersman serve`: run the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from steersman.cli.errors import CommandError, ExitCode, UsageError
from steersman.cli.rule_files import read_whole
from steersman.monitor import log, signals
from steersman.monitor.daemon import Daemon, run, without_credentials
from steersman.monitor.errors import AddressInUseError, MonitorError, SettingsError, StoreInUseError
from steersman.monitor.rulebook import Rulebook
from steersman.monitor.settings import Address, Settings, default_store
from steersman.monitor.store import open_store


@click.command("serve")
@click.option(
    "--listen",
    default="127.0.0.1:7461",
    show_default=True,
    metavar="HOST:PORT",
    help="Where agents and operators reach it; port 0 picks a free one.",
)
@click.option(
    "--metrics",
    default="127.0.0.1:9461",
    show_default=True,
    metavar="HOST:PORT",
    help="Where Prometheus reaches it, or `off`.",
)
@click.option(
    "--store", default=None, metavar="URL", help="sqlite:///PATH or a bare path.  [default: SQLite in the state folder]"
)
@click.option(
    "--rules",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A rule file or folder beside the shipped pack; may be given more than once.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How log lines are written to stderr.",
)
@click.option(
    "--insecure-listen",
    is_flag=True,
    help="Allow an address that others can reach, although there is neither TLS nor token yet.",
)
def command(
    listen: str, metrics: str, store: str | None, rules: tuple[Path, ...], log_format: str, insecure_listen: bool
) -> None:
    """Run the daemon until Ctrl-C; a second Ctrl-C stops it at once."""
    settings = Settings(
        listen=_address("--listen", listen),
        metrics=None if metrics == "off" else _address("--metrics", metrics),
        store=store or default_store(),
        rules=rules,
        insecure_listen=insecure_listen,
    )
    rulebook = read_whole(lambda: Rulebook.load(rules), "`steersman rules check PATH` says the same", to_stderr=True)
    log.configure(log_format)
    try:
        asyncio.run(_serve(Daemon(settings, rulebook, open_store)))
    except SettingsError as error:
        raise UsageError(str(error)) from None
    except (AddressInUseError, StoreInUseError) as error:
        raise CommandError(str(error), code=ExitCode.FAILED) from None
    except MonitorError as error:
        raise CommandError(str(error)) from None


async def _serve(daemon: Daemon) -> None:
    stop = asyncio.Event()
    with signals.stopping(stop):
        await run(daemon, stop, _say_ready)


def _say_ready(daemon: Daemon) -> None:
    metrics = f"metrics http://{daemon.metrics_address}/metrics" if daemon.metrics_address else "metrics off"
    store = without_credentials(daemon.settings.store)
    click.echo(f"steersman: listening on {daemon.listen}, {metrics}, store {store}, {daemon.rules} rules")


def _address(option: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
