#!/usr/bin/env python3
"""Takes the pictures of the live page in docs/: a POP in Europe, eleven backends, clients of fourteen
countries, for about a minute. Needs chromium, and pngquant to make them small; all of it happens on this machine.

    EDGEPROXY_BIN=build/edgeproxy python3 tests/demo/live_page.py
"""

import contextlib
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "functional"))

import chromium  # noqa: E402
import harness  # noqa: E402
import peers  # noqa: E402

CLIENTS = 60
WARM_UP_SECS = 55
BACKENDS = (
    ("sa-gru-1", "sa", "BR"), ("sa-gru-2", "sa", "BR"), ("sa-scl-1", "sa", "CL"),
    ("us-iad-1", "us", "US"), ("us-iad-2", "us", "US"), ("us-yyz-1", "us", "CA"),
    ("eu-fra-1", "eu", "DE"), ("eu-lhr-1", "eu", "GB"), ("ap-nrt-1", "ap", "JP"),
    ("ap-sin-1", "ap", "SG"), ("lab-1", "lab-x", None),
)
# Networks of the embedded database, and how many clients come from there.
NETWORKS = {
    "200.160.2.": 9, "12.0.0.": 7, "84.128.0.": 6, "126.0.0.": 5, "190.98.0.": 2, "81.2.69.": 3,
    "1.6.0.": 3, "41.0.0.": 2, "1.128.0.": 2, "101.0.0.": 1, "80.10.0.": 2, "187.130.0.": 2,
    "99.224.0.": 2, "5.0.0.": 1,
}
# Regions of which nobody has a backend: their clients get those of the POP's region.
FAR = {"IN": "in", "ZA": "af", "SY": "me", "AU": "oc"}


def client(proxy, seed, ended):
    chance = random.Random(seed)
    while not ended.is_set():
        network = chance.choices(list(NETWORKS), list(NETWORKS.values()))[0]
        with contextlib.suppress(OSError), \
                proxy.connect(f"{network}{chance.randrange(1, 250)}") as sock:
            for _ in range(chance.randrange(2, 40)):
                sock.sendall(b"x" * chance.randrange(2000, 60000))
                sock.recv(65536)
                if ended.wait(chance.random() * 0.15):
                    return


def take_pictures(proxy, db):
    browser = chromium.Browser()
    try:
        # One page: of two, the hidden one would stand still.
        page = browser.page(1440, 1000)
        page.prefer("light")
        page.go(f"http://{proxy.wait_event('api_listening')['addr']}/")
        time.sleep(WARM_UP_SECS)
        db.set("eu-lhr-1", state="drain")
        db.set("us-yyz-1", healthy=0)
        # Full, so that some of its region's clients have to go farther.
        db.set("ap-nrt-1", hard_limit=1)
        db.set("ap-sin-1", hard_limit=1)
        db.set("eu-fra-1", hard_limit=19)
        time.sleep(6)
        page.type("#explain-ip", harness.JP)
        page.click("#explain-form button")
        harness.until(lambda: page.text("#explanation"), "an explanation")
        if page.count("#explanation .error"):
            page.eval("document.getElementById('explanation').replaceChildren()")
        page.eval("document.activeElement.blur()")
        page.size(1440, page.eval("document.documentElement.scrollHeight"))
        for scheme in ("light", "dark"):
            page.prefer(scheme)
            time.sleep(2)
            picture = ROOT / "docs" / f"live-page-{scheme}.png"
            page.screenshot(picture)
            if shutil.which("pngquant"):
                subprocess.run(["pngquant", "--force", "--skip-if-larger", "--strip",
                                f"--output={picture}", picture], check=True)
    finally:
        browser.close()


def main():
    with tempfile.TemporaryDirectory() as folder:
        db = harness.RoutingDb(pathlib.Path(folder) / "routing.db")
        made = []
        for id, region, country in BACKENDS:
            made.append(peers.Echo())
            db.add(id, made[-1], region=region, country=country, app="web", soft_limit=20,
                   hard_limit=40, weight=2)
        for country, region in FAR.items():
            db.country_region(country, region)
        proxy = harness.Proxy(db, {
            "EDGEPROXY_REGION": "eu", "EDGEPROXY_API_ENABLED": "true",
            "EDGEPROXY_API_LISTEN_ADDR": "127.0.0.1:0", "EDGEPROXY_BINDING_TTL_SECS": 0,
            "EDGEPROXY_DRAIN_GRACE_SECS": 0})
        ended = threading.Event()
        threads = [threading.Thread(target=client, args=(proxy, i, ended)) for i in range(CLIENTS)]
        try:
            proxy.wait_event("ready")
            for thread in threads:
                thread.start()
            take_pictures(proxy, db)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            proxy.stop()
            for one in made:
                one.close()


if __name__ == "__main__":
    main()
