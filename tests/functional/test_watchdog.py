"""A thread that stops turning is seen, named, and logged with its stack.

A stall is made from outside: the thread is stopped (ptrace) where it waits for events, and the next
instruction there becomes a jump to itself. So it spins for real, in a place whose stack is real,
until the old bytes are put back."""

import contextlib
import ctypes
import os
import platform
import signal

import pytest

from harness import BR, until
from peers import Identity

PTRACE_CONT, PTRACE_GETREGS, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 12, 17, 0x4206, 0x4207
WALL = 0x40000000
RIP = 16  # of struct user_regs_struct, in words

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="knows one machine's jump")


def ptrace(request, tid, addr=None, data=None):
    result = libc.ptrace(request, tid, addr, data)
    if result < 0:
        error = ctypes.get_errno()
        if error == 1:
            pytest.skip("no ptrace here")
        raise OSError(error, os.strerror(error))
    return result


@contextlib.contextmanager
def stopped(tid):
    """A thread that waits for events, stopped by ptrace."""
    ptrace(PTRACE_SEIZE, tid)
    ptrace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            ptrace(PTRACE_DETACH, tid)


def poke(pid, addr, data):
    """/proc/PID/mem writes to pages of code too, for one who may trace the process."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
        mem.seek(addr)
        before = mem.read(len(data))
        mem.seek(addr)
        mem.write(data)
    return before


def syscall_word(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/syscall") as file:
        return file.read().split()[0]


def tids(pid):
    return sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))


def is_watched(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/comm") as file:
        name = file.read().strip()
    return tid == pid or name.startswith("worker-")


def waits_in(pid, numbers):
    """The thread that waits in one of these system calls: a worker, or the control thread."""
    def look():
        return [tid for tid in tids(pid)
                if is_watched(pid, tid) and syscall_word(pid, tid) in numbers]
    return until(look, "a thread that waits")[0]


@contextlib.contextmanager
def spinning(pid, tid):
    """That thread, spinning."""
    registers = (ctypes.c_ulonglong * 27)()
    with stopped(tid):
        ptrace(PTRACE_GETREGS, tid, None, ctypes.addressof(registers))
        before = poke(pid, registers[RIP], b"\xeb\xfe")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            poke(pid, registers[RIP], before)


EPOLL, POLL = ("232", "281"), ("7", "271")


@pytest.mark.parametrize("which, numbers", [("worker-0", EPOLL), ("control", POLL)])
def test_a_stalled_thread_is_logged_with_its_stack(db, start, peer, which, numbers):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_WATCHDOG="log")
    assert proxy.label(BR) == "sa-1"
    tid = waits_in(proxy.pid, numbers)
    with spinning(proxy.pid, tid):
        stall = proxy.wait_event("thread_stalled")
        assert (stall["thread"], stall["tid"]) == (which, str(tid))
        assert 3000 <= int(stall["silent_ms"]) <= 5000
        assert "edgeproxy" in stall["stack"] and "+0x" in stall["stack"], stall["stack"]
    proxy.wait_event("thread_recovered", lambda e: e["thread"] == which)
    assert len(proxy.log.find("thread_stalled")) == 1
    assert proxy.label(BR) == "sa-1"


def test_a_thread_that_takes_no_signal(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_WORKERS=1)
    with stopped(waits_in(proxy.pid, EPOLL)):
        stall = proxy.wait_event("thread_stalled")
        assert stall["thread"] == "worker-0" and "kernel_wait" in stall
    proxy.wait_event("thread_recovered")
    assert proxy.label(BR) == "sa-1"


def test_abort(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_WATCHDOG="abort")
    with spinning(proxy.pid, waits_in(proxy.pid, EPOLL)):
        assert proxy.wait_event("thread_stalled")["action"] == "abort"
        assert proxy.wait_exit() == -signal.SIGABRT


def test_off(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_WATCHDOG="off")
    on = start(EDGEPROXY_WORKERS=1, EDGEPROXY_WATCHDOG="log")
    with spinning(proxy.pid, waits_in(proxy.pid, EPOLL)):
        with spinning(on.pid, waits_in(on.pid, EPOLL)):
            on.wait_event("thread_stalled")
        assert not proxy.log.find("thread_stalled")
    assert proxy.label(BR) == "sa-1"


def test_a_process_that_was_stopped_as_a_whole_is_not_accused(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start()
    other = start(EDGEPROXY_WORKERS=1)
    proxy.kill(signal.SIGSTOP)
    with stopped(waits_in(other.pid, EPOLL)):
        other.wait_event("thread_stalled")  # so long
    proxy.kill(signal.SIGCONT)
    assert proxy.label(BR) == "sa-1"
    assert not proxy.log.find("thread_stalled")


@pytest.mark.concurrency
def test_nobody_is_accused_who_is_idle_or_busy(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_WORKERS=3)
    other = start(EDGEPROXY_WORKERS=1)
    with stopped(waits_in(other.pid, EPOLL)):
        other.wait_event("thread_stalled")  # so long
        for _ in range(50):
            assert proxy.label(BR) == "sa-1"
    assert not proxy.log.find("thread_stalled")
