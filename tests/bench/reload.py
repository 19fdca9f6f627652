"""A new routing table of 100,000 rows while 16 connections exchange pings.

One row changes, so that the whole table is read and built anew; a ping is sent on each connection
every two milliseconds. What is looked at is the slowest ping between the change and a moment after
it took effect, and by how much it is slower than the slowest of as long a stretch just before.
"""

import datetime
import json
import os
import sqlite3
import subprocess
import time

import peers
import stats

ROWS = 100000
CONNECTIONS = 16
INTERVAL_US = 2000
EACH_S = 1.0  # from one change to the next
AFTER_S = 0.1  # workers let go of the old table
SLICE_S = 0.01


class Big(peers.EdgeProxy):
    rows = ROWS
    env = {"EDGEPROXY_DB_RELOAD_SECS": "3600"}  # a change is seen by its own sign


def loaded_at(log):
    """When each table took effect, from the log."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if "event=table_loaded" in line:
            text = line.split("time=", 1)[1].split()[0].replace("Z", "+00:00")
            found.append(datetime.datetime.fromisoformat(text).timestamp())
    return found


def change_rows(path, count):
    """Changes one row, count times; when each was committed."""
    committed = []
    db = sqlite3.connect(path, isolation_level=None)
    for n in range(count):
        time.sleep(EACH_S)
        db.execute("UPDATE backends SET soft_limit = ? WHERE id = 'bench-0'", (90000 + n,))
        committed.append(time.time())
    time.sleep(EACH_S)
    db.close()
    return committed


def slowest(slices_us, began, since, until):
    first, last = int((since - began) / SLICE_S), int((until - began) / SLICE_S) + 1
    part = slices_us[max(0, first):last]
    return max(part, default=0) / 1000


def measure(load, folder, binary, count):
    peer = Big(folder, binary)
    peer.start(peers.Setting())
    try:
        load.urgent(True)
        command = load.command(peer, "ping", "--urgent", "--pings", str(CONNECTIONS), "--interval-us",
                               str(INTERVAL_US), "--warm", "0.5", "--time",
                               str((count + 1) * EACH_S))
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        committed = change_rows(peer.database(), count)
        line = json.loads(client.communicate(timeout=60)[0])
        loaded = loaded_at(peer.log)
    finally:
        load.urgent(False)
        peer.stop()
        os.unlink(peer.database())
    rounds = []
    for commit in committed:
        done = next((at for at in loaded if at > commit), None)
        if done is None:
            raise RuntimeError("a change of the routing table was not seen")
        length = done - commit + AFTER_S
        quiet = commit - AFTER_S - length
        slowest_ms = slowest(line["slices_us"], line["began"], commit, commit + length)
        quiet_ms = slowest(line["slices_us"], line["began"], quiet, quiet + length)
        rounds.append({
            "effect_ms": 1000 * (done - commit),
            "slowest_ms": slowest_ms,
            "quiet_ms": quiet_ms,
            "added_ms": slowest_ms - quiet_ms,
        })
    return {"rounds": rounds, "p50_us": line["p50_us"], "p99_us": line["p99_us"]}


def show(results, say):
    rounds = results["rounds"]
    say(f"Reload of {ROWS:,} rows under {CONNECTIONS} pings every {INTERVAL_US / 1000:g} ms")
    say(f"  until in effect, ms  {stats.spread(rounds, 'effect_ms')}")
    say(f"  slowest ping, ms     {stats.spread(rounds, 'slowest_ms')}")
    say(f"  without a reload     {stats.spread(rounds, 'quiet_ms')}")
    say(f"  added by the reload  {stats.spread(rounds, 'added_ms')}")
