"""A configuration with its catalogue and its secrets: what a gateway is made from."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from app.config.catalogue import Catalogue, VariantConfig
from app.config.document import Document
from app.config.fields import Place, Strict
from app.config.gateway import GatewayConfig
from app.errors import ConfigError
from routers.models import ModelSpec

_SECRET_HEADER = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)


class LoadedConfig(Strict):
    """A validated configuration with its catalogue and the secrets it names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    path: Path
    gateway: GatewayConfig
    specs: dict[str, ModelSpec]
    variants: dict[str, VariantConfig]
    """What is said of each of those that is a variant of another."""
    document: Annotated[Document, Field(exclude=True, repr=False)]
    """Where in the file each value stands."""
    catalogue: Annotated[Catalogue, Field(exclude=True, repr=False)]
    """What the specs were made of."""
    catalogue_document: Annotated[Document, Field(exclude=True, repr=False)]
    secrets: Annotated[dict[str, str], Field(exclude=True, repr=False)]
    """Upstream name → API key; kept out of `repr` and of every dump."""
    decision_keys: Annotated[dict[str, str], Field(exclude=True, repr=False)] = Field(
        default_factory=dict
    )
    """Policy name → key of its decision model's endpoint; kept out likewise."""
    admin_token: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """Opens `/admin`; None where there is none. Kept out likewise."""
    metrics_token: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """Opens `/metrics`; kept out likewise."""
    redis_url: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """The address of the shared store, password included. Kept out likewise."""
    cache_url: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """The address of the Redis of cached answers, where they have one of their own. Likewise."""
    semconv_opt_in: str = ""
    """The value of OTEL_SEMCONV_STABILITY_OPT_IN."""

    def __repr__(self) -> str:
        return f"LoadedConfig(path={str(self.path)!r})"

    def error(self, place: Place, message: str) -> ConfigError:
        """Return an error that names file, line and key of what it is about."""
        return self.document.error(place, message)

    @property
    def hidden(self) -> frozenset[str]:
        """Every secret that the configuration names: what no log may hold."""
        headers = (
            value
            for upstream in self.gateway.upstreams.values()
            for name, value in upstream.extra_headers.items()
            if _SECRET_HEADER.search(name)
        )
        keys = (*self.secrets.values(), *self.decision_keys.values())
        named = (*keys, self.admin_token, self.metrics_token, *headers)
        urls = (url for url in (self.redis_url, self.cache_url) if url is not None)
        passwords = (urlsplit(url).password for url in urls)
        return frozenset(each for each in (*named, *passwords) if each)

    @property
    def data_dir(self) -> Path | None:
        """Where this process keeps what must survive it, if anywhere."""
        name = self.gateway.store.data_dir
        return None if name is None else self.path.parent / name

    def token_file(self, upstream: str) -> Path | None:
        """Where an upstream's token is, if it is in a file."""
        name = self.gateway.upstreams[upstream].token_file
        return None if name is None else self.path.parent / name

    def artifact_path(self, router: str) -> Path | None:
        """Directory of a router's artifact; None for the shipped default."""
        artifact = self.gateway.routers[router].artifact
        return None if artifact == "default" else self.path.parent / artifact
