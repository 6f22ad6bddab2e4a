"""A daemon that keeps what it is sent, and a child process that the hooks are active in. Standard library only."""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
WIDTH = {"collective": 5, "pipeline_stage": 7, "engine_step": 8, "kv_transfer": 10}


def control(rate=1.0, enabled=True, budget=0, **more):
    kinds = ("collective", "pipeline_stage", "engine_step", "kv_transfer", "request")
    state = {"enabled": enabled, "rate": rate, "bytes_per_second": budget}
    return {
        "version": 1,
        "post_interval_ms": 50,
        "silence_ms": 30000,
        "open_after_ms": 300,
        "kinds": {kind: state for kind in kinds},
        **more,
    }


class Daemon:
    """Answers every post with `self.control`; `frames` are (header, rows by kind)."""

    def __init__(self, **options):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "h.sock")
        self.control = control(**options)
        self.status = 200
        self.frames = []
        self.arrived = threading.Condition()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(50)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            self.answer(client)
        except OSError:
            pass  # it was killed
        finally:
            client.close()

    def answer(self, client):
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                more = client.recv(65536)
                if not more:
                    return
                received += more
            head, _, received = received.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            length = int(fields["content-length"])
            while len(received) < length:
                received += client.recv(65536)
            body, received = received[:length], received[length:]
            with self.arrived:
                self.frames.append(read(body))
                self.arrived.notify_all()
            answer = json.dumps({"accepted": 0, "control": self.control}).encode()
            client.sendall(b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\n\r\n" % (self.status, len(answer)) + answer)

    def rows(self, kind="collective"):
        """Every row so far, with what it points at put in its place."""
        out = []
        for header, rows in list(self.frames):
            for row in rows.get(kind, []):
                if kind == "collective":
                    op = header["ops"][row[2]]
                    group = header["groups"][op["group"]]
                    row = dict(op, id=group["id"], rank=group["rank"], size=group["size"], seq=row[3], bytes=row[4],
                               start=row[0], end=row[1], backend=group["backend"])  # fmt: skip
                out.append(row)
        return out

    def wait(self, condition, seconds=20):
        with self.arrived:
            return self.arrived.wait_for(condition, seconds)

    def close(self):
        self.listener.close()
        self.folder.cleanup()


def read(body):
    assert body[:4] == b"ELH1", body[:8]
    (length,) = struct.unpack_from("<I", body, 4)
    assert (8 + length) % 8 == 0
    header = json.loads(body[8 : 8 + length])
    at, rows = 8 + length, {}
    for block in header["blocks"]:
        width = WIDTH[block["kind"]]
        for _ in range(block["count"]):
            rows.setdefault(block["kind"], []).append(struct.unpack_from("<%dq" % width, body, at))
            at += width * 8
    assert at == len(body), (at, len(body))
    return header, rows


PRELUDE = """
import os, sys, time
import enginelight_hooks
enginelight_hooks.activate()
from enginelight_hooks import core
def told():
    return core.hub.sender is not None and core.hub.sender.version is not None
def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen: %s" % condition)
        time.sleep(0.005)
"""

TORCH = """
import torch, torch.distributed as dist
from torch.distributed import distributed_c10d as c10d
t = torch.Tensor(256)
# The first operation is made while nothing can have been switched on yet.
core.hub.thread = False
dist.barrier()
core.hub.thread = None
core.start()
until(told)
"""


def child(script, daemon=None, prelude=PRELUDE, environment=(), wait=True):
    """Runs a script with the fakes on its path and the hooks on; returns its output. Fails if the script does."""
    env = dict(os.environ, ENGINELIGHT_HOOKS="1", ENGINELIGHT_HOOKS_DEBUG="1", PYTHONDONTWRITEBYTECODE="1")
    env["PYTHONPATH"] = os.pathsep.join([PACKAGE, os.path.join(HERE, "fake")])
    env["ENGINELIGHT_HOOKS_SOCKET"] = daemon.path if daemon else "/nowhere/h.sock"
    for name in ("RANK", "MASTER_ADDR", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        env.pop(name, None)
    env.update(environment)
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if not wait:
        return process
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:
        raise AssertionError("the script ended with %s\n%s\n%s" % (process.returncode, out, err))
    if "Traceback" in err:
        raise AssertionError("something went wrong inside:\n" + err)
    return out
