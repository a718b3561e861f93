"""What a page of somebody else can have a real browser do to a gateway on this machine."""

import http.server
import json
import os
import threading
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import browser_path

PAGE = b"<!doctype html><title>evil</title>"
ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
SEND = """
async ([url, body, options]) => {
    try {
        const answer = await fetch(url, {method: "POST", body: new Blob([body]), ...options});
        return [answer.type, answer.status, await answer.text()];
    } catch (error) { return ["error", 0, String(error)]; }
}
"""


@pytest.fixture(scope="module")
def page_url():
    """Serve an empty page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_):
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    """Start a browser for which two names of the web lead to this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = browser_path()
    if path is None:
        pytest.skip("no browser")
    options = [
        "--host-resolver-rules=MAP *.example 127.0.0.1",
        # A browser may ask its user first, who may say yes: here it need not.
        "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    pages = []

    def visit(url):
        context = chromium.new_context()
        pages.append(context)
        page = context.new_page()
        page.goto(url)
        return page

    yield visit
    for context in pages:
        context.close()


@pytest.mark.parametrize("options", [{"mode": "no-cors"}, {}])
def test_a_foreign_page_spends_nothing(visit, page_url, gateway, caplog, options):
    caplog.set_level("INFO", logger="app.requests")
    page = visit(page_url.replace("127.0.0.1", "evil.example"))
    for path in ("/v1/chat/completions", "/v1/route"):
        kind, status, text = page.evaluate(SEND, [gateway.url + path, json.dumps(ASK), options])
        assert (kind, status, "steelyard" in text) in {("opaque", 0, False), ("error", 0, False)}
    # It did come, without a content type and so without asking first, and was turned away.
    refused = [each.fields["error"] for each in caplog.records if each.getMessage() == "refused"]
    assert refused == ["origin_not_allowed"] * 2


def test_a_name_that_leads_here_reads_nothing(visit, gateway, stub):
    port = urlsplit(gateway.url).port
    page = visit(f"http://rebound.example:{port}/healthz")  # its own origin, says the browser
    for path in ("/v1/chat/completions", "/v1/models", "/metrics", "/docs", "/console/"):
        options = {} if "chat" in path else {"method": "GET", "body": None}
        kind, status, text = page.evaluate(SEND, [path, json.dumps(ASK), options])
        assert (kind, status) == ("basic", 403)
        assert json.loads(text)["error"]["code"] == "host_not_allowed"
    assert stub.log() == []


def test_a_page_of_a_configured_origin_asks_and_reads(visit, page_url, fresh_gateway):
    origin = page_url.replace("127.0.0.1", "app.example")
    gateway = fresh_gateway({"server.cors_origins": [origin]})
    page = visit(origin)
    read = """
    async ([url, body]) => {
        const headers = {"content-type": "application/json", "x-cost-quality": "0.5"};
        const answer = await fetch(url, {method: "POST", body, headers});
        return [answer.status, answer.headers.get("x-route-model"), await answer.json()];
    }
    """
    url = f"{gateway.url}/v1/chat/completions"
    status, model, answer = page.evaluate(read, [url, json.dumps(ASK)])
    assert (status, bool(model)) == (200, True)
    assert answer["choices"]


def test_the_page_of_the_docs_asks(visit, gateway):
    page = visit(f"{gateway.url}/docs")
    kind, status, _ = page.evaluate(
        SEND,
        [
            "/v1/route",
            json.dumps(ASK),
            {"headers": {"content-type": "application/json"}},
        ],
    )
    assert (kind, status) == ("basic", 200)
