from app.head import NO_HEAD, RequestHead

HEADERS = [
    (b"host", b"gateway"),
    (b"x-cost-quality", b"0.5"),
    (b"content-type", b"application/json"),
    (b"accept", b"a"),
    (b"accept", b"b"),
    (b"accept", b"c"),
    (b"steelyard-policy", b"p"),
    (b"x-cost-quality", b"0.6"),
]


def test_values_are_found_by_name_and_all_of_a_repeated_one_in_order():
    head = RequestHead(HEADERS)
    assert head.get(b"accept") == b"c"
    assert head.all(b"accept") == (b"a", b"b", b"c")
    assert head.all(b"host") == (b"gateway",)
    assert (head.get(b"origin"), head.all(b"origin")) == (None, ())
    assert set(head.repeated) == {b"accept", b"x-cost-quality"}
    assert list(head) == list(dict(HEADERS))


def test_what_may_be_meant_for_routing_keeps_its_order_and_its_last_values():
    head = RequestHead(HEADERS)
    assert head.meant_for_us == (b"x-cost-quality", b"steelyard-policy")
    assert head.values_of(head.meant_for_us) == (b"0.6", b"p")


def test_no_headers_say_nothing():
    assert (list(NO_HEAD), NO_HEAD.meant_for_us, dict(NO_HEAD.repeated)) == ([], (), {})
