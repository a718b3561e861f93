"""`steelyard top`: a running gateway in a terminal."""

import json
import os
import select
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Self

import click

from routers.commands.base import FiniteRange

if TYPE_CHECKING:
    import httpx

    from app.commands.top_view import Look


@click.command()
@click.option(
    "--url",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="Of the gateway, or of its port for metrics.",
)
@click.option(
    "--token",
    envvar="STEELYARD_ADMIN_TOKEN",
    help="What `/metrics` asks for; default: STEELYARD_ADMIN_TOKEN.",
)
@click.option(
    "--interval",
    "interval_s",
    type=FiniteRange(0.1, 60),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Two looks, then end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --once.")
def top(*, url: str, token: str | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Watch a gateway: requests, models, overhead, spending, circuits, refusals. Ends with q."""
    import httpx  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from app.commands.top_view import render, view  # noqa: PLC0415

    if as_json and not once:
        raise click.UsageError("--json is for --once")
    url = url.rstrip("/")
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=10.0, trust_env=False) as client:
        before = _look(client, url)
        time.sleep(interval_s)
        now = _look(client, url)
        if once:
            shown = view(before, now)
            if as_json:
                click.echo(json.dumps(shown.as_json()))
            else:
                Console().print(render(shown, url=url))
            return
        first = render(view(before, now), url=url)
        with _Keys() as keys, Live(first, auto_refresh=False, screen=True) as live:
            while not keys.quit_within(interval_s):
                before, now = now, _look(client, url)
                live.update(render(view(before, now), url=url), refresh=True)


class _Keys:
    """Reads single keys where there is a terminal to press them on."""

    def __init__(self) -> None:
        self._terminal: int | None = None

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._terminal = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def quit_within(self, seconds: float) -> bool:
        """Wait that long; whether `q` was pressed meanwhile."""
        due = time.monotonic() + seconds
        while (left := due - time.monotonic()) > 0:
            if self._terminal is None:
                time.sleep(left)
            elif select.select([self._terminal], [], [], left)[0]:
                pressed = os.read(self._terminal, 64)
                if not pressed or b"q" in pressed.lower():
                    return True
        return False


def _look(client: "httpx.Client", url: str) -> "Look":
    import httpx  # noqa: PLC0415

    from app.commands.top_view import Look  # noqa: PLC0415
    from app.errors import GatewayError  # noqa: PLC0415

    try:
        answer = client.get(f"{url}/metrics")
    except httpx.HTTPError as error:
        raise GatewayError(f"{url} cannot be reached: {error}") from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise GatewayError(f"{url}/metrics asks for a token: give it with --token")
    if answer.status_code != httpx.codes.OK:
        raise GatewayError(
            f"{url}/metrics answered {answer.status_code}; with server.metrics_port set, that is "
            "the port to ask"
        )
    try:
        found = Look.of(answer.text, at_s=time.monotonic())
    except ValueError as error:
        raise GatewayError(f"{url}/metrics is not in Prometheus' format: {error}") from error
    if "gateway_requests_in_flight" not in found.samples:
        raise GatewayError(f"{url}/metrics is not that of a gateway")
    return found
