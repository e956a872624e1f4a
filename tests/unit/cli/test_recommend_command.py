"""`sluice recommend` against an API that answers, refuses, babbles, or is not there."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from sluice_cli.main import app

ANSWER = {
    "request_id": "r",
    "model": "default.demo",
    "snapshot": "gmf-1",
    "track": "stable",
    "strategy": "personalized",
    "items": [
        {"item_id": "745", "score": 1.25, "metadata": {"title": "Close Shave,\x1b[31m A", "features": []}},
        {"item_id": "12", "score": 1.0, "metadata": None},
    ],
}
BODIES = {
    '{"user_id":"448","n":2}': (200, json.dumps(ANSWER)),
    '{"user_id":"a/b","n":10,"filter":["genre:Comedy"]}': (200, json.dumps(ANSWER)),
    '{"user_id":"bad","n":10}': (422, json.dumps({"detail": "user_id must be shorter"})),
    '{"user_id":"odd","n":10}': (200, "<html>"),
    '{"user_id":"list","n":10}': (200, "[]"),
}


class Api(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.path == "/v1/recommendations"
        status, body = BODIES[self.rfile.read(int(self.headers["content-length"])).decode()]
        if self.headers["authorization"] not in (None, "Bearer right"):
            status, body = 401, json.dumps({"detail": "the key is unknown"})
        self.send_response(status)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["recommend", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_answer_is_a_table_with_titles(url: str) -> None:
    code, out, _ = run("448", "--n", "2", "--url", f"{url}/")
    assert code == 0
    assert out.splitlines()[0] == "personalized, by gmf-1 (stable), request r"
    assert "745" in out
    assert "Close Shave,�[31m A" in out


def test_an_id_goes_into_the_body_and_json_is_the_answer(url: str) -> None:
    out = run("a/b", "--filter", "genre:Comedy", "--url", url, "--json")[1]
    assert json.loads(out) == ANSWER


def test_a_key_is_sent(url: str) -> None:
    assert run("448", "--n", "2", "--url", url, "--key", "right")[0] == 0
    code, _, err = run("448", "--n", "2", "--url", url, "--key", "wrong")
    assert (code, err) == (1, "sluice: the API refused (401): the key is unknown\n")


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ("bad", "the API refused (422): user_id must be shorter"),
        ("odd", "does not answer as Sluice does"),
        ("list", "does not answer as Sluice does"),
    ],
)
def test_what_is_no_answer_fails_with_a_sentence(url: str, user: str, sentence: str) -> None:
    code, out, err = run(user, "--url", url)
    assert (code, out) == (1, "")
    assert sentence in err


def test_no_api_says_how_to_start_one() -> None:
    code, _, err = run("448", "--url", "http://127.0.0.1:9")
    assert code == 1
    assert err == (
        "sluice: no API answers at http://127.0.0.1:9; start one with sluice up, or give its --url\n"
    )
