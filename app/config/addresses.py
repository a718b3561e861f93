"""What a `base_url` must look like, and what looks like a mistake in one."""

import re
from collections.abc import Callable, Mapping

from pydantic import HttpUrl

_ENDPOINTS = (
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/messages",
)
"""Paths that are appended to a base address, and that people copy along with it."""

_NEEDS_V1 = ("api.openai.com", "api.anthropic.com")
"""Hosts that are known to answer 404 to anything else."""

_NEEDS_NO_PATH = ("api.deepseek.com", "api.perplexity.ai")
"""Hosts of compatible APIs that begin at the root."""


def address_problem(kind: str, url: HttpUrl) -> str | None:
    """Return why no request to an address can succeed; None where one may."""
    if url.username or url.password:
        return "name a variable in api_key_env instead of writing user:password@"
    if url.fragment is not None:
        return "has a fragment (#), which is never sent"
    path = (url.path or "").rstrip("/")
    if kind == "azure":
        return _azure_problem(url, path)
    if kind in _CLOUDS:
        return _CLOUDS[kind](url, path)
    for endpoint in _ENDPOINTS:
        if path.lower().endswith(endpoint):
            return (
                f"ends in {endpoint}, which the gateway appends itself; write "
                f"{_shown(url, path[: -len(endpoint)])}"
            )
    return _vendor_problem(url, path)


def _vendor_problem(url: HttpUrl, path: str) -> str | None:
    host = (url.host or "").lower()
    if host in _NEEDS_V1 and (path != "/v1" or url.scheme != "https"):
        return f"{host} is asked under /v1, over https; write https://{host}/v1"
    return None


def _azure_problem(url: HttpUrl, path: str) -> str | None:
    if path.lower() in ("/openai/v1", "/v1"):
        return "this is Azure's address without versions, which is spoken to as kind: openai"
    if path:
        return (
            "has a path, which the gateway makes of upstream_model itself; write only "
            "https://<resource>.openai.azure.com?api-version=2024-10-21"
        )
    if not re.search(r"(^|&)api-version=[^&]", url.query or ""):
        return (
            "an Azure upstream needs its API version in base_url: "
            "https://<resource>.openai.azure.com?api-version=2024-10-21"
        )
    return None


def _gemini_problem(url: HttpUrl, path: str) -> str | None:
    if path.lower().endswith("/openai"):
        return "this is Google's OpenAI-compatible address, which is spoken to as kind: openai"
    found = re.search(r"/(?:models|tunedModels)\b", path)
    if found:
        return (
            f"names a model, which the gateway appends itself; write "
            f"{_shown(url, path[: found.start()])}"
        )
    if (url.host or "").lower() == "generativelanguage.googleapis.com" and not path:
        return f"has no version; write {_shown(url, '/v1beta')}"
    return None


def _vertex_problem(url: HttpUrl, path: str) -> str | None:
    if path.lower().endswith("/openapi"):
        return "this is Vertex' OpenAI-compatible address, which is spoken to as kind: openai"
    found = re.search(r"/(?:models|endpoints/.+)$|/models/", path)
    if found:
        return (
            f"names a model, which the gateway appends itself; write "
            f"{_shown(url, path[: found.start()])}"
        )
    if not re.search(r"/(?:locations/[^/]+|publishers/[^/]+)$", path):
        return (
            "has to name project and location: https://aiplatform.googleapis.com/v1/projects/"
            "<project>/locations/global/publishers/google"
        )
    return None


def _bedrock_problem(url: HttpUrl, path: str) -> str | None:
    host = (url.host or "").lower()
    if path.startswith("/openai"):
        return "this is Bedrock's OpenAI-compatible address, which is spoken to as kind: openai"
    if host.endswith(".amazonaws.com") and path:
        return f"has a path, which the gateway makes of the model itself; write {_shown(url, '')}"
    if re.match(r"bedrock\.[a-z0-9-]+\.amazonaws\.com$", host):
        return (
            "is where models are managed; they are asked at "
            f"{_shown(url, '').replace('bedrock.', 'bedrock-runtime.', 1)}"
        )
    return None


_CLOUDS: Mapping[str, Callable[[HttpUrl, str], str | None]] = {
    "gemini": _gemini_problem,
    "vertex": _vertex_problem,
    "bedrock": _bedrock_problem,
}


def address_doubt(kind: str, url: HttpUrl) -> str | None:
    """Return what looks like a mistake in an address, and may be none."""
    path, host = (url.path or "").rstrip("/"), (url.host or "").lower()
    if kind in ("openai", "anthropic") and not path and host not in _NEEDS_NO_PATH:
        appended = "/chat/completions" if kind == "openai" else "/messages"
        return (
            f"has no path, so requests go to {appended}; most servers want /v1 before that: "
            f"{_shown(url, '/v1')}"
        )
    if kind == "openai" and host.endswith(".openai.azure.com") and "/openai" not in path:
        return "looks like Azure, which is asked under /openai/v1, or with kind: azure"
    return None


def _shown(url: HttpUrl, path: str) -> str:
    """Return an address with another path, without its query, which may be secret."""
    default = {"http": 80, "https": 443}[url.scheme]
    port = "" if url.port in (None, default) else f":{url.port}"
    return f"{url.scheme}://{url.host}{port}{path}"
