"""The signatures of torch.distributed, old and new, around nothing."""
import time


class ProcessGroup:
    def __init__(self, name, ranks, backend="gloo"):
        self.name, self.ranks, self.backend = name, ranks, backend


class Future:
    def __init__(self):
        self.callbacks = []

    def add_done_callback(self, callback):
        self.callbacks.append(callback)

    def finish(self):
        for callback in self.callbacks:
            callback(self)


class Work:
    def __init__(self, future):
        self.future = future

    def get_future(self):
        if self.future is None:
            raise RuntimeError("this work has no future")
        return self.future

    def wait(self, timeout=None):
        return True


class ReduceOp:
    SUM = 0


WORLD = ProcessGroup("0", list(range(4)))
TP = ProcessGroup("7", [2, 3])
GPU = ProcessGroup("9", [0, 1, 2, 3], "nccl")
_pg_names = {g: g.name for g in (WORLD, TP, GPU)}
_pg_group_ranks = {g: {r: i for i, r in enumerate(g.ranks)} for g in (WORLD, TP, GPU)}
calls = []
delay = 0.0
RANK = 2


def _get_default_group():
    return WORLD


def get_rank(group=None):
    return (group or WORLD).ranks.index(RANK)


def get_backend(group=None):
    return (group or WORLD).backend


def _call(name, *args):
    calls.append((name, args))
    if delay:
        time.sleep(delay)


def all_reduce(tensor, op=ReduceOp.SUM, group=None, async_op=False):
    """Reduces."""
    _call("all_reduce", tensor, op, group, async_op)
    if tensor is None:
        raise ValueError("no tensor")
    if async_op:
        return Work(Future() if op == ReduceOp.SUM else None)


def all_gather(tensor_list, tensor, group=None, async_op=False):
    _call("all_gather", tensor_list, tensor, group, async_op)


def all_gather_object(object_list, obj, group=None):
    all_gather([], __import__("torch").Tensor(2), group=group)
    all_gather([], __import__("torch").Tensor(10), group=group)


def all_gather_into_tensor(output_tensor, input_tensor, group=None, async_op=False):
    _call("all_gather_into_tensor", output_tensor, input_tensor, group, async_op)


def reduce_scatter_tensor(output, input, op=ReduceOp.SUM, group=None, async_op=False):
    _call("reduce_scatter_tensor", output, input, op, group, async_op)


def all_to_all(output_tensor_list, input_tensor_list, group=None, async_op=False):
    _call("all_to_all", output_tensor_list, input_tensor_list, group, async_op)


def broadcast(tensor, src=None, group=None, async_op=False, group_src=None):
    _call("broadcast", tensor, src, group, async_op, group_src)


def barrier(group=None, async_op=False, device_ids=None):
    _call("barrier", group, async_op, device_ids)


def send(tensor, dst=None, group=None, tag=0, group_dst=None):
    _call("send", tensor, dst, group, tag, group_dst)


def recv(tensor, src=None, group=None, tag=0, group_src=None):
    _call("recv", tensor, src, group, tag, group_src)
    return 0


def isend(tensor, dst=None, group=None, tag=0, group_dst=None):
    _call("isend", tensor, dst, group, tag, group_dst)
    return Work(None)


def irecv(tensor, src=None, group=None, tag=0, group_src=None):
    _call("irecv", tensor, src, group, tag, group_src)
    return Work(None)


class P2POp:
    def __init__(self, op, tensor, peer, group=None):
        if op not in (isend, irecv):
            raise RuntimeError("Invalid ``op``")
        self.op, self.tensor, self.peer, self.group = op, tensor, peer, group


def batch_isend_irecv(p2p_op_list):
    return [o.op(o.tensor, o.peer, o.group) for o in p2p_op_list]


def destroy_process_group(group=None):
    _call("destroy", group)
