#!/usr/bin/env python3
"""Writes the small MMDB files that tests read, beside this script.

The format is the MaxMind DB file format, version 2.0: a binary search tree over address bits, 16
zero bytes, a data section of typed values, a marker, and a map of metadata. Only what the tests need
is written, with nothing but the standard library, and always the same bytes.

    make_mmdb.py            write the files
    make_mmdb.py --check    exit 1 unless the files are what would be written
"""

import ipaddress
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
MARKER = b"\xab\xcd\xefMaxMind.com"
BUILD_EPOCH = 1700000000  # 2023-11-14

POINTER, STRING, DOUBLE, UINT16, UINT32, MAP, UINT64, ARRAY, BOOL = 1, 2, 3, 5, 6, 7, 9, 11, 14


class Int:
    """An unsigned integer with the type under which it is stored."""

    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    def __repr__(self):  # records are told apart by their text
        return f"Int({self.kind}, {self.value})"


class Data:
    """A data section. A string that was written before becomes a pointer, as in real databases."""

    def __init__(self, pointers):
        self.out = bytearray()
        self.strings = {} if pointers else None
        self.records = {}

    def record(self, value):
        """The offset of a record, written once however many networks have it."""
        key = repr(value)
        if key not in self.records:
            self.records[key] = len(self.out)
            self.put(value)
        return self.records[key]

    def put(self, value):
        if isinstance(value, bool):  # before int: a bool is one
            self.control(BOOL, int(value))
        elif isinstance(value, Int):
            raw = value.value.to_bytes(8, "big").lstrip(b"\0")
            self.control(value.kind, len(raw))
            self.out += raw
        elif isinstance(value, float):
            self.control(DOUBLE, 8)
            self.out += struct.pack(">d", value)
        elif isinstance(value, str):
            self.put_string(value)
        elif isinstance(value, dict):
            self.control(MAP, len(value))
            for key, item in value.items():
                self.put(key)
                self.put(item)
        elif isinstance(value, list):
            self.control(ARRAY, len(value))
            for item in value:
                self.put(item)
        else:
            raise TypeError(value)

    def put_string(self, text):
        if self.strings is not None and text in self.strings:
            self.put_pointer(self.strings[text])
            return
        if self.strings is not None and len(text) > 2:
            self.strings[text] = len(self.out)
        raw = text.encode()
        self.control(STRING, len(raw))
        self.out += raw

    def put_pointer(self, offset):
        if offset < 2048:
            self.out += struct.pack(">H", POINTER << 13 | offset)
        else:
            offset -= 2048
            assert offset < 1 << 19
            self.out += bytes([POINTER << 5 | 1 << 3 | offset >> 16]) + struct.pack(">H", offset & 0xFFFF)

    def control(self, kind, size):
        if size < 29:
            first, extra = size, b""
        elif size < 285:
            first, extra = 29, bytes([size - 29])
        else:
            first, extra = 30, struct.pack(">H", size - 285)
        if kind < 8:
            self.out += bytes([kind << 5 | first]) + extra
        else:
            self.out += bytes([first, kind - 7]) + extra


class Leaf:
    def __init__(self, offset):
        self.offset = offset


class Tree:
    """Nodes are lists of two: a node, a Leaf, or None."""

    def __init__(self, ip_version):
        self.depth = 32 if ip_version == 4 else 128
        self.root = [None, None]

    def bits(self, network):
        value, length = int(network.network_address), network.prefixlen
        if network.version == 4 and self.depth == 128:
            length += 96  # IPv4 lives below ::/96
        return [value >> (self.depth - 1 - i) & 1 for i in range(length)]

    def insert(self, network, what):
        """The less specific network first: the more specific then splits its leaf."""
        path = self.bits(network)
        node = self.root
        for bit in path[:-1]:
            if not isinstance(node[bit], list):
                node[bit] = [node[bit], node[bit]]
            node = node[bit]
        node[path[-1]] = what

    def node_at(self, network):
        node = self.root
        for bit in self.bits(network):
            node = node[bit]
        return node

    def nodes(self):
        """Every node once, the root first: a node may have several parents (see alias)."""
        seen, order, todo = set(), [], [self.root]
        while todo:
            node = todo.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            order.append(node)
            todo += [child for child in reversed(node) if isinstance(child, list)]
        return order

    def write(self, record_size):
        order = self.nodes()
        number = {id(node): i for i, node in enumerate(order)}
        out = bytearray()
        for node in order:
            values = []
            for child in node:
                if child is None:
                    values.append(len(order))
                elif isinstance(child, Leaf):
                    values.append(len(order) + 16 + child.offset)
                else:
                    values.append(number[id(child)])
            left, right = values
            if record_size == 24:
                out += left.to_bytes(3, "big") + right.to_bytes(3, "big")
            elif record_size == 28:
                out += (left & 0xFFFFFF).to_bytes(3, "big")
                out += bytes([(left >> 24) << 4 | right >> 24])
                out += (right & 0xFFFFFF).to_bytes(3, "big")
            else:
                out += left.to_bytes(4, "big") + right.to_bytes(4, "big")
        return len(order), bytes(out)


def mmdb(kind, networks, ip_version=6, record_size=24, alias=False, pointers=True):
    """The bytes of a database. alias: 6to4, Teredo and v4-mapped addresses find what the IPv4
    address inside them finds, as in MaxMind's files."""
    data, tree = Data(pointers), Tree(ip_version)
    nets = [(ipaddress.ip_network(n), record) for n, record in networks.items()]
    for network, record in sorted(nets, key=lambda n: (n[0].version, n[0].prefixlen)):
        tree.insert(network, Leaf(data.record(record)))
    if alias:
        v4 = tree.node_at(ipaddress.ip_network("::/96"))
        for network in ("::ffff:0:0/96", "2001::/32", "2002::/16"):
            tree.insert(ipaddress.ip_network(network), v4)
    node_count, search_tree = tree.write(record_size)
    metadata = Data(pointers=False)
    metadata.put(
        {
            "binary_format_major_version": Int(UINT16, 2),
            "binary_format_minor_version": Int(UINT16, 0),
            "build_epoch": Int(UINT64, BUILD_EPOCH),
            "database_type": kind,
            "description": {"en": "Made for tests: nothing in here is true"},
            "ip_version": Int(UINT16, ip_version),
            "languages": ["en"],
            "node_count": Int(UINT32, node_count),
            "record_size": Int(UINT16, record_size),
        }
    )
    return search_tree + bytes(16) + bytes(data.out) + MARKER + bytes(metadata.out)


# The networks around the addresses by which geo_db.c recognises a database, and those of the demo.
PLACES = {
    "8.0.0.0/9": "US",
    "91.0.0.0/10": "DE",
    "133.11.0.0/16": "JP",
    "193.0.0.0/21": "NL",
    "200.147.0.0/16": "BR",
    "2001:200::/32": "JP",
    "2001:4860::/32": "US",
    "2003::/19": "DE",
    "2804::/16": "BR",
}

NAMES = {"BR": "Brazil", "DE": "Germany", "JP": "Japan", "NL": "Netherlands", "US": "United States"}
CITIES = {
    "BR": ("São Paulo", -23.5475, -46.6361),
    "DE": ("Frankfurt am Main", 50.1188, 8.6843),
    "JP": ("Tokyo", 35.6893, 139.6899),
    "NL": ("Amsterdam", 52.3759, 4.8975),
    "US": ("Ashburn", 39.0469, -77.4903),
}


def country(code):
    return {"geoname_id": Int(UINT32, 0x100000 + ord(code[0]) * 256 + ord(code[1])), "iso_code": code,
            "names": {"en": NAMES.get(code, code)}}


def maxmind_country():
    networks = {n: {"country": country(c), "registered_country": country(c)} for n, c in PLACES.items()}
    networks["8.8.8.0/24"] = networks["8.0.0.0/9"] | {"traits": {"is_anycast": True}}
    # In one country, registered in another: the first counts.
    networks["5.5.5.0/24"] = {"registered_country": country("DE"), "country": country("FR")}
    # Only registered.
    networks["1.1.1.0/24"] = {"registered_country": country("AU")}
    # In no country that is known.
    networks["6.6.6.0/24"] = {"continent": {"code": "EU"}}
    return mmdb("Test-Country", networks, record_size=28, alias=True)


def maxmind_city():
    networks = {}
    for network, code in PLACES.items():
        name, latitude, longitude = CITIES[code]
        networks[network] = {
            "city": {"names": {"en": name}},
            "country": country(code),
            "location": {"accuracy_radius": Int(UINT16, 100), "latitude": latitude, "longitude": longitude},
            "registered_country": country(code),
            "subdivisions": [{"iso_code": "XX", "names": {"en": "A part of " + NAMES[code]}}],
        }
    return mmdb("Test-City", networks, record_size=32, alias=True)


def plain_country():
    """The layout of ip-location-db, with what a careless maker may write for a code."""
    networks = {n: {"country_code": c} for n, c in PLACES.items()}
    networks |= {
        "7.0.1.0/24": {"country_code": "fr"},
        "7.0.2.0/24": {"country_code": "ZZ"},
        "7.0.3.0/24": {"country_code": "FRA"},
        "7.0.4.0/24": {"country_code": ""},
        "7.0.5.0/24": {"country_code": "A1"},
        "7.0.6.0/24": {"country_code": Int(UINT16, 0x4652)},
        "7.0.7.0/24": {"country_code": {"iso_code": "FR"}},
        "7.0.8.0/24": {"country": "FR", "country_code": "IT"},
        "7.0.9.0/24": "FR",
        "7.0.10.0/24": {"country": {"iso_code": ""}, "registered_country": {"iso_code": "ES"}},
    }
    return mmdb("test country", networks, pointers=False)


def ipv4_only():
    networks = {n: {"country_code": c} for n, c in PLACES.items() if ":" not in n}
    return mmdb("test country", networks, ip_version=4)


def moved():
    """The same networks in other countries: what a swap to this file changes can be seen."""
    other = {"BR": "JP", "DE": "BR", "JP": "US", "NL": "US", "US": "DE"}
    return mmdb("test country moved", {n: {"country_code": other[c]} for n, c in PLACES.items()})


def same_slot():
    """Two records that lie 8192 bytes apart (CACHE_SLOTS in geo_db.c), one of them at offset 0, and
    so have the same slot of the cache."""
    us, filler, br = {"country_code": "US"}, {"filler": ""}, {"country_code": "BR"}
    at_br = 8192
    start = Data(pointers=False)
    start.record(us)
    start.record(filler)
    filler["filler"] = "x" * (at_br - len(start.out) - 2)  # its length takes 2 bytes more
    end = Data(pointers=False)
    assert [end.record(r) for r in (us, filler, br)][::2] == [0, at_br]
    networks = {"8.0.0.0/8": us, "9.0.0.0/8": filler, "200.0.0.0/8": br}
    return mmdb("test country", networks, pointers=False)


def files():
    good = maxmind_country()
    asn = {n: {"autonomous_system_number": Int(UINT32, 64496)} for n in PLACES}
    return {
        "maxmind-country.mmdb": good,
        "maxmind-city.mmdb": maxmind_city(),
        "plain-country.mmdb": plain_country(),
        "ipv4-only.mmdb": ipv4_only(),
        "moved.mmdb": moved(),
        "same-slot.mmdb": same_slot(),
        "broken-truncated.mmdb": good[: len(good) // 2],
        "broken-marker.mmdb": good.replace(MARKER, b"\xab\xcd\xefMaxMind.org"),
        "broken-no-country.mmdb": mmdb("Test-ASN", asn),
        "broken-elsewhere.mmdb": mmdb("test country", {"192.0.2.0/24": {"country_code": "US"}}),
    }


def main():
    stale = []
    for name, content in files().items():
        path = HERE / name
        if sys.argv[1:] == ["--check"]:
            if not path.exists() or path.read_bytes() != content:
                stale.append(name)
        else:
            path.write_bytes(content)
    for name in stale:
        print(f"{name} is not what make_mmdb.py writes", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
