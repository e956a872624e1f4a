"""The bare pair: two minimal Falcon apps on gunicorn's gthread in a row, in memory only.

``python bare.py front PORT BACK_PORT`` or ``python bare.py back PORT``. The front reads a user's 50 recent items
from a dict, posts them to the back, and answers with the ten items that come back: what any such service must do.
"""

import sys

import falcon
import msgspec
import urllib3
from gunicorn.app.base import BaseApplication

RECENT = [
    {"item_id": f"item-{number}", "event": "view", "value": 1.0, "ts": 1_700_000_000_000}
    for number in range(50)
]
FOUND = [{"item_id": f"item-{number}", "score": 1.0 / (number + 1)} for number in range(10)]


class Front:
    def __init__(self, back: int) -> None:
        self._pool = urllib3.connection_from_url(f"http://127.0.0.1:{back}", maxsize=4)

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        body = msgspec.json.encode({"recent": RECENT, "features": [], "exclude": [], "k": 10})
        answer = self._pool.urlopen("POST", "/search", body=body)
        items = msgspec.json.decode(answer.data)["items"]
        resp.data = msgspec.json.encode({"user_id": user_id, "items": items})
        resp.content_type = falcon.MEDIA_JSON


class Back:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        msgspec.json.decode(req.bounded_stream.read())
        resp.data = msgspec.json.encode({"items": FOUND})
        resp.content_type = falcon.MEDIA_JSON


class Server(BaseApplication):
    def __init__(self, app: falcon.App, port: int) -> None:
        self._app, self._port = app, port
        super().__init__()

    def load_config(self) -> None:
        settings = {"bind": f"127.0.0.1:{self._port}", "worker_class": "gthread", "threads": 4}
        more = {"keepalive": 75, "control_socket_disable": True, "loglevel": "warning", "graceful_timeout": 1}
        for name, value in {**settings, **more}.items():
            self.cfg.set(name, value)

    def load(self) -> falcon.App:
        return self._app


if __name__ == "__main__":
    app = falcon.App()
    if sys.argv[1] == "front":
        app.add_route("/recommendations/{user_id}", Front(int(sys.argv[3])))
    else:
        app.add_route("/search", Back())
    Server(app, int(sys.argv[2])).run()
