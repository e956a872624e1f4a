"""A copy of some objects of the API server that follows it: list, then watch, and list again when that breaks."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import urllib3

from cluster.api import Api, ApiError

_AGAIN_S: Final = 0.2


class Watch:
    """The objects at one path, followed by a thread of its own; ``changed`` is called after each change."""

    def __init__(self, api: Api, path: str, changed: Callable[[], None]) -> None:
        self._api, self._path, self._changed = api, path, changed
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.listed = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def objects(self) -> list[dict[str, Any]]:
        """Return what is there now."""
        with self._lock:
            return list(self._objects.values())

    def _follow(self) -> None:
        while True:
            try:
                version = self._list()
                for event in self._api.watch(self._path, version):
                    if event["type"] == "ERROR":
                        break  # the version is too old: list again
                    self._take(event["type"], event["object"])
            except (ApiError, urllib3.exceptions.HTTPError, ValueError) as error:
                print(f"{self._path}: {error}; listing again", flush=True)
                time.sleep(_AGAIN_S)

    def _list(self) -> str:
        found = self._api.get(self._path)
        with self._lock:
            self._objects = {_key(each): each for each in found.get("items") or []}
        self.listed.set()
        self._changed()
        return str(found["metadata"]["resourceVersion"])

    def _take(self, kind: str, each: dict[str, Any]) -> None:
        if kind == "BOOKMARK":
            return
        with self._lock:
            if kind == "DELETED":
                self._objects.pop(_key(each), None)
            else:
                self._objects[_key(each)] = each
        self._changed()


def _key(each: dict[str, Any]) -> tuple[str, str]:
    meta = each["metadata"]
    return meta.get("namespace", ""), meta["name"]
