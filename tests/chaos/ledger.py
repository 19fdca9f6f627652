"""What became of each client, and whose doing that was.

A backend that is about to break a connection says so before it does. A client that was not served
is then ended by that fault; or refused by a limit or for a want that the scenario made, as the
proxy's own log says; or it was open while the scenario had a process killed. Any other is lost
through our fault, and so is every wrong byte."""

import collections
import threading
import time

from traffic import client_addr


class Ledger:
    def __init__(self, limits=(), wants=()):
        """limits: reasons in the log that are refusals as configured. wants: reasons that come of
        faults which the scenario injects into the machine."""
        self.limits, self.wants = set(limits), set(wants)
        self.tried = self.completed = self.limited = self.faulted = 0
        self.bytes_sent = self.bytes_received = self.bytes_compared = 0
        self.reasons = collections.Counter()
        self.problems = []  # each is a client lost, or a promise broken
        self.lost = 0
        self._lock = threading.Lock()
        self._number = 0
        self._broken_by = {}   # client: what a backend did to it
        self._uploads = {}
        self._undecided = []
        self._windows = []     # (from, to) in which a process was away
        self._completed = []

    @property
    def broken(self):
        return len(self.problems) > 20

    def next_number(self):
        with self._lock:
            self._number += 1
            return self._number

    def problem(self, text):
        with self._lock:
            self.problems.append(text)

    def lose(self, text, count=1):
        with self._lock:
            self.lost += count
            self.problems.append(text)

    # What backends say

    def breaks(self, number, what):
        """Before the first byte of a fault that the client must see."""
        with self._lock:
            self._broken_by[number] = what

    def uploaded(self, comparing):
        with self._lock:
            self.bytes_compared += comparing.at
            self._uploads[comparing.number] = comparing
            if comparing.wrong_at is not None:
                self.problems.append(f"client {comparing.number}: its backend got a wrong byte "
                                     f"at or after {comparing.wrong_at}")

    # What clients saw

    def client_ended(self, number, how, comparing, sent, began, up, local):
        ended = time.monotonic()
        with self._lock:
            self.tried += 1
            self.bytes_sent += sent
            self.bytes_received += comparing.at
            self.bytes_compared += comparing.at
            what = self._broken_by.get(number)
        if how == "end" and comparing.whole and (what is None or what.startswith("spared")):
            if self._upload_is_there(number):
                with self._lock:
                    self.completed += 1
                    self._completed.append((number, up, comparing.size))
                return
            how = "end without its upload"
        if what is not None:
            self._judge_broken(number, how, comparing, what)
            return
        with self._lock:
            self._undecided.append((number, how, comparing, began, ended, local))

    def _upload_is_there(self, number):
        """A backend that ends first may still be reading."""
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            upload = self._uploads.get(number)
            if upload is not None:
                return upload.whole
            time.sleep(0.005)
        return False

    def _judge_broken(self, number, how, comparing, what):
        """What came must be what was sent, and a cut stream must not look whole."""
        if how == "refused" or how == "stalled":
            self.lose(f"client {number}: {how}, where its backend was to {what}")
        elif what.startswith("lie"):
            if what != f"lie, {comparing.at} bytes, crc {comparing.crc}, {how}":
                self.lose(f"client {number}: {what}, and it saw: {how}")
            else:
                self._count_fault(what)
        elif comparing.wrong_at is not None:
            self.lose(f"client {number}: wrong byte at or after {comparing.wrong_at} ({what})")
        elif how == "end" and what.startswith("cut"):
            self.lose(f"client {number}: a cut stream looked whole ({what})")
        else:
            self._count_fault(what)

    def _count_fault(self, what):
        with self._lock:
            self.faulted += 1
            self.reasons[what.split(",")[0]] += 1

    # Times at which a process is away

    def window(self, began):
        """Clients that were open or came between began and now may have met its death."""
        with self._lock:
            self._windows.append((began, time.monotonic()))

    # At the end

    def settle(self, sessions, windows_only=False):
        """Decides the rest by the proxy's log. sessions: its session events."""
        by_client = collections.defaultdict(list)
        for event in sessions:
            by_client[event["client"]].append(event)
        for number, how, comparing, began, ended, local in self._undecided:
            events = by_client.get(join(client_addr(number)), [])
            if not events and local:  # closed before its PROXY header was read
                events = by_client.get(join(local), [])
            reason = events[0]["reason"] if events else "no line in the log"
            if comparing.wrong_at is not None:
                self.lose(f"client {number}: wrong byte at or after {comparing.wrong_at}")
            elif any(ended >= start and began <= end for start, end in self._windows):
                self._count_fault("killed process")
            elif reason in self.limits and comparing.at == 0:
                self.limited += 1
                self.reasons[reason] += 1
            elif reason in self.wants and how != "end":
                self._count_fault(reason)
            else:
                self.lose(f"client {number}: {how} after {comparing.at} of {comparing.size} bytes; "
                          f"log: {reason} ({local})")
        self._undecided = []
        if not windows_only:
            self._hold_to_log(by_client)
        self._completed = []

    def _hold_to_log(self, by_client):
        """Every client that was served has one line, with its bytes."""
        for number, up, down in self._completed:
            events = by_client.get(join(client_addr(number)), [])
            told = [(e["reason"], e["bytes_in"], e["bytes_out"]) for e in events]
            right = len(told) == 1 and told[0][1:] == (str(up + 20), str(down))
            if not right or told[0][0] not in {"done", *self.wants}:
                self.problem(f"client {number}: {up + 20} bytes up, {down} down; log: {told}")

    def row(self):
        return (self.tried, self.completed, self.limited, self.faulted, self.lost,
                self.bytes_sent, self.bytes_received, self.bytes_compared)


def join(addr):
    return f"{addr[0]}:{addr[1]}"

