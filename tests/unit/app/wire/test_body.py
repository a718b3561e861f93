from app.wire.body import Body


def test_a_chat_completion_is_its_own_translation():
    fields = {"messages": b"[]"}
    body = Body(fields)
    assert body.chat() is fields
    assert body.native("chat_completions") is fields
    assert body.native("other") is None


def test_another_dialect_is_translated_once_and_only_when_somebody_looks():
    translated = []

    def translate(fields):
        translated.append(fields)
        return {"messages": fields["input"]}

    body = Body({"input": b"[1]"}, dialect="other", translate=translate)
    assert body.native("other") == {"input": b"[1]"}
    assert translated == []
    assert body.chat() is body.chat()
    assert body.chat() == {"messages": b"[1]"}
    assert len(translated) == 1


def test_a_field_that_is_taken_out_is_in_neither_form():
    body = Body({"a": b"1", "b": b"2"}, dialect="other", translate=dict)
    assert body.without("c") is body
    without = body.without("b")
    assert without.native("other") == without.chat() == {"a": b"1"}
    assert body.chat() == {"a": b"1", "b": b"2"}
