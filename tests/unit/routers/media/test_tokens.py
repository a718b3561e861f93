"""What pictures, recordings and pages count for, by the rules that vendors publish."""

import pytest

from app.config.media import MediaConfig, counts_for, shipped_media, to_rules
from routers.media.tokens import MediaRules, neutral_picture
from routers.media.values import Media, Paper, Picture, Recording


def rules(model, **own):
    return (
        to_rules(counts_for(model, own=MediaConfig(**own), table=shipped_media())) or MediaRules()
    )


def picture(size=None, detail=None):
    tokens, upper = neutral_picture(size, detail)
    width_px, height_px = size or (None, None)
    return Picture(
        tokens=tokens, tokens_upper=upper, width_px=width_px, height_px=height_px, detail=detail
    )


def counted(model, *pictures, detail=None, **own):
    return rules(model, **own).tokens(Media(pictures=pictures), detail=detail)[0]


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        # OpenAI's own examples.
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "high", 1_105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4.1-mini", (1024, 1024), None, 1_659),
        ("gpt-4.1-mini", (1800, 2400), None, 2_353),
        ("gpt-4o-mini", (1024, 1024), None, 25_501),
        ("gpt-5", (1024, 1024), None, 630),
        ("o1", (1024, 1024), None, 675),
        # As somebody measured: huggingface.co/datasets/JOHNISKING/image-token-cost.
        ("gpt-6-astra", (1920, 1080), None, 2_448),
        ("gpt-6-astra", (4032, 3024), None, 14_364),
        ("gpt-6-astra", (4032, 3024), "high", 2_942),
        ("gpt-6-astra", (3840, 2160), "high", 2_931),
        ("claude-haiku-4-5", (1024, 1024), None, 1_369),
        ("claude-haiku-4-5", (1920, 1080), None, 1_568),
        ("claude-sonnet-5-5", (1920, 1080), None, 2_691),
        ("claude-sonnet-5-5", (4032, 3024), None, 3_888),
        ("claude-opus-4-7", (2576, 2576), None, 4_784),
        # Google's page on tokens.
        ("gemini-2.5-flash", (384, 384), None, 258),
        ("gemini-2.5-flash", (1536, 769), None, 4 * 258),
        ("gemini-3-pro", (4000, 4000), None, 1_120),
        ("gemini-3-pro", (4000, 4000), "low", 280),
        ("grok-4", (448, 448), None, 512),
        ("grok-4", (4000, 4000), None, 1_792),
        # Nobody knows: as gpt-4o.
        ("llava", (1024, 1024), None, 765),
    ],
)
def test_pictures_count_as_their_vendor_says(model, size, detail, tokens):
    assert counted(model, picture(size, detail)) == tokens


def test_a_picture_of_unknown_size_counts_as_a_usual_one_and_may_be_the_largest():
    unknown = Media(pictures=(picture(),))
    for model in ("gpt-4o", "gpt-4.1-nano", "claude-opus-4-7", "gemini-2.5-pro", "gpt-6-sol"):
        tokens, upper = rules(model).tokens(unknown)
        assert tokens == counted(model, picture((1024, 1024)))
        assert upper >= counted(model, picture((4000, 4000)))


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4.1-nano",
        "gpt-5.4",
        "claude-opus-5",
        "qwen3-vl",
        "pixtral-12b",
        "gemini-2.0-flash",
    ],
)
def test_more_pixels_never_cost_less_and_the_upper_estimate_is_one(model):
    found = rules(model)
    last = 0
    for edge in (1, 16, 33, 200, 512, 513, 900, 1_600, 3_000, 20_000):
        tokens, upper = found.tokens(Media(pictures=(picture((edge, edge)),)))
        assert 0 < tokens <= upper
        assert tokens >= last * 0.97  # what is scaled down is cut to whole patches
        last = tokens
        assert tokens <= found.tokens(Media(pictures=(picture(),)))[1]


def test_a_chosen_detail_holds_for_the_pictures_that_leave_it_open():
    sizes = [(2000, 2000)] * 3
    given = [
        picture(size, detail) for size, detail in zip(sizes, (None, "auto", "high"), strict=True)
    ]
    assert counted("gpt-4o", *given, detail="low") == 85 + 85 + 765
    assert counted("gpt-4o", *given) == 3 * 765
    opened = Media(pictures=tuple(given)).opened()
    assert rules("gpt-4o").tokens(opened, detail="low")[0] == 3 * 85


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("gpt-4o-audio-preview", 10),
        ("gemini-3-flash", 32),
        ("voxtral-small", 12.5),
        ("llama", None),
    ],
)
def test_sound_counts_by_the_second_where_its_length_and_the_rate_are_known(model, rate):
    known = Recording(tokens=777, tokens_upper=999, seconds=60.0)
    unknown = Recording(tokens=777, tokens_upper=999)
    assert rules(model).tokens(Media(recordings=(unknown,))) == (777, 999)
    expected = 777 if rate is None else 60 * rate
    assert rules(model).tokens(Media(recordings=(known,)))[0] == expected


def test_pages_count_where_a_file_tells_them():
    paper = Paper(tokens=10_000, tokens_upper=20_000, pages=10)
    assert rules("gemini-2.5-flash").tokens(Media(papers=(paper,)))[0] == 2_580
    assert rules("gpt-4o").tokens(Media(papers=(paper,))) == (10_000, 20_000)


def test_an_operators_word_comes_over_the_table():
    four = picture((4000, 4000))
    assert counted("my-deployment", four, like="gpt-4o") == 765
    assert counted("gpt-4o", four, images={"flat": {"each": 300}}) == 300
    assert counted("gpt-4o", four, known=False) == four.tokens
    assert rules("gpt-4o", detail=[]).details == ()
