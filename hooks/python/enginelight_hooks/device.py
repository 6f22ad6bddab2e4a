"""Device time of collectives, from CUDA events recorded around the call on the stream it was made on. Nothing is ever
waited for: an event is asked whether it has happened, at a later call or by the sender, never while a graph is captured."""

import sys
import threading
from collections import deque

from . import core

MOST_WAITING = 2048
# A float of milliseconds has a resolution of a microsecond for this long.
ANCHOR_NS = 10_000_000_000


class _Anchor:
    """Where device time is relative to: an event, and the best bound on when it happened by the host's clock."""

    __slots__ = ("event", "host", "made")

    def __init__(self, event, host):
        self.event = event
        self.host = host
        self.made = host


class Devices:
    def __init__(self):
        self.waiting = deque()
        self.pool = []
        self.anchors = {}
        # Held while events are asked about, and while a capture begins.
        self.lock = threading.Lock()
        self.capturing = 0
        # Whether captures are seen; else only the engine's own thread asks.
        self.watched = False

    def event(self, cuda):
        return self.pool.pop() if self.pool else cuda.Event(enable_timing=True)

    def give(self, event):
        if len(self.pool) < MOST_WAITING:
            self.pool.append(event)

    def collect(self, most):
        """Records the operations that have ended, oldest first."""
        for _ in range(most):
            try:
                begin, end, host, group, op, seq, size, anchor = self.waiting[0]
            except IndexError:
                return
            if not end.query():
                return
            self.waiting.popleft()
            started = anchor.event.elapsed_time(begin) * 1e6
            lasted = begin.elapsed_time(end) * 1e6
            # An event never happens before the host asked for it, so each gives a lower bound on the anchor's time; the
            # highest is exact as soon as the stream was idle once.
            bound = host - started
            if bound > anchor.host:
                anchor.host = bound
            first = int(anchor.host + started)
            core.hub.collective.put(first, first + int(lasted), group.codes[op], seq, size)
            self.give(begin)
            self.give(end)


devices = Devices()


def call(group, op, seq, tensor, original, args, kwargs, returns=False):
    """The wrapped call with events around it; without them, timed on the host, where there is no device to ask. `returns`:
    what it returns is a value, not work that goes on."""
    begin = end = stream = None
    size = -1
    try:
        cuda = sys.modules["torch"].cuda
        first = tensor[0] if isinstance(tensor, (list, tuple)) else tensor
        if first is not None:
            size = first.numel() * first.element_size()
            if isinstance(tensor, (list, tuple)):
                size *= len(tensor)
            if first.is_cuda and not cuda.is_current_stream_capturing():
                if len(devices.waiting) < MOST_WAITING:
                    index = first.device.index or 0
                    stream = cuda.current_stream(first.device)
                    begin, end = devices.event(cuda), devices.event(cuda)
                    anchor = devices.anchors.get(index)
                    host = core.now()
                    begin.record(stream)
                    if anchor is None or host - anchor.made > ANCHOR_NS:
                        mark = cuda.Event(enable_timing=True)
                        mark.record(stream)
                        anchor = devices.anchors[index] = _Anchor(mark, host)
                else:
                    core.hub.collective.lost += 1
            elif first.is_cuda:
                # Inside a graph that is being captured: the call does not run now, and its replays are not seen here.
                try:
                    return original(*args, **kwargs)
                finally:
                    group.out = seq
    except Exception as error:
        core.quiet(error)
        begin = None
    started = core.now()
    try:
        result = original(*args, **kwargs)
    finally:
        group.out = seq
    try:
        if begin is None:
            if stream is None:
                host_code = core.code_of(group, op, "host")
                if result is None or returns:
                    core.hub.collective.put(started, core.now(), host_code, seq, size)
        else:
            entry = (begin, end, host, group, op, seq, size, anchor)
            if result is None or returns:
                end.record(stream)
                devices.waiting.append(entry)
            else:

                def done(_):
                    # Called with a current stream that waits for the operation, without the host waiting for it.
                    try:
                        end.record()
                        devices.waiting.append(entry)
                    except Exception as error:
                        core.quiet(error)

                result.get_future().add_done_callback(done)
            if devices.lock.acquire(blocking=False):
                try:
                    devices.collect(4)
                finally:
                    devices.lock.release()
    except Exception as error:
        core.quiet(error)
    return result


def poll(now, open_after):
    """From the sender's thread: collects what has ended, and tells what has not for too long. Only where captures are seen."""
    if not devices.watched or not devices.waiting:
        return []
    if not devices.lock.acquire(blocking=False):
        return []
    try:
        if devices.capturing:
            return []
        devices.collect(256)
        found = []
        for entry in list(devices.waiting)[:4]:
            _, _, host, group, op, seq, size, _ = entry
            if now - host > open_after:
                found.append((group, op, seq, host, size))
        return found
    finally:
        devices.lock.release()


def patch_graphs(module):
    """Wraps torch.cuda.graphs: asking about an event from another thread would break a capture that has begun."""
    graph = module.CUDAGraph
    begin, end = graph.capture_begin, graph.capture_end

    def capture_begin(self, *args, **kwargs):
        with devices.lock:
            devices.capturing += 1
        try:
            return begin(self, *args, **kwargs)
        except BaseException:
            devices.capturing -= 1
            raise

    def capture_end(self, *args, **kwargs):
        try:
            return end(self, *args, **kwargs)
        finally:
            devices.capturing = max(0, devices.capturing - 1)

    capture_begin.__wrapped__, capture_end.__wrapped__ = begin, end
    graph.capture_begin, graph.capture_end = capture_begin, capture_end
    devices.watched = True
