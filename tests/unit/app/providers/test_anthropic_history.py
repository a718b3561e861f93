"""Histories that OpenAI takes and Anthropic would refuse, told in the nearest form it takes."""

import json

import pytest

from app.errors import UpstreamUnsupportedError
from app.providers.messages.request import encode_messages_request

HI = {"role": "user", "content": "hi"}
MARK = {"type": "ephemeral"}
PNG_DATA = "iVBORw0KGgo="


def body_of(*messages: dict) -> dict:
    fields = {"messages": json.dumps(messages).encode()}
    return json.loads(encode_messages_request(fields, model="claude-x", stream=False))


def turns(*messages: dict) -> list[dict]:
    return body_of(*messages)["messages"]


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def calls(*ids: str | None, content: object = None, arguments: object = "{}") -> dict:
    function = {"name": "weigh", "arguments": arguments}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": each, "type": "function", "function": function} for each in ids],
    }


def answer(call_id: str | None, content: object = "3 kg") -> dict:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def assert_taken_by_the_api(conversation: list[dict]) -> None:
    """Assert the rules of turns: alternation, an answer to every call and nothing else answered."""
    assert conversation[0]["role"] == "user"
    known: set[str] = set()
    before: list[str] = []
    for i, turn in enumerate(conversation):
        assert turn["role"] == ("user", "assistant")[i % 2]
        assert turn["content"]
        kinds = [block["type"] for block in turn["content"]]
        assert kinds == sorted(kinds, key=lambda kind: kind != "tool_result")
        results = [b["tool_use_id"] for b in turn["content"] if b["type"] == "tool_result"]
        assert results == before
        before = [b["id"] for b in turn["content"] if b["type"] == "tool_use"]
        assert not known & set(before)
        assert len(before) == len(set(before))
        known |= set(before)
        assert all(b["text"].strip() for b in turn["content"] if b["type"] == "text")
    assert not before


def uses(conversation: list[dict]) -> list[dict]:
    return [b for turn in conversation for b in turn["content"] if b["type"] == "tool_use"]


def results(conversation: list[dict]) -> list[dict]:
    return [b for turn in conversation for b in turn["content"] if b["type"] == "tool_result"]


@pytest.mark.parametrize("blank", ["\n\n", " ", "\t", "\u00a0", [{"type": "text", "text": " \n"}]])
def test_white_space_is_no_text(blank):
    told = body_of(
        {"role": "system", "content": blank},
        HI,
        calls("c1", content=blank),
        answer("c1", blank),
        {"role": "user", "content": blank},
    )
    assert "system" not in told
    assert_taken_by_the_api(told["messages"])
    assert [block["type"] for block in told["messages"][1]["content"]] == ["tool_use"]
    assert results(told["messages"])[0]["content"] == []


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": ""}], [{"role": "user"}]])
def test_nothing_to_say_is_refused(messages):
    with pytest.raises(UpstreamUnsupportedError) as raised:
        body_of(*messages)
    assert raised.value.param == "messages"
    assert not raised.value.sent


@pytest.mark.parametrize("rest", [[], [{"role": "user", "content": " "}]])
def test_a_system_prompt_alone_is_the_users_turn(rest):
    told = body_of({"role": "system", "content": "Say hi."}, *rest)
    assert told["messages"] == [{"role": "user", "content": [text("Say hi.")]}]
    assert "system" not in told


def test_a_history_that_begins_with_the_assistant_begins_with_the_user():
    told = turns({"role": "assistant", "content": "Hello!"}, HI)
    assert_taken_by_the_api(told)
    assert [turn["role"] for turn in told] == ["user", "assistant", "user"]


def test_what_the_model_shall_go_on_with_ends_without_white_space():
    assert turns(HI, {"role": "assistant", "content": "Sum: \n"})[-1]["content"] == [text("Sum:")]
    kept = turns(HI, {"role": "assistant", "content": "Sum: \n"}, HI)
    assert kept[1]["content"] == [text("Sum: \n")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a": ', {"invalid_arguments": '{"a": '}),
        ("{}{}", {"invalid_arguments": "{}{}"}),
        ('{"a": NaN}', {"invalid_arguments": '{"a": NaN}'}),
        ('{"a": "\\ud83d"}', {"invalid_arguments": '{"a": "\\ud83d"}'}),
        ("[1]", {"invalid_arguments": "[1]"}),
        ("7", {"invalid_arguments": "7"}),
        ([1], {"invalid_arguments": [1]}),
        (7, {"invalid_arguments": 7}),
        ("null", {}),
        (" ", {}),
        ("", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (' {"a": 1.50} ', {"a": 1.5}),
    ],
)
def test_any_arguments_of_the_past_can_be_gone_on_with(arguments, told):
    history = turns(HI, calls("c1", arguments=arguments), answer("c1", "invalid arguments"))
    assert_taken_by_the_api(history)
    assert uses(history)[0]["input"] == told


def test_a_call_without_arguments_at_all():
    call = {"id": "c1", "function": {"name": "weigh"}}
    history = turns(HI, {"role": "assistant", "tool_calls": [call]}, answer("c1"))
    assert uses(history)[0]["input"] == {}


@pytest.mark.parametrize("empty", ["", None])
def test_calls_without_an_id_get_one_and_their_results_follow_in_order(empty):
    history = turns(
        HI,
        calls(empty, empty),
        answer(empty, "first"),
        answer(empty, "second"),
        calls(empty),
        answer(empty, "third"),
    )
    assert_taken_by_the_api(history)
    assert [block["content"] for block in results(history)] == [
        [text("first")],
        [text("second")],
        [text("third")],
    ]


def test_ids_that_repeat_or_look_alike_are_told_apart():
    history = turns(
        HI,
        calls("call_0", "a:1", "a/1"),
        answer("a/1", "slash"),
        answer("a:1", "colon"),
        answer("call_0", "zero"),
        calls("call_0", "call_0"),
        answer("call_0", "again"),
        answer("call_0", "and again"),
        calls("call_0_2"),
        answer("call_0_2", "last"),
    )
    assert_taken_by_the_api(history)
    said = {block["tool_use_id"]: block["content"][0]["text"] for block in results(history)}
    assert list(said.values()) == ["zero", "colon", "slash", "again", "and again", "last"]
    assert len(said) == 6


def test_a_call_that_was_never_answered_gets_an_answer_that_says_so():
    history = turns(HI, calls("c1", "c2"), answer("c2"), {"role": "user", "content": "Stop."}, HI)
    assert_taken_by_the_api(history)
    first, second = results(history)
    assert first["is_error"] is True
    assert second["content"] == [text("3 kg")]


def test_a_history_that_ends_with_a_call():
    history = turns(HI, calls("c1"))
    assert_taken_by_the_api(history)
    assert history[-1]["role"] == "user"


@pytest.mark.parametrize(
    "messages",
    [
        [answer("gone"), HI],
        [HI, calls("c1"), answer("c1"), answer("c1", "twice")],
        [HI, calls("c1"), answer("other", "stray"), answer("c1")],
        [HI, calls("c1"), HI, {"role": "assistant", "content": "ok"}, answer("c1", "too late")],
        [HI, {"role": "tool", "content": "no id"}],
    ],
)
def test_a_result_without_its_call_is_told_as_a_text(messages):
    history = turns(*messages)
    assert_taken_by_the_api(history)
    said = [b["text"] for t in history for b in t["content"] if b["type"] == "text"]
    assert any(each.startswith("Result of an earlier tool call") for each in said)


def test_results_come_before_what_the_user_said_meanwhile():
    history = turns(HI, calls("c1"), {"role": "user", "content": "And?"}, answer("c1"))
    assert_taken_by_the_api(history)
    assert [block["type"] for block in history[-1]["content"]] == ["tool_result", "text"]


def test_functions_of_the_older_dialect():
    history = turns(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
        {"role": "function", "name": "g", "content": "of no call"},
    )
    assert_taken_by_the_api(history)
    assert results(history)[0]["content"] == [text("x")]


def test_names_of_tools_of_the_past_keep_to_what_is_allowed():
    function = {"name": "mcp.scales:weigh" + "x" * 200, "arguments": "{}"}
    history = turns(HI, {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]})
    name = uses(history)[0]["name"]
    assert name.startswith("mcp_scales_weigh")
    assert len(name) == 128


def test_thinking_without_its_seal_is_left_out():
    sealed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    message = {
        "role": "assistant",
        "content": "4",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "lost"},
            {"type": "thinking", "thinking": "lost", "signature": ""},
            {"type": "redacted_thinking", "data": None},
            "what",
            sealed,
        ],
    }
    assert turns(HI, message, HI)[1]["content"] == [sealed, text("4")]


def test_cache_marks_beside_strings_reach_the_block():
    told = body_of(
        {"role": "system", "content": "sys", "cache_control": MARK},
        {"role": "user", "content": "hi", "cache_control": MARK},
        {**calls("c1", content="so"), "cache_control": MARK},
        {**answer("c1"), "cache_control": MARK},
        {"role": "user", "content": [text("a"), text("b")], "cache_control": MARK},
    )
    assert told["system"] == [{**text("sys"), "cache_control": MARK}]
    user, assistant, last = told["messages"]
    assert user["content"] == [{**text("hi"), "cache_control": MARK}]
    assert "cache_control" not in assistant["content"][0]
    assert assistant["content"][1]["cache_control"] == MARK
    assert last["content"][0]["cache_control"] == MARK
    assert last["content"][1:] == [text("a"), {**text("b"), "cache_control": MARK}]


def test_of_ids_and_names_without_end_a_beginning_is_kept():
    long = calls("." * 1000)
    long["tool_calls"][0]["function"] = {"name": "n" * 1000, "arguments": "{}"}
    told = turns(HI, long, answer("." * 1000))
    assert_taken_by_the_api(told)
    (call,) = told[1]["content"]
    assert len(call["id"]) == len(call["name"]) == 128


@pytest.mark.parametrize(
    "message",
    [
        {"role": "r" * 10_000, "content": "hi"},
        {"role": "user", "content": [{"type": "t" * 10_000}]},
    ],
)
def test_a_refusal_repeats_no_more_than_the_beginning_of_what_it_refuses(message):
    with pytest.raises(UpstreamUnsupportedError) as refused:
        turns(message)
    assert len(refused.value.message) < 1000


def test_a_mark_on_a_call_stays_on_it():
    marked = calls("c1")
    marked["tool_calls"][0]["cache_control"] = MARK
    _, assistant, _ = turns(HI, marked, answer("c1"))
    assert assistant["content"][0]["cache_control"] == MARK


@pytest.mark.parametrize("blank", ["", [{**text(" "), "cache_control": MARK}]])
def test_the_mark_of_a_blank_message_goes_to_what_stands_before_it(blank):
    message = {"role": "user", "content": blank, "cache_control": MARK}
    assert turns(HI, message) == [
        {"role": "user", "content": [{**text("hi"), "cache_control": MARK}]}
    ]


@pytest.mark.parametrize(
    ("url", "media_type"),
    [
        ("data:image/jpg;base64,/9j/4AAQ", "image/jpeg"),
        ("data:image/pjpeg;base64,AAAA", "image/jpeg"),
        (f"data:IMAGE/X-PNG;BASE64,{PNG_DATA}", "image/png"),
        (f"data:image/jpeg;base64,{PNG_DATA}", "image/png"),
        (f"data:image/png;name=a.png;base64,{PNG_DATA}", "image/png"),
        (f"data:application/octet-stream;base64,{PNG_DATA}", "image/png"),
        (f"data:;base64,{PNG_DATA}", "image/png"),
        (f" data:image/png;base64,\n{PNG_DATA[:4]}\n{PNG_DATA[4:]} ", "image/png"),
        (PNG_DATA, "image/png"),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_pictures_are_told_by_what_they_are(url, media_type, bare):
    part = {"type": "image_url", "image_url": url if bare else {"url": url}}
    (turn,) = turns({"role": "user", "content": [part]})
    source = turn["content"][0]["source"]
    assert source["type"] == "base64"
    assert source["media_type"] == media_type
    assert source["data"] in url.replace("\n", "")


@pytest.mark.parametrize("url", ["HTTPS://example.org/a.png", " https://example.org/a.png"])
def test_addresses_of_pictures(url):
    (turn,) = turns({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
    assert turn["content"][0]["source"] == {"type": "url", "url": url.strip()}


@pytest.mark.parametrize(
    ("data", "source"),
    [
        ("JVBERi0=", {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}),
        (
            "data:text/markdown;charset=utf-8;base64,IyBIaQ==",
            {"type": "text", "media_type": "text/plain", "data": "# Hi"},
        ),
    ],
)
def test_files(data, source):
    (turn,) = turns({"role": "user", "content": [{"type": "file", "file": {"file_data": data}}]})
    assert turn["content"] == [{"type": "document", "source": source}]


@pytest.mark.parametrize("data", ["data:text/plain;base64,!!", "data:text/plain;base64,IA==", "x"])
def test_files_that_cannot_be_read(data):
    with pytest.raises(UpstreamUnsupportedError, match=r"^messages\[0\]: "):
        turns({"role": "user", "content": [{"type": "file", "file": {"file_data": data}}]})
