"""Gemini models on Google Cloud's Vertex AI: Gemini's dialect, and credentials that expire."""

from app.providers.base import PROVIDERS, Identity
from app.providers.gemini import GeminiProvider
from app.providers.http.google_credentials import GoogleSource
from app.providers.http.tokens import Authoriser, BearerTokens


@PROVIDERS.register("vertex")
class VertexProvider(GeminiProvider):
    """Vertex' dialect: project and location are part of `base_url`, the token is a bearer token.

    It comes from `token_command`, `token_file` or Google's application default credentials. A key
    (of Vertex in express mode) goes into `x-goog-api-key`. A model's upstream name may bring its
    collection: `endpoints/123` with a `base_url` that ends at the location.
    """

    example_url = (
        "https://aiplatform.googleapis.com/v1/projects/project/locations/global/publishers/google"
    )

    def _authoriser_of(self, api_key: str | None, identity: Identity) -> Authoriser | None:
        told = super()._authoriser_of(api_key, identity)
        if told is not None or api_key is not None:
            return told
        return BearerTokens(GoogleSource())
