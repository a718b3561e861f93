"""Where prompts with the same beginning go, and what keeps them from all going to one place."""

import random
from collections import Counter

import pytest

from app.gateway.deployments.balance import CallSize, News, Prefix
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.prefix_affinity import PrefixAffinity
from tests.support.providers import ScriptedProvider, deployment


def pool(names="abcd", *, weights=None, seed=1):
    places = [
        deployment("m", ScriptedProvider(), upstream=name, weight=(weights or {}).get(name, 1.0))
        for name in names
    ]
    return DeploymentPool(
        {"m": places},
        clock=lambda: 0.0,
        rng=random.Random(seed),
        balances={"m": PrefixAffinity(random.Random(seed))},
    )


def call(pool, opening, conversation, *, avoid=()):
    prefix = Prefix(opening=opening, conversation=conversation)
    slots = [slot for slot in pool.slots() if slot.deployment.upstream in avoid]
    size = CallSize(input_tokens=0.0, output_tokens=None, prefix=prefix)
    return pool.lease("m", avoid=slots, size=size)


def homes(pool, prompts, **how):
    found = {}
    for opening, conversation in prompts:
        lease = call(pool, opening, conversation, **how)
        lease.release()
        found[opening, conversation] = lease.deployment.upstream
    return found


PROMPTS = [(number, 1000 + number) for number in range(400)]


def test_a_prompt_has_one_home_in_every_process_and_homes_are_spread():
    first, second = homes(pool(seed=1), PROMPTS), homes(pool(seed=99), PROMPTS)
    assert first == second
    assert min(Counter(first.values()).values()) > 70


def test_homes_are_as_many_as_weights_say():
    counts = Counter(homes(pool(weights={"a": 3.0}), PROMPTS).values())
    assert counts["a"] == pytest.approx(200, abs=40)
    assert max(counts[name] for name in "bcd") < 100


def test_a_place_that_goes_moves_its_own_prompts_and_no_others():
    before, without = homes(pool(), PROMPTS), homes(pool(), PROMPTS, avoid="a")
    after = homes(pool("abcde"), PROMPTS)
    assert all(without[each] == home for each, home in before.items() if home != "a")
    assert "a" not in without.values()
    moved = Counter(home for each, home in after.items() if before[each] != home)
    assert set(moved) == {"e"}
    assert 40 < moved["e"] < 130


def test_agents_with_one_system_prompt_share_a_home_until_it_is_too_many_for_it():
    few = pool()
    mixed = [(number % 12, number) for number in range(240)]
    found = homes(few, mixed)
    assert all(
        len({home for (opening, _), home in found.items() if opening == agent}) == 1
        for agent in range(12)
    )
    only = [(7, number % 40) for number in range(400)]
    counts = Counter(homes(pool(), only[:200]).values())
    assert len(counts) == 3  # nine tenths of all calls: as many places as hold them
    crowd = pool()
    homes(crowd, only)
    assert homes(crowd, only[:40]) == homes(crowd, only[:40])  # each conversation keeps its place


def test_no_place_has_more_than_its_part_of_the_calls_under_way():
    world, rng, running = pool(), random.Random(4), []
    for number in range(3000):
        running.append(call(world, 7 if number % 2 else number, rng.randrange(50)))
        total = len(running)
        most = max(slot.outstanding for slot in world.slots())
        assert most <= -(-1.25 * total // 4)
        while len(running) > 40:
            running.pop(rng.randrange(len(running))).release()


def test_a_full_place_hands_on_and_takes_its_prompts_back():
    world = pool()
    first = call(world, 1, 1)
    home = first.deployment.upstream
    held = [call(world, 1, 1) for _ in range(7)]
    assert {lease.deployment.upstream for lease in held} > {home}
    for lease in (first, *held):
        lease.release()
    assert call(world, 1, 1).deployment.upstream == home


def test_what_others_have_running_counts_too():
    world = pool()
    lease = call(world, 5, 5)
    home = lease.deployment.upstream
    lease.release()
    busy = {(name, "upstream-m"): 20.0 if name == home else 1.0 for name in "abcd"}
    world.heard("m", News(at=0.0, outstanding=busy, begun_per_s=0.0))
    assert call(world, 5, 5).deployment.upstream != home


def test_prompts_of_which_nothing_is_known_go_to_the_least_busy():
    world = pool()
    assert world.wants_prefix("m")
    taken = Counter(world.lease("m").deployment.upstream for _ in range(12))
    assert taken == dict.fromkeys("abcd", 3)
