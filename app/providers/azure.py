"""Azure OpenAI: OpenAI's dialect, addressed by deployment and API version.

For Azure's newer address that needs no version (`https://<resource>.openai.azure.com/openai/v1`)
the kind `openai` serves as it is.
"""

from collections.abc import Sequence
from urllib.parse import quote

import httpx

from app.errors import ConfigError
from app.paths import RESPONSES
from app.providers.base import PROVIDERS, ModelCall
from app.providers.openai import PATHS, OpenAIProvider


@PROVIDERS.register("azure")
class AzureProvider(OpenAIProvider):
    """Azure's dialect: `base_url` is `https://<resource>.openai.azure.com?api-version=…`.

    A model's upstream name is the name of its deployment, which goes into the path; the key goes
    into `api-key`. Tokens of Entra ID come from a command or a file, as bearer tokens.

    Raises
    ------
    ConfigError
        If `base_url` names no `api-version`.
    """

    example_url = "https://resource.openai.azure.com?api-version=2024-10-21"
    passed_on = {  # noqa: RUF012  (declared as a class variable by the parent)
        **OpenAIProvider.passed_on,
        b"apim-request-id": b"apim-request-id",
    }

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        if "api-version" not in self._base_url.params:
            raise ConfigError(
                f"an Azure upstream needs its API version in base_url: {self.example_url}"
            )
        return () if api_key is None else (("api-key", api_key),)

    def _url_of(self, call: ModelCall) -> httpx.URL:
        if call.dialect == RESPONSES:
            return self._join("/openai/responses")  # the deployment is the model of the body
        deployment = quote(call.upstream_model, safe="")
        path = PATHS.get(call.dialect, self.path)
        return self._join(f"/openai/deployments/{deployment}{path}")
