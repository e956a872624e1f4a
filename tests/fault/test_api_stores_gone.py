"""The API under constant requests while Redis and MongoDB stop, hang, forget and change their passwords."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Children, until
from stores_world import Answer, Clients, World, judge

from sluice.redis.connection import RedisConnection


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("stores")
    children = Children(folder / "logs")
    world = World(folder, children)
    try:
        world.start()
        yield world
    finally:
        children.kill_all()
        world.stop()


def strategies(answers: list[Answer], kind: str = "recommendations") -> Counter[str]:
    return Counter(each.strategy for each in answers if each.kind == kind)


def are_personal(answers: list[Answer]) -> bool:
    """Whether MongoDB stood in; a read that this busy machine let wait for over 0.3 s costs a second of others."""
    found = strategies(answers)
    return found.keys() <= {"personalized", "popular"} and found["personalized"] > 0.5 * found.total()


def test_with_redis_gone_mongodb_answers_for_everybody(world: World) -> None:
    with Clients(world.address) as clients:
        clients.after()
        world.redis.stop()
        gone = clients.after(300)
        world.redis.start()
        clients.after()
    judge(clients.answers)
    assert are_personal(gone)
    assert {each.status for each in gone if each.kind == "item"} == {200}


def test_a_redis_that_hangs_is_passed_over(world: World) -> None:
    with Clients(world.address) as clients:
        clients.after()
        world.redis.pause()
        gone = clients.after(300)
        world.redis.resume()
        clients.after()
    judge(clients.answers)
    assert are_personal(gone)


def test_a_flushed_redis_changes_no_answer_and_is_filled_again(world: World) -> None:
    connection = RedisConnection(world.redis_file.read_text)
    with Clients(world.address) as clients:
        clients.after()
        connection.run(lambda client: client.flushall())
        flushed = clients.after(300)
    judge(clients.answers)
    assert are_personal(flushed)
    assert connection.run(lambda client: client.exists("sluice:profile:sluice.shop:u0"))
    connection.close()
    world.publish()


@pytest.mark.parametrize("hurt", ["stop", "hang", "slow"])
def test_with_mongodb_gone_answers_are_what_redis_has_else_popular(world: World, hurt: str) -> None:
    world.leaves_redis("u0", "u1")
    with Clients(world.address) as clients:
        if hurt == "stop":
            world.mongo.stop()
        elif hurt == "hang":
            world.proxy.timeout(0)
        else:
            world.proxy.latency(800)
        world.leaves_redis("u0", "u1")
        gone = clients.after(400)
        if hurt == "stop":
            world.mongo.start()
        else:
            world.proxy.reset()
        world.is_personal_again("u0")
        world.is_personal_again("u1")
        clients.after()
    judge(clients.answers)
    assert strategies(gone)["personalized"] > 0
    assert strategies(gone)["popular"] > 0
    assert all(each.items == 5 for each in gone if each.kind == "popular")
    assert strategies(gone, "session").keys() == {"session"}


def test_with_both_gone_answers_are_popular_or_of_the_session_and_all_comes_back(world: World) -> None:
    with Clients(world.address) as clients:
        clients.after()
        world.mongo.stop()
        world.redis.stop()
        clients.after(100)  # under way when they stopped
        gone = clients.after(400)
        world.mongo.start()
        world.redis.start()
        for user in range(8):
            world.is_personal_again(f"u{user}")
        clients.after()
    judge(clients.answers)
    assert strategies(gone).keys() == {"popular"}
    assert strategies(gone, "session").keys() == {"session"}
    assert all(each.items == 5 for each in gone if each.kind in ("popular", "recommendations"))
    refused = [each for each in gone if each.kind == "item"]
    assert {each.status for each in refused} == {503}


def test_an_api_that_starts_while_both_are_gone_gets_ready_and_answers(world: World) -> None:
    world.mongo.stop()
    world.redis.stop()
    try:
        address = world.start_api()
        for path in ("/v1/recommendations/u0", "/v1/popular"):
            answer = world.ask("GET", path, address=address)
            assert (answer.status, answer.strategy) == (200, "popular")
        assert world.ask("GET", "/v1/items/i0", address=address).status == 503
        assert world.ask("PUT", "/v1/items/i0", {"title": "Item 0"}, address=address).status == 202
    finally:
        world.mongo.start()
        world.redis.start()
    world.publish()

    def is_personal() -> bool:
        return world.ask("GET", "/v1/recommendations/u0?n=5", address=address).strategy == "personalized"

    until(is_personal, "the new API is as good as the old one", 30.0)


def test_a_click_taken_while_mongodb_is_gone_counts_when_it_is_back(world: World) -> None:
    world.mongo.stop()
    try:
        click = {"user_id": "newcomer", "item_id": "i3"}
        assert world.ask("POST", "/v1/interactions", click).status == 202
        assert world.strategy("newcomer") == "popular"
    finally:
        world.mongo.start()
    world.is_personal_again("newcomer")


def test_a_changed_password_of_redis_is_taken_up_without_a_restart(world: World) -> None:
    old = RedisConnection(world.redis_file.read_text)
    with Clients(world.address) as clients:
        clients.after()
        old.run(lambda client: client.ping())
        world.redis.set_password("rotated")
        old.run(lambda client: client.client_kill_filter(_type="normal", skipme=True))
        without = clients.after(300)
        world.tell_redis("rotated")
        new = RedisConnection(world.redis_file.read_text)
        before = connections(new)
        until(lambda: connections(new) > before, "the API is connected again")
        clients.after()
    judge(clients.answers)
    assert are_personal(without)
    world.redis.set_password(None)
    world.tell_redis(None)
    for connection in (old, new):
        connection.close()


def connections(connection: RedisConnection) -> int:
    return len(connection.run(lambda client: client.client_list()))
