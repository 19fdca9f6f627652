"""As much of HTTP/2 as a scripted gRPC server needs: frames, and headers without compression."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def headers(stream, fields, flags=END_HEADERS):
    """Literal fields, never indexed, never Huffman-coded."""
    block = b""
    for name, value in fields:
        block += b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return frame(HEADERS, flags, stream, block)


def message(body):
    """A message as gRPC puts it into DATA."""
    return b"\0" + struct.pack(">I", len(body)) + body


def serving(status):
    """HealthCheckResponse."""
    return bytes([8, status])


def answer(http_status="200", grpc_status="0", body=serving(1)):
    """All that a server sends to answer a unary call."""
    out = frame(SETTINGS, 0, 0)
    out += headers(1, [(":status", http_status), ("content-type", "application/grpc")])
    if body is not None:
        out += frame(DATA, 0, 1, message(body))
    return out + headers(1, [("grpc-status", grpc_status)], END_HEADERS | END_STREAM)


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ValueError(f"ended after {len(data)} of {count} bytes")
        data += more
    return data


def read_call(sock):
    """Reads the preface and all frames up to the end of the request; returns its message."""
    assert read_exactly(sock, len(PREFACE)) == PREFACE
    body = b""
    while True:
        head = read_exactly(sock, 9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = read_exactly(sock, length)
        if kind == DATA:
            body += payload
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            return body
