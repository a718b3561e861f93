"""One gateway before an upstream that answers with exactly what a test says."""

from collections.abc import Iterator, Mapping

import httpx
import pytest

from routers.artifact.artifact import RouterArtifact
from tests.support.gateway import GatewayThread, RunningGateway, stub_config
from tests.support.odd_upstream import OddUpstream


@pytest.fixture(scope="session")
def odd_upstream_thread() -> Iterator[OddUpstream]:
    """One for the whole run; tests take `odd_upstream`."""
    with OddUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def odd_gateway(
    odd_upstream_thread: OddUpstream,
    artifacts: Mapping[str, RouterArtifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningGateway]:
    """Serve before it; no model becomes unhealthy, and none is asked twice."""
    changes = {"breaker.failures": 1_000_000, "upstreams.stub.retries": 0}
    config = stub_config(
        tmp_path_factory.mktemp("odd"), odd_upstream_thread.origin, changes=changes
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def odd_upstream(odd_upstream_thread: OddUpstream, odd_gateway: RunningGateway) -> OddUpstream:
    """Hand it out with nothing asked and nothing to answer."""
    for slot in odd_gateway.app.state.steelyard.gateway.dispatcher.pool.slots():
        slot.throttled_until = 0.0  # what an earlier test's upstream asked for
    odd_upstream_thread.reset()
    return odd_upstream_thread


@pytest.fixture
def odd_client(odd_gateway: RunningGateway, odd_upstream: OddUpstream) -> Iterator[httpx.Client]:
    """Return a client of that gateway."""
    with httpx.Client(base_url=odd_gateway.url, trust_env=False, timeout=20) as client:
        yield client
