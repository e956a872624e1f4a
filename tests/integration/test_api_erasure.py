"""A forgotten user stays forgotten: in the profile, in recommendations, after restarts, after a replay from 0."""

import shutil

from harness import until

from sluice_recommender.api.keys import new
from sluice_recommender.api.keys_file import changing


def strategy(services, user):
    return services.call("GET", f"/v1/recommendations/{user}").json["strategy"]


def known(services, user):
    return services.call("GET", f"/v1/users/{user}", Authorization="Bearer secret")


def is_forgotten(services, user):
    return known(services, user).status == 404 and strategy(services, user) == "popular"


def test_erasure_holds_through_restart_and_replay(services):
    keys = services.folder / "keys.json"
    with changing(keys) as held:
        held.append(new("boss", ["admin"], "secret"))
    services.start_all(keys_file=keys)

    described = {"interests": {"python": 3}, "features": ["country:de"]}
    assert services.call("PUT", "/v1/users/ann", described, Authorization="Bearer secret").status == 202
    clicks = [{"user_id": user, "item_id": f"i{n}"} for n in range(5) for user in ("ann", "bob")]
    assert services.call("POST", "/v1/interactions", clicks).status == 202
    view = until(
        lambda: _complete(known(services, "ann").json),
        "the profile holds the interactions and the description",
    )
    assert [each["item_id"] for each in view["recent"]] == ["i4", "i3", "i2", "i1", "i0"]
    assert strategy(services, "ann") == "personalized"

    assert services.call("DELETE", "/v1/users/ann").status == 401
    assert services.call("DELETE", "/v1/users/ann", Authorization="Bearer secret").status == 202
    until(lambda: is_forgotten(services, "ann"), "ann is forgotten")
    assert strategy(services, "bob") == "personalized"

    assert services.stop_all() == [0, 0, 0]
    services.start_all(keys_file=keys)
    assert is_forgotten(services, "ann")
    assert strategy(services, "bob") == "personalized"

    assert services.stop_all() == [0, 0, 0]
    _lose_stores(services)
    services.start_all(keys_file=keys)
    until(lambda: strategy(services, "bob") == "personalized", "the replay reached bob")
    _follow_up(services)
    assert is_forgotten(services, "ann")

    assert services.call("POST", "/v1/interactions", {"user_id": "ann", "item_id": "i9"}).status == 202
    until(lambda: strategy(services, "ann") == "personalized", "later interactions start afresh")
    afresh = known(services, "ann").json
    assert ([each["item_id"] for each in afresh["recent"]], afresh["features"]) == (["i9"], [])


def test_an_older_snapshot_does_not_name_a_forgotten_user(services):
    services.start_all(local=True)
    like = services.call("GET", "/v1/users/u1/similar?n=19").json
    assert (like["snapshot"], len(like["users"])) == ("s1", 19)
    assert "u2" in [each["user_id"] for each in like["users"]]
    assert services.call("POST", "/v1/users", {"delete": ["u2"]}).status == 202
    until(lambda: services.call("GET", "/v1/users/u2/similar").status == 404, "u2 is forgotten")
    named = [each["user_id"] for each in services.call("GET", "/v1/users/u1/similar?n=19").json["users"]]
    assert len(named) == 18
    assert "u2" not in named


def _complete(view):
    return view if len(view.get("recent", ())) == 5 and view["features"] else None


def _lose_stores(services):
    """Delete all that the profiles process has made, so that it reads the log from offset 0."""
    log = services.home.log("shop")
    log.commit("sluice-profiles.shop", {each: 0 for topic in _topics(log) for each in log.partitions(topic)})
    for path in services.home.folder.glob("source-shop.db*"):
        path.unlink()
    shutil.rmtree(services.folder / "cache")


def _topics(log):
    return [f"shop.{name}" for name in ("interactions", "answers", "items", "users")]


def _follow_up(services):
    """Wait until everything that was written before is read: a record written now is read after it."""
    for user in ("last-a", "last-b", "last-c", "last-d"):  # in both partitions
        services.call("POST", "/v1/interactions", {"user_id": user, "item_id": "i1"})
    for user in ("last-a", "last-b", "last-c", "last-d"):
        until(lambda user=user: strategy(services, user) == "personalized", "the log is read to its end")
