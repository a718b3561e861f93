import threading
import urllib.error
import urllib.request
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from app.telemetry.exposition import MetricsServer, render


def test_a_file_that_a_starting_worker_has_not_written_yet_is_waited_for(tmp_path):
    half = tmp_path / "counter_1.db"
    half.write_bytes(b"\0")
    gone = threading.Timer(0.02, half.unlink)
    gone.start()
    try:
        assert render(CollectorRegistry(), workers_dir=tmp_path) == b""
    finally:
        gone.join()


def test_a_scraper_is_told_when_nothing_can_be_rendered(tmp_path):
    (tmp_path / "counter_1.db").write_bytes(b"\0")
    work = partial(render, CollectorRegistry(), workers_dir=tmp_path)
    with MetricsServer("127.0.0.1", 0, render=work, refusal=lambda _: None) as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10)
        assert told.value.code == 500
        told.value.close()
