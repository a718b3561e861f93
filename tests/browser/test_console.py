"""The console in a real browser: what people do with it, and what they see when things fail."""

import itertools
import re
from pathlib import Path

import httpx
import pytest

from tests.support.artifacts import with_outcomes
from tests.support.gateway import GatewayThread, stub_config

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

PROMPT = "What is a steelyard balance, and why does one weight serve many loads?"
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
KEYED = {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}}
VIEWS = ("playground", "live", "curve")
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
NO_VISIBLE_FOCUS = "e => getComputedStyle(e).outlineStyle === 'none'"


@pytest.fixture
def url(fresh_gateway):
    return f"{fresh_gateway().url}/console"


SECONDS = r"[\d.]+ (?:µs|ms|s)"
SPAN = rf"({SECONDS} \(≤ {SECONDS}\))"


def ask(page, prompt=PROMPT):
    page.fill("#prompt", prompt)
    expect(page.locator("#scatter .point").first).to_be_visible()


def slide(page, t):
    """Move the weight as a hand does: `input` is what a browser sends then."""
    page.locator("#knob").fill(str(t))


def chosen(page):
    return page.locator("#scatter").get_attribute("data-chosen")


def route(url, prompt, **routing):
    body = {
        "model": "auto",
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
        "routing": {"affinity": "off", **routing},
    }
    response = httpx.post(f"{url.removesuffix('/console')}/v1/route", json=body, trust_env=False)
    assert response.status_code == 200, response.text
    return response.json()


def routed(url, t, prompt=PROMPT, **routing):
    return route(url, prompt, cost_quality=t, **routing)["decision"]["model"]


def chat(url, n=1, knob=0.5):
    for i in range(n):
        response = httpx.post(
            f"{url.removesuffix('/console')}/v1/chat/completions",
            json={"model": "auto", "messages": [{"role": "user", "content": f"{PROMPT} {i}"}]},
            headers={"x-cost-quality": str(knob)},
            trust_env=False,
        )
        assert response.status_code == 200, response.text


def test_typing_and_sliding_calls_no_model(open_page, url, stub):
    page = open_page(url)
    expect(page).to_have_title("Playground · Steelyard console")
    assert page.locator("nav a[aria-current]").inner_text() == "Playground"
    ask(page)
    slide(page, 0.9)
    expect(page.locator("#scatter .point")).to_have_count(5)
    assert stub.log() == []


def test_the_choice_follows_the_weight_as_the_gateway_would_decide(open_page, url):
    page = open_page(url)
    ask(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    seen = set()
    for t in [i / 20 for i in range(21)]:
        slide(page, t)
        model = routed(url, t)
        assert chosen(page) == model, t
        expect(page.locator("#verdict strong")).to_have_text(model)
        assert page.locator("#knob").get_attribute("aria-valuetext") == f"{t:.2f}: {model}"
        seen.add(model)
    assert len(seen) >= 3
    assert asked == []


def test_the_weight_rests_where_the_policy_has_it_until_it_is_moved(open_page, url):
    page = open_page(url)
    page.select_option("#policy", label="quality")
    ask(page)
    expect(page.locator("#knob-value")).to_have_text("0.95")
    slide(page, 0.1)
    with page.expect_response("**/v1/route"):
        page.fill("#prompt", f"{PROMPT} Really?")
    expect(page.locator("#knob-value")).to_have_text("0.10")
    page.select_option("#policy", label="economy")
    expect(page.locator("#knob-value")).to_have_text("0.50")


def test_ten_examples_show_the_weight_move_and_say_why(open_page, url, stub):
    page = open_page(url)
    chips = page.locator("#examples button")
    expect(chips).to_have_count(10)
    levels, models = set(), set()
    for chip in chips.all():
        with page.expect_response("**/v1/route"):
            chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#examples [aria-pressed=true]")).to_have_count(1)
        prompt = page.locator("#prompt").input_value()
        routed = route(url, prompt)
        expect(page.locator("#why")).to_have_text(f"{routed['why'][0].upper()}{routed['why'][1:]}.")
        expect(page.locator("#asks strong")).to_have_text(routed["request"]["level"])
        expect(page.locator("#asks")).to_contain_text("known by published results")
        levels.add(routed["request"]["level"])
        models.add(chosen(page))
    assert len(levels) >= 3
    assert len(models) >= 3
    page.locator("#prompt").press_sequentially("!")
    expect(page.locator("#examples [aria-pressed=true]")).to_have_count(0)
    assert stub.log() == []


def test_the_sentence_follows_the_weight_without_a_request(open_page, url):
    page = open_page(url)
    page.click("#examples button:has-text('Rust')")
    steps = route(url, page.locator("#prompt").input_value())["counterfactual"]
    expect(page.locator("#why")).not_to_be_empty()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    assert len(steps) >= 3
    for step in steps:
        slide(page, round((step["from_cost_quality"] + step["to_cost_quality"]) / 2, 2))
        text = page.locator("#why").inner_text()
        assert text == f"{step['why'][0].upper()}{step['why'][1:]}."
    assert asked == []


def test_the_choice_says_when_an_answer_is_expected(open_page, url):
    page = open_page(url)
    ask(page)
    page.click("#table-box summary")
    heads = page.locator("#candidates thead th").all_inner_texts()
    at = [heads.index(f"{name} (≤ p90)") for name in ("First token", "Whole answer")]
    candidates = {each["model"]: each for each in route(url, PROMPT)["candidates"]}

    def told(text):
        number, unit = text.split()
        return float(number) * {"µs": 1e-3, "ms": 1.0, "s": 1e3}[unit]

    cells = {
        row.locator("th").inner_text(): row.locator("th, td").all_inner_texts()
        for row in page.locator("#candidates tbody tr").all()
    }
    assert cells.keys() == candidates.keys()
    for model, each in candidates.items():
        for place, part in zip(at, ("ttft", "latency"), strict=True):
            found = re.fullmatch(SPAN, cells[model][place])
            assert found, cells[model]
            median, upper = re.findall(SECONDS, found[0])
            assert told(median) == pytest.approx(each[f"predicted_{part}_ms"], rel=0.02, abs=1)
            assert told(upper) == pytest.approx(each[f"upper_{part}_ms"], rel=0.02, abs=1)
    for t in (0, 1):
        slide(page, t)
        first, whole = (cells[chosen(page)][place] for place in at)
        expect(page.locator("#verdict")).to_contain_text(f"first token {first}, whole {whole}")
        title = page.locator(f"#scatter .point[data-model='{chosen(page)}'] title")
        assert f"first token {first}, whole {whole}" in title.text_content()


def test_what_is_typed_quickly_is_weighed_once(open_page, url):
    page = open_page(url)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#prompt").press_sequentially("seventeen times", delay=5)
    expect(page.locator("#scatter .point")).to_have_count(5)
    assert len([each for each in asked if each.endswith("/v1/route")]) == 1


def test_what_is_sent_is_answered_by_whom_the_page_named(open_page, url, stub):
    page = open_page(url)
    ask(page)
    slide(page, 1)
    named = chosen(page)
    page.click("#send")
    expect(page.locator("#answer")).to_contain_text(f"simulated answer from {named}")
    expect(page.locator("#stop")).to_be_hidden()
    rows = {
        row.locator("th").inner_text(): [
            each.strip() for each in row.locator("td").all_inner_texts()
        ]
        for row in page.locator("#comparison tbody tr").all()
    }
    assert rows["Model"] == [named, named]
    assert rows["Why"][1] == "the knob"
    assert " ".join(rows["Calls"][1].split()) == f"answer {named}"
    for name in ("Output tokens", "Cost"):
        predicted, actual = (text.split()[0].strip("$") for text in rows[name])
        assert float(predicted.replace(",", "")) > 0
        assert float(actual.replace(",", "")) > 0
    for name in ("First token", "Whole answer"):
        assert re.fullmatch(SECONDS, rows[name][0])
        assert re.match(SECONDS, rows[name][1])
    (entry,) = stub.log()
    assert entry.model == named


SEVERAL = {
    "routers": {"carrot": {"artifact": "default"}},
    "policies": {
        "default": {
            "router": "carrot",
            "candidates": ["sim-nano", "sim-small", "sim-large"],
            "default_model": "sim-large",
            "router_deadline_s": 20.0,
            "workflow": {
                "kind": "agree",
                "models": ["sim-nano", "sim-small"],
                "last": "sim-large",
                "normaliser": "option",
            },
        }
    },
    "default_policy": "default",
}


def test_the_stages_of_several_calls_are_drawn(open_page, fresh_gateway):
    page = open_page(f"{fresh_gateway(SEVERAL).url}/console")
    ask(page, "Which of these is the capital of France?\nA) Paris\nB) Rome\nC) Oslo")
    expect(page.locator("#stages")).to_be_hidden()
    page.click("#send")
    stages = page.locator("#stages .stage")
    expect(stages).to_have_count(2)
    expect(page.locator("#stages .round")).to_have_count(1)
    expect(page.locator("#stages .taken")).to_have_count(1)
    expect(page.locator("#stages .taken")).to_contain_text("2 of 2 say the same")
    expect(page.locator("#stages > p")).to_contain_text("Agree: accepted by agree")
    slide(page, 1)
    page.click("#send")
    expect(page.locator("#stages > p")).to_contain_text("One choice answers: knob.")


def test_the_answer_is_seen_while_it_comes_and_can_be_stopped(open_page, url, stub):
    stub.add_fault("stall_mid_stream", after_chunks=4)
    page = open_page(url)
    ask(page)
    page.click("#send")
    expect(page.locator("#answer .text")).to_contain_text("This is")
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#send")).to_be_disabled()
    page.click("#stop")
    expect(page.locator("#answer")).to_contain_text("(stopped)")
    expect(page.locator("#send")).to_be_enabled()
    expect(page.locator("#playground-error")).to_be_hidden()
    stub.log(wait_for="client_gone")


def test_a_model_that_is_too_dear_is_shown_as_excluded(open_page, url):
    page = open_page(url)
    ask(page)
    page.fill("#max-cost", "0.002")
    expect(page.locator("#scatter .point.out[data-model='sim-frontier']")).to_be_visible()
    for t in (0, 0.5, 0.95, 1):
        slide(page, t)
        assert chosen(page) == routed(url, t, max_cost=0.002)
    page.click("#table-box summary")
    expect(page.locator("#candidates")).to_contain_text("$")


def test_an_amount_that_is_none_is_said_beside_the_field(open_page, url):
    page = open_page(url)
    ask(page)
    page.fill("#max-cost", "a penny")
    expect(page.locator("#max-cost-problem")).to_have_text(
        "Write an amount such as 0.002, or nothing."
    )
    page.fill("#max-cost", "$0.01")
    expect(page.locator("#max-cost-problem")).to_have_text("")


def test_a_limit_that_nobody_meets_is_explained_model_by_model(open_page, url, complaints):
    complaints.expected.append("400 (Bad Request)")
    page = open_page(url)
    ask(page)
    page.fill("#max-cost", "0.000000001")
    box = page.locator("#playground-error")
    expect(box.locator("strong")).to_have_text("The gateway refused the request")
    expect(box.locator("li")).to_have_count(5)
    page.fill("#max-cost", "")
    expect(box).to_be_hidden()


def test_upstreams_that_fail_are_told_attempt_by_attempt(open_page, url, stub, complaints):
    complaints.expected.append("502 (Bad Gateway)")
    stub.add_fault("status", status=500, times=100)
    page = open_page(url)
    ask(page)
    page.click("#send")
    box = page.locator("#playground-error")
    expect(box.locator("strong")).to_have_text("No model answered")
    expect(box.locator("li").first).to_contain_text("(500) after")
    expect(page.locator("#send")).to_be_enabled()


@pytest.mark.parametrize("fault", ["error_event", "reset_mid_stream", "close_mid_stream"])
def test_an_answer_that_breaks_off_is_said_to(open_page, url, stub, fault):
    stub.add_fault(fault)
    page = open_page(url)
    ask(page)
    page.click("#send")
    expect(page.locator("#playground-error")).to_be_visible()
    expect(page.locator("#playground-error strong")).to_have_text("No model answered")
    expect(page.locator("#answer .text")).not_to_be_empty()


def test_a_gateway_that_is_gone_is_said_in_words(open_page, stub, artifacts, tmp_path, complaints):
    complaints.expected.append("ERR_CONNECTION_REFUSED")
    config = stub_config(tmp_path, stub.origin)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        page = open_page(f"{gateway.url}/console")
        ask(page)
        page.click("nav a[href='#live']")
        expect(page.locator("#upstreams tbody tr")).to_have_count(5)
    expect(page.locator("#live-error strong")).to_have_text("The gateway cannot be reached")
    page.click("nav a[href='#playground']")
    page.click("#send")
    expect(page.locator("#playground-error strong")).to_have_text("The gateway cannot be reached")


def test_sending_nothing_asks_for_a_prompt(open_page, url):
    page = open_page(url)
    page.click("#send")
    expect(page.locator("#playground-error")).to_contain_text("Type a prompt first.")
    expect(page.locator("#prompt")).to_be_focused()


def test_live_follows_traffic_until_it_is_paused(open_page, url):
    page = open_page(f"{url}/#live")
    expect(page.locator("#decisions")).to_contain_text("No request has ended yet")
    chat(url, 3)
    expect(page.locator("#decisions tbody th[scope=row]")).to_have_count(3)
    chat(url, 7)
    expect(page.locator("#ribbon rect")).to_have_count(10)
    expect(page.locator("#tiles")).to_contain_text("95 % interval")
    expect(page.locator("#decisions .call")).to_have_count(10)
    expect(page.locator("#decisions .call").first).to_contain_text("answer")
    assert PROMPT not in page.content()
    page.click("#pause")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    chat(url)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2_500)  # longer than one refresh: its absence is what is tested
    assert asked == []
    page.click("#pause")
    expect(page.locator("#ribbon rect")).to_have_count(11)


def test_live_tells_what_the_savings_cost_in_quality(open_page, url):
    chat(url, 8)
    page = open_page(f"{url}/#live")
    expect(page.locator("#tiles")).to_contain_text(
        re.compile(r"quality [01]\.\d\d instead of [01]\.\d\d")
    )


def test_live_stays_with_one_worker_until_another_is_chosen(open_page, url):
    """Two workers answer in turn; that both are one gateway here is hidden from the page."""
    answers = itertools.cycle([(7_001, 90), (7_002, 4)])

    def answer(route):
        live = route.fetch().json()
        process_id, n_seen = next(answers)
        route.fulfill(json=live | {"process_id": process_id, "n_seen": n_seen})

    page = open_page("about:blank")
    page.route("**/console/api/live", answer)
    page.goto(f"{url}/#live")
    expect(page.locator("#worker")).to_be_visible()
    expect(page.locator("#tiles .big").first).to_have_text("90")
    page.select_option("#worker", "7002")
    expect(page.locator("#tiles .big").first).to_have_text("4")
    with page.expect_response("**/console/api/live"):
        pass
    expect(page.locator("#tiles .big").first).to_have_text("4")
    expect(page.locator("#live-note")).to_contain_text("process 7002")


def test_a_model_has_one_colour_in_every_view(open_page, url):
    chat(url, 3)

    def colours(page, rows):
        return dict(
            page.locator(rows).evaluate_all(
                "rows => rows.map(row => [row.textContent, row.querySelector('.dot').style"
                ".getPropertyValue('--h')])"
            )
        )

    page = open_page(f"{url}/#live")
    expect(page.locator("#upstreams .named")).to_have_count(5)
    live = colours(page, "#upstreams .named")
    page.click("nav a[href='#curve']")
    expect(page.locator("#singles .named").first).to_be_visible()
    curve = colours(page, "#singles .named")
    page.click("nav a[href='#playground']")
    ask(page)
    page.click("#table-box summary")
    expect(page.locator("#candidates .named")).to_have_count(5)
    assert len(set(live.values())) == 5
    assert colours(page, "#candidates .named") == live
    assert curve.items() <= live.items()
    page.click("nav a[href='#live']")
    assert colours(page, "#upstreams .named") == live


def test_live_shows_an_upstream_that_is_left_alone(open_page, fresh_gateway, stub):
    gateway = fresh_gateway({"breaker.failures": 1, "upstreams.stub.retries": 0})
    stub.add_fault("status", status=500, model="sim-small")
    httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "sim-small", "messages": [{"role": "user", "content": "hi"}]},
        trust_env=False,
    )
    page = open_page(f"{gateway.url}/console/#live")
    expect(page.locator("#upstreams .trouble")).to_have_text("resting")
    expect(page.locator("#decisions .wrong").first).to_be_visible()


def test_the_curve_of_every_policy_is_drawn(open_page, fresh_gateway, artifacts):
    known = {name: with_outcomes(artifact) for name, artifact in artifacts.items()}
    page = open_page(f"{fresh_gateway(artifacts=known).url}/console/#curve")
    finding = page.locator("#finding")
    expect(finding).to_contain_text("At its knob of 0.80 this policy reaches quality")
    expect(page.locator("#curve .plot .empty").first).to_be_hidden()
    expect(page.locator("#frontier .point")).to_have_count(5)
    expect(page.locator("#frontier .routed")).to_be_visible()
    expect(page.locator("#promise .kept")).to_have_count(21)
    expect(page.locator("#reliability .bin")).to_have_count(10)
    page.select_option("#curve-policy", "quality")
    expect(finding).to_contain_text("At its knob of 0.95")


def test_a_curve_without_outcomes_says_that_nothing_is_verified(open_page, url):
    page = open_page(f"{url}/#curve")
    expect(page.locator("#finding")).to_contain_text("No outcome has verified it yet.")
    expect(page.locator("#frontier .routed")).to_be_visible()
    for plot in page.locator("#curve .plot .empty").all():
        expect(plot).to_contain_text("Unverified")
    expect(page.locator("#promise .kept")).to_have_count(0)
    expect(page.locator("#reliability .bin")).to_have_count(0)


def test_a_keyed_gateway_asks_for_its_secrets_and_forgets_them(
    open_page, fresh_gateway, complaints
):
    complaints.expected.append("401 (Unauthorized)")
    gateway = fresh_gateway(KEYED, env={"STEELYARD_ADMIN_TOKEN": TOKEN})
    made = httpx.post(
        f"{gateway.url}/admin/keys",
        json={"name": "test"},
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    ).json()
    page = open_page(f"{gateway.url}/console/#live")
    expect(page.locator("#access")).to_be_visible()
    expect(page.locator("#access-token")).to_be_focused()
    page.fill("#access-token", "wrong-token-of-somebody")
    page.keyboard.press("Enter")
    expect(page.locator("#live-error strong")).to_have_text("This needs the admin token")
    expect(page.locator("#access-problem")).to_contain_text("This needs the admin token")
    expect(page.locator("#access-problem")).to_be_visible()
    page.fill("#access-token", TOKEN)
    page.fill("#access-key", made["secret"])
    page.keyboard.press("Enter")
    expect(page.locator("#upstreams tbody tr")).to_have_count(5)
    expect(page.locator("#live-error")).to_be_hidden()
    page.click("nav a[href='#playground']")
    ask(page)
    page.click("#send")
    expect(page.locator("#answer")).to_contain_text("simulated answer")
    assert page.evaluate("() => JSON.stringify(localStorage) + location.href").count(TOKEN) == 0
    assert TOKEN not in page.content()
    other = page.context.new_page()  # a new tab knows nothing
    other.goto(f"{gateway.url}/console/#live")
    expect(other.locator("#access")).to_be_visible()


def test_everything_can_be_done_from_the_keyboard(open_page, url):
    page = open_page(url)
    keys = page.keyboard
    visited = []
    keys.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    for _ in range(40):
        keys.press("Tab")
        focused = page.locator(":focus")
        visited.append(focused.get_attribute("id") or focused.inner_text())
        assert not focused.evaluate(NO_VISIBLE_FOCUS), visited[-1]
        if visited[-1] == "prompt":
            keys.type(PROMPT)
            expect(page.locator("#scatter .point").first).to_be_visible()
        if visited[-1] == "knob":
            before = page.locator("#knob-value").inner_text()
            keys.press("ArrowRight")
            assert float(page.locator("#knob-value").inner_text()) == float(before) + 0.01
            keys.press("End")
            expect(page.locator("#knob-value")).to_have_text("1.00")
        if visited[-1] == "send":
            keys.press("Enter")
            break
    assert visited[:4] == ["Playground", "Live", "Curve", "theme"]
    assert visited[4] == "prompt"
    assert visited[15:] == ["policy", "max-cost", "knob", "send"]
    expect(page.locator("#answer")).to_contain_text("simulated answer")
    page.locator("nav a[href='#curve']").focus()
    keys.press("Enter")
    expect(page.locator("#frontier .routed")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_text_has_the_contrast_that_wcag_asks_for(open_page, url, scheme, view):
    chat(url, 9)
    page = open_page(f"{url}/#{view}", color_scheme=scheme)
    if view == "playground":
        ask(page)
        page.click("#send")
        expect(page.locator("#stop")).to_be_hidden()
        page.click("#table-box summary")
    else:
        expect(page.locator(f"#{view} table tbody tr").first).to_be_visible()
    found = page.evaluate(CONTRAST)
    assert found["checked"] > 40
    assert found["poor"] == []


def test_a_poor_contrast_would_be_found(open_page, url):
    page = open_page(url)
    page.evaluate("() => { document.querySelector('.lead').style.color = '#bbb'; }")
    (poor,) = page.evaluate(CONTRAST)["poor"]
    assert poor.startswith("Type a prompt")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_window_is_never_scrolled_sideways(open_page, url, width, view):
    chat(url, 3)
    page = open_page(f"{url}/#{view}", viewport={"width": width, "height": 800})
    if view == "playground":
        ask(page)
        page.click("#send")
        expect(page.locator("#stop")).to_be_hidden()
    else:
        expect(page.locator(f"#{view} table tbody tr").first).to_be_visible()
    widths = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, shown = page.evaluate(widths)
    assert scrolled <= shown


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_jumps_while_it_fills(open_page, url, view):
    chat(url, 9)
    page = open_page(f"{url}/#{view}")
    if view == "playground":
        ask(page)
        page.locator("#send").press("Enter")
        expect(page.locator("#answer .text")).to_contain_text("simulated")
        expect(page.locator("#stop")).to_be_hidden()
    else:
        expect(page.locator(f"#{view} table tbody tr").first).to_be_visible()
    shifts = """() => new Promise((resolve) => {
      let total = 0;
      new PerformanceObserver((list) => {
        for (const each of list.getEntries()) total += each.value;
      }).observe({ type: "layout-shift", buffered: true });
      setTimeout(() => resolve(total), 100);
    })"""
    assert page.evaluate(shifts) < 0.05


def test_the_theme_can_be_chosen_and_is_kept(open_page, url):
    page = open_page(url, color_scheme="light")
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    page.click("#theme")
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.click("#theme")
    expect(page.locator("#theme")).to_have_text("Theme: system")
    assert page.evaluate(background) == light


def test_what_people_type_stays_text(open_page, url):
    page = open_page(url)
    ask(page, "<img src=x onerror=alert(1)> & <b>bold</b>")
    page.click("#send")
    expect(page.locator("#answer")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#answer img, #answer b").count() == 0


def test_the_page_can_reach_nobody_but_its_gateway(open_page, url, complaints):
    complaints.expected += ["Content Security Policy", "TrustedHTML"]
    page = open_page(url)
    blocked = """async () => {
      const tries = [
        () => fetch("https://elsewhere.invalid/"),
        () => new Promise((resolve, reject) => {
          const image = new Image();
          image.onload = resolve;
          image.onerror = reject;
          image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
        }),
        async () => { document.body.insertAdjacentHTML("beforeend", "<b>markup</b>"); },
      ];
      const ended = await Promise.allSettled(tries.map((each) => each()));
      return ended.map((each) => each.status);
    }"""
    assert page.evaluate(blocked) == ["rejected"] * 3
    assert any("elsewhere.invalid" in each for each in complaints.found)
