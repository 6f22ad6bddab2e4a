"""Who this process is: attributes of the resource, from the environment and from what the engine has already set up."""

import os
import socket
import sys
from urllib.parse import unquote

from . import core

ENGINES = ("vllm", "sglang", "dynamo", "tensorrt_llm")


def instance():
    """The replica: what OTEL_RESOURCE_ATTRIBUTES says, else a name that all processes of one job share."""
    env = os.environ
    if env.get("MASTER_ADDR"):
        return "%s:%s" % (env["MASTER_ADDR"], env.get("MASTER_PORT", ""))
    for name in ("PMIX_NAMESPACE", "PMI_JOBID", "SLURM_JOB_ID", "OMPI_MCA_ess_base_jobid"):
        if env.get(name):
            return "job-" + env[name]
    return env.get("ENGINELIGHT_HOOKS_JOB", "")


class Who:
    """Made again only when something that it is made of may have changed."""

    def __init__(self):
        self.known = None
        self.groups = -1
        self.rounds = 0

    def resource(self, groups):
        self.rounds += 1
        if self.known is None or self.groups != len(groups) or self.rounds in (5, 60, 600):
            self.groups = len(groups)
            self.known = self.make(groups)
        return self.known

    def make(self, groups):
        out = {}
        for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
            key, sign, value = pair.partition("=")
            if sign and key.strip():
                out[key.strip()] = unquote(value.strip())
        if os.environ.get("OTEL_SERVICE_NAME"):
            out["service.name"] = os.environ["OTEL_SERVICE_NAME"]
        if "service.instance.id" not in out and instance():
            out["service.instance.id"] = instance()
        out.setdefault("host.name", os.environ.get("NODE_NAME") or socket.gethostname())
        out["process.pid"] = os.getpid()
        for name in ENGINES:
            if name in sys.modules and "inference.engine" not in out:
                out["inference.engine"] = "trtllm" if name == "tensorrt_llm" else name
        for part in (self.ranks, self.gpu):
            try:
                part(out, groups)
            except Exception as error:
                core.quiet(error)
        return out

    def ranks(self, out, groups):
        world = max((g for g in groups if g.ranks is not None), key=lambda g: g.size, default=None)
        rank = os.environ.get("RANK") or os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK")
        if world is not None:
            out["inference.rank"], out["inference.world_size"] = world.ranks[world.rank], world.size
        elif rank is not None and rank.isdigit():
            out["inference.rank"] = int(rank)
        for name in ("vllm.distributed.parallel_state", "sglang.srt.distributed.parallel_state"):
            state = sys.modules.get(name)
            for axis in ("tp", "pp", "dp", "ep") if state is not None else ():
                group = getattr(state, "_" + axis.upper(), None)
                if group is not None and getattr(group, "world_size", 1) > 1:
                    out["inference.rank." + axis] = int(group.rank_in_group)

    def gpu(self, out, _groups):
        torch = sys.modules.get("torch")
        cuda = getattr(torch, "cuda", None)
        # Asking earlier would set up CUDA in a process that may not want it, or may still fork.
        if cuda is None or not cuda.is_initialized():
            return
        from .device import devices

        if devices.capturing:
            return
        properties = cuda.get_device_properties(cuda.current_device())
        uuid = getattr(properties, "uuid", None)
        if uuid is not None:
            text = str(uuid)
            out["hw.id"] = text if text.startswith("GPU-") else "GPU-" + text
        bus = getattr(properties, "pci_bus_id", None)
        if bus is not None:
            out["hw.gpu.pci_bus_id"] = "%04x:%02x:%02x.0" % (
                getattr(properties, "pci_domain_id", 0),
                bus,
                getattr(properties, "pci_device_id", 0),
            )
