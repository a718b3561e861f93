"""Which requests of browsers are answered.

Where no keys are asked for, whoever reaches the port may ask, and a browser on the machine does.
Any page may have it send requests here, and, under a name of its own that it points at this
machine, read the answers. A browser says where a request comes from and which name it goes to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from app.api.hosts import host_name, is_near
from app.config import GatewayConfig
from app.config.settings import is_loopback
from app.errors import ForbiddenError

_PROBES = frozenset({"/healthz", "/readyz"})
"""Who looks whether the gateway lives uses whatever name; the answer tells nothing."""

_FOREIGN = frozenset({b"cross-site", b"same-site"})
_MAX_REMEMBERED = 1_000


@dataclass(slots=True, kw_only=True)
class BrowserRules:
    """Who may ask by a browser.

    Attributes
    ----------
    hosts
        Names that requests may be addressed to besides addresses and names of this machine, or of
        a network without domains; None: any.
    origins
        Those whose pages may ask and read; ``*`` for all.
    foreign_pages
        Whether pages of other origins may ask, without reading the answer.
    """

    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()
    foreign_pages: bool = True
    _hosts_seen: dict[bytes, bool] = field(default_factory=dict)

    @classmethod
    def near(cls, config: GatewayConfig, *, host: str) -> Self:
        """Return the rules of what asks for no keys and listens on `host`.

        Pages of other origins may not ask; where only this machine can reach it besides, requests
        have to be addressed to this machine.
        """
        server = config.server
        hosts = None
        if server.allowed_hosts or is_loopback(host):
            hosts = frozenset(map(str.lower, (*server.allowed_hosts, host)))
        origins = frozenset(map(str.lower, server.cors_origins))
        return cls(hosts=hosts, origins=origins, foreign_pages=False)

    @property
    def bind(self) -> bool:
        """Whether they make any difference."""
        return self.hosts is not None or bool(self.origins) or not self.foreign_pages

    def check(self, scope: Mapping[str, Any]) -> bytes | None:
        """Return the origin that may read the answer, if it is one of another place.

        Raises
        ------
        ForbiddenError
        """
        host = origin = site = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if self.hosts is not None and not self._is_ours(host) and scope["path"] not in _PROBES:
            raise ForbiddenError(
                f"requests to the host {host_name(host)[:80]!r} are not answered here; if the name "
                "is this gateway's, add it to server.allowed_hosts",
                code="host_not_allowed",
            )
        if origin and ("*" in self.origins or origin.decode("latin-1").lower() in self.origins):
            return origin
        foreign = origin.lower() not in (b"", b"http://" + host.lower(), b"https://" + host.lower())
        if (foreign or site.strip().lower() in _FOREIGN) and not self.foreign_pages:
            raise ForbiddenError(
                "pages of other origins may not ask a gateway that asks for no keys; if this one "
                f"may, add its origin ({_shown(origin)}) to server.cors_origins",
                code="origin_not_allowed",
            )
        return None

    def _is_ours(self, host: bytes) -> bool:
        known = self._hosts_seen.get(host)
        if known is None:
            name = host_name(host)
            known = is_near(name) or any(
                name == each or (each.startswith("*.") and name.endswith(each[1:]))
                for each in self.hosts or ()
            )
            if len(self._hosts_seen) >= _MAX_REMEMBERED:
                self._hosts_seen.clear()
            self._hosts_seen[host] = known
        return known


def _shown(origin: bytes) -> str:
    return repr(origin[:80].decode("latin-1")) if origin else "which the browser did not tell"


def browser_rules(config: GatewayConfig, *, host: str) -> BrowserRules:
    """Return the rules of a gateway that listens on `host`; with keys, of whatever was configured.

    A page of the web has no key, so that only names that were written out are looked at there.
    """
    if not config.auth.keys_needed:
        return BrowserRules.near(config, host=host)
    server = config.server
    return BrowserRules(
        hosts=frozenset(map(str.lower, (*server.allowed_hosts, host)))
        if server.allowed_hosts
        else None,
        origins=frozenset(map(str.lower, server.cors_origins)),
    )
