# SPDX-License-Identifier: Apache-2.0
"""A headless chromium for tests, driven by the DevTools protocol over a pipe.

    with Browser() as browser:
        browser.open("http://127.0.0.1:9100/status")
        browser.wait("document.title === 'ready'")

The protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each ended by a
zero byte; the browser reads them from descriptor 3 and writes to descriptor 4.
"""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

WAIT_S = 60  # for anything that is to happen: generous, as machines may be slow


def missing() -> str | None:
    """Why there is no browser here; None if there is one."""
    return None if shutil.which("chromium") else "chromium is not installed (tools/setup)"


class Browser:
    """One page of one browser, with a profile of its own."""

    def __init__(self):
        self._profile = tempfile.TemporaryDirectory(prefix="weft_browser.", dir="/tmp")
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        self._log = open(pathlib.Path(self._profile.name) / "log", "wb")
        # Tests run as root too, where chromium has no sandbox, and in containers with little
        # /dev/shm. No component of it talks to anybody.
        arguments = [
            "chromium", "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
            "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--no-first-run", "--no-proxy-server", f"--user-data-dir={self._profile.name}",
            "--remote-debugging-pipe", "about:blank"
        ]
        redirect = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(["bash", "-c", redirect, "bash", *arguments],
                                         pass_fds=(to_browser, from_browser),
                                         stdout=self._log,
                                         stderr=self._log,
                                         env={**os.environ, "HOME": self._profile.name})
        os.close(to_browser)
        os.close(from_browser)
        self._unread = b""
        self._number = 0
        self._session = None
        self.events = []  # of the page: {"method", "params"}
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page["targetId"],
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._log.close()
        # What the browser's other processes still write when they notice its end.
        shutil.rmtree(self._profile.name, ignore_errors=True)
        self._profile._finalizer.detach()

    def send(self, method: str, **params):
        """One command; returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                break
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, deadline: float):
        while b"\0" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            read = os.read(self._in, 1 << 20)
            if not read:
                log = (pathlib.Path(self._profile.name) / "log").read_text(errors="replace")
                raise RuntimeError(f"the browser has ended: {log[-2000:]}")
            self._unread += read
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def open(self, url: str):
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str):
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str):
        """Until the expression is true; returns its value."""
        deadline = time.monotonic() + WAIT_S
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            if time.monotonic() > deadline:
                page = self.evaluate("document.body.innerText")
                raise AssertionError(f"never: {expression}\nthe page says:\n{page}")
            time.sleep(0.1)

    def press(self, key: str):
        """Tab, Enter, or a character."""
        codes = {"Tab": 9, "Enter": 13}
        params = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0]))}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **params)
        self.send("Input.dispatchKeyEvent", type="keyUp", **params)

    def screenshot(self, path: str):
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))
