import asyncio
import logging

import pytest

from app.access.issuing import Issuer
from app.access.secrets import digest_of
from app.access.terms import KeyTerms, KnownNames
from app.errors import InvalidRequestError, KeyNotFoundError
from app.stores._base import StoreError
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

    async def save(self, record):
        await asyncio.sleep(0)
        await super().save(record)


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
        key, secret = await issuer.create(KeyTerms(name="x", owner="ops"))
        _, new = await issuer.rotate(key.record.key_id, grace_s=0)
        await issuer.revoke(key.record.key_id)
    assert caplog.messages == ["key created", "key rotated", "key revoked"]
    for record in caplog.records:
        assert record.fields == {"key_id": key.record.key_id, "name": "x", "owner": "ops"}
        for each in (secret, new):
            assert digest_of(each.encode()) not in str(vars(record))
