import json

import pytest

from app.errors import UpstreamRejectedError
from app.providers.http.error_body import ErrorDetail, error_detail, reported_error
from app.providers.http.errors import error_from_status


def detail(value):
    return error_detail(value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "why", "type": "t", "param": "p", "code": "c"}}, "why"),
        ({"error": "why"}, "why"),
        ([{"error": {"code": 400, "message": "why", "status": "INVALID_ARGUMENT"}}], "why"),
        ({"message": "why", "code": 3}, "why"),
        ({"msg": "why"}, "why"),
        ({"Message": "why"}, "why"),
        ({"error_msg": "why", "error_code": 336}, "why"),
        ({"object": "error", "message": "why"}, "why"),
        ({"detail": "why"}, "why"),
        ({"detail": {"error": {"message": "why"}}}, "why"),
        (
            {"detail": [{"loc": ["body", "messages", 0, "name"], "msg": "why", "type": "t"}]},
            "messages.0.name: why",
        ),
        ({"errors": ["why", "and"]}, "why; and"),
        ({"errors": {"name": ["why"]}}, "why"),
        ({"errors": [{"message": "why", "code": 5}], "success": False}, "why"),
        ({"fault": {"faultstring": "why"}}, "why"),
        ({"base_resp": {"status_code": 1004, "status_msg": "why"}}, "why"),
        ({"type": "about:blank", "title": "Bad", "status": 400, "detail": "why"}, "why; Bad"),
        (
            {"statusCode": 400, "error": "Bad Request", "message": ["why", "and"]},
            "Bad Request; why; and",
        ),
        ({"error": {"message": '{"error":{"message":"why"}}'}}, "why"),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "why"}}},
            "Provider returned error; why",
        ),
        (b"why\n", "why"),
        (b'{"error":{"message":"why \\ud83d"}}', "why ?"),
        (b'{"error":{"message":"why","at":NaN}}', "why"),
        (b'\xef\xbb\xbf{"error":"why"}', "why"),
    ],
)
def test_a_failure_is_read_in_every_shape(body, message):
    assert detail(body).message == message


def test_what_else_is_told_is_read_too():
    told = detail({"error": {"message": "why", "type": "t", "param": "p", "code": 7}})
    assert (told.type, told.code, told.param, told.safe_code) == ("t", "7", "p", "7")
    place = detail({"detail": [{"loc": ["body", "seed"], "msg": "why", "type": "int_type"}]})
    assert (place.param, place.type) == ("seed", "int_type")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"{}", b"[]", b'{"error":{}}', b'{"error":null}', b'{"error":""}'),
        *(b"<html><body>502", b"  <!DOCTYPE html>", b"\xff\xfe\x00", b'{"error":', b"[" * 90_000),
        b'{"error":{"message":"","type":"","param":"","code":null}}',
        b'{"error":{"message":" ","code":0}}',
    ],
)  # fmt: skip
def test_what_says_nothing_is_no_detail(body):
    assert error_detail(body) is None


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "why"}},
        {"error": "why"},
        {"error": {"code": 5}},
        {"error": {}, "message": "why", "code": 500},
        {"error": True, "message": "why"},
        [{"error": {"message": "why"}}],
        {"detail": "why"},
        {"errors": ["why"]},
        {"message": "why", "code": 500},
        {"msg": "why", "code": 20015, "data": None},
        {"object": "error", "message": "why"},
        {"type": "error"},
        {"base_resp": {"status_code": 1004, "status_msg": "why"}, "choices": None},
    ],
)
def test_errors_in_place_of_an_answer(body):
    assert reported_error(json.dumps(body).encode()) is not None


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "x",
        {"error": ""},
        {"error": {}},
        {"error": False},
        {"type": "ping"},
        {"object": "chat.completion.chunk", "choices": []},
        {"message": "thinking"},
        {"message": "success", "code": 0},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"id": "1", "status": "in_progress"},
    ],
)
def test_what_is_no_error(body):
    assert reported_error(json.dumps(body).encode()) is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'[{"error":{"code":400,"message":"why","status":"X"}}]', ("why", "X", None, "400")),
        (b'{"message":"why"}', ("why", "invalid_request_error", None, None)),
        (b'{"detail":[{"loc":["body","n"],"msg":"why","type":"t"}]}', ("n: why", "t", "n", None)),
        (b"why", ("why", "invalid_request_error", None, None)),
        (b'{"error":{"code":"c"}}', ("c", "invalid_request_error", None, "c")),
    ],
)
def test_clients_are_told_why_in_openais_shape(body, told):
    error = error_from_status(400, (), body, now_s=0.0)
    assert type(error) is UpstreamRejectedError
    names = ("message", "type", "param", "code")
    assert json.loads(error.body) == {"error": dict(zip(names, told, strict=True))}


def test_of_an_error_that_is_deep_and_wide_no_more_is_looked_at_than_tells_anything():
    value: object = {"message": "why"}
    for _ in range(4):
        value = [value] * 15
    said = detail([value, {"message": "after thousands"}]).said
    assert said.startswith("why")
    assert "after thousands" not in said


def test_long_texts_are_searched_at_both_ends_and_in_bounded_time():
    said = detail({"error": {"message": "x" * 1_000_000 + " prompt is too long"}}).said
    assert len(said) <= 2000
    assert said.endswith("prompt is too long")
    assert ErrorDetail().safe_code is None
