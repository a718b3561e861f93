"""The soak runs, judges and tells."""

import json

import pytest

from loadtest.soak import main
from tests.support.redis_server import redis_server_path


@pytest.mark.skipif(redis_server_path() is None, reason="no redis-server")
def test_a_short_soak_holds_and_says_what_it_checked(tmp_path, capsys):
    file = tmp_path / "soak.json"
    assert main(["--seconds", "5", "--at-once", "6", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["holds"]
    assert result["requests"] == sum(result["ended"].values()) > 20
    assert len(result["workers"]) == 2
    assert all(each["checked"] for each in result["invariants"].values())
    assert "BROKEN" not in capsys.readouterr().out
