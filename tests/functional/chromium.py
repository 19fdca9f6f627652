"""A headless Chromium, driven by the DevTools protocol over a pipe: no driver, no library.

It has a profile of its own, which goes with it. What a page says on its console, what it throws,
what its policy forbids and what it asks of the network is collected while it runs."""

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading

PATIENCE_SECS = 60
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

# The protocol is spoken on descriptors 3 and 4, whatever numbers the pipes have here.
TRAMPOLINE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for number, fd in zip((3, 4), ends):
    os.dup2(fd, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="chromium-", dir="/tmp")
        to_browser, self.to = os.pipe()
        self.back, from_browser = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAMPOLINE, str(to_browser), str(from_browser), PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--mute-audio",
             "--force-color-profile=srgb", "--lang=en-US",
             f"--user-data-dir={self.profile}", "--remote-debugging-pipe", "about:blank"],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "HOME": self.profile, "TZ": "UTC"})
        os.close(to_browser)
        os.close(from_browser)
        self.next_id = 0
        self.answers = {}
        self.pages = {}
        self.news = threading.Condition()
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        with open(self.back, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 20):
                *whole, rest = (rest + chunk).split(b"\0")
                for text in whole:
                    self._take(json.loads(text))
        with self.news:
            self.ended = True
            self.news.notify_all()

    def _take(self, message):
        with self.news:
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].take(message["method"], message["params"])
            self.news.notify_all()

    def call(self, method, session=None, **params):
        with self.news:
            self.next_id += 1
            number = self.next_id
            message = dict(id=number, method=method, params=params)
            if session:
                message["sessionId"] = session
            os.write(self.to, json.dumps(message).encode() + b"\0")
            done = self.news.wait_for(lambda: number in self.answers or self.ended, PATIENCE_SECS)
            assert done and number in self.answers, f"the browser does not answer {method}"
            answer = self.answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def page(self, width=1280, height=900, scale=1):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        with self.news:
            self.pages[session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.size(width, height, scale)
        return page

    def close(self):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    def __init__(self, browser, session, target):
        self.browser = browser
        self.session = session
        self.target = target
        self.trouble = []   # console errors, exceptions, violations of the policy
        self.requests = []  # every URL that was asked for
        self.loaded = queue.Queue()

    def take(self, method, params):
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.trouble.append([a.get("value", a.get("description")) for a in params["args"]])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.trouble.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.trouble.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded.put(True)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def size(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=False)

    def prefer(self, scheme="light", motion="no-preference"):
        self.call("Emulation.setEmulatedMedia", features=[
            dict(name="prefers-color-scheme", value=scheme),
            dict(name="prefers-reduced-motion", value=motion)])

    def go(self, url):
        self.call("Page.navigate", url=url)
        self.loaded.get(timeout=PATIENCE_SECS)

    def eval(self, expression):
        """The value of an expression of JavaScript in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                           returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector):
        return self.eval(f"document.querySelector({json.dumps(selector)})?.textContent")

    def count(self, selector):
        return self.eval(f"document.querySelectorAll({json.dumps(selector)}).length")

    def type(self, selector, text):
        self.eval(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def click(self, selector):
        self.eval(f"document.querySelector({json.dumps(selector)}).click()")

    def key(self, key, code, number):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code,
                      windowsVirtualKeyCode=number)

    def screenshot(self, path, whole=False):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
