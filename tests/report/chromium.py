"""A headless Chromium that is driven over a pipe, by its DevTools protocol; nothing but the standard library."""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


class Tab:
    """One page; `heard` is every event since it was opened."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from, self._number, self._session = to_browser, from_browser, 0, {}
        self.heard = []

    def send(self, method, **parameters):
        """The answer to a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._until(lambda said: said.get("id") == self._number).get("result", {})

    def wait_for(self, event):
        """Returns when it happens, or has happened."""
        if not any(said.get("method") == event for said in self.heard):
            self._until(lambda said: said.get("method") == event)

    def _until(self, wanted):
        while True:
            said = json.loads(self._message())
            self.heard.append(said)
            if wanted(said):
                return said

    def _message(self):
        text = bytearray()
        while byte := self._from.read(1):
            if byte == b"\0":
                return bytes(text)
            text += byte
        raise EOFError("the browser has ended")

    def open(self, address):
        """Loads a page, listening to the console and to the network."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.heard.clear()
        self.send("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired")

    def value(self, expression):
        """Of JavaScript in the page."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key):
        """One key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES[key])

    def events(self, *methods):
        """What has been heard of some kinds."""
        return [said for said in self.heard if said.get("method") in methods]


_CODES = {"ArrowRight": 39, "End": 35, "Home": 36}


@contextmanager
def tab(profile):
    """A tab of a browser with a profile of its own."""
    (commands, to_browser), (from_browser, answers) = os.pipe(), os.pipe()
    arguments = [str(FOUND), *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    shell = f'exec "$@" 3<&{commands} 4>&{answers}'
    browser = subprocess.Popen(
        ["bash", "-c", shell, "bash", *arguments], pass_fds=(commands, answers), stderr=subprocess.DEVNULL
    )
    os.close(commands)
    os.close(answers)
    with os.fdopen(from_browser, "rb") as answered:
        try:
            yield Tab(to_browser, answered)
        finally:
            os.close(to_browser)  # which ends the browser
            browser.wait(30)
