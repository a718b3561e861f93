"""What a gateway's configuration predicts of a file of requests, without a gateway."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.access.guard import ANONYMOUS
from app.api.answering import understand
from app.api.batch_candidates import candidates_for
from app.api.batch_door import AT_ENDPOINTS
from app.api.dialects.base import Dialect, dialects
from app.api.pinned import pinned
from app.assembly.active_config import prepare
from app.config import load_config
from app.errors import GatewayError, InvalidRequestError
from routers.errors import NoEligibleModelError
from routers.evaluation.batch_plan import BatchRequest, Estimated


def estimates(
    file: Path, policy: str | None, requests: Sequence[BatchRequest]
) -> list[tuple[Estimated, ...]]:
    """Predict requests as the gateway of a configuration would; nobody is asked anything.

    Parameters
    ----------
    policy
        That decides what leaves it open; None for the default policy.

    Raises
    ------
    ConfigError
    InvalidRequestError
        If a request cannot be understood, or the policy is none; the message names it.
    """
    config = load_config(file)
    _, names = prepare(config, None)
    if policy is not None and policy not in names.policies:
        raise InvalidRequestError(f"unknown policy {policy!r}; known: {names.told_policies()}")
    spoken: dict[str, Dialect] = {each.path: each for each in (*dialects().all, *pinned())}
    headers = [(b"content-type", b"application/json")]
    found: list[tuple[Estimated, ...]] = []
    for request in requests:
        body: dict[str, Any] = dict(request.body)
        if request.endpoint not in AT_ENDPOINTS:
            raise InvalidRequestError(
                f"{request.custom_id}: no batch can ask {request.endpoint[:100]!r}; known: "
                f"{', '.join(AT_ENDPOINTS)}"
            )
        own = headers
        if policy is not None and body.get("model") == "auto":
            own = [*headers, (b"x-route-policy", policy.encode())]
        scope = {"headers": own, "state": {"request_id": request.custom_id}}
        try:
            asked = understand(
                spoken[request.endpoint],
                msgspec.json.encode(body),
                scope,
                names,
                ANONYMOUS,
                max_messages=config.gateway.server.max_messages,
            )
            known = candidates_for(asked, config.specs)
        except NoEligibleModelError:
            known = ()
        except GatewayError as error:
            raise InvalidRequestError(f"{request.custom_id}: {error.message}") from error
        found.append(
            tuple(
                Estimated(each.model, each.quality, each.cost_usd, each.cost_usd_upper)
                for each in known
            )
        )
    return found
