"""What the shipped model makes of requests."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import msgspec
import numpy as np
import pytest

from routers.embedders.base import make_embedder
from routers.errors import RoutingConfigError
from routers.features.blocks.request import RequestBlock
from routers.features.featurizer import Featurizer
from routers.request.courtesy import CourtesyModel
from routers.request.gloss import Glossary
from routers.request.layout import DOMAINS, KINDS, N_COLUMNS, Description
from routers.request.model import WEIGHTS_FILE, RequestModel, RequestReader, lexicon_bytes
from routers.request.words import WordModel
from routers.text.conversation import ConversationText, conversation_text
from routers.text.lexical import LEXICAL_SIGNALS, lexical_signals
from routers.types import Conversation, Message, Role

GREETING, CAPITAL = "hi", "What is the capital of France?"
HAIKU = "Write a haiku about autumn"
SERVER = "Write a Rust async web server with graceful shutdown and tests"
PROOF = "Prove that sqrt(2) is irrational"
LONG_TEXT = "The weather was mild and the birds sang in the garden while we drank our tea. " * 15


@pytest.fixture(scope="module")
def embedder():
    return make_embedder("static", {})


@pytest.fixture(scope="module")
def model(embedder) -> RequestModel:
    return RequestModel.load(embedder)


@pytest.fixture(scope="module")
def demand(model):
    def demand(*prompts: str) -> np.ndarray:
        return model.describe([ConversationText(prompt=prompt) for prompt in prompts])[0].demand

    return demand


def test_the_order_of_requests_is_that_of_what_they_take(demand):
    greeting, capital, haiku, server, proof = demand(GREETING, CAPITAL, HAIKU, SERVER, PROOF)
    assert max(greeting, capital) < 0.1
    assert max(greeting, capital) < haiku < min(server, proof)
    assert min(server, proof) > 0.5


@pytest.mark.parametrize(
    "trivial",
    [
        f"Please repeat this text: {LONG_TEXT}",
        f"How many times does the word tea occur here?\n\n{LONG_TEXT}",
        f"Who drank the tea in this text?\n\n{LONG_TEXT}",
    ],
)
@pytest.mark.parametrize(
    "demanding", [SERVER, PROOF, "Find a fully polynomial scheme for knapsack"]
)
def test_long_and_trivial_is_less_than_short_and_demanding(demand, trivial, demanding):
    low, high = demand(trivial, demanding)
    assert low + 0.15 < high


@pytest.mark.parametrize(
    ("trivial", "demanding"),
    [
        (
            "Was ist die Hauptstadt von Frankreich?",
            "Entwirf eine verteilte Ratenbegrenzung und beweise, dass sie bei Netzausfall stimmt",
        ),
        ("法国的首都是哪里？", "证明根号2是无理数，并推广到所有非完全平方数"),
        ("फ्रांस की राजधानी क्या है?", "सिद्ध करें कि 2 का वर्गमूल अपरिमेय है"),
        ("ما هي عاصمة فرنسا؟", "أثبت أن الجذر التربيعي لاثنين عدد غير نسبي"),
        ("¿Cuál es la capital de Francia?", "Demuestra que la raíz cuadrada de 2 es irracional"),
        ("Какая столица Франции?", "Докажите, что корень из двух иррационален"),
        ("フランスの首都はどこですか", "2の平方根が無理数であることを証明してください"),
    ],
)
def test_other_languages_are_read_alike(demand, trivial, demanding):
    low, high = demand(trivial, demanding)
    assert low < 0.25
    assert low + 0.3 < high


@pytest.mark.parametrize("prompt", [CAPITAL, HAIKU, SERVER, PROOF])
@pytest.mark.parametrize(
    "padded",
    [
        "Hi there, hope you are doing well! {}",
        "Good morning! Could you please help me with something? {}. Thanks a lot in advance!",
        "{}. Thank you so much.",
    ],
)
def test_padding_moves_little(demand, prompt, padded):
    plain, polite = demand(prompt, padded.format(prompt))
    assert polite == pytest.approx(plain, abs=0.12)


@pytest.mark.parametrize("prompt", [CAPITAL, HAIKU, SERVER, PROOF])
def test_thanks_without_a_full_stop_before_them_do_not_decide(demand, prompt):
    plain, polite = demand(prompt, f"{prompt} Thank you so much.")
    assert polite == pytest.approx(plain, abs=0.2)


def described(model, *messages: tuple[Role, str]) -> float:
    conversation = Conversation(tuple(Message(role, text) for role, text in messages))
    return float(model.describe([conversation_text(conversation)])[0].demand[0])


@pytest.mark.parametrize("prompt", [GREETING, CAPITAL, PROOF])
def test_a_system_prompt_does_not_decide(model, prompt):
    rules = "You are a senior Rust engineer. Prove every claim and design for partitions. " * 20
    alone = described(model, (Role.USER, prompt))
    behind = described(model, (Role.SYSTEM, rules), (Role.USER, prompt))
    assert behind == pytest.approx(alone, abs=0.05)


def test_earlier_turns_do_not_decide(model):
    hard = ((Role.USER, SERVER), (Role.ASSISTANT, "use tokio::signal;\nlet (tx, rx) = f();" * 20))
    easy = ((Role.USER, GREETING), (Role.ASSISTANT, "Hello! How can I help you today?"))
    thanks = described(model, *hard, (Role.USER, "Thanks, that is all!"))
    proof = described(model, *easy, (Role.USER, PROOF))
    assert thanks < 0.3
    assert proof > 0.5


def test_the_description_says_what_kind_of_request_it_is(model):
    prompts = ["Translate 'good morning' into German", PROOF, "Fix the bug in this Python function"]
    found, _ = model.describe([ConversationText(prompt=prompt) for prompt in prompts])
    kinds = [KINDS[column] for column in found.kinds.argmax(axis=1)]
    assert kinds == ["translation", "mathematics", "code"]
    assert DOMAINS[found.domains[1].argmax()] == "mathematics"
    greeting, _ = model.describe([ConversationText(prompt=GREETING)])
    assert greeting.log_tokens[0] < found.log_tokens[1]


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " \n\t ",
        "\ud800\udfff half a pair \udc80",
        "\x00\x07",
        "?",
        "🙂" * 50,
        pytest.param("word salad. " * 90_000, id="1 MB of words"),
        pytest.param("a" * 1_000_000, id="1 MB without a space"),
        pytest.param("```" * 300_000, id="1 MB of fences"),
        pytest.param("\n\n" * 500_000 + "x", id="1 MB of paragraphs"),
        pytest.param("证" * 400_000, id="1 MB of signs"),
    ],
)
def test_any_text_is_described(model, prompt):
    found, directions = model.describe([ConversationText(prompt=prompt)])
    assert np.isfinite(found.columns()).all()
    assert np.isfinite(directions).all()
    np.testing.assert_allclose(found.levels.sum(axis=1), 1, atol=1e-5)
    assert (found.levels >= 0).all()


def test_a_request_is_described_alike_alone_and_among_others(model):
    texts = [ConversationText(prompt=prompt) for prompt in (GREETING, SERVER, PROOF)]
    together = model.describe(texts)[0].columns()
    alone = np.vstack([model.describe([text])[0].columns() for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "ask"),
    [
        (PROOF, PROOF),
        (f"{PROOF}\n", PROOF),
        ("Find the bug.\n\n```\nx = [1, 2\n```", "Find the bug. …"),
        (f"Hi there! {CAPITAL} Thanks a lot!", CAPITAL),
    ],
)
def test_signals_are_measured_of_what_is_asked_and_of_all(embedder, prompt, ask):
    courtesy = CourtesyModel.fit(["Hi there!"], ["Thanks a lot!"], [PROOF, CAPITAL, SERVER])
    text = ConversationText(prompt=prompt, history="Who are you?", system="Be kind.", n_messages=4)
    _, x = RequestReader(embedder, Glossary({}), courtesy).read([text])
    whole = msgspec.structs.replace(text, prompt=courtesy.strip(prompt), system="")
    signals = [lexical_signals(ConversationText(prompt=ask)), lexical_signals(whole)]
    np.testing.assert_array_equal(x[0, -2 * len(LEXICAL_SIGNALS) :], np.concatenate(signals))


def test_the_block_gives_the_description_first(model, embedder):
    featurizer = Featurizer(embedder, ("request",))
    x = featurizer.transform([Conversation.of(SERVER), Conversation.of(GREETING)])
    assert x.shape == (2, N_COLUMNS + model.n_directions)
    expected, directions = model.describe([ConversationText(prompt=p) for p in (SERVER, GREETING)])
    np.testing.assert_allclose(x[:, :N_COLUMNS], expected.columns(), atol=1e-5)
    np.testing.assert_allclose(x[:, N_COLUMNS:], directions, atol=1e-4)
    assert Description.read(x).demand[0] > Description.read(x).demand[1]


def test_the_block_learns_nothing(embedder):
    block = RequestBlock(embedder)
    assert block.compute([]).shape == (0, block.dimensions)
    assert block.state() == {}
    block.restore({})
    with pytest.raises(ValueError, match="learns nothing: center"):
        block.restore({"center": np.zeros(3)})


def test_another_embedder_is_refused():
    with pytest.raises(RoutingConfigError, match="'request' needs the embedder 'static'"):
        RequestModel.load(make_embedder("hashing"))


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Return the shipped arrays with fewer words, which are read faster."""
    words = WordModel.fit(["prove it", "prove that", "hi it", "hi that"], [5, 5, 1, 1]).state()
    polite = CourtesyModel.fit(["Hi there!"], ["Thanks!"], [PROOF, SERVER]).state()
    few = {f"words.{name}": array for name, array in words.items()}
    few |= {f"courtesy.{name}": array for name, array in polite.items()}
    with np.load(WEIGHTS_FILE) as file:
        rest = {name: file[name] for name in file.files if name not in few}
    return {**rest, **few, "lexicon": lexicon_bytes({"beweise": "prove"})}


def test_these_arrays_are_a_model(embedder, arrays):
    model = RequestModel(embedder, arrays)
    assert np.isfinite(model.describe([ConversationText(prompt=PROOF)])[0].columns()).all()


def test_each_array_is_needed(embedder, arrays):
    for name in arrays:
        with pytest.raises(KeyError):
            RequestModel(embedder, {key: arrays[key] for key in arrays if key != name})


def test_arrays_that_do_not_fit_are_refused(embedder, arrays):
    for name in sorted(set(arrays) - {"embedder_id", "lexicon"}):
        # A bias alone fits what it is, whatever it is.
        cut = arrays[name][:0] if name.endswith(".bias") else arrays[name][:-1]
        if name.endswith(".terms"):
            cut = arrays[name][: len(arrays[name]) // 2]
        with pytest.raises(ValueError, match=r"request model|word model|courtesies"):
            RequestModel(embedder, {**arrays, name: cut})
    with pytest.raises(ValueError, match="lexicon"):
        RequestModel(embedder, {**arrays, "lexicon": np.frombuffer(b"no tab", np.uint8)})


def test_a_network_without_the_described_targets_is_refused(embedder, arrays):
    cut = {"output": arrays["output"][:, :5], "output_bias": arrays["output_bias"][:5]}
    with pytest.raises(ValueError, match="predicts too little"):
        RequestModel(embedder, {**arrays, **cut})
