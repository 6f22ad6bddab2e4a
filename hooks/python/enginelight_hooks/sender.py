"""The thread that sends what was recorded, and does what the daemon's answers say. It holds the interpreter for some tens
of microseconds at a time, waits for nobody but the daemon, and gives up what it cannot send."""

import atexit
import json
import os
import socket
import sys
import time
from array import array

from . import __version__, core, device, whoami

CHUNK_EVENTS = 64
# How often operations are packed while they are recorded, so that few wait as integers.
GATHER_S = 0.25
TIMEOUT_S = 2.0
LONGEST_BACKOFF_S = 10.0
TELL_AGAIN_NS = 10_000_000_000


def address():
    """Where the daemon is: ("unix", path) or ("tcp", host, port)."""
    url = os.environ.get("ENGINELIGHT_HOOKS_URL")
    if url:
        rest = url.split("://", 1)[-1].split("/", 1)[0]
        host, _, port = rest.rpartition(":")
        return ("tcp", host.strip("[]") or rest, int(port) if port.isdigit() else 4319)
    path = os.environ.get("ENGINELIGHT_HOOKS_SOCKET")
    if not path:
        base = os.environ.get("XDG_RUNTIME_DIR")
        places = [os.path.join(base, "enginelight")] if base else []
        places += ["/run/enginelight", "/tmp/enginelight-%d" % os.getuid()]
        found = [os.path.join(place, "hooks.sock") for place in places]
        path = next((p for p in found if os.path.exists(p)), found[0])
    return ("unix", path)


class Connection:
    """One kept HTTP/1.1 connection. Written out, because http.client alone would be half of the memory budget."""

    def __init__(self):
        self.socket = None

    def close(self):
        if self.socket is not None:
            try:
                self.socket.close()
            except OSError:
                pass
            self.socket = None

    def post(self, path, parts, size):
        """Sends one body; returns (status, body). Raises OSError or ValueError if there is no whole answer."""
        fresh = self.socket is None
        try:
            return self._post(path, parts, size)
        except (OSError, ValueError):
            self.close()
            if fresh:
                raise
        # A kept connection may have been closed by the other side in the meantime; a new one tells.
        try:
            return self._post(path, parts, size)
        except (OSError, ValueError):
            self.close()
            raise

    def _post(self, path, parts, size):
        if self.socket is None:
            where = address()
            if where[0] == "unix":
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.socket.settimeout(TIMEOUT_S)
                self.socket.connect(where[1])
            else:
                self.socket = socket.create_connection(where[1:], timeout=TIMEOUT_S)
        head = (
            "POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-enginelight-hooks\r\n"
            "content-length: %d\r\n\r\n" % (path, size)
        )
        self.socket.sendall(head.encode())
        for part in parts:
            self.socket.sendall(part)
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.socket.recv(65536)
            if not more or len(received) > 65536:
                raise ValueError("the answer has no end of its head")
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {}
        for line in lines[1:]:
            key, _, value = line.partition(":")
            headers[key.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if length > 1 << 20:
            raise ValueError("the answer is too large")
        while len(body) < length:
            more = self.socket.recv(65536)
            if not more:
                raise ValueError("the answer ended early")
            body += more
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, body[:length]


class Sender:
    def __init__(self, hub):
        self.hub = hub
        self.connection = Connection()
        self.id = "%016x" % int.from_bytes(os.urandom(8), "big")
        self.interval = 0.2  # until the daemon says
        self.silence_ns = 30_000_000_000
        self.heard = 0
        self.version = None
        self.backoff = 0.0
        self.who = whoami.Who()
        self.pid = os.getpid()
        self.last_post = core.now()
        self.lost_told = {}
        atexit.register(self.finish)

    def forget(self):
        """In a forked child: the connection is the parent's."""
        self.connection.close()

    def run(self):
        stop = self.hub.stopping
        while True:
            try:
                self.once()
            except Exception as error:
                core.quiet(error)
                self.backoff = min(LONGEST_BACKOFF_S, max(0.5, self.backoff * 2))
            until = core.now() + int((self.interval + self.backoff) * 1e9)
            while True:
                left = (until - core.now()) / 1e9
                if left <= 0:
                    break
                if stop.wait(min(left, GATHER_S) if self.hub.collective.enabled else left) or os.getpid() != self.pid:
                    return
                self.hub.collective.gather()

    def finish(self):
        """At the end of the process: what is there is sent, if that takes no time."""
        if os.getpid() != self.pid or self.hub.sender is not self or self.hub.stopping.is_set():
            return
        self.hub.stopping.set()
        thread = self.hub.thread
        try:
            if thread:
                thread.join(0.5)
                if thread.is_alive():
                    return
            self.once()
        except Exception as error:
            core.quiet(error)

    def once(self):
        """One round: collects, sends, obeys. A round that is not answered costs what it carried."""
        hub = self.hub
        self.tell_open()
        operations = hub.collective.swap()
        with hub.lock:
            batch = {name: hub.kinds[name].swap() for name in core.WIDTH}
            strings, hub.strings, hub.string_index = hub.strings, [], {}
        spans, hub.spans = hub.spans, []
        body, counts = self.frame(operations, batch, spans, strings)
        size = sum(map(len, body))
        try:
            status, answer = self.connection.post("/v1/hooks", body, size)
            self.obey(status, answer, counts)
        except (OSError, ValueError) as error:
            for name, count in counts.items():
                hub.kinds[name].lost += count
            if core.now() - self.heard > self.silence_ns:
                self.switch_off()
            self.backoff = min(LONGEST_BACKOFF_S, max(0.5, self.backoff * 2))
            # Nothing out of the ordinary: no daemon is there yet, or any more.
            core.remark("no daemon answers at %s: %s" % (address(), error))

    def frame(self, operations, batch, spans, strings):
        hub = self.hub
        blocks, rows, counts = [], [], {}
        pieces, count = operations
        if count:
            counts["collective"] = count
            blocks.append({"kind": "collective", "count": count})
            rows.append(b"".join(pieces))
        for name, values in batch.items():
            width = core.WIDTH[name]
            count = len(values) // width
            if count == 0:
                continue
            blocks.append({"kind": name, "count": count})
            counts[name] = count
            step = CHUNK_EVENTS * width
            for at in range(0, count * width, step):
                chunk = array("q", values[at : min(at + step, count * width)])
                if sys.byteorder == "big":
                    chunk.byteswap()
                rows.append(chunk.tobytes())
                # Hands the interpreter to the engine's thread, should it want it.
                time.sleep(0.0005)
        if spans:
            counts["request"] = len(spans)
        lost = {}
        for name, kind in hub.kinds.items():
            if kind.lost:
                lost[name] = kind.lost
        self.lost_told = lost
        groups = list(hub.groups)
        seen = 0
        for group in groups:
            for state in (group, *list(group.peers.values())):
                seen += state.seq - state.counted
                state.counted = state.seq
        now = core.now()
        header = {
            "sender": self.id,
            "pid": self.pid,
            "version": __version__,
            "clock": str(time.time_ns() - core.now()),
            "now": str(now),
            "resource": self.who.resource(groups),
            "strings": strings,
            "groups": [{"id": g.id, "size": g.size, "rank": g.rank, "backend": g.backend} for g in groups],
            "ops": hub.codes if "collective" in counts else [],
            "spans": spans,
            "blocks": blocks,
            "lost": lost,
            "seen": max(0, seen),
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        head = b"ELH1" + len(text).to_bytes(4, "little") + text
        self.adapt(counts, now)
        return [head, *rows], counts

    def adapt(self, counts, now):
        """Keeps to the daemon's budget: the period doubles while more is made than it allows, and halves again well below."""
        seconds = max(0.05, (now - self.last_post) / 1e9)
        self.last_post = now
        changed = False
        for name, kind in self.hub.kinds.items():
            if not kind.budget:
                if kind.local != 1:
                    kind.local, changed = 1, True
                continue
            rate = counts.get(name, 0) * kind.width * 8 / seconds
            if rate > kind.budget and kind.local < 1 << 16:
                while rate > kind.budget and kind.local < 1 << 16:
                    kind.local *= 2
                    rate /= 2
                changed = True
            elif kind.local > 1 and rate < kind.budget / 4:
                kind.local //= 2
                changed = True
        if changed:
            core.reconsider()

    def obey(self, status, answer, counts):
        hub = self.hub
        control = json.loads(answer).get("control") if answer else None
        for name, count in self.lost_told.items():
            hub.kinds[name].lost -= count
        if status != 200:
            # Refused, and not kept: what an engine did a while ago is not worth its memory.
            for name, count in counts.items():
                hub.kinds[name].lost += count
        if not isinstance(control, dict):
            if core.now() - self.heard > self.silence_ns:
                self.switch_off()
            self.backoff = min(LONGEST_BACKOFF_S, max(0.5, self.backoff * 2))
            return
        self.backoff = 0.0
        self.heard = core.now()
        self.interval = min(60.0, max(0.05, control.get("post_interval_ms", 1000) / 1000))
        self.silence_ns = int(control.get("silence_ms", 30000)) * 1_000_000
        hub.open_after_ns = int(control.get("open_after_ms", 10000)) * 1_000_000
        kinds = control.get("kinds", {})
        changed = False
        for name, kind in hub.kinds.items():
            wanted = kinds.get(name, {})
            rate = float(wanted.get("rate", 0))
            enabled = bool(wanted.get("enabled")) and rate > 0
            period = 1
            while enabled and period < 1 << 20 and 1 / period > rate:
                period *= 2
            kind.budget = int(wanted.get("bytes_per_second", 0))
            if (enabled, period) != (kind.enabled, kind.period):
                kind.enabled, kind.period = enabled, period
                changed = True
        if changed:
            core.reconsider()
        self.version = control.get("version", 0)

    def switch_off(self):
        """Nobody listens: from here on only numbers are counted, and now and then it is asked whether somebody does."""
        if any(kind.enabled for kind in self.hub.kinds.values()):
            for kind in self.hub.kinds.values():
                kind.enabled = False
                kind.discard()
                kind.lost = 0
            core.reconsider()

    def tell_open(self):
        """Operations that went in and do not come out."""
        hub = self.hub
        now = core.now()
        kind = hub.collective
        found = []
        for group in list(hub.groups):
            for state in (group, *list(group.peers.values())):
                seq = state.seq
                if state.out >= seq:
                    state.since = 0
                elif state.since == 0 or state.at_seq != seq:
                    state.at_seq, state.since, state.told = seq, now, 0
                elif now - state.since > hub.open_after_ns:
                    found.append((state, state.op, seq, state.since, -1))
        for key, (start, state, op, seq, size) in list(hub.pending.items()):
            if now - start > 600_000_000_000:
                hub.pending.pop(key, None)
            elif now - start > hub.open_after_ns:
                found.append((state, op, seq, start, size))
        try:
            found += device.poll(now, hub.open_after_ns)
        except Exception as error:
            core.quiet(error)
        if not kind.enabled:
            return
        for state, op, seq, start, size in found[:64]:
            if now - state.told < TELL_AGAIN_NS and state.told:
                continue
            state.told = now
            number = core.code_of(state, op, "device" if state.device else "host", True)
            if number >= 0:
                kind.put(start, now, number, seq, size)
