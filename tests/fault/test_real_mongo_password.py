"""A changed password of MongoDB, taken up by the profiles process without a restart.

The server of the other tests knows no logins: this one runs where ``SLUICE_TEST_MONGO_URL`` names a MongoDB whose
user may create users, and is skipped elsewhere.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pymongo
import pytest
from harness import Children, until
from shop import Shop

from sluice.mongo.database import MongoDatabase
from sluice.mongo.sources import MongoProfiles
from sluice_cli.backends import Toxiproxy

USER = f"sluice-{secrets.token_hex(4)}"
DATABASE = f"password-{secrets.token_hex(4)}"


@pytest.fixture
def admin() -> Iterator[pymongo.MongoClient]:
    url = os.environ.get("SLUICE_TEST_MONGO_URL")
    if not url:
        pytest.skip(
            "the MongoDB fetched for tests has no logins; SLUICE_TEST_MONGO_URL may name one that has"
        )
    with pymongo.MongoClient(url, serverSelectionTimeoutMS=5_000) as client:
        roles = [{"role": "readWrite", "db": DATABASE}]
        client.admin.command("createUser", USER, pwd="first", roles=roles)
        yield client
        client.admin.command("dropUser", USER)
        client.drop_database(DATABASE)


def test_a_changed_password_of_mongodb_is_taken_up_without_a_restart(
    admin: pymongo.MongoClient, redis_url: str, tmp_path: Path, children: Children
) -> None:
    toxiproxy = Toxiproxy(tmp_path / "toxiproxy")
    toxiproxy.start()
    host, port = admin.address or ("", 0)
    proxy, file = toxiproxy.proxy("mongo", f"{host}:{port}"), tmp_path / "mongo-url"

    def tell(password: str) -> str:
        place, query = f"{USER}:{password}@{proxy.address}", "directConnection=true&authSource=admin"
        url = urlunsplit(urlsplit("")._replace(scheme="mongodb", netloc=place, path="/", query=query))
        file.write_text(url)
        return url

    tell("first")
    shop = Shop(tmp_path, children, f"shop-{secrets.token_hex(4)}")
    stores = {"MONGO_URL_FILE": str(file), "MONGO_DATABASE": DATABASE, "REDIS_URL": redis_url}
    child = shop.process(more={f"SLUICE_{name}": value for name, value in stores.items()})
    try:
        shop.stream(200)
        until(shop.applied, "profiles are kept", 60.0)
        admin.admin.command("updateUser", USER, pwd="second")
        proxy.down()  # logins in use stay, so they are broken off
        proxy.up()
        shop.stream(50)
        until(lambda: "refused the login" in child.says(), "the old password is refused", 60.0)
        url = tell("second")
        until(shop.applied, "profiles are kept again", 60.0)
        assert child.running
        assert child.stop() == 0
        database = MongoDatabase(lambda: url, DATABASE)
        assert any(MongoProfiles(database, shop.source).get(f"u{number}") for number in range(shop.users))
        database.close()
    finally:
        toxiproxy.stop()
