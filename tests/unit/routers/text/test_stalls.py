"""Whether an agent gets on, read from its conversation."""

import pytest

from routers.text.moves import Move, ToolCall, ToolResult, tells_failure
from routers.text.stalls import MAX_LEVEL, NO_STALL, Stall, StallReason, is_refusal, stall_of
from routers.types import Role
from tests.support.agent_worlds import CHEAP, DEAR, MIDDLE, always, bill, escalating

TASK = "Make the tests of the parser pass."


def user(text):
    return Move(Role.USER, text)


def said(text, **fields):
    return Move(Role.ASSISTANT, text, **fields)


def work(*steps):
    """Return the calls of an agent, each a command and what came of it."""
    moves = []
    for index, (command, text) in enumerate(steps):
        call = ToolCall(f"call-{index}", "bash", f'{{"command": "{command}"}}')
        moves += [
            said("", calls=(call,)),
            Move(Role.TOOL, results=(ToolResult(call.call_id, text),)),
        ]
    return moves


def reasons(*moves):
    return stall_of(moves).reasons


OK = "2 files changed"
FAILS = "Exit code 1\nFAILED tests/test_parser.py"


class TestCalls:
    def test_work_that_gets_on_is_no_stall(self):
        moves = [user(TASK), *work(("ls", OK), ("cat a", "a"), ("cat b", "b"), ("pytest", FAILS))]
        assert stall_of(moves) is NO_STALL

    def test_the_same_call_with_the_same_result_three_times_is_one(self):
        assert reasons(user(TASK), *work(*[("ls", OK)] * 2)) == ()
        assert reasons(user(TASK), *work(*[("ls", OK)] * 3)) == (StallReason.REPEATED_CALL,)

    def test_other_calls_in_between_do_not_hide_it(self):
        steps = [("ls", OK), ("cat a", "a")] * 3
        assert reasons(user(TASK), *work(*steps)) == (StallReason.REPEATED_CALL,)

    def test_how_arguments_are_written_does_not_matter(self):
        moves = [user(TASK)]
        for index, arguments in enumerate(('{"a": 1, "b": 2}', '{"b":2,"a":1}', '{ "a":1,"b":2 }')):
            call = ToolCall(str(index), "read", arguments)
            moves += [
                said("", calls=(call,)),
                Move(Role.TOOL, results=(ToolResult(str(index), OK),)),
            ]
        assert stall_of(moves).reasons == (StallReason.REPEATED_CALL,)

    def test_a_call_that_brings_something_new_is_no_repetition(self):
        steps = [("git diff", f"+ line {word}") for word in ("one", "two", "three", "four")]
        assert reasons(user(TASK), *work(*steps)) == ()

    def test_times_and_counts_are_nothing_new(self):
        steps = [("pytest", f"3 passed in 0.{n}s") for n in range(3)]
        assert reasons(user(TASK), *work(*steps)) == (StallReason.REPEATED_CALL,)

    def test_one_that_fails_twice_in_a_row_is_enough(self):
        assert reasons(user(TASK), *work(*[("pytest", FAILS)] * 2)) == (StallReason.REPEATED_CALL,)
        between = [("pytest", FAILS), ("sed x", OK), ("pytest", FAILS)]
        assert reasons(user(TASK), *work(*between)) == ()

    @pytest.mark.parametrize("name", ["BashOutput", "wait_for_build", "get_status", "write_stdin"])
    def test_who_waits_for_something_asks_again(self, name):
        moves = [user(TASK)]
        for index in range(5):
            call = ToolCall(str(index), name, "{}")
            moves += [
                said("", calls=(call,)),
                Move(Role.TOOL, results=(ToolResult(str(index), "…"),)),
            ]
        assert stall_of(moves).level == 0

    def test_three_failures_in_a_row_are_a_stall_and_six_are_more(self):
        failing = [(f"step {n}", FAILS) for n in range(6)]
        assert stall_of([user(TASK), *work(*failing[:2])]).level == 0
        one = stall_of([user(TASK), *work(*failing[:3])])
        assert one == Stall(level=1, reasons=(StallReason.FAILING_CALLS,))
        assert stall_of([user(TASK), *work(*failing)]).level == 2

    def test_a_success_in_between_is_getting_on(self):
        steps = [("a", FAILS), ("b", FAILS), ("c", OK), ("d", FAILS), ("e", FAILS)]
        assert reasons(user(TASK), *work(*steps)) == ()

    def test_what_went_wrong_counts_for_the_rest_of_the_task_and_not_for_the_next(self):
        moves = [user(TASK), *work(*[(f"step {n}", FAILS) for n in range(3)], ("fix", OK))]
        assert stall_of(moves).level == 1
        moves += [said("All tests pass now."), user("Now write the changelog, please.")]
        assert stall_of(moves).level == 0

    def test_to_go_on_is_no_new_task(self):
        moves = [user(TASK), *work(*[(f"step {n}", FAILS) for n in range(3)])]
        moves += [said("I changed three files."), user("Continue.")]
        assert stall_of(moves).level == 1

    def test_notes_of_harnesses_are_no_new_task(self):
        moves = [user(TASK), *work(*[(f"step {n}", FAILS) for n in range(3)])]
        moves += [said("Hm."), user("<system-reminder>The todo list is empty.</system-reminder>")]
        assert stall_of(moves).level == 1

    def test_no_level_is_above_the_highest(self):
        assert stall_of([user(TASK), *work(*[("x", FAILS)] * 40)]).level == MAX_LEVEL

    def test_marks_of_results_stand_above_their_words(self):
        moves = [user(TASK)]
        for index, failed in enumerate((False, False, False)):
            call = ToolCall(str(index), "read", f"{index}")
            result = ToolResult(str(index), "Error: this is a manual of errors", failed=failed)
            moves += [said("", calls=(call,)), Move(Role.TOOL, results=(result,))]
        assert stall_of(moves).level == 0


class TestFailures:
    @pytest.mark.parametrize(
        "text",
        [
            "Error: file not found",
            "<tool_use_error>String to replace not found</tool_use_error>",
            "Exit code 1\nsome output",
            "some output\nexit code: 2",
            "ModuleNotFoundError: No module named 'x'",
            'Traceback (most recent call last):\n  File "a.py"\nValueError: no',
            'running\nTraceback (most recent call last):\n  File "a.py", line 1\nValueError: no\n',
            "bash: foo: command not found".removeprefix("bash: "),
            "error[E0308]: mismatched types",
            "fatal: not a git repository",
            "The tool execution failed with the following error:",
            '{"output": "x", "metadata": {"exit_code": 1, "duration_seconds": 0.1}}',
            '{"error": "not found"}',
            '{"isError": true, "content": []}',
            '{"success": false}',
            "Process exited with code 127",
        ],
    )
    def test_failed(self, text):
        assert tells_failure(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Exit code 0\nall good",
            "done\nProcess exited with code 0",
            '{"output": "error: none", "metadata": {"exit_code": 0}}',
            '{"error": null, "result": 3}',
            '{"errors": [], "status": "ok"}',
            "# Error handling\n\nAn `Error:` begins with the name of the error.",
            "     1\tdef fails():\n     2\t    raise ValueError('Error: no')",
            "The log says: Error: connection refused\nexit code 1 means that nothing was found\n12",
            "0 errors, 3 warnings",
            "error_handling.py:12: def on_error(self): ...",
            "Traceback (most recent call last): is what Python prints first.",
            "errors.log\nfatal.log\n",
            "No errors found",
            "error://codes/1 is a page",
        ],
    )
    def test_talks_of_failures_and_is_none(self, text):
        assert not tells_failure(text)

    @pytest.mark.parametrize(
        "text", [" " * 9_999, "{" * 30_000, '{"a":' * 3_000, "[" * 9, "x exit code: 9 " * 9_999]
    )
    def test_odd_results_are_read_quickly_and_without_an_error(self, text):
        assert not tells_failure(text)


class TestQuestions:
    def test_the_same_question_again_is_a_stall(self):
        moves = [user(TASK), said("Done."), user("make the tests of the PARSER pass!")]
        assert stall_of(moves) == Stall(level=1, reasons=(StallReason.ASKED_AGAIN,))
        assert stall_of([*moves, said("Done."), user(TASK)]).level == 2

    @pytest.mark.parametrize(
        "again", ["Please make the tests of the parser pass.", "It still fails.", "Try again!"]
    )
    def test_in_nearly_the_same_words_or_in_few_it_is_the_same(self, again):
        assert reasons(user(TASK), said("Done."), user(again)) == (StallReason.ASKED_AGAIN,)

    @pytest.mark.parametrize(
        "other",
        [
            "Make the tests of the lexer pass.",
            "Now explain what you did.",
            "Yes.",
            "Make the tests of the parser pass on Windows and on old versions of Python.",
        ],
    )
    def test_another_question_is_none(self, other):
        assert reasons(user(TASK), said("Done."), user(other)) == ()

    def test_the_same_work_on_another_number_is_another_question(self):
        asked = "Translate page {} of the book into French."
        moves = []
        for page in range(1, 6):
            moves += [user(asked.format(page)), said(f"Page {page}.")]
        assert stall_of(moves).level == 0

    def test_what_was_asked_long_ago_does_not_count(self):
        moves = [user(TASK), said("Done."), user("What is the weather?"), said("Fine."), user(TASK)]
        assert stall_of(moves).level == 0

    def test_short_words_that_are_said_often_are_no_question(self):
        assert reasons(*[user("next"), said("A."), user("next"), said("B."), user("next")]) == ()

    def test_two_messages_in_a_row_are_no_second_question(self):
        assert reasons(user(TASK), user(TASK)) == ()

    def test_whoever_goes_on_asking_after_a_refusal_was_refused(self):
        refusal = said("I'm sorry, but I can't help with that.")
        assert reasons(user(TASK), refusal, user("Why not? It is my own code.")) == (
            StallReason.REFUSED,
        )
        marked = said("", refused=True)
        assert reasons(user(TASK), marked, user("Try again")) == (StallReason.REFUSED,)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I\u2019m sorry, but I can\u2019t assist with that request.", True),
        ("I cannot help with this.", True),
        ("As an AI language model, I cannot provide that.", True),
        ("Unfortunately, I'm unable to continue with this task.", True),
        ("Sorry, I can't find the file; is it in another folder?", False),
        ("I can't reproduce it: all tests pass here.", False),
        ("The policy says: I'm sorry, but I can't help with that.", False),
        ("I cannot provide a number, but here is how to get one. " + "x" * 800, False),
    ],
)
def test_a_refusal_refuses_and_does_nothing_else(text, refuses):
    assert is_refusal(text) is refuses


@pytest.mark.parametrize(
    "note", ["<system-reminder>" * 3_000, "<command-name>x</command-name>" * 99]
)
def test_notes_without_an_end_and_many_of_them_are_read_quickly(note):
    moves = [user(TASK), said("Done."), user(note + "?"), said("Fine."), user(note + TASK)]
    assert stall_of(moves).level <= 1


def test_nothing_at_all_is_no_stall():
    assert stall_of([]) is NO_STALL
    assert stall_of([Move(Role.SYSTEM, "You are an agent.")]) is NO_STALL
    assert stall_of([Move(Role.TOOL, results=(ToolResult("gone", FAILS),) * 2)]) is NO_STALL


def test_a_long_conversation_is_read_from_its_end():
    moves = [user(TASK), *work(*[(f"step {n}", OK) for n in range(5_000)])]
    assert stall_of(moves).level == 0


# --- what a finished task costs -----------------------------------------------------------------


def test_a_finished_task_costs_less_where_stalls_escalate():
    bills = {
        name: bill(choose, n_tasks=150, seed=0)
        for name, choose in (
            ("cheap", always(CHEAP)),
            ("middle", always(MIDDLE)),
            ("dear", always(DEAR)),
            ("stalls", escalating),
        )
    }
    stalls = bills["stalls"]
    # Cheap calls alone look best by the call, and leave the tasks undone.
    assert bills["cheap"].usd_per_call < stalls.usd_per_call < bills["dear"].usd_per_call
    assert bills["cheap"].finished < 0.75
    assert stalls.finished > bills["dear"].finished - 0.02
    assert stalls.usd_per_finished < 0.6 * bills["dear"].usd_per_finished
