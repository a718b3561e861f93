import asyncio
import json
import sys
import time

import httpx
import pytest

from app.errors import UpstreamMisconfiguredError
from app.providers.http.tokens import (
    BearerTokens,
    CommandSource,
    FileSource,
    Token,
    read_token,
)

SECRET = "ya29.canary-canary"  # noqa: S105


class Source:
    """Gives out tokens in turn; an error in its place is raised."""

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)
        self.asked = 0

    async def fetch(self) -> Token:
        self.asked += 1
        await asyncio.sleep(0)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


NONE = UpstreamMisconfiguredError("none")


async def shown(tokens: BearerTokens) -> str:
    request = httpx.Request("POST", "http://a.test")
    assert await tokens.authorise(request)
    return request.headers["authorization"]


@pytest.mark.parametrize(
    ("told", "life_s"),
    [
        ({"access_token": SECRET, "expires_in": 3599}, 3599),
        ({"accessToken": SECRET, "expires_on": 4_000_000_000}, 4_000_000_000),
        ({"token": SECRET, "expires_on": "4000000000"}, 4_000_000_000),
        ({"token": SECRET, "expiry": "2096-10-02T07:06:40Z"}, 4_000_000_000),
        ({"token": SECRET}, 300),
        (SECRET, 300),
    ],
    ids=["expires_in", "seconds", "text", "date", "untold", "plain"],
)
def test_tokens_as_tools_print_them(told, life_s):
    text = told if isinstance(told, str) else json.dumps(told)
    token = read_token(f"{text}\n".encode(), life_s=300, where="it")
    assert token.secret == SECRET
    began = 0 if life_s > 1e9 else time.time()  # the rest are times of the clock
    assert token.ends_s - began == pytest.approx(life_s, abs=600)


@pytest.mark.parametrize("text", [b"{", b"{}", b"two words", b"a\nb", "ü".encode(), b""])
def test_what_is_no_token_is_refused_and_not_repeated(text):
    canary = b"" if text == b"" else b" canary"
    with pytest.raises(UpstreamMisconfiguredError) as raised:
        read_token(text + canary, life_s=300, where="it")
    assert "canary" not in raised.value.message
    assert not raised.value.sent


async def test_a_command_is_asked_without_a_shell():
    script = "import sys; print(sys.argv[1])"
    token = await CommandSource((sys.executable, "-c", script, "$HOME;x")).fetch()
    assert [token.secret] == ["$HOME;x"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/nowhere/at-all",), "at-all cannot be run"),
        ((sys.executable, "-c", "import sys; print('canary'); sys.exit(3)"), "exit code 3"),
        ((sys.executable, "-c", "print('can ary')"), "no token"),
    ],
)
async def test_a_command_that_fails_is_told_without_what_it_said(command, words):
    with pytest.raises(UpstreamMisconfiguredError, match=words) as raised:
        await CommandSource(command).fetch()
    assert "canary" not in raised.value.message


async def test_a_file_is_read_anew(tmp_path):
    file = tmp_path / "token"
    file.write_text(SECRET, encoding="utf-8")
    source = FileSource(file)
    token = await source.fetch()
    assert token.secret == SECRET
    assert token.ends_s <= time.time() + 30
    file.write_text(json.dumps({"token": "next", "expires_in": 9999}), encoding="utf-8")
    assert [(await source.fetch()).secret] == ["next"]
    file.unlink()
    with pytest.raises(UpstreamMisconfiguredError, match="token cannot be read"):
        await source.fetch()


async def test_one_token_serves_until_shortly_before_its_end():
    now = 1000.0
    source = Source(Token("a", 4600.0), Token("b", 9000.0))
    tokens = BearerTokens(source, now=lambda: now)
    assert await shown(tokens) == "Bearer a"
    now = 4290.0
    assert await shown(tokens) == "Bearer a"
    assert source.asked == 1
    now = 4310.0
    assert await shown(tokens) == "Bearer b"


async def test_many_requests_ask_once():
    source = Source(Token("a", time.time() + 3600))
    tokens = BearerTokens(source)
    assert set(await asyncio.gather(*(shown(tokens) for _ in range(20)))) == {"Bearer a"}
    assert source.asked == 1


async def test_the_old_token_serves_while_a_new_one_is_fetched_and_where_none_is_to_be_had():
    now = 0.0
    source = Source(Token("a", 1000.0), NONE, NONE, Token("b", 5000.0))
    tokens = BearerTokens(source, now=lambda: now)
    assert await shown(tokens) == "Bearer a"
    now = 900.0
    assert set(await asyncio.gather(*(shown(tokens) for _ in range(5)))) == {"Bearer a"}
    assert source.asked == 2
    now = 1001.0
    with pytest.raises(UpstreamMisconfiguredError):
        await shown(tokens)
    assert await shown(tokens) == "Bearer b"


async def test_a_refused_token_is_dropped():
    source = Source(Token("a", time.time() + 3600), Token("b", time.time() + 3600))
    tokens = BearerTokens(source)
    await shown(tokens)
    assert not tokens.renews(403, ())
    assert tokens.renews(401, ())
    assert await shown(tokens) == "Bearer b"
