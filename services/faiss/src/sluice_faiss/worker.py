"""One worker process: adapters, holder, app. Imported only after the fork, because it loads Faiss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog
from sluice.loops import Loop
from sluice_faiss.app import create_app
from sluice_faiss.board import Board
from sluice_faiss.cache import Cache
from sluice_faiss.holder import Holder
from sluice_faiss.memory import headroom
from sluice_faiss.settings import FaissSettings
from sluice_faiss.wanted import WorkerState, together
from sluice_faiss.watch import WantedFile

LOOK_S: Final = 0.1
FIRST_LOOK_S: Final = 30.0


class FaissWorker:
    """See :class:`~sluice.web.server.Worker`."""

    def __init__(self, settings: FaissSettings, board: Board) -> None:
        catalog = EmbeddedCatalog(Home(settings.home_path).model(settings.model_key))
        cache = Cache(settings.cache_path, Path(settings.store) if settings.store else None)
        self._holder = Holder(WantedFile(settings.wanted_path), catalog, cache, board.write)
        self._board, self._workers = board, settings.workers
        self._loop = Loop("holder", LOOK_S, self._holder.look)
        self._app = create_app(lambda: self._holder.units, self._state, headroom)

    @property
    def wsgi(self) -> Callable[..., Any]:
        """The app."""
        return self._app

    def start(self) -> None:
        """Look for wanted snapshots; accept requests once those at hand serve, or after 30 s."""
        self._loop.start()
        self._holder.settled.wait(FIRST_LOOK_S)

    def stop(self) -> None:
        """Stop looking."""
        self._loop.stop()

    def _state(self) -> WorkerState:
        return together(self._board.read(), self._workers)
