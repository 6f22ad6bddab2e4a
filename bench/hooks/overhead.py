"""What the shim costs a collective: the same calls with and without it, block by block in one process, paired.

    python3 overhead.py torch|mpi|call [--ranks N] [--seconds S] [--work US]

`torch`: a real torch.distributed Gloo job; `mpi`: a real MPI job (run it with mpirun); `call`: the wrapper's own time
around an operation that does nothing. Every rank runs the same blocks; within a pair the order is random, the same on every
rank. The slowdown is the median of the pairs' ratios with a bootstrap confidence interval.
"""

import argparse
import os
import random
import statistics
import sys
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "hooks", "python"))

now = time.perf_counter_ns


def interval(ratios, rounds=2000):
    """Median and its 95 % interval, bootstrapped, seeded."""
    rng = random.Random(7)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(rounds))
    return statistics.median(ratios), medians[int(rounds * 0.025)], medians[int(rounds * 0.975)]


def rss_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def cpu_ns():
    return time.process_time_ns()


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


def paired(plain, hooked, options, agree):
    """Alternates blocks of both until the time is over; returns per pair (wall ratio, CPU ratio), and calls per second."""
    rng = random.Random(11)
    work = spin(options.work * 1000) if options.work else None
    pairs, calls, started = [], 0, now()
    while agree((now() - started) / 1e9 < options.seconds):
        times = {}
        for which in rng.sample((plain, hooked), 2):
            begin, cpu = now(), cpu_ns()
            if work is None:
                for _ in range(options.block):
                    which()
            else:
                for _ in range(options.block):
                    work()
                    which()
            times[which] = (now() - begin, cpu_ns() - cpu)
            calls += options.block
        wall, cpu = (times[hooked][i] / max(1, times[plain][i]) for i in (0, 1))
        pairs.append((wall, cpu, times[plain][0] / options.block))
    return pairs, calls / ((now() - started) / 1e9)


def report(name, rank, pairs, rate, before, extra=""):
    if rank != 0:
        return
    wall, low, high = interval([p[0] for p in pairs])
    cpu, cpu_low, cpu_high = interval([p[1] for p in pairs])
    each = statistics.median(p[2] for p in pairs) / 1000
    print(
        "%s: %d pairs, %.1f us a collective, %.0f collectives/s; wall %+.2f %% [%+.2f, %+.2f]; CPU %+.2f %% [%+.2f, %+.2f]; memory +%.1f MiB%s"
        % (
            name, len(pairs), each, rate, (wall - 1) * 100, (low - 1) * 100, (high - 1) * 100,
            (cpu - 1) * 100, (cpu_low - 1) * 100, (cpu_high - 1) * 100, (rss_kib() - before) / 1024, extra,
        ),
        flush=True,
    )  # fmt: skip


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
    pairs, rate = paired(
        lambda: plain_function(tensor), lambda: hooked_function(tensor), options, agree
    )
    kind = core.hub.collective
    extra = "; hooks %s, 1 of %d sent, %d lost" % ("on" if on else "OFF: no daemon answered", kind.period * kind.local, kind.lost)
    report("torch gloo, %d ranks" % options.ranks, rank, pairs, rate, before, extra)
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
    pairs, rate = paired(
        lambda: plain.Allreduce(data, out), lambda: hooked.Allreduce(data, out), options, agree
    )
    kind = core.hub.collective
    extra = "; hooks %s, 1 of %d sent, %d lost" % ("on" if on else "OFF: no daemon answered", kind.period * kind.local, kind.lost)
    report("MPI, %d ranks" % plain.Get_size(), plain.Get_rank(), pairs, rate, before, extra)


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
    parser.add_argument("--block", type=int, default=500)
    parser.add_argument("--control", action="store_true", help="the plain calls on both sides: what the method itself sees")
    parser.add_argument("--work", type=int, default=0, help="microseconds of own work between two collectives")
    parser.add_argument("--elements", type=int, default=256)
    parser.add_argument("--port", type=int, default=29555)
    given = parser.parse_args()
    {"torch": run_torch, "mpi": run_mpi, "call": run_call}[given.what](given)
