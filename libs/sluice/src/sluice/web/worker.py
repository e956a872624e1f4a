"""The gunicorn worker of Sluice's services: threads answer whole requests, and wait for no client.

All connections are watched by one epoll that every thread polls. The thread that is woken reads what is there,
and if that makes a request whole, it answers; so a request costs no hand-over between threads, and a slow client
costs memory, not a thread. The main thread accepts, ends what is overdue, and tells gunicorn that it lives.

Who takes a connection out of ``_waiting`` owns it until it is put back; each is armed for one event at a time.
"""

import contextlib
import errno
import math
import os
import select
import socket
import threading
import time
from typing import Final

from gunicorn.http.message import Request
from gunicorn.workers.base import Worker

from sluice.web.answering import answer
from sluice.web.connections import ARRIVING, IDLE, LEAVING, Connection, refusal
from sluice.web.gather import Refused
from sluice.web.held import Held, longest_first

TICK_S: Final = 0.25
ACCEPTS: Final = 64
LAST_REQUEST_S: Final = 2.0
"""So long after SIGTERM an idle connection may still bring a request; its answer says that it is the last."""
LARGE_BYTES: Final = 64 << 10
"""An unfinished request above this is refused itself when there is no room; for a smaller one, another is."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LATE: Final = refusal(Refused(408, "too-slow", "the request did not arrive within 10 s; send it faster"))
_CUT_SHORT: Final = refusal(Refused(400, "bad-request", "the request ends too early; send all of it"))
_FULL: Final = (503, "busy", "too much of too many requests is on its way here; try again")
_FAILED: Final = refusal(
    Refused(500, "unexpected", "an unexpected error was logged; report it with the time")
)


class GatheringWorker(Worker):  # type: ignore[misc]
    """See the module. ``worker_connections`` bounds the connections; beyond, those that wait longest end."""

    def init_process(self) -> None:
        """Prepare what the threads share, then run."""
        # Each request asks gunicorn's settings some twenty times; as attributes they cost nothing.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self._epoll = select.epoll()
        self._waiting: dict[int, Connection] = {}
        self._open: set[Connection] = set()
        self._held = Held()
        self._ended, self._end = os.pipe()
        self._epoll.register(self._ended, select.EPOLLIN)
        super().init_process()

    def run(self) -> None:
        """Serve until SIGTERM, then drain."""
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.cfg.threads)]
        for thread in threads:
            thread.start()
        poll = select.poll()
        listeners = {listener.fileno(): listener for listener in self.sockets}
        for descriptor, listener in listeners.items():
            listener.setblocking(False)
            poll.register(descriptor, select.POLLIN)
        poll.register(self.PIPE[0], select.POLLIN)  # a signal came
        while self.alive and self.ppid == os.getppid():
            self.notify()
            for descriptor, _ in poll.poll(TICK_S * 1e3):
                if descriptor in listeners:
                    self._accept(listeners[descriptor])
                else:
                    os.read(descriptor, 64)
            self._end_overdue()
        self._drain()
        os.write(self._end, b"x")
        for thread in threads:
            thread.join()

    def _drain(self) -> None:
        """Answer what has come, each answer the last of its connection, and let nobody else in."""
        for listener in self.sockets:
            while self._accept(listener):
                pass
            listener.close()
        began = time.monotonic()
        while self._open and time.monotonic() < began + self.cfg.graceful_timeout:
            self.notify()
            self._end_overdue(began + LAST_REQUEST_S)
            time.sleep(0.01)

    def _accept(self, listener: socket.socket) -> int:
        """Take new connections; return how many."""
        for count in range(ACCEPTS):
            if len(self._open) >= self.cfg.worker_connections and not self._end_oldest():
                time.sleep(0.001)  # every one is being answered
                return count
            try:
                sock, peer = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._end_oldest()
                return count
            self._admit(Connection(sock, peer, listener.getsockname(), self.cfg, time.monotonic()))
        return ACCEPTS

    def _admit(self, connection: Connection) -> None:
        connection.sock.setblocking(False)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._epoll.register(connection.descriptor, select.EPOLLONESHOT)
        self._open.add(connection)
        self._wait(connection)

    def _end_oldest(self) -> int:
        """Close the sixteenth of the connections that waits longest; return how many that were."""
        waiting = list(self._waiting.values())  # at once: other threads take and put
        oldest = sorted(waiting, key=lambda connection: connection.since)
        taken = [self._waiting.pop(each.descriptor, None) for each in oldest[: len(oldest) // 16 + 1]]
        for connection in taken:
            if connection is not None:
                self._close(connection)
        return len(taken)

    def _end_overdue(self, idle_until: float = math.inf) -> None:
        now = time.monotonic()
        for descriptor, seen in list(self._waiting.items()):
            if _overdue(seen, now, idle_until) and (taken := self._waiting.pop(descriptor, None)):
                if _overdue(taken, now, idle_until):  # else a thread has had it in between
                    self._end_one(taken)
                else:
                    self._wait(taken)

    def _end_one(self, connection: Connection) -> None:
        if connection.phase is ARRIVING and connection.gathering.begun:
            self._turn(connection, _LATE)
        elif connection.phase is IDLE and connection.has_news():  # its request came just now
            self._wait(connection)
        else:
            self._close(connection)

    def _serve(self) -> None:
        """One thread: wait until something happens on a connection, do what that allows."""
        while True:
            for descriptor, _ in self._epoll.poll(maxevents=1):
                if descriptor == self._ended:
                    return
                connection = self._waiting.pop(descriptor, None)
                if connection is not None:
                    self._turn(connection)

    def _turn(self, connection: Connection, last_words: bytes = b"") -> None:
        """Bring a connection as far as it goes without waiting, then let it wait, or close it."""
        try:
            if last_words:
                connection.send(last_words, last=True)
                connection.settle(time.monotonic(), answered=True)
            elif not self._advance(connection):
                self._close(connection)
                return
            self._held.count(connection)
            self._wait(connection)
        except OSError:  # the client is gone
            self._close(connection)
        except Exception:
            self.log.exception("a connection failed")
            self._close(connection)

    def _advance(self, connection: Connection) -> bool:
        """Send, receive and answer what can be now; return whether the connection goes on."""
        answered = False
        if connection.wants_to_send:
            connection.send_rest()
        elif not connection.receive():
            if connection.may_ask and connection.gathering.begun:  # it may still read
                connection.send(_CUT_SHORT, last=True)
            return False
        try:
            while connection.may_ask and (request := connection.gathering.whole()) is not None:
                connection.send(*self._answer(connection, request))
                answered = True
            if self._held.count(connection):
                self._make_room(connection)
            if connection.gathering.expects_continue():
                connection.send(_CONTINUE)
        except Refused as refused:
            connection.send(refusal(refused), last=True)
        connection.settle(time.monotonic(), answered=answered)
        return True

    def _make_room(self, growing: Connection) -> None:
        """Close who does not take an answer, then refuse ``growing`` (by :class:`Refused`) or who is slower."""
        waiting = list(self._waiting.values())
        self._end_some(longest_first(waiting, LEAVING))
        if not self._held.too_much:
            return
        if growing.may_ask and growing.held > LARGE_BYTES:
            raise Refused(*_FULL)
        self._end_some(longest_first(waiting, ARRIVING))

    def _end_some(self, connections: list[Connection]) -> None:
        for connection in connections:
            if self._held.enough_room:
                return
            taken = self._waiting.pop(connection.descriptor, None)
            if taken is not None and taken.phase is ARRIVING:
                self._turn(taken, refusal(Refused(*_FULL)))
            elif taken is not None:
                self._close(taken)

    def _answer(self, connection: Connection, request: Request) -> tuple[bytes, bool]:
        """Return the app's answer, and whether it is the connection's last."""
        try:
            return answer(self.wsgi, request, connection, self.cfg, lambda: not self.alive)
        except Exception:
            self.log.exception("a request failed")
            return _FAILED, True

    def _wait(self, connection: Connection) -> None:
        event = select.EPOLLOUT if connection.wants_to_send else select.EPOLLIN
        self._waiting[connection.descriptor] = connection
        with contextlib.suppress(OSError):  # from here on it may be taken, and closed
            self._epoll.modify(connection.descriptor, event | select.EPOLLONESHOT)

    def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._held.forget(connection)
        connection.sock.close()


def _overdue(connection: Connection, now: float, idle_until: float) -> bool:
    return now >= connection.deadline or (connection.phase is IDLE and now >= idle_until)
