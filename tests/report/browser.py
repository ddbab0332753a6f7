"""A real Chromium without a window, asked over DevTools' pipe: what it shows, and what it complains of."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip

SECONDS = 60
"""How long it may think."""


class Browser:
    """One tab.

    Attributes:
        complaints: what the browser logged: errors of the console, what a policy has blocked, what could not be had.
    """

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number, self._rest = 0, b""
        self._session: str | None = None
        self.complaints: list[str] = []
        self._events: list[str] = []
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Audits"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What DevTools answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._to, left) :]
        while True:
            got = self._read()
            if got.get("id") == self._number:
                assert "error" not in got, got["error"]
                found: dict[str, Any] = got["result"]
                return found

    def show(self, file: Path, width: int, height: int = 900, scheme: str = "light") -> None:
        """Opens a page in a window of that width (CSS pixels) and waits until it is loaded."""
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._events.clear()
        self.call("Page.navigate", url=file.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._read()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, which a page's policy does not keep DevTools from."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, file: Path) -> Path:
        """All of the page as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(shot))
        return file

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        self.call("Browser.close")

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], SECONDS)[0], f"the browser said nothing for {SECONDS} s"
            more = os.read(self._back, 1 << 16)
            assert more, "the browser ended"
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        got: dict[str, Any] = json.loads(first)
        method, params = got.get("method", ""), got.get("params", {})
        self._events.append(method)
        if method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(params["args"]))
        elif method in ("Runtime.exceptionThrown", "Audits.issueAdded", "Page.javascriptDialogOpening"):
            self.complaints.append(json.dumps(params))
        return got


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile in a folder that is not there yet."""
    assert CHROMIUM is not None
    there, to = os.pipe()
    back, here = os.pipe()

    def places() -> None:  # DevTools' pipe is files 3 and 4; what may lie there already is moved out of the way first
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (there, here)]
        for end, place in zip(ends, (3, 4), strict=True):
            os.dup2(end, place)

    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    process = subprocess.Popen(
        command, preexec_fn=places, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(there)
    os.close(here)
    try:
        tab = Browser(to, back)
        yield tab
        tab.close()
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        os.close(to)
        os.close(back)
