"""Labels over real sockets: who may give them, what they change, and what they are worth."""

import sqlite3
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.outcomes.log import MAX_LABEL_CHANGES
from app.outcomes.rows import LabelKind
from app.outcomes.sqlite import OUTCOMES_NAME, read_labels
from tests.support.gateway import GatewayThread, stub_config
from tests.support.requests import assert_openai_error

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
CHANGES = {
    "auth": {"mode": "keys"},
    "store": {"data_dir": "data"},
    "outcomes": {"feedback_per_minute": 40},
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def gateway(stub_thread, artifacts, directory):
    config = stub_config(
        directory,
        stub_thread.origin,
        changes=CHANGES,
        env={"STEELYARD_ADMIN_TOKEN": TOKEN},
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


class Client:
    """A caller with a key of its own."""

    def __init__(self, url, secret):
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        self.http = httpx.Client(base_url=url, trust_env=False, headers=headers)

    def ask(self, **body):
        messages = [{"role": "user", "content": "What is a steelyard?"}]
        answer = self.http.post(
            "/v1/chat/completions", json={"model": "auto", "messages": messages, **body}
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["x-route-decision-id"]

    def label(self, **body):
        return self.http.post("/v1/feedback", json=body)


@pytest.fixture
def client(gateway):
    """Make callers: with a fresh key, or with the secret given."""
    made = []

    def client(secret="fresh"):  # noqa: S107  (not one)
        if secret == "fresh":  # noqa: S105
            admin = Client(gateway.url, TOKEN)
            made.append(admin)
            secret = admin.http.post("/admin/keys", json={"name": "test"}).json()["secret"]
        made.append(Client(gateway.url, secret))
        return made[-1]

    yield client
    for each in made:
        each.http.close()


def labels_of(directory, decision_id):
    return [each for each in read_labels(directory / "data") if each.decision_id == decision_id]


def counted(gateway, name, **labels):
    headers = {"authorization": f"Bearer {TOKEN}"}
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False, headers=headers).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize(
    ("said", "kind", "quality"),
    [
        ({"score": 0.25}, LabelKind.SCORE, 0.25),
        ({"score": 1}, LabelKind.SCORE, 1.0),
        ({"thumbs": "up"}, LabelKind.THUMBS, 1.0),
        ({"thumbs": "down"}, LabelKind.THUMBS, 0.0),
    ],
)
def test_a_label_is_joined_to_the_decision(client, gateway, directory, *, said, kind, quality):
    caller = client()
    decision_id = caller.ask()
    before = counted(gateway, "gateway_feedback_total", kind=kind.value)
    answer = caller.label(decision_id=decision_id, **said)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "object": "feedback",
        "decision_ids": [decision_id],
        "kind": kind.value,
        "quality": quality,
    }
    (label,) = labels_of(directory, decision_id)
    assert (label.kind, label.quality) == (kind, quality)
    assert label.labelled_by.startswith("key-")
    assert counted(gateway, "gateway_feedback_total", kind=kind.value) == before + 1


def test_the_same_label_again_is_the_same_answer_and_counts_once(client, gateway, directory):
    caller = client()
    decision_id = caller.ask()
    answers = [caller.label(decision_id=decision_id, score=0.5)]
    counts = [counted(gateway, "gateway_feedback_total")]
    answers.append(caller.label(decision_id=decision_id, score=0.5))
    counts.append(counted(gateway, "gateway_feedback_total"))
    assert answers[0].json() == answers[1].json()
    assert counts[0] == counts[1]
    assert len(labels_of(directory, decision_id)) == 1


def test_a_label_may_be_changed_but_not_forever(client, directory):
    caller = client()
    decision_id = caller.ask()
    for i in range(MAX_LABEL_CHANGES + 1):
        assert caller.label(decision_id=decision_id, score=i / 100).status_code == 200
    error = assert_openai_error(caller.label(decision_id=decision_id, score=0.9), status=409)
    assert error["code"] == "label_changed_too_often"
    (label,) = labels_of(directory, decision_id)
    assert label.quality == MAX_LABEL_CHANGES / 100


def test_which_decisions_others_have_made_is_told_to_nobody(client, directory):
    decision_id = client().ask()
    other = client()
    told = [
        assert_openai_error(other.label(decision_id=each, score=0.0), status=404)
        for each in (decision_id, "dec-" + "0" * 24)
    ]
    messages = {
        each["message"].replace(name, "ID")
        for each, name in zip(told, (decision_id, "dec-" + "0" * 24), strict=True)
    }
    assert len(messages) == 1
    assert {each["code"] for each in told} == {"decision_not_found"}
    assert labels_of(directory, decision_id) == []


def test_the_operator_may_label_what_anybody_asked(client, directory):
    decision_id = client().ask()
    assert client(TOKEN).label(decision_id=decision_id, score=0.75).status_code == 200
    (label,) = labels_of(directory, decision_id)
    assert label.labelled_by == "admin"


@pytest.mark.parametrize("secret", [None, "sk-steelyard-wrong", TOKEN + "x"])
def test_without_a_key_nothing_can_be_labelled(client, secret):
    decision_id = client().ask()
    answer = client(secret).label(decision_id=decision_id, score=1)
    assert assert_openai_error(answer, status=401)["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision_id": "dec-1"},
        {"decision_id": "dec-1", "score": 2},
        {"decision_id": "dec-1", "score": "NaN"},
        {"decision_id": "dec-1", "score": 0.5, "thumbs": "up"},
        {"decision_id": "dec-1", "thumbs": "sideways"},
        {"decision_id": "dec-1", "score": 0.5, "weight": 100},
        {"decision_id": "'; DROP TABLE labels; --", "score": 0.5},
        {"decision_a": "dec-1", "decision_b": "dec-1", "winner": "a"},
        {"decision_a": "dec-1", "decision_b": "dec-2"},
        {"decision_id": "dec-1", "score": 1, "decision_a": "dec-2", "decision_b": "dec-3"},
    ],
)
def test_what_is_no_label_is_refused_in_words(client, body):
    answer = client().http.post("/v1/feedback", json=body)
    assert_openai_error(answer, status=400)


def test_bodies_are_bounded(client):
    answer = client().http.post(
        "/v1/feedback", content=b'{"decision_id": "' + b"x" * 5_000 + b'", "score": 1}'
    )
    assert_openai_error(answer, status=413)


@pytest.mark.parametrize(("winner", "quality"), [("a", 1.0), ("b", 0.0), ("tie", 0.5)])
def test_two_answers_are_compared_whatever_their_order(client, directory, winner, quality):
    caller = client()
    first, second = caller.ask(model="sim-nano"), caller.ask(model="sim-large")
    answer = caller.label(decision_a=first, decision_b=second, winner=winner)
    assert answer.status_code == 200, answer.text
    small, large = sorted((first, second))
    (label,) = labels_of(directory, small)
    assert (label.other_decision_id, label.kind) == (large, LabelKind.PREFERENCE)
    assert label.quality == (quality if small == first else 1 - quality)
    mirrored = {"a": "b", "b": "a", "tie": "tie"}[winner]
    again = caller.label(decision_a=second, decision_b=first, winner=mirrored)
    assert again.json() == answer.json()
    assert len(labels_of(directory, small)) == 1


def test_answers_of_one_model_cannot_be_compared(client):
    caller = client()
    first, second = caller.ask(model="sim-nano"), caller.ask(model="sim-nano")
    answer = caller.label(decision_a=first, decision_b=second, winner="a")
    assert_openai_error(answer, status=400)


def test_predicted_and_labelled_quality_are_told_side_by_side(client, gateway):
    caller = client()
    names = (
        "gateway_labels_total",
        "gateway_labelled_quality_total",
        "gateway_labelled_predicted_quality_total",
    )
    before = [counted(gateway, name) for name in names]
    decision_id = caller.ask()
    for score in (0.25, 0.25, 0.75):  # the first one counts
        caller.label(decision_id=decision_id, score=score)
    n, quality, predicted = (
        counted(gateway, name) - was for name, was in zip(names, before, strict=True)
    )
    assert (n, quality) == (1, 0.25)
    assert 0 < predicted < 1


def test_a_key_may_send_only_so_many_labels(client):
    caller = client()
    answers = [caller.label(decision_id="dec-1", thumbs="sideways") for _ in range(3)]
    assert {each.status_code for each in answers} == {400}  # what is no label does not count
    decision_id = caller.ask()
    began, n_taken = time.monotonic(), 0
    while (answer := caller.label(decision_id=decision_id, score=0.5)).status_code == 200:
        n_taken += 1
        assert n_taken <= 41 + 40 / 60 * (time.monotonic() - began)
    assert n_taken >= 40
    assert_openai_error(answer, status=429)
    assert int(answer.headers["retry-after"]) >= 1
    assert client().label(decision_id=decision_id, score=0.5).status_code == 404  # of another key


def test_without_its_database_feedback_says_so(stub, artifacts, tmp_path):
    config = stub_config(tmp_path, stub.origin, changes={"store.data_dir": "data"})
    with GatewayThread(config, artifacts=artifacts) as gateway:
        caller = Client(gateway.url, None)
        decision_id = caller.ask()
        assert caller.label(decision_id=decision_id, score=1).status_code == 200
        with sqlite3.connect(tmp_path / "data" / OUTCOMES_NAME) as other:
            other.execute("ALTER TABLE labels RENAME TO elsewhere")
        other.close()
        answer = caller.label(decision_id=decision_id, score=0)
        assert assert_openai_error(answer, status=503)["code"] == "store_unavailable"
        caller.http.close()


def test_without_a_decision_log_there_is_no_feedback(gateway_thread):
    answer = httpx.post(
        f"{gateway_thread.url}/v1/feedback",
        json={"decision_id": "dec-1", "score": 1},
        trust_env=False,
    )
    assert assert_openai_error(answer, status=404)["code"] == "unknown_url"
