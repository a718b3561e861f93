import time

from routers.text.conversation import conversation_text
from routers.types import Conversation, Message, Role


def user(text: str) -> Message:
    return Message(Role.USER, text)


def assistant(text: str) -> Message:
    return Message(Role.ASSISTANT, text)


def tool(text: str) -> Message:
    return Message(Role.TOOL, text)


def system(text: str) -> Message:
    return Message(Role.SYSTEM, text)


def read(*messages: Message):
    return conversation_text(Conversation(messages))


def test_a_single_prompt_comes_out_alone_and_unchanged():
    text = read(user("  a\nprompt "))
    assert (text.prompt, text.history, text.system) == ("  a\nprompt ", "", "")
    assert (text.n_messages, text.history_chars) == (1, 0)


def test_the_newest_user_turn_is_the_prompt_and_the_rest_is_history_in_order():
    text = read(system("be brief"), user("one"), assistant("two"), user("three"))
    assert (text.prompt, text.history, text.system) == ("three", "one\ntwo", "be brief")
    assert (text.n_messages, text.history_chars) == (3, 6)


def test_tool_results_after_the_newest_user_turn_belong_to_the_history():
    text = read(user("old"), user("question"), assistant("call"), tool("result"))
    assert (text.prompt, text.history) == ("question", "old\ncall\nresult")


def test_without_a_user_turn_the_last_message_is_the_prompt():
    text = read(assistant("first"), tool("last"))
    assert (text.prompt, text.history) == ("last", "first")


def test_a_system_prompt_alone_is_the_prompt():
    text = read(system("write a poem"))
    assert (text.prompt, text.system, text.n_messages) == ("write a poem", "", 0)


def test_no_message_at_all_is_an_empty_prompt():
    assert read().prompt == ""


def test_several_system_messages_are_read_together():
    assert read(system("one"), user("question"), system("two")).system == "one\ntwo"


def test_a_long_history_keeps_its_newest_messages():
    messages = [user(f"message {number:04d}") for number in range(1_000)]
    text = read(*messages)
    assert text.prompt == "message 0999"
    assert text.history.endswith("message 0998")
    assert 1_900 < len(text.history) <= 2_010
    assert text.history_chars == 999 * len("message 0000")


def test_a_long_message_leaves_room_for_others():
    text = read(user("early words"), assistant("x" * 50_000), user("question"))
    assert text.history.startswith("early words\nxxx")
    assert len(text.history) < 1_100


def test_a_long_system_prompt_keeps_its_head_and_its_tail():
    text = read(system("HEAD" + "x" * 50_000 + "TAIL"), user("question"))
    assert text.system.startswith("HEAD")
    assert text.system.endswith("TAIL")
    assert len(text.system) <= 1_001


def test_megabytes_of_context_cost_little():
    messages = (system("s" * 10_000_000), tool("t" * 10_000_000), user("u" * 10_000_000))
    started = time.process_time()
    read(*messages)
    assert time.process_time() - started < 0.1
