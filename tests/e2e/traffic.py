"""Load that runs while something changes, and what became of every request of it."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

PACE = 0.004
"""Seconds between two requests of a thread: the machine has others to serve."""


@dataclass
class Traffic:
    """Requests through an HTTP proxy: some threads keep their connection, others open one for each request."""

    proxy: tuple[str, int]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    """200s by kind of connection."""
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        return sum(self.answered.values())

    def __str__(self) -> str:
        return f"{self.total} requests ({dict(self.answered)}), {len(self.failures)} failed: {self.failures[:3]}"

    def wait_for_more(self, number: int = 50) -> None:
        """Wait until so many further requests of each kind were answered."""
        wanted = {kind: self.answered[kind] + number for kind in ("kept", "new")}
        deadline = time.monotonic() + 60
        while any(self.answered[kind] < least for kind, least in wanted.items()):
            assert not self.failures, self
            assert time.monotonic() < deadline, self
            self._stop.wait(PACE)

    def _run(self, kind: str) -> None:
        while not self._stop.is_set():
            with closing(http.client.HTTPConnection(*self.proxy, timeout=30)) as connection:
                self._ask(connection, kind)
                while kind == "kept" and not self._stop.is_set() and not self.failures:
                    self._ask(connection, kind)

    def _ask(self, connection: http.client.HTTPConnection, kind: str) -> None:
        try:
            connection.request("GET", self.url, headers=dict(self.headers))
            response = connection.getresponse()
            body = response.read()
            problem = "" if response.status == 200 else f"{response.status} {body[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            problem = repr(error)
        with self._lock:
            if problem:
                self.failures.append(f"{kind} at {time.strftime('%H:%M:%S')}: {problem}")
            else:
                self.answered[kind] += 1
        self._stop.wait(PACE)


@contextmanager
def traffic(
    proxy: tuple[str, int], url: str, *, kept: int = 2, new: int = 2, headers: Mapping[str, str] | None = None
) -> Iterator[Traffic]:
    """Send requests during the block; none may have failed when it ends."""
    load = Traffic(proxy, url, headers or {})
    threads = [threading.Thread(target=load._run, args=(kind,)) for kind in ["kept"] * kept + ["new"] * new]
    for thread in threads:
        thread.start()
    try:
        load.wait_for_more()
        yield load
        load.wait_for_more()
    finally:
        load._stop.set()
        for thread in threads:
            thread.join(60)
    assert not load.failures, load
