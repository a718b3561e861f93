"""Tokens by Google's own library; skipped where the extra `vertex` is not there."""

import json
import time

import pytest

from app.errors import ConfigError, UpstreamMisconfiguredError
from app.http_client.transport import HttptoolsTransport
from app.providers.http.google_credentials import GoogleSource
from app.providers.vertex import VertexProvider
from tests.support.raw_server import Peer, raw_server


def test_without_the_library_a_start_says_what_to_install():
    try:
        import google.auth  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ConfigError, match=r"steelyard\[vertex\]"):
            VertexProvider(
                base_url=VertexProvider.example_url, api_key=None, transport=HttptoolsTransport()
            )


@pytest.fixture
def account(monkeypatch, tmp_path):
    """Return what writes the file of a service account."""
    pytest.importorskip("google.auth", reason="the extra vertex is not there")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def write(token_uri: str) -> None:
        told = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "gateway@p.iam.gserviceaccount.com",
            "token_uri": token_uri,
        }
        file.write_text(json.dumps(told), encoding="utf-8")

    return write


async def test_a_service_account_gets_a_token_and_its_end(account):
    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        assert b"jwt-bearer" in body
        told = {"access_token": "ya29.canary", "expires_in": 3600, "token_type": "Bearer"}
        await peer.answer(json.dumps(told).encode(), headers=b"content-type: application/json\r\n")
        await peer.gone()

    async with raw_server(script) as server:
        account(f"{server.origin}/token")
        token = await GoogleSource().fetch()
    assert [token.secret] == ["ya29.canary"]
    assert token.ends_s - time.time() == pytest.approx(3600, abs=120)


async def test_a_refusal_is_the_operators_to_mend_and_not_repeated(account):
    async def script(peer: Peer) -> None:
        await peer.request()
        told = b'{"error":"invalid_grant","error_description":"canary"}'
        head = b"HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        await peer.send(head % len(told) + told)
        await peer.gone()

    async with raw_server(script) as server:
        account(f"{server.origin}/token")
        with pytest.raises(UpstreamMisconfiguredError, match="RefreshError") as raised:
            await GoogleSource().fetch()
    assert "canary" not in raised.value.message


async def test_a_file_that_is_none_is_the_operators_to_mend(account, tmp_path):
    (tmp_path / "account.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UpstreamMisconfiguredError, match="no token"):
        await GoogleSource().fetch()
