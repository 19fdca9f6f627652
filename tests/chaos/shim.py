"""The suite's side of shim.c: builds it, and writes and reads its schedule."""

import mmap
import re
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
CALLS = ["accept4", "recv", "send", "splice", "epoll_ctl", "socket", "pipe2", "malloc"]
HEAD = struct.Struct("=IIq")
CALL = struct.Struct("=IIQQ")


class NotHere(Exception):
    """This scenario cannot run with this binary or on this machine."""


def compile_c(source, target, *flags):
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", *flags, source,
                        "-o", target], check=True)
    return target


def sanitizer_of(binary):
    """The sanitizer's library that a preloaded one must come after; None for a plain binary."""
    listed = subprocess.run(["ldd", binary], text=True, capture_output=True).stdout
    found = re.search(r"=> (\S*lib(asan|tsan)\.so\S*)", listed)
    return found[1] if found else None


class Shim:
    def __init__(self, binary, folder, build, seed):
        library = compile_c(HERE / "shim.c", build / "chaos-shim.so", "-shared", "-fPIC")
        self.sanitizer = sanitizer_of(binary)
        content = Path(binary).read_bytes()
        if self.sanitizer is None and (b"__asan_init" in content or b"__tsan_init" in content):
            raise NotHere("a sanitizer that is linked in meets a preloaded library too late")
        if self.sanitizer and "libtsan" in self.sanitizer:
            raise NotHere("the thread sanitizer allows no library between it and libc")
        path = folder / "shim.schedule"
        path.write_bytes(bytes(HEAD.size + CALL.size * len(CALLS)))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        HEAD.pack_into(self.map, 0, 0, seed & 0xffffffff, 0)
        self.env = {"CHAOS_SHIM": path,
                    "LD_PRELOAD": ":".join(filter(None, [self.sanitizer, str(library)]))}

    def check(self):
        """Once the program runs: is it there at all?"""
        calls, _, _ = HEAD.unpack_from(self.map, 0)
        if calls != len(CALLS):
            raise AssertionError(f"the shim is not loaded, or is another one: {calls} calls")

    def _at(self, call):
        return HEAD.size + CALL.size * CALLS.index(call)

    def rate(self, call, fail=0.0, scant=0.0):
        """Of all calls, so many shall fail or come up short from now on."""
        struct.pack_into("=II", self.map, self._at(call), int(fail * 1e6), int(scant * 1e6))

    def calm(self):
        for call in CALLS:
            self.rate(call)

    def step_wall_clock(self, seconds):
        struct.pack_into("=q", self.map, 8, int(seconds * 1e9))

    def done(self):
        """{call: (failed, came up short)} of all that were touched."""
        counts = {call: CALL.unpack_from(self.map, self._at(call))[2:] for call in CALLS}
        return {call: count for call, count in counts.items() if any(count)}
