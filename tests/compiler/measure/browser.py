"""A headless Chromium for tests, spoken to in the DevTools protocol over a pipe: messages of JSON, each ended by a zero byte."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 15.0  # for any one answer


def find() -> str | None:
    """The browser's program, where there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Browser:
    """A running browser. `events` are all that it told without being asked."""

    write: int
    read: int
    events: list[dict[str, Any]] = field(default_factory=list)
    _asked: int = 0
    _rest: bytes = b""

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Do something, and what came of it. Raises RuntimeError where it is refused or takes too long."""
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.write, json.dumps(asked).encode() + b"\0")
        while (found := self._next()).get("id") != self._asked:
            self.events.append(found)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        result: dict[str, Any] = found["result"]
        return result

    def wait(self, method: str, session: str) -> None:
        """Until this event has come."""
        while not any(e.get("method") == method and e.get("sessionId") == session for e in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            if not select.select([self.read], [], [], max(end - time.monotonic(), 0))[0]:
                raise RuntimeError("the browser does not answer")
            got = os.read(self.read, 1 << 16)
            if not got:
                raise RuntimeError("the browser has ended")
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@dataclass(frozen=True)
class Seen:
    """What a page looked like: its own width and the window's, boxes that must be scrolled sideways, its background, what it
    asked the network for and complained of."""

    width: int
    window: int
    scrolled: int
    background: str
    requests: tuple[str, ...]
    errors: tuple[str, ...]


@contextmanager
def started(program: str, folder: Path) -> Iterator[Browser]:
    """A browser with its profile in a folder; it has ended afterwards."""
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()

    def at_three_and_four() -> None:
        os.dup2(to_read, 63)  # the pipe's own numbers may be 3 and 4
        os.dup2(from_write, 64)
        os.dup2(63, 3)
        os.dup2(64, 4)

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    line = [program, *options, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, preexec_fn=at_three_and_four, close_fds=False, stdout=log, stderr=log)
    os.close(to_read)
    os.close(from_write)
    try:
        yield Browser(to_write, from_read)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(from_read)


def look(browser: Browser, page: Path, width: int, scheme: str) -> Seen:
    """Show a page, once it is loaded, in a window of so many pixels and a colour scheme (light, dark)."""
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Network", "Log"):
        browser.call(f"{domain}.enable", session)
    phone = width < 500
    browser.call("Emulation.setDeviceMetricsOverride", session, width=width, height=800, deviceScaleFactor=1, mobile=phone)
    browser.call("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", session, url=page.as_uri())
    browser.wait("Page.loadEventFired", session)
    boxes = "[...document.querySelectorAll('div')].filter(d => d.scrollWidth > d.clientWidth + 1).length"
    script = f"[document.documentElement.scrollWidth, innerWidth, {boxes}, getComputedStyle(document.body).backgroundColor]"
    found = browser.call("Runtime.evaluate", session, expression=script, returnByValue=True)["result"]["value"]
    told = [e for e in browser.events if e.get("sessionId") == session]
    browser.call("Target.closeTarget", targetId=target)
    return Seen(*found, tuple(_requests(told, page)), tuple(_errors(told)))


def _requests(told: Sequence[dict[str, Any]], page: Path) -> Iterator[str]:
    for e in told:
        if e["method"] == "Network.requestWillBeSent" and (url := e["params"]["request"]["url"]) != page.as_uri():
            yield url


def _errors(told: Sequence[dict[str, Any]]) -> Iterator[str]:
    for e in told:
        if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            yield json.dumps(e["params"])
