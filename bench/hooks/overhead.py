"""What the shim costs a collective: the same calls with and without it, block by block in one process, paired.

    python3 overhead.py torch|mpi|call [--ranks N] [--seconds S] [--work US]

`torch`: a real torch.distributed Gloo job; `mpi`: a real MPI job (run it with mpirun); `call`: the wrapper's own time
around an operation that does nothing. Every rank runs the same blocks; within a pair the order is random, the same on every
rank. Blocks are short, so that most pairs are not torn by other work on the machine, and there are thousands of them.

The slowdown is the median of the pairs' differences with its 95 % interval, of the time on the wall and of the CPU time of the
thread that calls. The latter hears little of what else runs on the machine; with the CPU time of the thread that sends it
says what ten thousand collectives a second cost a rank. Means are given too: they hold what happens rarely.
"""

import argparse
import os
import random
import statistics
import sys
import time
import zlib
from array import array

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "hooks", "python"))

now = time.perf_counter_ns


def interval(values):
    """Median and its 95 % interval, from the order of the values: no form of their distribution is assumed."""
    values = sorted(values)
    n = len(values)
    half = 0.98 * n**0.5
    return statistics.median(values), values[max(0, int(n / 2 - half))], values[min(n - 1, int(n / 2 + half))]


def mean(values):
    """Mean and the 1.96 standard errors to each side of it."""
    if len(values) < 2:
        return values[0], float("nan")
    return statistics.fmean(values), 1.96 * statistics.stdev(values) / len(values) ** 0.5


def rss_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def thread_cpu_ns(thread):
    """CPU time of another thread of this process, by the kernel; NaN where it does not tell."""
    try:
        with open("/proc/self/task/%d/schedstat" % thread.native_id) as stat:
            return int(stat.read().split()[0])
    except (OSError, AttributeError, ValueError):
        return float("nan")


def spin(ns):
    """Work between two collectives: in C and without the interpreter's lock, as an engine's kernels are. (A loop in Python is
    no good measure: how fast it allocates its numbers depends on what happens to be in the allocator's pools.)"""
    data = b"x" * 65536
    for _ in range(200):
        zlib.crc32(data)
    begin = now()
    for _ in range(200):
        zlib.crc32(data)
    data = b"x" * int(65536 * ns / ((now() - begin) / 200))
    return lambda: zlib.crc32(data)


class Measured:
    """The pairs of one job: per collective, what the hooked blocks took more than the plain ones of the same pair, in ns."""

    def __init__(self, sender):
        self.sender = sender
        self.sender_before = thread_cpu_ns(sender)
        self.started = now()
        self.calls = self.hooked_calls = 0
        self.wall, self.cpu, self.plain_wall, self.plain_cpu = (array("d") for _ in range(4))

    def add(self, block, plain, hooked):
        self.calls += 2 * block
        self.hooked_calls += block
        self.plain_wall.append(plain[0] / block)
        self.plain_cpu.append(plain[1] / block)
        self.wall.append((hooked[0] - plain[0]) / block)
        self.cpu.append((hooked[1] - plain[1]) / block)

    def seconds(self):
        return (now() - self.started) / 1e9

    def print(self, name, extra):
        seconds = self.seconds()
        wall, cpu = statistics.median(self.plain_wall), statistics.median(self.plain_cpu)
        more, low, high = interval(self.wall)
        percent = 100 / wall
        print("%s: %d pairs, %.0f collectives/s, each %.1f us on the wall and %.1f us of CPU on its thread; %s" % (
            name, len(self.wall), self.calls / seconds, wall / 1000, cpu / 1000, extra))  # fmt: skip
        print("  wall: %+.2f %% [%+.2f, %+.2f]; mean %+.2f %% +- %.2f" % (
            more * percent, low * percent, high * percent, *(v * percent for v in mean(self.wall))))  # fmt: skip
        more, low, high = interval(self.cpu)
        print("  calling thread: %+.0f ns of CPU a collective [%+.0f, %+.0f]; mean %+.0f +- %.0f" % (
            more, low, high, *mean(self.cpu)))  # fmt: skip
        sender = thread_cpu_ns(self.sender) - self.sender_before
        each = sender / max(1, self.hooked_calls)
        print("  sending thread: %.2f %% of a core, %.0f ns a collective" % (sender / seconds / 1e7, each))
        print("  at 10,000 collectives/s: %+.2f %% [%+.2f, %+.2f] of the calling thread's time, %.2f %% of a core to send" % (
            more / 1000, low / 1000, high / 1000, each / 1000), flush=True)  # fmt: skip


def paired(plain, hooked, options, agree, sender):
    """Alternates blocks of both until the time is over."""
    rng = random.Random(11)
    work = spin(options.work * 1000) if options.work else None
    thread_cpu = time.thread_time_ns
    block = range(options.block)
    measured = Measured(sender)
    while agree(measured.seconds() < options.seconds):
        # Some pairs between two questions whether the time is over.
        for _ in range(8):
            times = {}
            for which, call in rng.sample((("plain", plain), ("hooked", hooked)), 2):
                begin, cpu = now(), thread_cpu()
                if work is None:
                    for _ in block:
                        call()
                else:
                    for _ in block:
                        work()
                        call()
                times[which] = (now() - begin, thread_cpu() - cpu)
            measured.add(options.block, times["plain"], times["hooked"])
    return measured


def activated():
    os.environ["ENGINELIGHT_HOOKS"] = "1"
    import enginelight_hooks

    enginelight_hooks.activate()
    from enginelight_hooks import core

    return core


def wait_until_on(core, run):
    """Until the daemon has answered and so switched the hooks on."""
    end = now() + 10_000_000_000
    while now() < end and not core.hub.collective.enabled:
        run()
        time.sleep(0.01)
    return core.hub.collective.enabled


def told(core, on, rss_before, measured):
    """What the hooks were told and did. Memory is all that came since before they were loaded, without the measured pairs."""
    kind = core.hub.collective
    return "hooks %s, 1 of %d sent, %d lost, memory %+.1f MiB" % (
        "on" if on else "OFF: no daemon answered",
        kind.period * kind.local,
        kind.lost,
        (rss_kib() - rss_before - len(measured.wall) // 32) / 1024,
    )


def torch_rank(rank, options):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(options.port), RANK=str(rank), WORLD_SIZE=str(options.ranks))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=options.ranks)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank % os.cpu_count()]})
    tensor = torch.ones(options.elements)
    plain_function = dist.all_reduce
    for _ in range(200):
        plain_function(tensor)
    before = rss_kib()
    core = activated()
    hooked_function = dist.all_reduce
    assert hooked_function is not plain_function
    flag = torch.zeros(1)

    def agree(value):
        flag[0] = 1.0 if value else 0.0
        plain_function(flag, op=dist.ReduceOp.MIN)
        return bool(flag[0])

    on = False
    for _ in range(500):
        hooked_function(tensor)
        time.sleep(0.005)
        on = core.hub.collective.enabled
        if agree(on):
            break
    if options.control:
        hooked_function = plain_function
    measured = paired(lambda: plain_function(tensor), lambda: hooked_function(tensor), options, agree, core.hub.thread)
    if rank == 0:
        measured.print("torch gloo, %d ranks" % options.ranks, told(core, on, before, measured))
    dist.destroy_process_group()


def run_torch(options):
    import torch.multiprocessing as mp

    mp.spawn(torch_rank, args=(options,), nprocs=options.ranks)


def run_mpi(options):
    import mpi4py.MPI as MPI
    import numpy

    plain = MPI.COMM_WORLD
    before = rss_kib()
    core = activated()
    hooked = MPI.COMM_WORLD
    assert type(hooked) is not type(plain)
    data, out = numpy.ones(options.elements, dtype="f4"), numpy.ones(options.elements, dtype="f4")

    def agree(value):
        return bool(plain.allreduce(1 if value else 0, op=MPI.MIN))

    on = False
    for _ in range(500):
        hooked.Allreduce(data, out)
        time.sleep(0.005)
        on = core.hub.collective.enabled
        if agree(on):
            break
    if options.control:
        hooked = plain
    measured = paired(
        lambda: plain.Allreduce(data, out), lambda: hooked.Allreduce(data, out), options, agree, core.hub.thread
    )
    if plain.Get_rank() == 0:
        measured.print("MPI, %d ranks" % plain.Get_size(), told(core, on, before, measured))


def run_call(_options):
    """The wrapper around nothing, with a real tensor if torch is there: what one call costs at 100 %, sampled 1 of 8, and off."""
    core = activated()
    from enginelight_hooks import torch_hooks

    try:
        import torch

        tensor = torch.ones(256)
    except ImportError:
        class Tensor:
            def numel(self):
                return 256

            def element_size(self):
                return 4

        tensor = Tensor()
    core.hub.thread = False

    def all_reduce(tensor, op=None, group=None, async_op=False):
        return None

    group = core.add_group(core.Group("bench", 2, 0, "gloo", ranks=[0, 1]))
    namespace = {
        "states": {None: group}, "resolve": None, "kind": core.hub.collective, "later": None, "total": None, "on_device": None,
    }  # fmt: skip
    wrapper = torch_hooks.make(
        torch_hooks.COLLECTIVE, all_reduce, namespace, op=0, tensor="tensor",
        size=torch_hooks.SIZES["one"].format(t="tensor"),
    )  # fmt: skip
    kind = core.hub.collective
    for name, enabled, period in (("100 %", True, 1), ("1 of 8", True, 8), ("off", False, 1)):
        kind.enabled, kind.period = enabled, period
        core.reconsider()
        costs = []
        for _ in range(200):
            kind.swap()
            cpu = time.thread_time_ns()
            for _ in range(1000):
                all_reduce(tensor)
            base = time.thread_time_ns() - cpu
            cpu = time.thread_time_ns()
            for _ in range(1000):
                wrapper(tensor)
            costs.append((time.thread_time_ns() - cpu - base) / 1000)
        costs.sort()
        print("call, %s: %.0f ns (quarter to three quarters %.0f to %.0f)" % (name, costs[100], costs[50], costs[150]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("torch", "mpi", "call"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--block", type=int, default=20)
    parser.add_argument("--control", action="store_true", help="the plain calls on both sides: what the method itself sees")
    parser.add_argument("--work", type=int, default=0, help="microseconds of own work between two collectives")
    parser.add_argument("--elements", type=int, default=256)
    parser.add_argument("--port", type=int, default=29555)
    given = parser.parse_args()
    {"torch": run_torch, "mpi": run_mpi, "call": run_call}[given.what](given)
