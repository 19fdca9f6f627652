"""Bytes on the wire: PROXY protocol headers as senders write them and receivers see them, and the
few ways in which tests read a socket."""

import fcntl
import hashlib
import ipaddress
import socket
import struct
import termios

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def same_family(addr, other):
    """other where its family is that of addr, else a stand-in of the right family."""
    if (":" in addr[0]) == (":" in other[0]):
        return other
    return ("::1" if ":" in addr[0] else "127.0.0.1", other[1])


def header_v1(src, dst):
    family = "TCP6" if ":" in src[0] else "TCP4"
    return f"PROXY {family} {src[0]} {dst[0]} {src[1]} {dst[1]}\r\n".encode()


def header_v2(src, dst, *, command=0x21, tlvs=b""):
    v6 = ":" in src[0]
    addresses = ipaddress.ip_address(src[0]).packed + ipaddress.ip_address(dst[0]).packed
    body = addresses + struct.pack("!HH", src[1], dst[1]) + tlvs
    return V2_SIGNATURE + struct.pack("!BBH", command, 0x21 if v6 else 0x11, len(body)) + body


def header_v2_local():
    return V2_SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)


def header(version, src, dst):
    return header_v1(src, dst) if version == 1 else header_v2(src, dst)


def parse_header(data):
    """(src, dst, rest) of a header at the beginning of data; raises ValueError for any other."""
    if data.startswith(b"PROXY "):
        line, end, rest = data.partition(b"\r\n")
        if not end or len(line) > 105:
            raise ValueError(f"v1 line does not end: {data[:120]!r}")
        word, family, src, dst, sport, dport = line.decode("ascii").split(" ")
        packed = 4 if family == "TCP4" else 16 if family == "TCP6" else 0
        for host in (src, dst):
            if len(ipaddress.ip_address(host).packed) != packed:
                raise ValueError(f"{host} is not {family}")
        return (src, int(sport)), (dst, int(dport)), rest
    if not data.startswith(V2_SIGNATURE) or len(data) < 16:
        raise ValueError(f"no header: {data[:40]!r}")
    command, family, length = struct.unpack("!BBH", data[12:16])
    size = {0x11: 4, 0x21: 16}.get(family)
    if command != 0x21 or size is None or length < 2 * size + 4 or len(data) < 16 + length:
        raise ValueError(f"bad v2 header: {data[:60]!r}")
    src = str(ipaddress.ip_address(data[16:16 + size]))
    dst = str(ipaddress.ip_address(data[16 + size:16 + 2 * size]))
    sport, dport = struct.unpack("!HH", data[16 + 2 * size:20 + 2 * size])
    return (src, sport), (dst, dport), data[16 + length:]


def read_line(sock):
    """The first line, without its end; "" when the other side ends or resets before it."""
    data = b""
    try:
        while not data.endswith(b"\n"):
            more = sock.recv(1)
            if not more:
                break
            data += more
    except ConnectionError:
        pass
    return data.decode().rstrip("\n")


def read_exactly(sock, count):
    data = bytearray()
    while len(data) < count:
        more = sock.recv(min(1 << 20, count - len(data)))
        if not more:
            raise AssertionError(f"ended after {len(data)} of {count} bytes")
        data += more
    return bytes(data)


def read_all(sock):
    """Everything up to a clean end. A reset is an error (ConnectionResetError)."""
    data = bytearray()
    while more := sock.recv(1 << 20):
        data += more
    return bytes(data)


def read_to_reset(sock):
    """What came before a reset. A clean end is a failure."""
    data = bytearray()
    try:
        while more := sock.recv(1 << 20):
            data += more
    except ConnectionResetError:
        return bytes(data)
    raise AssertionError(f"a clean end after {len(data)} bytes where a reset was due")


def hash_to_end(sock):
    """(count, digest) of everything up to a clean end, in bounded memory."""
    digest, count = hashlib.sha256(), 0
    while more := sock.recv(1 << 18):
        digest.update(more)
        count += len(more)
    return count, digest.hexdigest()


def is_over(sock):
    """Waits for the other side's end; True for a clean one or a reset, nothing else may come."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def reset(sock):
    """Closes with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def unacknowledged(sock):
    """Bytes that were sent and that the other side's kernel has not taken yet."""
    answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    return struct.unpack("i", answer)[0]


class Stream:
    """Bytes that are cheap to make, the same each time, and unlike at every 64 KiB, so that a block
    that is lost, doubled or swapped changes the digest."""

    BLOCK = 1 << 16

    def __init__(self, size, seed=0):
        self.size = size
        self._base = hashlib.shake_256(b"%d" % seed).digest(self.BLOCK)

    def blocks(self):
        for number, start in enumerate(range(0, self.size, self.BLOCK)):
            block = struct.pack("!Q", number) + self._base[8:]
            yield block[:self.size - start]

    def digest(self):
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def send(self, sock):
        for block in self.blocks():
            sock.sendall(block)
