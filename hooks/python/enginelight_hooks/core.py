"""What is recorded and how it is kept: groups with their sequence numbers, a bounded buffer per kind of event, sampling.

Everything the engine's threads execute is in here and in the generated wrappers, and is written to touch little: an
operation is five integers put at the end of a list, which the interpreter does without leaving its own loop. An engine that
has emptied the processor's caches between two operations pays for every other line of code and data several times what
they cost in a tight loop: packing the integers there and then, for one, costs it more than all the rest. The sender packs
them, a few hundred operations at a time.
"""

import os
import struct
import sys
import threading
import time

now = time.perf_counter_ns

# Operations are sampled by blocks of this many sequence numbers: every rank of a group picks the same ones, without
# talking, and attribution gets runs of neighbours. Periods are powers of two, so a thinner sample is part of a thicker one.
BLOCK_BITS = 6
BLOCK = 1 << BLOCK_BITS
NEVER = 1 << 62
MOST_GROUPS = 4096
MOST_CODES = 4096

OPERATION_WIDTH = 5
WIDTH = {"pipeline_stage": 7, "engine_step": 8, "kv_transfer": 10}
# Events that may wait, as the integers they were made of. An operation takes 170 bytes like that, 40 when it is packed.
CAPACITY = {"collective": 8192, "pipeline_stage": 2000, "engine_step": 2000, "kv_transfer": 1000, "request": 500}
MOST_PACKED = 20000
# Operations that are packed while the interpreter is held: some thirty microseconds.
PACK_EVENTS = 256

OPS = (
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "broadcast",
    "reduce",
    "gather",
    "scatter",
    "send",
    "recv",
    "barrier",
)


class Kind:
    """One kind of event: what the daemon wants of it, and what waits to be sent."""

    __slots__ = ("name", "width", "cap", "enabled", "period", "local", "budget", "rows", "lost", "tick")

    def __init__(self, name):
        self.name = name
        self.width = WIDTH.get(name, 1)
        self.cap = CAPACITY[name] * self.width
        self.enabled = False  # until a daemon has answered
        self.period = 1  # as the daemon says
        self.local = 1  # times this, while more is made than the budget allows
        self.budget = 0
        self.lost = 0
        self.tick = 0
        self.rows = []

    def swap(self):
        rows = self.rows
        self.rows = []
        return rows

    def discard(self):
        self.rows = []

    def wants(self):
        """For events that are not operations of a group: whether the next one is to be recorded."""
        if not self.enabled:
            return False
        self.tick += 1
        if self.tick & (self.period * self.local - 1):
            return False
        if len(self.rows) >= self.cap:
            self.lost += 1
            return False
        return True


_pack_chunk = struct.Struct("%s%dq" % ("" if sys.byteorder == "little" else "<", PACK_EVENTS * OPERATION_WIDTH)).pack


def packed(values):
    """Integers as they are sent. What is none, or too large, takes its row with it."""
    try:
        if len(values) == PACK_EVENTS * OPERATION_WIDTH:
            return _pack_chunk(*values)
        return struct.pack("<%dq" % len(values), *values)
    except struct.error:
        rows = []
        for at in range(0, len(values), OPERATION_WIDTH):
            try:
                rows.append(struct.pack("<5q", *values[at : at + OPERATION_WIDTH]))
            except struct.error:
                hub.collective.lost += 1
        return b"".join(rows)


class Operations(Kind):
    """Operations of groups: the one kind that can be many thousands a second. Its list is the same one for the life of the
    process and of its children, so that the wrappers need not look for it; every change to it is a single step of the
    interpreter."""

    __slots__ = ("ready", "ready_events")

    def __init__(self, name):
        rows = getattr(self, "rows", None)
        super().__init__(name)
        if rows is not None:
            del rows[:]
            self.rows = rows
        self.cap = CAPACITY[name] * OPERATION_WIDTH
        self.width = OPERATION_WIDTH
        self.ready = []
        self.ready_events = 0

    def gather(self, everything=False):
        """Packs what waits, for the sender; a chunk at a time, between which the engine's threads get the interpreter. Without
        `everything` only whole chunks."""
        rows = self.rows
        most = PACK_EVENTS * OPERATION_WIDTH
        while len(rows) >= (1 if everything else most) and self.ready_events < MOST_PACKED:
            values = rows[:most]
            del rows[: len(values)]
            chunk = packed(values)
            self.ready.append(chunk)
            self.ready_events += len(chunk) // (8 * OPERATION_WIDTH)
            if rows:
                time.sleep(0.0005)

    def swap(self):
        """(packed pieces, number of operations in them), of all there is."""
        self.gather(True)
        ready, count = self.ready, self.ready_events
        self.ready, self.ready_events = [], 0
        return ready, count

    def discard(self):
        del self.rows[:]
        self.ready, self.ready_events = [], 0

    def put(self, start_ns, end_ns, number, seq, size):
        """As the wrappers do it in line. What does not fit any more is dropped: the newest."""
        if len(self.rows) < self.cap:
            self.rows.extend((start_ns, end_ns, number, seq, size))
        else:
            self.lost += 1


class Counters:
    """What every operation of a group touches, side by side in memory: slots of one class are laid out together."""

    __slots__ = ("seq", "out", "stop", "on", "op", "codes", "device")


class Group(Counters):
    """A communicator as this rank sees it. `seq` counts every operation, sampled or not; `out` those that returned."""

    __slots__ = ("key", "id", "size", "rank", "backend", "ranks", "index", "peers", "counted", "at_seq", "since", "told")

    def __init__(self, ident, size, rank, backend, ranks=None, device=False):
        self.key = None
        self.id = ident
        self.size = size
        self.rank = rank
        self.backend = backend
        self.ranks = ranks
        self.index = -1
        self.device = device
        self.seq = 0
        self.out = 0
        self.stop = 0
        self.on = False
        self.op = 0
        self.codes = None
        self.peers = {}
        self.counted = 0
        self.at_seq = 0
        self.since = 0
        self.told = 0


class Hub:
    def __init__(self):
        # The wrappers hold on to these objects: they are the same ones for the life of the process and of its children.
        self.kinds = {name: (Operations if name == "collective" else Kind)(name) for name in CAPACITY}
        self.collective = self.kinds["collective"]
        self.reset()

    def reset(self):
        """Also the way a forked child begins: with nothing of its parent's."""
        for kind in self.kinds.values():
            kind.__init__(kind.name)
        self.groups = []
        self.codes = []
        self.spans = []
        self.strings = []
        self.string_index = {}
        self.pending = {}
        self.thread = None
        self.stopping = threading.Event()
        self.open_after_ns = 10_000_000_000
        self.sender = None
        self.lock = threading.Lock()


hub = Hub()
NOBODY = Group("", 0, -1, "")
NOBODY.stop = NEVER

# What the generated wrappers see as their globals.
shared = {"now": now, "rows": hub.collective.rows, "put": hub.collective.rows.extend}


def recording(op, indent):
    """The lines that record an operation which began at `t` and ended at `e`, for the generated wrappers."""
    lines = (
        "if len(rows) < %d:" % hub.collective.cap,
        "    try:",
        "        put((t, e, s.codes[%d], q, n))" % op,
        "    except Exception:",
        "        kind.lost += 1",
        "else:",
        "    kind.lost += 1",
    )
    return ("\n" + " " * indent).join(lines)


def add_group(group):
    """Registers a communicator; what is beyond the limit is not recorded."""
    with hub.lock:
        if len(hub.groups) >= MOST_GROUPS:
            return NOBODY
        group.index = len(hub.groups)
        group.codes = [code(group.index, op, "device" if group.device else "host") for op in OPS]
        hub.groups.append(group)
    start()
    return group


def code(group_index, op, clock, peer=None, is_open=False):
    """The number that rows use for an operation; -1 when there are too many different ones. Call with the lock held, or
    from one thread only."""
    entry = {"op": op, "group": group_index, "clock": clock}
    if peer is not None:
        entry["peer"] = peer
    if is_open:
        entry["open"] = True
    if len(hub.codes) >= MOST_CODES:
        return -1
    hub.codes.append(entry)
    return len(hub.codes) - 1


def peer_state(group, op, peer):
    """Sends and receives are numbered per pair and direction: the k-th send to b is the k-th receive from a."""
    state = group.peers.get((op, peer))
    if state is None:
        if len(group.peers) >= 1024:
            return NOBODY
        state = Group(group.id, group.size, group.rank, group.backend, device=group.device)
        with hub.lock:
            state.index = group.index
            name = OPS[op]
            number = code(group.index, name, "device" if group.device else "host", peer)
            state.codes = [number] * len(OPS)
            state.key = peer
            if number < 0:
                return NOBODY
            group.peers[(op, peer)] = state
    return state


def roll(group, seq):
    """At the beginning of a block of operations: whether this one is recorded. The rest of the block asks nobody."""
    kind = hub.collective
    group.stop = (seq | (BLOCK - 1)) + 1
    if hub.thread is None:
        start()  # in a forked child
    group.on = kind.enabled and not (seq >> BLOCK_BITS) & (kind.period * kind.local - 1)


shared["roll"] = roll


def reconsider():
    """After the daemon changed its mind: every group asks again at its next operation."""
    for group in list(hub.groups):
        group.stop = 0
        for state in list(group.peers.values()):
            state.stop = 0


def text(value):
    """The index of a text in the next frame; -1 for nothing. Call with the lock held."""
    if not value:
        return -1
    value = value[:256]
    index = hub.string_index.get(value)
    if index is None:
        if len(hub.strings) >= 4096:
            return -1
        index = len(hub.strings)
        hub.strings.append(value)
        hub.string_index[value] = index
    return index


def record(name, row):
    """An event that is no operation of a group: rare enough for a lock, which keeps its texts and its row together."""
    kind = hub.kinds[name]
    try:
        with hub.lock:
            if kind.enabled:
                kind.rows.extend([text(value) if isinstance(value, str) else int(value) for value in row])
    except Exception as error:
        quiet(error)


def span(name, start_ns, end_ns, attributes, error=None):
    """A request: rare enough to be said in full."""
    kind = hub.kinds["request"]
    if not kind.wants():
        return
    if len(hub.spans) >= CAPACITY["request"]:
        kind.lost += 1
        return
    entry = {"kind": "request", "name": name, "start": str(start_ns), "end": str(end_ns), "attributes": attributes}
    if error:
        entry["error"] = str(error)[:256]
    hub.spans.append(entry)


def begin():
    """Names this job for the processes it will start, and takes care of forks."""
    os.environ.setdefault("ENGINELIGHT_HOOKS_JOB", "%s-%d" % (os.uname().nodename, os.getpid()))
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork():
    # The parent's thread is not here, and its socket must not be used by two.
    sender = hub.sender
    old = hub.groups
    hub.reset()
    if sender is not None:
        sender.forget()
    for group in old:
        # Communicators that survived the fork would be the parent's; whoever uses them here is numbered anew.
        group.seq = group.out = group.counted = group.told = 0
        group.stop = 0
        group.on = False
        group.peers = {}
        group.index = len(hub.groups)
        group.codes = [code(group.index, op, "device" if group.device else "host") for op in OPS]
        hub.groups.append(group)


def start():
    """Starts the thread that sends, once per process."""
    if hub.thread is not None:
        return
    with hub.lock:
        if hub.thread is not None:
            return
        from . import sender

        try:
            hub.sender = sender.Sender(hub)
            hub.thread = threading.Thread(target=hub.sender.run, name="enginelight-hooks", daemon=True)
            hub.thread.start()
        except Exception as error:  # no more threads: then nothing is sent
            hub.thread = False
            quiet(error)


def quiet(error):
    """Where whatever goes wrong ends: nowhere, or on stderr when somebody looks for it."""
    try:
        if os.environ.get("ENGINELIGHT_HOOKS_DEBUG"):
            import traceback

            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    except Exception:
        pass


_extra_codes = {}


def code_of(group, op, clock, is_open=False):
    """The number of a rarer form of a group's operation: timed otherwise than usual, or not ended."""
    key = (group.index, group.key, op, clock, is_open)
    number = _extra_codes.get(key)
    if number is None or number >= len(hub.codes):
        with hub.lock:
            number = _extra_codes[key] = code(group.index, OPS[op], clock, group.key, is_open)
    return number


def remark(message):
    """One line for whoever looks."""
    try:
        if os.environ.get("ENGINELIGHT_HOOKS_DEBUG"):
            sys.stderr.write("enginelight_hooks: %s\n" % message)
    except Exception:
        pass
