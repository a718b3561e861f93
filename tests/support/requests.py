"""What every answer to a bad request owes its client."""

import httpx


def assert_openai_error(
    response: httpx.Response, *, status: int | None = None
) -> dict[str, object]:
    """Check that an answer is an error in OpenAI's shape, and return its inside."""
    if status is not None:
        assert response.status_code == status, response.text[:500]
    assert response.status_code >= 400
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    return error
