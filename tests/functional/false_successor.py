#!/usr/bin/python3
"""Pretends to be a new edgeproxy, up to a step: FALSE_STEP is "hello", "ready", "taken" or "go", and
FALSE_END is "exit" or "hang"; or one that accepts just when its time is over ("late"); or all of it, but that the old process hears in one moment that this
one accepts and that it is to stop ("stopped"). Put in the place of the program by test_upgrade.py."""

import array
import os
import signal
import socket
import struct
import sys
import time

# SUCCESSOR_ANSWER_MS, two turns of the old one's loop, and less than it would wait for an exit.
LATE_SECS = 5.12

HELLO, COUNTS, SOCKETS, START, READY, STATE, TAKEN, GO, ACCEPTING = range(1, 10)
signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a successor begins with the proxy's mask
link = socket.socket(fileno=int(os.environ["EDGEPROXY_UPGRADE_FD"]))
link.setblocking(True)
wire_bytes = 0


def say(kind, fds=()):
    head = struct.pack("=IIiI", kind, 1, os.getpid(), 0)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    link.sendmsg([head + bytes(WIRE_BYTES - len(head))], rights)


def hear(kind):
    while True:
        data, fds, _, _ = socket.recv_fds(link, 1 << 16, 253)
        if not data:
            sys.exit(4)
        if struct.unpack_from("=I", data)[0] == kind:
            return fds


def end(step):
    if os.environ["FALSE_STEP"] == step:
        if os.environ["FALSE_END"] == "hang":
            signal.pause()
        os._exit(5)


WIRE_BYTES = int(os.environ["FALSE_WIRE_BYTES"])
say(HELLO)
end("hello")
counts = hear(COUNTS)
listening = hear(SOCKETS)
hear(START)
own = os.memfd_create("own")
size = os.fstat(counts[0]).st_size
os.truncate(own, size)
os.pwrite(own, os.pread(counts[0], 8, 0), 0)
say(READY, [own])
end("ready")
hear(STATE)
say(TAKEN)
end("taken")
hear(GO)
if os.environ["FALSE_STEP"] == "late":
    time.sleep(LATE_SECS)
    say(ACCEPTING)
    with socket.socket(fileno=listening[0]) as sock:
        sock.setblocking(True)
        while True:
            held = sock.accept()[0]
            held.sendall(b"late\n")
            os.dup(held.fileno())  # for as long as this process lives
end("go")
# The old process sleeps meanwhile, so that it finds both at once when it wakes.
os.kill(os.getppid(), signal.SIGSTOP)
say(ACCEPTING)
os.kill(os.getppid(), signal.SIGTERM)
os.kill(os.getppid(), signal.SIGCONT)
signal.pause()
