"""The snippets of docs/clients.md, run as they stand there but for the gateway's address."""

import re

import pytest

from tests.clients.environments import ROOT
from tests.clients.test_clients import started
from tests.support.gateway import STUB_MODELS

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"<!-- run: ([\w-]+) -->\n```(python|js)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[name for name, _, _ in SNIPPETS])
def test_a_snippet_works_and_tells_what_came_of_it(gateway, stub, tmp_path, snippet):
    name, language, source = snippet
    program = tmp_path / ("snippet.py" if language == "python" else "snippet.mjs")
    address = gateway.url.removeprefix("http://")
    program.write_text(source.replace("127.0.0.1:8080", address), encoding="utf-8")
    assert address in program.read_text(encoding="utf-8")
    done = started(name, program)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert all(entry.status == 200 and entry.model in STUB_MODELS for entry in stub.log())
    assert stub.log()
    assert done.stdout.strip()


def test_every_snippet_that_claims_to_be_tested_is_one_of_them():
    assert len(SNIPPETS) == len(re.findall(r"\*[Tt]ested\*?", PAGE)) - 1  # the word explained
    fenced = re.findall(r"```(?:python|js)\n", PAGE)
    assert len(SNIPPETS) == len(fenced)
