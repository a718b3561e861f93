"""A deployment that becomes ten times as slow, on real sockets: it loses its calls, and returns."""

from collections import deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import httpx
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.stub import StubThread

SPEED = 4.0
"""Of the other deployment: a first token takes 38 ms, an answer 93. The one that slows down is
usually twice as fast, so that it is worth something to whoever looks at nothing but time; slow, an
answer of it takes 465 ms, which what a busy machine adds to both does not blur."""
AT_ONCE, LATEST, MOST = 8, 60, 3_000
BALANCES = {
    "least-outstanding": {},
    "predicted-impact": {},
    "bandit": {"bandit": {"memory": 60, "explore": 0.1, "latency_s": 0.09}},
}


class Traffic:
    """Requests of a few clients, one after the other of each, until something has come about."""

    def __init__(self, url, client):
        self.url, self.client = url, client
        self.latest = deque(maxlen=LATEST)

    def ask(self):
        with self.client.stream(
            "POST",
            f"{self.url}/v1/chat/completions",
            json={
                "model": "both",
                "messages": [{"role": "user", "content": "What is a steelyard?"}],
                "stream": True,
                "max_tokens": 40,
            },
        ) as answer:
            answer.read()
            assert answer.status_code == 200
            return answer.headers["x-route-deployment"]

    def until(self, share_of_one):
        """Ask until the share of `one` in the latest is as wanted; return after how many."""
        self.latest.clear()
        n = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = {pool.submit(self.ask) for _ in range(AT_ONCE)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    n += 1
                    self.latest.append(each.result())
                full = len(self.latest) == LATEST
                if full and share_of_one(self.latest.count("one") / LATEST):
                    wait(running)
                    return n
                assert n < MOST, self.latest.count("one") / LATEST
                running |= {pool.submit(self.ask) for _ in done}
        raise AssertionError("nobody asks any more")


@pytest.mark.parametrize("balance", BALANCES)
def test_a_deployment_that_slows_down_tenfold_loses_its_traffic_and_gets_it_back(
    balance, artifacts, tmp_path
):
    with StubThread(speed=2 * SPEED) as one, StubThread(speed=SPEED) as other:
        places = [{"upstream": name, "upstream_model": "sim-nano"} for name in ("one", "other")]
        config = stub_config(
            tmp_path,
            one.origin,
            changes={
                "upstreams.one": {"kind": "openai", "base_url": f"{one.origin}/v1"},
                "upstreams.other": {"kind": "openai", "base_url": f"{other.origin}/v1"},
                "models.both": {
                    "deployments": places,
                    "spec": "llama-3.1-8b-instruct",
                    "balance": balance,
                    **BALANCES[balance],
                },
            },
        )
        with (
            GatewayThread(config, artifacts=artifacts) as gateway,
            httpx.Client(timeout=60, trust_env=False) as client,
        ):
            traffic = Traffic(gateway.url, client)
            traffic.until(lambda share: share >= 0.35)
            set_speed(client, one, 2 * SPEED / 10)
            # At the slow one's pace that is a few seconds at most.
            assert traffic.until(lambda share: share <= 0.25) < 600
            set_speed(client, one, 2 * SPEED)
            traffic.until(lambda share: share >= 0.35)


def set_speed(client, stub, speed):
    client.post(f"{stub.origin}/stub/speed", json={"speed": speed}).raise_for_status()


@pytest.mark.parametrize("body", [b"{}", b'{"speed": -1}', b"no JSON", b'{"speed": 1, "x": 2}'])
def test_a_stub_that_is_given_no_speed_says_so(body):
    with StubThread() as stub, httpx.Client(trust_env=False) as client:
        answer = client.post(f"{stub.origin}/stub/speed", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]
