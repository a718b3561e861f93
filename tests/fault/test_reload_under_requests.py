"""A reload that takes a model away while it answers: every answer ends well and is paid."""

import asyncio
import gc
import json
import weakref

import httpx
import pytest
import yaml

from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import GatewayThread, stub_config
from tests.support.odd_upstream import DONE, END, HELLO, ROLE, USAGE, completion, data, event
from tests.support.raw_server import raw_server

MODEL = "sim-nano"
TURNS = [{"role": "user", "content": "Say hello to the world."}]
ASKED = {
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/completions": {"prompt": "Say hello to the world."},
    "/v1/messages": {"messages": TURNS, "max_tokens": 100},
    "/v1/responses": {"input": TURNS},
}
REST = [event({"content": " world"}), END, data({"choices": [], "usage": USAGE}), DONE]
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %b\r\n\r\n"


def texts(text):
    """Write one piece of a text completion."""
    choice = {"index": 0, "text": text, "finish_reason": "stop" if text == " world" else None}
    return {"id": "c1", "object": "text_completion", "model": "up", "choices": [choice]}


class Upstream:
    """Answers half of what it is asked, and the rest when it is told to."""

    def __init__(self):
        self.n_asked = 0
        self.go_on = asyncio.Event()

    async def __call__(self, peer):
        head, body = await peer.request()
        self.n_asked += 1
        chat = b"/chat/" in head.split(b"\r\n")[0]
        if not json.loads(body).get("stream"):
            await self.go_on.wait()
            whole = completion("Hello world") if chat else {**texts("Hello world"), "usage": USAGE}
            await peer.send(HEAD % b"application/json" + json.dumps(whole).encode())
            return
        first = ROLE + HELLO if chat else data(json.dumps(texts("Hello")).encode())
        await peer.send(HEAD % b"text/event-stream" + first)
        await self.go_on.wait()
        if not chat:
            await peer.send(data(json.dumps(texts(" world")).encode()))
        await peer.send(b"".join(REST if chat else REST[2:]))


async def ask(client, path, stream, begun):
    """Return what came of a request, whose stream begins before `begun` is told."""
    body = {"model": MODEL, "stream": stream, **ASKED[path]}
    async with client.stream("POST", path, json=body) as answer:
        pieces = []
        async for piece in answer.aiter_text():
            pieces.append(piece)
            if "Hello" in "".join(pieces):
                begun.set()
        return answer.status_code, "".join(pieces)


def without_the_model(file):
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    del document["models"][MODEL]
    for policy in document["policies"].values():
        policy["candidates"].remove(MODEL)
    file.write_text(yaml.safe_dump(document), encoding="utf-8")


async def test_answers_end_well_and_are_paid_though_their_model_goes(artifacts, tmp_path):
    upstream = Upstream()
    kinds = [(path, stream) for path in ASKED for stream in (False, True)]
    async with raw_server(upstream) as server:
        config = stub_config(tmp_path, server.origin, changes={"store.data_dir": "data"})
        with GatewayThread(config, artifacts=artifacts) as gateway:
            await played(gateway, upstream, kinds, tmp_path / "gateway.yaml")
    rows = [row for _, row in read_outcomes(tmp_path / "data")]
    assert len(rows) == len(kinds)
    prices = config.specs[MODEL].prices
    nusd = 1e3 * (10 * prices.input_usd_per_mtok + 5 * prices.output_usd_per_mtok)
    for row in rows:
        assert (row.model, row.status, row.error) == (MODEL, 200, None)
        assert (row.input_tokens, row.output_tokens, row.estimated) == (10, 5, False)
        assert row.cost_nusd == pytest.approx(nusd, abs=1)


async def played(gateway, upstream, kinds, file):
    """Ask for all of it, take the model away in the middle, and look at what came."""
    state = gateway.app.state.steelyard
    before = [weakref.ref(each) for each in state.serving.providers]
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        begun = [asyncio.Event() for _ in kinds]
        asked = [
            asyncio.create_task(ask(client, *kind, each))
            for kind, each in zip(kinds, begun, strict=True)
        ]
        async with asyncio.timeout(60):
            for (_, stream), each in zip(kinds, begun, strict=True):
                if stream:
                    await each.wait()
            while upstream.n_asked < len(kinds):
                await asyncio.sleep(0.001)
        without_the_model(file)
        reloaded = asyncio.run_coroutine_threadsafe(
            gateway.app.state.reloader.reload(), gateway.loop
        )
        await asyncio.wrap_future(reloaded)
        for path, body in ASKED.items():
            gone = await client.post(path, json={"model": MODEL, **body})
            assert gone.status_code == 404
        assert not any(each.done() for each in asked)
        upstream.go_on.set()
        for (path, stream), (status, text) in zip(kinds, await asyncio.gather(*asked), strict=True):
            assert status == 200
            said = ["Hello", " world"] if stream else ["Hello world"]
            assert all(f'"{each}"' in text for each in said), (path, text)
            assert "error" not in text.replace('"error":null', ""), (path, text)
    async with asyncio.timeout(60):
        while any(each() is not None for each in before):  # nothing keeps the old configuration
            gc.collect()
            await asyncio.sleep(0.001)
