"""One worker process: adapters, holder, app. Imported only after the fork, because it loads Faiss."""

import gc
from collections.abc import Callable
from typing import Any, Final

from sluice import instruments, metrics, statsd
from sluice.backing import Backing
from sluice.loops import Loop
from sluice.metrics import Process
from sluice.overlay_tail import Followed, Tail
from sluice.snapshot.index import library
from sluice.topics import topics_of
from sluice_faiss.app import create_app
from sluice_faiss.board import Board
from sluice_faiss.cache import Cache
from sluice_faiss.holder import Holder
from sluice_faiss.live import Live
from sluice_faiss.memory import Memory
from sluice_faiss.settings import FaissSettings
from sluice_faiss.wanted import WorkerState, together
from sluice_faiss.watch import Desired

LOOK_S: Final = 0.1
FIRST_LOOK_S: Final = 30.0
MEASURE_S: Final = 5.0


class FaissWorker:
    """See :class:`~sluice.web.server.Worker`."""

    def __init__(self, settings: FaissSettings, board: Board) -> None:
        backing, topics = Backing(settings), topics_of(settings.source_name)
        catalog = backing.catalog(settings.model_key)
        live = Live(settings.overlay_items)
        followed: dict[str, Followed] = {topics.items: live.overlay, topics.users: live.forgotten}
        self._tail = Tail(backing.log(settings.source_name), followed, live.refresh)
        store = backing.snapshots(settings.model_key) if settings.store else None
        cache = Cache(settings.cache_path, store, Memory(settings.memory_bytes))
        self._holder = Holder(
            Desired(settings.wanted_path, settings.stable_path),
            catalog,
            cache,
            board.write,
            live.bind,
            self._tail.state,
        )
        self._board, self._workers = board, settings.workers
        self._loop = Loop("holder", LOOK_S, self._holder.look)
        headroom = instruments.gauge(metrics.HEADROOM)
        self._measuring = Loop("headroom", MEASURE_S, lambda: headroom.set(cache.headroom()))
        self._statsd = statsd.Pusher(settings.statsd, Process.FAISS)
        self._app = create_app(lambda: self._holder.units, self._state, cache.headroom, settings.source_name)

    @property
    def wsgi(self) -> Callable[..., Any]:
        """The app."""
        return self._app

    def start(self) -> None:
        """Accept requests once the snapshots at hand serve and the overlay is live; wait 30 s for each."""
        self._statsd.start()
        self._tail.start()
        self._loop.start()
        self._measuring.start()
        library()  # now: importing it later, when a large snapshot comes, would hold searches up
        self._holder.settled.wait(FIRST_LOOK_S)
        self._tail.caught_up.wait(FIRST_LOOK_S)
        gc.freeze()  # what is here stays: no collection walks through it, which takes tens of milliseconds

    def stop(self) -> None:
        """Stop looking."""
        self._measuring.stop()
        self._loop.stop()
        self._tail.stop()
        self._statsd.stop()

    def _state(self) -> WorkerState:
        return together(self._board.read(), self._workers)
