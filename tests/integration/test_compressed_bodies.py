"""Bodies that come compressed are unpacked within the bounds of all others."""

import gzip
import json
import zlib

import httpx
import pytest
import zstandard

from tests.support.requests import assert_openai_error

ASK = {
    "model": "sim-nano",
    "messages": [{"role": "user", "content": "What is a steelyard? " + "x" * 1_000_000}],
    "max_tokens": 5,
}
PATHS = ("/v1/chat/completions", "/v1/route")


def ask(gateway, content, coding="gzip", path="/v1/chat/completions"):
    headers = {"content-encoding": coding, "content-type": "application/json"}
    return httpx.post(f"{gateway.url}{path}", content=content, headers=headers, trust_env=False)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "gzip, identity"])
def test_it_is_answered_like_any_other(gateway, stub, coding):
    body = json.dumps(ASK).encode()
    assert ask(gateway, gzip.compress(body), coding).status_code == 200
    members = gzip.compress(body[:700]) + gzip.compress(body[700:])
    assert ask(gateway, members, coding).status_code == 200
    assert all(entry.body["messages"] == ASK["messages"] for entry in stub.log())


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def zstd_in_frames(body):
    """Pack without saying how much there is, in two frames, as one that streams would."""
    packer = zstandard.ZstdCompressor(write_content_size=False)
    return packer.compress(body[:700]) + packer.compress(body[700:])


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("zstd", zstandard.compress),
        ("ZSTD", zstd_in_frames),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
def test_other_codings_are_read_too(gateway, stub, coding, pack):
    assert ask(gateway, pack(json.dumps(ASK).encode()), coding).status_code == 200
    (entry,) = stub.log()
    assert entry.body["messages"] == ASK["messages"]


def zstd_with_a_wide_window(body):
    """Pack such that whoever unpacks has to hold 128 MB."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("zstd", b""),
        ("zstd", b"{}"),
        ("zstd", gzip.compress(b"{}", mtime=0)),
        ("zstd", zstandard.compress(json.dumps(ASK).encode())[:60]),
        ("zstd", zstandard.compress(b"{}") + b"more"),
        ("zstd", zstd_with_a_wide_window(json.dumps(ASK).encode())),
        ("deflate", b""),
        ("deflate", b"{}"),
        ("deflate", zlib.compress(b"{}")[:-2]),
        ("deflate", zlib.compress(b"{}") + b"more"),
        ("deflate", gzip.compress(b"{}", mtime=0)),
    ],
    ids=range(11),
)
def test_what_is_not_what_it_says_is_the_clients_fault(gateway, coding, content):
    assert_openai_error(ask(gateway, content, coding), status=400)


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("zstd", zstandard.compress(b"\0" * 50_000_000)),
        ("zstd", b"".join([zstandard.compress(b" " * 1_000_000)] * 20)),
        ("deflate", zlib.compress(b"\0" * 50_000_000, 1)),
    ],
    ids=["zstd", "frames", "deflate"],
)
def test_a_bomb_of_another_kind_is_not_unpacked(gateway, coding, content):
    assert len(content) < 500_000
    error = assert_openai_error(ask(gateway, content, coding), status=413)
    assert "unpacked" in error["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-4],
        gzip.compress(b"{}", mtime=0)[:5],
        gzip.compress(b"{}", mtime=0) + b"more",
        gzip.compress(json.dumps(ASK).encode())[:900],
        b"\x1f\x8b" + b"\xff" * 100,
    ],
    ids=range(7),
)
def test_what_is_no_gzip_is_the_clients_fault(gateway, content, path):
    assert_openai_error(ask(gateway, content, path=path), status=400)


@pytest.mark.parametrize("path", PATHS)
def test_a_small_body_that_would_become_a_huge_one_is_not_unpacked(gateway, path):
    once = gzip.compress(b"\0" * 50_000_000, 1)
    assert len(once) < 500_000
    error = assert_openai_error(ask(gateway, once, path=path), status=413)
    assert "unpacked" in error["message"]
    twice = ask(gateway, gzip.compress(once), path=path)
    assert_openai_error(twice, status=400)


def test_what_is_unpacked_counts_against_the_room_for_bodies(fresh_gateway):
    gateway = fresh_gateway({"server.max_bodies_mb": 10, "server.max_body_bytes": 9_000_000})
    error = assert_openai_error(ask(gateway, gzip.compress(b" " * 8_000_000)), status=503)
    assert error["code"] == "overloaded"
