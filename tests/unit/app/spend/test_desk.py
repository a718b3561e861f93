"""Questions about spending while a gateway serves: few at once, and none for ever."""

import asyncio
import threading

import pytest

from app.errors import (
    InvalidRequestError,
    NoDecisionLogError,
    RateLimitedError,
    StoreUnavailableError,
)
from app.spend.desk import SpendDesk
from app.spend.question import Amounts, Dimension, Overdue, Question, SourceError
from app.spend.report import Report

QUESTION = Question(since=0.0, until=1.0)


class Rows:
    """A source that answers when told."""

    name = "rows"
    covers = None

    def __init__(self, error=None):
        self.error = error
        self.may_answer = threading.Event()
        self.reading = 0
        self.most = 0
        self._lock = threading.Lock()

    def read(self, question, *, deadline):
        assert deadline > 0
        with self._lock:
            self.reading += 1
            self.most = max(self.most, self.reading)
        self.may_answer.wait(60)
        with self._lock:
            self.reading -= 1
        if self.error is not None:
            raise self.error
        return {("key-1",) if question.by else (): Amounts(requests=1)}


async def names():
    return {"key-1": "search"}


def ask(desk, who="a", question=QUESTION):
    return desk.report(question, who=who, render=Report.json)


async def test_names_of_keys_are_asked_for_where_they_are_told():
    rows = Rows()
    rows.may_answer.set()
    told = await ask(
        SpendDesk(rows, names), question=Question(since=0, until=1, by=(Dimension.KEY,))
    )
    assert b'"key_name":"search"' in told


async def test_who_asks_twice_at_once_is_refused_and_others_are_not():
    rows = Rows()
    desk = SpendDesk(rows, names)
    first = asyncio.create_task(ask(desk, "a"))
    while not rows.reading:
        await asyncio.sleep(0)
    with pytest.raises(RateLimitedError):
        await ask(desk, "a")
    others = [asyncio.create_task(ask(desk, who)) for who in "bcde"]
    while rows.reading < 2:
        await asyncio.sleep(0)
    rows.may_answer.set()
    await asyncio.gather(first, *others)
    assert rows.most == 2
    await ask(desk, "a")


@pytest.mark.parametrize(
    ("error", "told"),
    [(Overdue(), InvalidRequestError), (SourceError("broken"), StoreUnavailableError)],
)
async def test_what_cannot_be_read_is_an_answer_and_leaves_the_desk_free(error, told):
    rows = Rows(error)
    rows.may_answer.set()
    desk = SpendDesk(rows, names)
    for _ in range(4):
        with pytest.raises(told):
            await ask(desk)


async def test_without_rows_it_says_which_setting_makes_them():
    with pytest.raises(NoDecisionLogError, match=r"store\.data_dir"):
        await ask(SpendDesk(None, names))
