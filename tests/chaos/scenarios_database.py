"""A routing database and a state folder that break: the last good table routes on."""

import contextlib
import os
import resource
import sqlite3

from harness import until
from stage import scenario


class Damage:
    """Ways to break a database, and to bring it back as it was, with one weight changed."""

    def __init__(self, stage, proxy):
        self.stage, self.proxy, self.path = stage, proxy, stage.db.path
        self.good = self.path.read_bytes()
        self.lock = None

    def garbage(self):
        self.path.write_bytes(self.stage.rng.randbytes(len(self.good)))

    def other_garbage(self):
        """Another file, put in its place at once."""
        other = self.path.with_suffix(".new")
        other.write_bytes(b"SQLite format 3\0" + self.stage.rng.randbytes(9000))
        os.replace(other, self.path)

    def damaged_pages(self):
        data = bytearray(self.good)
        for _ in range(40):
            data[self.stage.rng.randrange(100, len(data))] ^= self.stage.rng.randint(1, 255)
        self.path.write_bytes(data)

    def deleted(self):
        self.path.unlink()

    def truncated(self):
        """In the middle of what is read: schema or backends."""
        os.truncate(self.path, self.stage.rng.randrange(1, 8192))

    def empty(self):
        os.truncate(self.path, 0)

    def a_folder(self):
        self.path.unlink()
        self.path.mkdir()

    def without_tables(self):
        self.stage.db.run("ALTER TABLE backends RENAME TO elsewhere")

    def locked(self):
        self.lock = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        self.lock.execute("BEGIN EXCLUSIVE")

    def mend(self):
        if self.lock:
            self.lock.rollback()
            self.lock.close()
            self.lock = None
        if self.path.is_dir():
            self.path.rmdir()
        other = self.path.with_suffix(".good")
        other.write_bytes(self.good)
        os.replace(other, self.path)
        for leftover in ("-journal", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}{leftover}")
        mark = self.proxy.mark()
        self.stage.db.set("good-0", weight=self.stage.rng.randint(10, 60_000))
        self.good = self.path.read_bytes()
        self.proxy.wait_event("table_loaded", since=mark)


@scenario
def the_database_breaks(stage):
    """garbage, damaged, deleted, truncated, empty, a folder, without its table, locked"""
    stage.honest(3)
    proxy = stage.start(EDGEPROXY_DB_RELOAD_SECS=1, EDGEPROXY_SHRINK_HOLD_SECS=3600)
    damage = Damage(stage, proxy)
    ways = [damage.garbage, damage.other_garbage, damage.deleted, damage.truncated, damage.empty,
            damage.a_folder, damage.without_tables, damage.locked, damage.damaged_pages]
    with stage.crowd(proxy.addr) as crowd:
        for _ in range(stage.rounds(1, 6)):
            stage.rng.shuffle(ways)
            for way in ways:
                mark = proxy.mark()
                way()
                # Damaged pages may be none that anybody reads.
                if way != damage.damaged_pages:
                    until(lambda: proxy.log.find("reload_failed", since=mark) or
                          proxy.log.find("reload_held", since=mark) or
                          (way == damage.locked and crowd.finished),
                          f"news of a database that is broken: {way.__name__}")
                crowd.until_more(15)
                damage.mend()
                crowd.until_more(5)


def tiny_file_system(state):
    """What runs a program with a state folder on a file system that is full; None: not here."""
    if os.geteuid() != 0 or os.system("unshare --mount true 2>/dev/null") != 0:
        return None
    script = 'mount -t tmpfs -o size=64k none "$0" && head -c 64k /dev/zero >"$0/filler" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, str(state))


@scenario
def the_disk_is_full(stage):
    """state folder on a full file system, then under a limit of file size: only saving suffers"""
    stage.honest(3)
    for kind in ("file-system", "limit"):
        state = stage.folder / kind
        state.mkdir()
        prefix = tiny_file_system(state) if kind == "file-system" else ()
        if prefix is None:
            stage.note("no mount namespace here: only the limit of file size was tried")
        else:
            full_disk(stage, prefix, state, kind)


def full_disk(stage, prefix, state, kind):
    proxy = stage.start(prefix=prefix, EDGEPROXY_STATE_DIR=state, EDGEPROXY_STATE_SAVE_SECS=1,
                        EDGEPROXY_BINDING_TTL_SECS=600, EDGEPROXY_DB_RELOAD_SECS=1)
    if kind == "limit":
        resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    for number in range(200):  # a table that needs more than there is
        stage.db.add(f"{kind}-{number}", ("127.0.0.1", 9), healthy=0)
    with stage.crowd(proxy.addr, down=(1, 2000)) as crowd:
        until(lambda: proxy.log.find("last_good_failed") and proxy.log.find("state_not_saved")
              or proxy.log.ended, "a table and a state that cannot be saved")
        crowd.until_more(stage.rounds(40, 400))
    stage.idle()
    failed = {event: len(proxy.log.find(event)) for event in ("last_good_failed", "state_not_saved")}
    stage.note(f"{kind}: {failed}")
    proxy.stop()
