"""A real browser to look at a page with: headless Chromium, over its debugging pipe.

`python -m tests.browser PAGE.html PICTURE.png [WIDTH [HEIGHT [light|dark]]]` takes a picture.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 180.0
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe", "--force-color-profile=srgb"),
)


def program() -> str | None:
    """Chromium's, as Debian calls it; None when it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One tab.

    Attributes:
        said: what the console and the browser's own log said.
        asked: every address that the page wanted.
    """

    def __init__(self, to_it: int, from_it: int) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self._to, self._from = to_it, from_it
        self._ids = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        told = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = told["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def show(self, page: Path, width: int, height: int = 900, scheme: str = "light") -> None:
        """Load a file in a window of this size."""
        self.said.clear()
        self.asked.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=wanted)
        self._loaded = False
        self.call("Page.navigate", url=page.resolve().as_uri())
        deadline = time.monotonic() + SECONDS
        while not self._loaded:
            self._take(self._message(deadline))

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression is, as JSON types."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def picture(self, *, whole: bool = True) -> bytes:
        """A PNG of the window, or of the whole page."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer."""
        number = next(self._ids)
        command: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            message = self._message(deadline)
            if message.get("id") == number:
                assert "error" not in message, message
                answer: dict[str, Any] = message["result"]
                return answer
            self._take(message)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError("Chromium does not answer")
            more = os.read(self._from, 1 << 20)
            if not more:
                raise ConnectionError("Chromium is gone")
            self._buffer += more
        one, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(one)
        return message

    def _take(self, message: dict[str, Any]) -> None:
        """An event that was not requested."""
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(params))


@contextlib.contextmanager
def opened(chromium: str) -> Iterator[Browser]:
    """A browser that is gone when the block is left."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    with tempfile.TemporaryDirectory(prefix="zaptrace-chromium-") as profile:
        # Chromium reads from descriptor 3 and writes to 4.  (Not every sh knows two digits.)
        shell = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}'
        flags = (*_FLAGS, f"--user-data-dir={profile}", "about:blank")
        child = subprocess.Popen(
            ["/bin/bash", "-c", shell, chromium, *flags],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        try:
            browser = Browser(our_out, our_in)
            yield browser
            with contextlib.suppress(ConnectionError, TimeoutError, OSError):
                browser.call("Browser.close")
        finally:
            os.close(our_out)
            os.close(our_in)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
            child.kill()
            child.wait()


def main(
    page: str, picture: str, width: str = "1200", height: str = "0", scheme: str = "light"
) -> None:
    chromium = program()
    assert chromium, "Chromium is not installed"
    with opened(chromium) as browser:
        browser.show(Path(page), int(width), int(height) or 900, scheme)
        Path(picture).write_bytes(browser.picture(whole=not int(height)))
        for said in browser.said:
            print(said, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
