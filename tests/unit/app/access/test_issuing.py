import asyncio
import logging

import pytest

from app.access.changes import KeyChanges
from app.access.issuing import Issuer
from app.access.secrets import digest_of
from app.access.terms import KeyTerms, KnownNames
from app.errors import InvalidRequestError, KeyNotFoundError, KeyVersionError
from app.stores.base import StoreError
from tests.support.keys import NOW, DictKeys, SetClock

KNOWN = KnownNames(
    models=frozenset({"a", "b"}), policies=frozenset({"p"}), teams=frozenset({"search"})
)


@pytest.fixture
def keys():
    return DictKeys()


@pytest.fixture
def now():
    return SetClock()


@pytest.fixture
def changed():
    return []


@pytest.fixture
def issuer(keys, now, changed):
    return Issuer(keys, lambda: KNOWN, on_change=changed.append, now=now)


async def test_a_new_key_is_stored_by_digest_alone(issuer, keys, changed):
    key, secret = await issuer.create(KeyTerms(name="x", expires_in_s=60))
    digest = digest_of(secret.encode())
    assert keys.records == {digest: key.record}
    assert (key.record.created_at, key.record.expires_at) == (NOW, NOW + 60)
    assert changed == [digest]
    assert secret not in repr(key)


async def test_names_that_are_not_configured_are_refused_with_those_that_are(issuer, keys):
    for param, terms in (
        ("models", KeyTerms(name="x", models={"a", "gone"})),
        ("policies", KeyTerms(name="x", policies={"gone"})),
        ("team", KeyTerms(name="x", team="gone")),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            await issuer.create(terms)
        assert caught.value.param == param
        assert "gone" in caught.value.message
    assert keys.records == {}


async def test_a_rotated_key_keeps_its_name_and_terms_and_two_secrets_for_a_while(
    issuer, keys, now, changed
):
    key, old = await issuer.create(KeyTerms(name="x", expires_in_s=10_000, models={"a"}))
    now.at += 100
    rotated, new = await issuer.rotate(key.record.key_id, grace_s=60)
    before, after = (keys.records[digest_of(each.encode())] for each in (old, new))
    assert before.key_id == after.key_id == key.record.key_id
    assert (before.expires_at, before.replaced_by) == (NOW + 160, after.digest)
    assert (after.expires_at, after.replaced_by) == (NOW + 10_000, None)
    assert after.models == frozenset({"a"})
    assert rotated.record == after
    assert (rotated.created_at, rotated.old_secret_until) == (NOW, NOW + 160)
    assert set(changed) == {before.digest, after.digest}
    now.at += 60
    assert (await issuer.get(key.record.key_id)).old_secret_until is None


async def test_a_grace_never_prolongs_a_key(issuer, keys, now):
    key, old = await issuer.create(KeyTerms(name="x", expires_in_s=50))
    await issuer.rotate(key.record.key_id, grace_s=1000)
    assert keys.records[digest_of(old.encode())].expires_at == NOW + 50


async def test_rotating_twice_never_prolongs_an_older_secret(issuer, keys, now):
    key, first = await issuer.create(KeyTerms(name="x"))
    _, second = await issuer.rotate(key.record.key_id, grace_s=60)
    await issuer.rotate(key.record.key_id, grace_s=600)
    assert keys.records[digest_of(first.encode())].expires_at == NOW + 60
    assert keys.records[digest_of(second.encode())].expires_at == NOW + 600
    await issuer.rotate(key.record.key_id, grace_s=0)
    usable = [each for each in keys.records.values() if each.usable(now.at)]
    assert len(usable) == 1


async def test_a_rotated_key_is_one_key_in_the_list(issuer, now):
    first, _ = await issuer.create(KeyTerms(name="first"))
    now.at += 1
    await issuer.create(KeyTerms(name="second"))
    now.at += 1
    await issuer.rotate(first.record.key_id, grace_s=60)
    assert [each.record.name for each in await issuer.all()] == ["first", "second"]


async def test_a_revoked_key_has_no_secret_left_and_stays_revoked(issuer, keys, now):
    key, _ = await issuer.create(KeyTerms(name="x"))
    await issuer.rotate(key.record.key_id, grace_s=600)
    revoked = await issuer.revoke(key.record.key_id)
    assert revoked.status(now.at) == "revoked"
    assert not [each for each in keys.records.values() if each.usable(now.at)]
    now.at += 10
    again = await issuer.revoke(key.record.key_id)
    assert again.record.revoked_at == NOW
    with pytest.raises(InvalidRequestError, match="revoked"):
        await issuer.rotate(key.record.key_id, grace_s=0)


async def test_an_expired_key_is_not_rotated(issuer, now):
    key, _ = await issuer.create(KeyTerms(name="x", expires_in_s=5))
    now.at += 5
    assert (await issuer.get(key.record.key_id)).status(now.at) == "expired"
    with pytest.raises(InvalidRequestError, match="expired"):
        await issuer.rotate(key.record.key_id, grace_s=0)


async def test_a_key_that_does_not_exist_is_not_found_and_its_name_not_repeated(issuer):
    for change in (issuer.get("key-x"), issuer.revoke("key-x"), issuer.rotate("key-x", grace_s=0)):
        with pytest.raises(KeyNotFoundError) as caught:
            await change
        assert "key-x" not in caught.value.message


class SlowKeys(DictKeys):
    """Lets others run before each answer."""

    async def all(self):
        answer = await super().all()
        await asyncio.sleep(0)
        return answer

    async def change(self, changes, *, entry=None):
        await asyncio.sleep(0)
        await super().change(changes, entry=entry)


async def test_a_revocation_is_never_undone_by_a_rotation_at_the_same_time(now):
    for order in (0, 1):
        keys = SlowKeys()
        issuer = Issuer(keys, lambda: KNOWN, now=now)
        key, _ = await issuer.create(KeyTerms(name="x"))
        key_id = key.record.key_id
        changes = [issuer.revoke(key_id), issuer.rotate(key_id, grace_s=600)]
        await asyncio.gather(*changes[:: 1 - 2 * order], return_exceptions=True)
        assert not [each for each in keys.records.values() if each.usable(now.at)]


async def test_without_the_store_nothing_is_made(issuer, keys):
    keys.down = True
    with pytest.raises(StoreError):
        await issuer.create(KeyTerms(name="x"))
    assert keys.records == {}


async def test_changes_are_logged_by_the_keys_name_alone(issuer, caplog):
    with caplog.at_level(logging.INFO):
        key, secret = await issuer.create(KeyTerms(name="x", owner="ops"), by="somebody")
        _, new = await issuer.rotate(key.record.key_id, grace_s=0, by="somebody")
        await issuer.update(key.record.key_id, KeyChanges(team="search"), by="somebody")
        await issuer.revoke(key.record.key_id, by="somebody")
    assert caplog.messages == ["key created", "key rotated", "key updated", "key revoked"]
    for record in caplog.records:
        told = {name: record.fields[name] for name in ("key_id", "name", "owner", "by")}
        assert told == {
            "key_id": key.record.key_id,
            "name": "x",
            "owner": "ops",
            "by": "somebody",
        }
        for each in (secret, new):
            assert digest_of(each.encode()) not in str(vars(record))


async def test_a_change_keeps_secrets_and_history_and_reaches_the_old_secret_too(
    issuer, keys, now, changed
):
    key, old = await issuer.create(KeyTerms(name="x", expires_in_s=10_000))
    _, new = await issuer.rotate(key.record.key_id, grace_s=60)
    changed.clear()
    after = await issuer.update(key.record.key_id, KeyChanges(disabled=True, team="search"))
    assert after.status(now.at) == "disabled"
    records = [keys.records[digest_of(each.encode())] for each in (old, new)]
    assert [(each.disabled, each.team) for each in records] == [(True, "search")] * 2
    assert [each.expires_at for each in records] == [NOW + 60, NOW + 10_000]
    assert set(changed) == {each.digest for each in records}
    again = await issuer.update(key.record.key_id, KeyChanges(disabled=False))
    assert again.status(now.at) == "active"
    assert again.old_secret_until == NOW + 60


async def test_each_change_makes_a_version_and_one_that_changes_nothing_none(issuer, keys):
    key, _ = await issuer.create(KeyTerms(name="x"))
    key_id = key.record.key_id
    assert key.record.version == 1
    assert (await issuer.update(key_id, KeyChanges(name="x"))).record.version == 1
    assert (await issuer.update(key_id, KeyChanges(name="y"))).record.version == 2
    assert (await issuer.rotate(key_id, grace_s=0))[0].record.version == 3
    assert (await issuer.revoke(key_id)).record.version == 4
    assert (await issuer.revoke(key_id)).record.version == 4
    assert [each.done for each in keys.audit] == ["revoked", "rotated", "updated", "created"]


async def test_a_change_meant_for_another_version_is_refused(issuer):
    key, _ = await issuer.create(KeyTerms(name="x"))
    key_id = key.record.key_id
    await issuer.update(key_id, KeyChanges(name="y"), versions={1})
    for change in (
        issuer.update(key_id, KeyChanges(name="z"), versions={1}),
        issuer.update(key_id, KeyChanges(name="z"), versions=()),
        issuer.revoke(key_id, versions={1, 3}),
        issuer.rotate(key_id, grace_s=0, versions={1}),
    ):
        with pytest.raises(KeyVersionError):
            await change
    assert (await issuer.get(key_id)).record.name == "y"


async def test_a_revoked_key_is_not_changed(issuer):
    key, _ = await issuer.create(KeyTerms(name="x"))
    await issuer.revoke(key.record.key_id)
    with pytest.raises(InvalidRequestError, match="revoked"):
        await issuer.update(key.record.key_id, KeyChanges(name="y"))


async def test_a_disabled_key_can_be_given_a_new_secret(issuer, now):
    key, _ = await issuer.create(KeyTerms(name="x", disabled=True))
    rotated, _ = await issuer.rotate(key.record.key_id, grace_s=0)
    assert rotated.status(now.at) == "disabled"


async def test_changes_at_the_same_time_all_count(now):
    keys = SlowKeys()
    issuers = [Issuer(keys, lambda: KNOWN, now=now) for _ in range(2)]
    key, _ = await issuers[0].create(KeyTerms(name="x"))
    key_id = key.record.key_id
    await asyncio.gather(
        issuers[0].update(key_id, KeyChanges(team="search")),
        issuers[1].update(key_id, KeyChanges(owner="ops")),
        issuers[0].rotate(key_id, grace_s=60),
        issuers[1].update(key_id, KeyChanges(cache=True)),
    )
    records = list(keys.records.values())
    assert len(records) == 2
    for each in records:
        assert (each.team, each.owner, each.cache) == ("search", "ops", True)
    assert (await issuers[0].get(key_id)).record.version == 5


async def test_the_history_tells_what_was_and_is_and_never_a_secret(issuer, keys, now):
    key, secret = await issuer.create(
        KeyTerms(name="x", models={"b", "a"}, budgets=[{"usd": 1, "period": "day"}]), by="me"
    )
    key_id = key.record.key_id
    now.at += 5
    await issuer.update(key_id, KeyChanges(models={"a"}, limits={"requests_per_minute": 5}))
    await issuer.create(KeyTerms(name="other"))
    update, create = await issuer.history(key_id=key_id, limit=10)
    assert (create.at, create.by, create.done) == (NOW, "me", "created")
    assert create.changes["models"] == (None, ["a", "b"])
    assert set(create.changes) == {"name", "models", "budgets"}
    assert update.at == NOW + 5
    assert update.changes["models"] == (["a", "b"], ["a"])
    assert update.changes["limits"][1]["requests_per_minute"] == 5
    assert set(update.changes) == {"models", "limits"}
    assert digest_of(secret.encode()) not in str(keys.audit)
