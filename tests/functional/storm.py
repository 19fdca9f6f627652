"""Many clients in one process, for races that threads of the test could not make:

    storm.py HOST PORT COUNT hold|visit [INDEX]

connects COUNT times as fast as it can. Each client waits for its first line (the label of a
backend) or its end. `hold` keeps every served client open until standard input ends; `visit` ends
each as soon as it has its line. When all are decided it prints
{"labels": {label: count}, "refused": count}. With INDEX, each client says in a PROXY header that it
is somebody else."""

import json
import selectors
import socket
import sys

import wire

HOST, PORT, COUNT, MODE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
INDEX = int(sys.argv[5]) if len(sys.argv) > 5 else None


def connect(poll, number):
    sock = socket.socket(socket.AF_INET6 if ":" in HOST else socket.AF_INET)
    sock.setblocking(False)
    sock.connect_ex((HOST, PORT))
    first = selectors.EVENT_READ if INDEX is None else selectors.EVENT_WRITE
    poll.register(sock, first, number)


def send_header(poll, key):
    """Connected: name the client, then wait for the answer. 200.0.0.0/8 is South America's."""
    number = INDEX * COUNT + key.data
    src = (f"200.{160 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 5555)
    try:
        key.fileobj.send(wire.header_v2(src, (HOST, PORT)))
    except ConnectionError:
        pass  # the read will say so
    poll.modify(key.fileobj, selectors.EVENT_READ, key.data)


def main():
    poll = selectors.EpollSelector()
    labels, refused, held, pending = {}, 0, [], COUNT
    for number in range(COUNT):
        connect(poll, number)
    while pending:
        for key, events in poll.select():
            if events & selectors.EVENT_WRITE:
                send_header(poll, key)
                continue
            try:
                line = key.fileobj.recv(100)
            except ConnectionError:
                line = b""
            poll.unregister(key.fileobj)
            pending -= 1
            if line:
                label = line.decode().strip()
                labels[label] = labels.get(label, 0) + 1
            else:
                refused += 1
            if line and MODE == "hold":
                held.append(key.fileobj)
            else:
                key.fileobj.close()
    print(json.dumps({"labels": labels, "refused": refused}), flush=True)
    sys.stdin.read()


main()
