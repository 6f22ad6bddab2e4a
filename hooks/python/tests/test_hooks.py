"""The shim against fakes that have torch's, vLLM's and mpi4py's signatures. Standard library only.

    python3 -m unittest discover -s hooks/python/tests
"""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import PRELUDE, TORCH, Daemon, child, control  # noqa: E402


class Case(unittest.TestCase):
    def daemon(self, **options):
        daemon = Daemon(**options)
        self.addCleanup(daemon.close)
        return daemon


class Collectives(Case):
    def test_every_collective_is_told_with_its_group_number_and_size(self):
        daemon = self.daemon()
        child(
            TORCH
            + """
dist.all_reduce(t)
dist.all_reduce(t, group=c10d.TP)
dist.all_reduce(t, c10d.ReduceOp.SUM, c10d.TP, False)
dist.all_gather([], t)
dist.all_gather_into_tensor(torch.Tensor(1024), t)
dist.reduce_scatter_tensor(t, torch.Tensor(512))
dist.all_to_all([], [t, t])
dist.broadcast(t, src=0)
dist.barrier()
""",
            daemon,
        )
        rows = [(r["op"], r["id"], r["seq"], r["bytes"], r["size"], r["rank"]) for r in daemon.rows()]
        self.assertEqual(
            rows,
            [
                ("all_reduce", "0:0-3", 2, 1024, 4, 2),
                ("all_reduce", "7:2-3", 1, 1024, 2, 0),
                ("all_reduce", "7:2-3", 2, 1024, 2, 0),
                ("all_gather", "0:0-3", 3, 4096, 4, 2),
                ("all_gather", "0:0-3", 4, 4096, 4, 2),
                ("reduce_scatter", "0:0-3", 5, 2048, 4, 2),
                ("all_to_all", "0:0-3", 6, 2048, 4, 2),
                ("broadcast", "0:0-3", 7, 1024, 4, 2),
                ("barrier", "0:0-3", 8, 0, 4, 2),
            ],
        )
        self.assertTrue(all(r["end"] >= r["start"] and r["clock"] == "host" for r in daemon.rows()))

    def test_the_engine_sees_no_difference(self):
        child(
            """
import torch, torch.distributed as dist, inspect
from torch.distributed import distributed_c10d as c10d
assert dist.all_reduce is c10d.all_reduce and hasattr(dist.all_reduce, "_enginelight_hook")
assert dist.all_reduce.__doc__ == "Reduces." and dist.all_reduce.__name__ == "all_reduce"
assert dist.all_reduce.__module__ == "torch.distributed.distributed_c10d"
plain = inspect.signature(dist.all_reduce.__wrapped__)
assert str(inspect.signature(dist.all_reduce)) == str(plain), plain
assert c10d.__spec__.loader.__class__.__name__ == "SourceFileLoader", c10d.__spec__.loader
t = torch.Tensor(4)
assert dist.all_reduce(t) is None and dist.recv(t, src=1) == 0
assert isinstance(dist.all_reduce(t, async_op=True), c10d.Work)
assert c10d.calls[0] == ("all_reduce", (t, 0, None, False)), c10d.calls
try:
    dist.all_reduce(None)
except ValueError as error:
    assert str(error) == "no tensor"
else:
    raise AssertionError("the error of the engine's own call is gone")
try:
    dist.all_reduce()
except TypeError:
    pass
"""
        )

    def test_object_collectives_are_counted_once_by_their_parts(self):
        daemon = self.daemon()
        child(TORCH + "dist.all_gather_object([], {'a': 1})\n", daemon)
        self.assertEqual([(r["op"], r["bytes"]) for r in daemon.rows()], [("all_gather", 32), ("all_gather", 160)])

    def test_sends_and_receives_are_numbered_per_pair_and_direction(self):
        daemon = self.daemon()
        child(
            TORCH
            + """
dist.send(t, 3)
dist.send(t, 3)
dist.send(t, dst=1)
dist.recv(t, src=3)
dist.send(t, 3, group=c10d.TP)
dist.send(t, group_dst=1, group=c10d.TP)
for work in dist.batch_isend_irecv([c10d.P2POp(dist.isend, t, 3), c10d.P2POp(dist.irecv, t, 3)]):
    work.wait()
""",
            daemon,
        )
        rows = [(r["op"], r["id"], r["peer"], r["seq"]) for r in daemon.rows()]
        self.assertEqual(
            rows,
            [
                ("send", "0:0-3", 3, 1),
                ("send", "0:0-3", 3, 2),
                ("send", "0:0-3", 1, 1),
                ("recv", "0:0-3", 3, 1),
                ("send", "7:2-3", 1, 1),
                ("send", "7:2-3", 1, 2),
                ("send", "0:0-3", 3, 3),
                ("recv", "0:0-3", 3, 2),
            ],
        )

    def test_asynchronous_work_ends_when_it_ends_or_when_it_was_waited_for(self):
        daemon = self.daemon()
        child(
            TORCH
            + """
work = dist.all_reduce(t, async_op=True)
other = dist.all_reduce(t, op=1, async_op=True)
time.sleep(0.05)
work.get_future().finish()
time.sleep(0.05)
assert other.wait() is True
other.wait()
""",
            daemon,
        )
        first, second = daemon.rows()
        self.assertEqual([first["seq"], second["seq"]], [2, 3])
        self.assertGreaterEqual(first["end"] - first["start"], 50_000_000)
        self.assertGreaterEqual(second["end"] - first["end"], 50_000_000)

    def test_a_destroyed_group_is_not_taken_for_the_next_one(self):
        daemon = self.daemon()
        child(TORCH + "dist.all_reduce(t)\ndist.destroy_process_group()\ndist.all_reduce(t)\n", daemon)
        self.assertEqual([(r["id"], r["seq"]) for r in daemon.rows()], [("0:0-3", 2), ("0:0-3#1", 1)])

    def test_an_operation_that_hangs_is_told_as_open_sampled_or_not(self):
        for rate in (1.0, 0.001):
            daemon = self.daemon(rate=rate)
            child(TORCH + "dist.all_reduce(t)\nc10d.delay = 1.5\ndist.all_reduce(t, group=c10d.TP)\n", daemon)
            found = [r for r in daemon.rows() if r.get("open")]
            self.assertEqual([(r["op"], r["id"], r["seq"]) for r in found], [("all_reduce", "7:2-3", 1)])
            self.assertGreater(found[0]["end"] - found[0]["start"], 250_000_000)


class Sampling(Case):
    def test_ranks_pick_the_same_operations_without_talking(self):
        seen = []
        for _ in range(2):
            daemon = self.daemon(rate=0.3)
            child(TORCH + "for i in range(2000): dist.all_reduce(t)\ntime.sleep(0.2)\n", daemon)
            seen.append({r["seq"] for r in daemon.rows()})
        # A quarter is the power of two below; whole blocks, the same ones.
        self.assertEqual(seen[0] - set(range(64)), seen[1] - set(range(64)))
        self.assertTrue(all((seq >> 6) % 4 == 0 for seq in seen[0]), sorted(seen[0])[:10])
        self.assertGreater(len(seen[0]), 400)

    def test_a_kind_that_is_switched_off_stops_at_once_and_comes_back(self):
        daemon = self.daemon(rate=1.0)
        process = child(
            TORCH + "while not os.path.exists(sys.argv[0] + '/nowhere') and time.monotonic() < float(os.environ['END']):\n"
            "    dist.all_reduce(t); time.sleep(0.001)\n",
            daemon,
            environment={"END": str(__import__("time").monotonic() + 8)},
            wait=False,
        )
        self.assertTrue(daemon.wait(lambda: len(daemon.rows()) > 50))
        daemon.control = control(enabled=False)
        count = len(daemon.frames)
        self.assertTrue(daemon.wait(lambda: len(daemon.frames) > count + 4))
        quiet = len(daemon.rows())
        count = len(daemon.frames)
        self.assertTrue(daemon.wait(lambda: len(daemon.frames) > count + 4))
        self.assertEqual(len(daemon.rows()), quiet)
        # Counted, though not told.
        self.assertGreater(daemon.frames[-1][0]["seen"], 0)
        daemon.control = control(rate=1.0)
        self.assertTrue(daemon.wait(lambda: len(daemon.rows()) > quiet + 50))
        process.kill()
        process.communicate()

    def test_more_than_the_budget_halves_the_rate_until_it_fits(self):
        daemon = self.daemon(rate=1.0, budget=400)
        out = child(
            TORCH + "end = time.monotonic() + 30\n"
            "while core.hub.collective.local < 4 and time.monotonic() < end: dist.all_reduce(t); time.sleep(0.0005)\n"
            "print(core.hub.collective.local)\n",
            daemon,
        )
        self.assertGreaterEqual(int(out), 4)

    def test_what_does_not_fit_is_dropped_newest_first_and_counted(self):
        daemon = self.daemon(rate=1.0)
        daemon.control["post_interval_ms"] = 2000
        child(
            TORCH + "from enginelight_hooks import sender\nsender.GATHER_S = 60\ntime.sleep(0.3)\n"
            "for i in range(30000): dist.all_reduce(t)\n",
            daemon,
        )
        rows = daemon.rows()
        lost = sum(header["lost"].get("collective", 0) for header, _ in daemon.frames)
        self.assertLessEqual(len(rows), 8192)
        self.assertEqual(len(rows) + lost, 30000)
        self.assertEqual([r["seq"] for r in rows[-1000:]], list(range(rows[-1000]["seq"], rows[-1000]["seq"] + 1000)))

    def test_what_is_packed_while_no_daemon_answers_is_bounded(self):
        out = child(
            """
rows = core.hub.collective
core.hub.thread = False
for _ in range(5):
    for i in range(8192): rows.put(i, i, 0, i, -1)
    rows.gather(True)
print(rows.ready_events, len(rows.rows) // 5, rows.lost)
"""
        )
        self.assertEqual(out, "20224 8192 12544\n")

    def test_a_row_that_cannot_be_packed_is_lost_alone(self):
        daemon = self.daemon(rate=1.0)
        child(
            TORCH + "rows = core.hub.collective\nrows.put(1, 2, 0, 7, 1 << 70)\nrows.put(1, 2, 0, 8, 9)\nuntil(lambda: rows.lost == 0 and not rows.rows)\n",
            daemon,
        )
        self.assertEqual([row["seq"] for row in daemon.rows() if row["start"] == 1], [8])


class Life(Case):
    def test_without_a_daemon_nothing_is_recorded_and_nothing_happens(self):
        out = child(
            """
import torch, torch.distributed as dist
for i in range(100): dist.all_reduce(torch.Tensor(4))
time.sleep(0.3)
print(core.hub.collective.enabled, len(core.hub.collective.rows), core.hub.groups[0].seq)
"""        )
        self.assertEqual(out, "False 0 100\n")

    def test_a_daemon_that_falls_silent_switches_the_hooks_off_and_its_return_on_again(self):
        daemon = self.daemon(rate=1.0)
        daemon.control["silence_ms"] = 300
        out = child(
            TORCH
            + """
path = os.environ["ENGINELIGHT_HOOKS_SOCKET"]
os.rename(path, path + ".away")
core.hub.sender.connection.close()
until(lambda: not core.hub.collective.enabled)
dist.all_reduce(t)
os.rename(path + ".away", path)
until(lambda: core.hub.collective.enabled)
print("on again")
""",
            daemon,
        )
        self.assertEqual(out, "on again\n")

    def test_a_refusal_is_not_kept_and_counts_as_lost(self):
        daemon = self.daemon(rate=1.0)
        daemon.status = 429
        child(TORCH + "for i in range(10): dist.all_reduce(t)\ntime.sleep(0.5)\n", daemon)
        self.assertTrue(any(header["lost"].get("collective") == 10 for header, _ in daemon.frames))

    def test_a_forked_child_is_a_sender_of_its_own(self):
        daemon = self.daemon(rate=1.0)
        child(
            TORCH
            + """
for i in range(5): dist.all_reduce(t)
pid = os.fork()
if pid == 0:
    dist.all_reduce(t)
    until(told)
    for i in range(7): dist.all_reduce(t)
    time.sleep(0.3)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
dist.all_reduce(t)
""",
            daemon,
        )
        counts = {}
        for header, rows in daemon.frames:
            key = (header["sender"], header["pid"])
            counts[key] = counts.get(key, 0) + len(rows.get("collective", []))
        self.assertEqual(sorted(counts.values()), [6, 7])

    def test_a_spawned_child_has_hooks_through_the_environment(self):
        daemon = self.daemon(rate=1.0)
        child(
            """
import subprocess
script = os.environ["SCRIPT"]
subprocess.run([sys.executable, "-c", script], check=True)
""",
            daemon,
            environment={"SCRIPT": PRELUDE + TORCH + "for i in range(3): dist.all_reduce(t)\n"},
        )
        self.assertEqual(len(daemon.rows()), 3)
        job = daemon.frames[-1][0]["resource"]["service.instance.id"]
        self.assertRegex(job, r"-\d+$")
        self.assertNotEqual(job.rsplit("-", 1)[1], str(daemon.frames[-1][0]["pid"]))

    def test_it_is_off_without_its_variable_and_imports_nothing_of_the_engine(self):
        out = child(
            """
import importlib
print(sorted(m for m in sys.modules if m.split(".")[0] in ("torch", "vllm", "mpi4py", "sglang")))
""",
            environment={"ENGINELIGHT_HOOKS": "1"},
        )
        self.assertEqual(out, "[]\n")
        script = """
import sys, enginelight_hooks
enginelight_hooks.activate()
import torch.distributed as dist
print(hasattr(dist.all_reduce, "_enginelight_hook"), "enginelight_hooks.core" in sys.modules)
"""
        self.assertEqual(child(script, prelude="", environment={"ENGINELIGHT_HOOKS": "0"}), "False False\n")

    def test_modules_that_were_imported_before_are_wrapped_as_well(self):
        script = "import torch.distributed as dist\n" + PRELUDE + "assert hasattr(dist.all_reduce, '_enginelight_hook')\n"
        child(script, prelude="")

    def test_the_resource_says_who_it_is(self):
        daemon = self.daemon(rate=1.0)
        child(
            TORCH + "dist.all_reduce(t)\n",
            daemon,
            environment={
                "OTEL_SERVICE_NAME": "chat",
                "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=r1,k8s.pod.name=a%20b",
                "NODE_NAME": "n7",
            },
        )
        who = daemon.frames[-1][0]["resource"]
        self.assertEqual(
            {k: who.get(k) for k in ("service.name", "service.instance.id", "k8s.pod.name", "host.name", "inference.rank")},
            {
                "service.name": "chat",
                "service.instance.id": "r1",
                "k8s.pod.name": "a b",
                "host.name": "n7",
                "inference.rank": 2,
            },
        )


class Devices(Case):
    def test_device_time_comes_from_events_and_nothing_waits_for_them(self):
        daemon = self.daemon(rate=1.0)
        child(
            TORCH
            + """
from enginelight_hooks import device
g = torch.Tensor(64, device=type("D", (), {"index": 0})())
for i in range(6): dist.all_reduce(g, group=c10d.GPU)
device.devices.collect(100)
""",
            daemon,
        )
        rows = daemon.rows()
        self.assertEqual([(r["seq"], r["clock"], r["backend"]) for r in rows], [(i, "device", "nccl") for i in range(1, 7)])
        # The fake device takes 1.5 ms from one record to the next; the first operation is also where the anchor is.
        self.assertEqual([(r["end"] - r["start"]) / 1e6 for r in rows[1:]], [1.5] * 5)

    def test_tensors_on_the_host_are_timed_on_the_host(self):
        daemon = self.daemon(rate=1.0)
        child(TORCH + "dist.all_reduce(t, group=c10d.GPU)\n", daemon)
        self.assertEqual([r["clock"] for r in daemon.rows()], ["host"])

    def test_nothing_is_asked_while_a_graph_is_captured(self):
        daemon = self.daemon(rate=1.0)
        out = child(
            TORCH
            + """
from torch.cuda.graphs import CUDAGraph
from enginelight_hooks import device
assert device.devices.watched
g = torch.Tensor(64, device=type("D", (), {"index": 0})())
dist.all_reduce(g, group=c10d.GPU)
graph = CUDAGraph()
graph.capture_begin()
dist.all_reduce(g, group=c10d.GPU)
device.poll(core.now(), 0)
time.sleep(0.3)
graph.capture_end()
print(torch.cuda.asked_while_capturing, len(device.devices.waiting))
""",
            daemon,
        )
        self.assertEqual(out.split()[0], "0")
        self.assertEqual([r["seq"] for r in daemon.rows()], [1])

    def test_a_kernel_that_does_not_end_is_told_as_open(self):
        daemon = self.daemon(rate=1.0)
        child(
            TORCH
            + """
import torch.cuda.graphs
g = torch.Tensor(64, device=type("D", (), {"index": 0})())
torch.cuda.Event.query = lambda self: False
dist.all_reduce(g, group=c10d.GPU)
time.sleep(1)
""",
            daemon,
        )
        self.assertEqual([(r["open"], r["seq"]) for r in daemon.rows()], [(True, 1)])


class Engines(Case):
    def test_steps_of_vllm_say_what_they_ran(self):
        daemon = self.daemon(rate=1.0)
        child(
            """
from vllm.v1.engine.core import EngineCore
engine = EngineCore()
engine.step()
until(told)
for i in range(3): assert engine.step()[1] is True
""",
            daemon,
        )
        rows = daemon.rows("engine_step")
        # One prompt of 100 tokens, one new prompt of a single token, two sequences in decode.
        self.assertEqual([row[2:6] for row in rows], [(1, 101, 2, -1), (2, 101, 2, -1), (3, 101, 2, -1)])
        self.assertTrue(all(row[6] >= 0 for row in rows))

    def test_requests_are_told_where_the_engine_does_not_trace_them_itself(self):
        daemon = self.daemon(rate=1.0)
        child(
            """
from vllm.v1.engine.output_processor import OutputProcessor
class Stats:
    arrival_time = time.time() - 2
    num_generation_tokens = 9
    first_token_latency = 0.5
    queued_ts, scheduled_ts, first_token_ts, last_token_ts = 10.0, 10.2, 10.5, 12.0
class State:
    request_id, prompt_len, stats = "r-1", 33, Stats
core.start()
until(told)
OutputProcessor()._update_stats_from_finished(State, "stop", None)
OutputProcessor.tracing_enabled = True
OutputProcessor()._update_stats_from_finished(State, "stop", None)
""",
            daemon,
        )
        spans = [span for header, _ in daemon.frames for span in header["spans"]]
        self.assertEqual(len(spans), 1)
        self.assertEqual(spans[0]["name"], "llm_request")
        attributes = spans[0]["attributes"]
        self.assertEqual(attributes["gen_ai.request.id"], "r-1")
        self.assertAlmostEqual(attributes["gen_ai.latency.time_in_queue"], 0.2)
        self.assertAlmostEqual(attributes["gen_ai.latency.time_in_model_decode"], 1.5)

    def test_a_module_of_another_form_stays_as_it_is(self):
        child(
            """
os.environ.pop("ENGINELIGHT_HOOKS_DEBUG")
import types, vllm.v1
from enginelight_hooks import importer
class Scheduler: pass
importer.apply(importer._patchers()["vllm.v1.core.sched.scheduler"], types.SimpleNamespace())
importer.apply(importer._patchers()["vllm.v1.core.sched.scheduler"], types.SimpleNamespace(Scheduler=Scheduler))
assert not hasattr(Scheduler, "schedule")
"""
        )

    def test_transfers_of_nixl_and_mooncake_are_told(self):
        daemon = self.daemon(rate=1.0)
        child(
            """
import types
from enginelight_hooks import importer
class nixl_agent:
    name = "decode-0"
    state = "PROC"
    def transfer(self, handle, notif_msg=""): return self.state
    def check_xfer_state(self, handle): return self.state
    def release_xfer_handle(self, handle): pass
class MooncakeTransferEngine:
    session_id = "10.0.0.1:7"
    def batch_transfer_sync(self, session_id, buffers, peer_buffer_addresses, lengths): return -1
table = importer._patchers()
table["nixl._api"](types.SimpleNamespace(nixl_agent=nixl_agent))
table["sglang.srt.disaggregation.mooncake.transfer_engine"](types.SimpleNamespace(MooncakeTransferEngine=MooncakeTransferEngine))
core.start()
until(told)
agent, handle = nixl_agent(), object()
assert agent.transfer(handle) == "PROC" and agent.check_xfer_state(handle) == "PROC"
time.sleep(0.02)
agent.state = "DONE"
assert agent.check_xfer_state(handle) == "DONE"
agent.check_xfer_state(handle)
assert MooncakeTransferEngine().batch_transfer_sync("10.0.0.2:8", [1, 2], [3, 4], [100, 200]) == -1
""",
            daemon,
        )
        told = []
        for header, rows in daemon.frames:
            for row in rows.get("kv_transfer", []):
                text = [header["strings"][i] if i >= 0 else "" for i in (row[3], row[4], row[7], row[9])]
                told.append((text, row[5], row[6], (row[1] - row[0]) > 15e6))
        self.assertEqual(
            told,
            [
                (["decode-0", "", "unknown", ""], -1, -1, True),
                (["10.0.0.1:7", "10.0.0.2:8", "mooncake", "the transfer failed (-1)"], 300, 2, False),
            ],
        )


class Mpi(Case):
    def test_the_world_becomes_a_subclass_with_the_same_handle(self):
        daemon = self.daemon(rate=1.0)
        child(
            """
import types
from enginelight_hooks import importer
class Intracomm:
    def __init__(self, other=None): self.handle = other.handle if other else 1
    def Get_size(self): return 2
    def Get_rank(self): return 1
    def Allreduce(self, sendbuf, recvbuf, op=0): return None
    def allreduce(self, obj, op=0): return obj
    def Send(self, buf, dest, tag=0): return None
    def Recv(self, buf, source=-1, tag=-1, status=None): return None
    def Split(self, color=0, key=0): return Intracomm(self)
    def __eq__(self, other): return self is other
module = types.SimpleNamespace(Intracomm=Intracomm, COMM_WORLD=Intracomm(), COMM_NULL=Intracomm())
importer.apply(importer._patchers()["mpi4py.MPI"], module)
world = module.COMM_WORLD
assert isinstance(world, Intracomm) and world.handle == 1 and type(world) is not Intracomm
buf = memoryview(bytearray(64))
world.Allreduce(buf, buf)
until(told)
world.Allreduce(buf, buf)
world.Allreduce(-1, buf)
assert world.allreduce(3) == 3
world.Send(buf, dest=0)
world.Recv(buf, source=0)
world.Recv(buf)
sub = world.Split(4, 0)
sub.Allreduce(buf, buf)
""",
            daemon,
        )
        rows = [(r["op"], r["id"], r["seq"], r["bytes"], r.get("peer")) for r in daemon.rows()]
        self.assertEqual(
            rows,
            [
                ("all_reduce", "world", 2, 64, None),
                ("all_reduce", "world", 3, 64, None),
                ("all_reduce", "world", 4, -1, None),
                ("send", "world", 1, 64, 0),
                ("recv", "world", 1, 64, 0),
                ("all_reduce", "world/split0:4", 1, 64, None),
            ],
        )


class Files(unittest.TestCase):
    def test_the_pth_line_is_one_line_of_python_that_starts_with_import(self):
        path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "enginelight_hooks.pth")
        with open(path) as file:
            lines = file.read().splitlines()
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith("import "))
        compile(lines[0], path, "exec")

    def test_the_entry_point_of_vllm_is_there(self):
        path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pyproject.toml")
        with open(path) as file:
            self.assertIn('enginelight_hooks = "enginelight_hooks:activate"', file.read())

    def test_a_frame_can_be_written_as_json(self):
        self.assertEqual(json.loads(json.dumps(control()))["kinds"]["collective"]["rate"], 1.0)


if __name__ == "__main__":
    unittest.main()
