"""Reading the configuration anew, in one process: nothing breaks it, nothing of the old is kept."""

import asyncio
import contextlib
import gc
import weakref
from collections import Counter
from pathlib import Path

import pytest
import yaml

from app.assembly.reload import Reloader
from app.errors import ConfigError
from app.main import create_app
from routers.text.wordpiece import WordPiece
from tests.support.gateway import stub_config, write_yaml


@contextlib.asynccontextmanager
async def serving(config, artifacts=None):
    app = create_app(config, artifacts=artifacts)
    async with app.router.lifespan_context(app):
        yield app


def reloads(app):
    lines = app.state.steelyard.metrics.render().decode().splitlines()
    return [line for line in lines if line.startswith("gateway_config_")]


async def until(condition):
    """Wait for what tasks and threads let go of when it is their turn; fail if they never do."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def files():
    """Return what is open, and how often."""
    found = Counter()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            found[str(each.readlink())] += 1
    return found


def vocabularies():
    # `isinstance` would ask every object for its `__class__`, and some libraries' answer warns.
    return sum(type(each) is WordPiece for each in gc.get_objects())


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("maximum recursion depth exceeded"),
        MemoryError(),
        ValueError("day is out of range for month"),
        OSError("disk on fire"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        KeyError("models"),
        ConfigError("no such router"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_is_wrong_with_a_file_is_told_and_changes_nothing(
    tmp_path, artifacts, caplog, error
):
    def load():
        raise error

    config = stub_config(tmp_path, "http://127.0.0.1:9")
    async with serving(config, artifacts) as app:
        state = app.state.steelyard
        before = state.serving
        with pytest.raises(ConfigError) as told:
            await Reloader(state, load=load).reload()
        assert (type(error).__name__ in told.value.message) == (type(error) is not ConfigError)
        assert state.serving is before
        assert "the configuration is not replaced" in caplog.text
        assert 'gateway_config_reloads_total{result="failure"} 1.0' in reloads(app)
        assert "gateway_config_last_reload_successful 0.0" in reloads(app)


async def test_what_is_replaced_goes_with_its_last_request(tmp_path):
    config = stub_config(tmp_path, "http://127.0.0.1:9")
    async with serving(config) as app:
        state, reloader = app.state.steelyard, app.state.reloader
        gc.collect()
        gc.disable()  # what only the collector would find, stays for long
        try:
            serving_before = state.serving
            serving_before.enter()
            policy = next(iter(serving_before.policies.values()))
            old = [weakref.ref(each) for each in (policy.artifact, *serving_before.providers)]
            del policy
            await reloader.reload()
            assert all(each() is not None for each in old)
            serving_before.leave()
            del serving_before
            await until(lambda: all(each() is None for each in old))
            files_before, n_vocabularies = files(), vocabularies()
            for _ in range(3):
                await reloader.reload()
            await until(lambda: files() <= files_before)
            await until(lambda: vocabularies() <= n_vocabularies)
        finally:
            gc.enable()


async def test_what_was_wrong_and_is_mended_is_served(tmp_path, artifacts):
    config = stub_config(tmp_path, "http://127.0.0.1:9")
    text = config.path.read_text(encoding="utf-8")
    async with serving(config, artifacts) as app:
        config.path.write_text("models: {a: &a [*a]}", encoding="utf-8")
        with pytest.raises(ConfigError):
            await app.state.reloader.reload()
        document = yaml.safe_load(text)
        del document["policies"]["quality"]
        write_yaml(config.path, document)
        assert await app.state.reloader.reload() == app.state.steelyard.gateway.config_version
        assert "quality" not in app.state.steelyard.policies
        assert "gateway_config_last_reload_successful 1.0" in reloads(app)


@pytest.mark.parametrize(
    ("section", "change"), [("batches", {"enabled": True}), ("responses", {"store": True})]
)
async def test_what_is_built_once_is_not_changed_in_silence(stub_thread, tmp_path, section, change):
    config = stub_config(tmp_path, stub_thread.origin)
    async with serving(config) as app:
        changed = stub_config(tmp_path, stub_thread.origin, changes={section: change})
        with pytest.raises(ConfigError, match=f"{section} changed, which needs a restart"):
            await app.state.reloader.stage(changed)
