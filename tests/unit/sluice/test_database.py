"""Write transactions of the embedded adapters: whole, nested, or not at all."""

import sqlite3

import pytest

from sluice.embedded.database import Database
from sluice.errors import StorageUnavailable


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "a.db", "CREATE TABLE IF NOT EXISTS t (x INTEGER CHECK (x < 100))")


def put(database, number):
    with database.writing() as connection:
        connection.execute("INSERT INTO t VALUES (?)", (number,))


def others_see(database):
    """What another connection reads."""
    other = Database(database.path, "")
    try:
        return [x for (x,) in other.read("SELECT x FROM t ORDER BY x")]
    finally:
        other.close()


def test_a_write_within_another_becomes_visible_with_it(database):
    with database.writing():
        put(database, 1)
        put(database, 2)
        assert others_see(database) == []
    assert others_see(database) == [1, 2]


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt()])
def test_what_goes_wrong_outside_undoes_the_inner_write_too(database, error):
    def work() -> None:
        with database.writing():
            put(database, 1)
            raise error

    with pytest.raises(type(error)):
        work()
    assert others_see(database) == []
    put(database, 2)
    assert others_see(database) == [2]


def test_a_refused_inner_write_undoes_all_and_is_told_in_a_sentence(database):
    def work() -> None:
        with database.writing():
            put(database, 1)
            put(database, 100)

    with pytest.raises(StorageUnavailable, match=r"a\.db cannot be written: CHECK"):
        work()
    assert others_see(database) == []
    put(database, 2)
    assert others_see(database) == [2]


def test_a_transaction_that_cannot_be_undone_is_not_taken_for_the_next_one(database):
    class Stubborn:
        """A connection whose ROLLBACK fails."""

        in_transaction = True

        def execute(self, statement):
            raise sqlite3.OperationalError("disk I/O error")

        def close(self):
            self.closed = True

    real = database.connection
    stubborn = Stubborn()
    database._local.connection = stubborn
    database._roll_back(stubborn)
    assert stubborn.closed
    put(database, 1)
    assert others_see(database) == [1]
    real.close()
