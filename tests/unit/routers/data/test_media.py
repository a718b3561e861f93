"""Rows of outcomes about pictures, sound and files."""

import pytest

from routers.data.dataset import table_of_records
from routers.data.media import described, described_media
from routers.errors import DataError
from tests.support.media import inline, picture_part, png, wav

SAID = {"prompt": "What is this?", "quality": 0.5, "model": "m"}


def test_a_row_describes_what_is_no_text_and_describing_it_reads_back():
    told = {
        "images": [{"width": 1920, "height": 1080, "detail": "low"}, {}],
        "audio_s": [2.5, None],
        "pages": [7],
    }
    media = described_media("row", {"media": told})
    assert media.pictures[0].size_px == (1920, 1080)
    assert media.pictures[1].size_px is None
    again = described_media("row", {"media": described(media)})
    assert again == media
    assert (media.recordings[0].seconds, media.papers[0].pages) == (2.5, 7)


def test_messages_may_hold_the_things_themselves():
    sound = {"type": "input_audio", "input_audio": {"data": inline(wav(3)), "format": "wav"}}
    content = [{"type": "text", "text": "What is this?"}, picture_part(png(640, 480)), sound]
    messages = [{"role": "user", "content": content}]
    table = table_of_records([{"messages": messages, "quality": 1, "model": "m"}])
    media = table.conversations[0].media
    assert media.pictures[0].size_px == (640, 480)
    assert media.recordings[0].seconds == pytest.approx(3)


def test_a_detail_makes_a_model_of_its_own():
    records = [
        {**SAID, "detail": "low"},
        {**SAID, "detail": "auto"},
        {**SAID, "model": "m@concise", "detail": "high"},
    ]
    models = table_of_records(records).models
    assert models == ("m@low_detail", "m", "m@concise_high_detail")


def test_a_query_to_embed_keeps_the_media_of_its_prompt():
    media = {"images": [{"width": 9, "height": 9}]}
    table = table_of_records([{**SAID, "query": "short", "media": media}])
    assert table.conversations[0].messages[0].text == "short"
    assert table.conversations[0].media.pictures[0].size_px == (9, 9)
    plain = table_of_records([{**SAID, "query": "short"}])
    assert table.input_tokens[0] > plain.input_tokens[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"detail": "ultra"}, "'detail' must be auto, low, high, original"),
        ({"detail": 3}, "'detail' must be"),
        ({"media": ["a"]}, "'media' must be an object of images, audio_s, pages"),
        ({"media": {"pictures": []}}, "'media' must be an object of"),
        ({"media": {"images": {}}, "quality": 1}, None),
        ({"media": {"images": "x"}}, "'media.images' must be a list"),
        ({"media": {"images": [5]}}, "one of 'media.images' must be an object"),
        ({"media": {"images": [{"width": -1, "height": 5}]}}, "'media.images.width' must be"),
        ({"media": {"images": [{"detail": "far"}]}}, "'detail' must be"),
        ({"media": {"audio_s": [True]}}, "'media.audio_s' must be a number above 0"),
        ({"media": {"pages": [float("inf")]}}, "'media.pages' must be"),
    ],
)
def test_what_cannot_be_understood_is_refused(changes, words):
    record = {**SAID, **changes}
    if words is None:
        assert table_of_records([record]).conversations[0].media is None
        return
    with pytest.raises(DataError, match="record 0") as caught:
        table_of_records([record])
    assert words in str(caught.value)
