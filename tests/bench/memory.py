"""Memory of connections that do nothing: 9,400 of them, each after one ping.

What the first 1,400 take is not counted: buffers and tables that any number of connections share
are touched by then. The user's part is the growth of the proxy's private, written-to memory by the
other 8,000. The kernel's part is the growth of the slabs that sockets are made of, less what the
same number of direct connections takes: so it is what the proxy adds. The others are left out,
since they grow by whatever else goes on (reading /proc alone makes megabytes of inodes).
"""

import json
import pathlib
import statistics
import subprocess
import time

import peers
import stats

FIRST = 1400
COUNTED = 8000
CONNECTIONS = FIRST + COUNTED
# The socket, its inode, directory entry and file, its entry and lists in epoll sets, its port, and
# what security modules keep of it.
SOCKET_SLABS = {"TCP", "sock_inode_cache", "dentry", "filp", "eventpoll_epi", "eventpoll_pwq", "ep_head",
                "tcp_bind_bucket", "tcp_bind2_bucket", "lsm_inode_cache", "lsm_file_cache"}
KEYS = ("direct", "edgeproxy", "haproxy", "nginx")
SETTLE_S = 3.0  # what a proxy may take to give memory back
PATIENCE_S = 20


def slab_kb():
    """Objects in use; what a slab still holds for others is nobody's."""
    total = 0
    for line in pathlib.Path("/proc/slabinfo").read_text().splitlines():
        words = line.split()
        if words[0] in SOCKET_SLABS:
            total += int(words[1]) * int(words[3])
    return total / 1024


def sockets_alive():
    """TCP sockets in use in this network namespace."""
    for line in pathlib.Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[2])
    return 0


def settled_slab_kb():
    """Slabs are given back late and by others as well: the lowest of a moment."""
    found = []
    for _ in range(10):
        found.append(slab_kb())
        time.sleep(0.05)
    return statistics.median(found)


def hold(load, peer, connections):
    """The load generator with all its connections standing."""
    client = subprocess.Popen(load.command(peer, "idle", "--pings", str(connections)),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = client.stdout.readline()
    if not line or json.loads(line)["held"] != connections:
        client.kill()
        client.wait()
        raise RuntimeError(f"{peer.key}: the connections do not stand")
    return client


def let_go(clients, sockets_before):
    for client in clients:
        client.communicate(timeout=PATIENCE_S)
    until = time.monotonic() + PATIENCE_S
    while sockets_alive() > sockets_before + 8 and time.monotonic() < until:
        time.sleep(0.05)


def one(load, peer):
    peer.start(peers.Setting())
    try:
        time.sleep(0.3)
        start_user = peers.memory_kb(peer.pids)
        sockets = sockets_alive()
        clients = []
        try:
            clients.append(hold(load, peer, FIRST))
            time.sleep(0.3)
            user, slab = peers.memory_kb(peer.pids), settled_slab_kb()
            clients.append(hold(load, peer, COUNTED))
            time.sleep(0.3)
            held_user, held_slab = peers.memory_kb(peer.pids), settled_slab_kb()
        finally:
            let_go(clients, sockets)
        until = time.monotonic() + SETTLE_S
        while (left := peers.memory_kb(peer.pids)) - start_user > 1024 and time.monotonic() < until:
            time.sleep(0.1)
        return {
            "user_b": (held_user - user) * 1024 / COUNTED,
            "slab_b": (held_slab - slab) * 1024 / COUNTED,
            "left_kb": left - start_user,
        }
    finally:
        peer.stop()


def measure(load, all_peers, arguments):
    """Rows of results by peer; kernel_b is the slabs less the direct connection's."""
    keys = [key for key in KEYS
            if key in (*arguments.peers, "direct") and all_peers[key].available()]
    results = {key: [] for key in keys}
    for _ in range(arguments.how["idle"]):
        for key in keys:
            results[key].append(one(load, all_peers[key]))
    direct = stats.median(results["direct"], "slab_b")
    for key, runs in results.items():
        for run in runs:
            run["kernel_b"] = run["slab_b"] - direct
            run["both_b"] = run["user_b"] + run["kernel_b"]
    return results


def show(results, say):
    say(f"{CONNECTIONS:,} idle connections, bytes each; KB left after they closed")
    for key, runs in results.items():
        say(f"  {key:<10} user {stats.spread(runs, 'user_b')}  "
            f"kernel {stats.spread(runs, 'slab_b' if key == 'direct' else 'kernel_b')}  left {stats.spread(runs, 'left_kb')}")
