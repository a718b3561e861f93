"""What commands ask a running gateway's `/admin`, and what is told where that cannot be had."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import httpx

url_option = click.option(
    "--url", default="http://127.0.0.1:8080", show_default=True, help="Of the gateway."
)
token_option = click.option(
    "--token",
    envvar="STEELYARD_ADMIN_TOKEN",
    help="The admin token; default: STEELYARD_ADMIN_TOKEN.",
)


def ask_admin(
    url: str, path: str, *, token: str | None, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what `/admin` answers, to a `POST` where there is a body.

    Raises
    ------
    GatewayError
        If it cannot be reached, or does not answer with what was asked for.
    """
    import httpx  # noqa: PLC0415

    from app.errors import GatewayError  # noqa: PLC0415

    if not token:
        raise GatewayError("this needs the admin token: --token, or STEELYARD_ADMIN_TOKEN")
    where = f"{url.rstrip('/')}{path}"
    # Canaries are asked one after the other, each as long as it may take.
    timeout = httpx.Timeout(10.0, read=None if body is not None else 60.0)
    try:
        with httpx.Client(timeout=timeout, trust_env=False) as client:
            answer = client.request(
                "GET" if body is None else "POST",
                where,
                json=body,
                headers={"authorization": f"Bearer {token}"},
            )
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise GatewayError(f"{url} cannot be reached: {error}") from error
    return _read(where, answer)


def _read(where: str, answer: "httpx.Response") -> dict[str, Any]:
    import httpx  # noqa: PLC0415

    from app.errors import GatewayError  # noqa: PLC0415

    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.status_code == httpx.codes.OK and isinstance(found, dict):
        return found
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise GatewayError(f"{where} does not know this token")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise GatewayError(
            f"{where} is not there: set STEELYARD_ADMIN_TOKEN where the gateway runs"
        )
    told = found.get("error") if isinstance(found, dict) else None
    message = told.get("message") if isinstance(told, dict) else None
    raise GatewayError(message or f"{where} answered {answer.status_code}")
