"""Privacy requests on brokers: under each id of the user, where the user's events are."""

from __future__ import annotations

import pytest
from tracking import away, decoded

from producer import PrivacyRequests, Tracker
from schemas.codec import build_codec
from schemas.errors import BrokerError, EventError, SettingsError
from schemas.privacy import PrivacyAction, PrivacyRequest
from schemas.pseudonyms import pseudonymiser
from schemas.settings import Settings, load_settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics

KEY, OLD_KEY, OLDEST_KEY = (
    "today's secret key",
    "last year's secret key",
    "the very first secret key",
)


def with_privacy(settings: Settings, **privacy: object) -> Settings:
    return Settings.model_validate({**settings.model_dump(), "privacy": privacy})


def pseudonym_under(key: str, user_id: str) -> str:
    hashed = pseudonymiser(Settings.model_validate({"privacy": {"user_id_key": key}}).privacy)
    assert hashed is not None
    return hashed(user_id)


def requests_in(settings: Settings, messages) -> list[PrivacyRequest]:
    decode = build_codec(settings.wire).decoder(PrivacyRequest)
    return [decode(message.value()) for message in messages]


def test_each_request_is_there_when_it_returns_and_in_the_partition_of_the_users_events(
    broker_settings, consume_all
):
    create_topics(broker_settings)
    users = [f"user-{i}" for i in range(8)]
    with Tracker(broker_settings) as tracker:
        for user in users:
            tracker.view(user, "item")
    with PrivacyRequests(broker_settings) as requests:
        ids = [requests.erase(user) for user in users]
        ids += [requests.withdraw_consent(users[0]), requests.grant_consent(users[0])]
    events = consume_all(broker_settings, Topic.CLICKSTREAM)
    partitions = {
        event.user_id: message.partition()
        for event, message in zip(decoded(broker_settings, events), events, strict=True)
    }
    messages = consume_all(broker_settings, Topic.PRIVACY)
    found = requests_in(broker_settings, messages)

    assert {request.request_id for request in found} == set(ids)
    assert len(set(ids)) == len(ids)
    assert {r.user_id: m.partition() for r, m in zip(found, messages, strict=True)} == partitions
    assert all(m.key().decode() == r.user_id for r, m in zip(found, messages, strict=True))
    of_first = [request.action for request in found if request.user_id == users[0]]
    assert of_first == [
        PrivacyAction.ERASE,
        PrivacyAction.WITHDRAW_CONSENT,
        PrivacyAction.GRANT_CONSENT,
    ]


@pytest.mark.parametrize(
    ("privacy", "ids"),
    [
        ({}, ["u"]),
        ({"user_id_key": KEY}, [pseudonym_under(KEY, "u")]),
        (
            {"user_id_key": KEY, "previous_user_id_keys": [OLD_KEY, OLDEST_KEY, OLD_KEY]},
            [pseudonym_under(key, "u") for key in (KEY, OLD_KEY, OLDEST_KEY)],
        ),
        (
            {"user_id_key": KEY, "previously_plain": True},
            [pseudonym_under(KEY, "u"), "u"],
        ),
        ({"previous_user_id_keys": [OLD_KEY]}, ["u", pseudonym_under(OLD_KEY, "u")]),
    ],
)
def test_a_request_goes_out_under_every_id_the_user_may_have(
    embedded_settings, consume_all, privacy, ids
):
    settings = with_privacy(embedded_settings, **privacy)
    create_topics(settings)
    with PrivacyRequests(settings) as requests:
        request_id = requests.erase("u")
    found = requests_in(settings, consume_all(settings, Topic.PRIVACY))

    assert sorted(request.user_id for request in found) == sorted(ids)
    assert {request.request_id for request in found} == {request_id}


@pytest.mark.parametrize("user_id", ["", "x" * 10_000, "\ud800", None])
def test_what_is_no_user_id_is_refused(embedded_settings, user_id):
    with PrivacyRequests(embedded_settings) as requests, pytest.raises(EventError, match="user_id"):
        requests.erase(user_id)


def test_brokers_that_are_away_and_topics_that_do_not_exist_are_told(embedded_settings):
    with (
        PrivacyRequests(away(embedded_settings), wait_s=0.5) as requests,
        pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"),
    ):
        requests.erase("u")
    with (
        PrivacyRequests(embedded_settings) as requests,
        pytest.raises(BrokerError, match="innerloop topics create"),
    ):
        requests.erase("u")


def test_a_short_previous_key_is_refused_without_being_shown(tmp_path):
    file = tmp_path / "innerloop.toml"
    file.write_text('[privacy]\nprevious_user_id_keys = ["long enough to be one", "sh0rt"]')
    with pytest.raises(SettingsError, match=r"privacy\.previous_user_id_keys") as refused:
        load_settings(file)
    assert "sh0rt" not in str(refused.value)
    assert "long enough" not in str(refused.value)
