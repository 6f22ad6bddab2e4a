"""mpi4py: its communicators are C types whose methods cannot be replaced, so MPI.COMM_WORLD becomes an instance of a
subclass with the same handle. It is still a communicator to every MPI function and to isinstance; what Dup, Split and
Create make of it is wrapped too. Non-blocking operations and those on communicators that C code made are not seen."""

from . import core

# method -> operation; how its bytes are found: in the first buffer, or the object is pickled and its size not known.
METHODS = {
    "Allreduce": "all_reduce",
    "allreduce": "all_reduce",
    "Allgather": "all_gather",
    "allgather": "all_gather",
    "Allgatherv": "all_gather",
    "Reduce_scatter": "reduce_scatter",
    "Reduce_scatter_block": "reduce_scatter",
    "Alltoall": "all_to_all",
    "alltoall": "all_to_all",
    "Alltoallv": "all_to_all",
    "Bcast": "broadcast",
    "bcast": "broadcast",
    "Reduce": "reduce",
    "reduce": "reduce",
    "Gather": "gather",
    "gather": "gather",
    "Scatter": "scatter",
    "scatter": "scatter",
    "Barrier": "barrier",
    "barrier": "barrier",
}
PEERS = {"Send": ("send", "dest"), "send": ("send", "dest"), "Ssend": ("send", "dest"), "ssend": ("send", "dest")}
MAKERS = ("Dup", "Dup_with_info", "Clone", "Split", "Split_type", "Create", "Create_group", "Create_cart")

# The most used ones have their parameters written out, as mpi4py has had them since 2.0: half of the cost is saved.
SIGNATURES = {
    "Allreduce": ("sendbuf, recvbuf, op=SUM", "sendbuf, recvbuf, op"),
    "Reduce_scatter_block": ("sendbuf, recvbuf, op=SUM", "sendbuf, recvbuf, op"),
    "Allgather": ("sendbuf, recvbuf", "sendbuf, recvbuf"),
    "Alltoall": ("sendbuf, recvbuf", "sendbuf, recvbuf"),
    "Bcast": ("buf, root=0", "buf, root"),
    "Barrier": ("", ""),
}

COLLECTIVE = """
def {name}(self, {signature}):
    s = self._enginelight
    if s is None:
        s = resolve(self)
    q = s.seq = s.seq + 1
    if q >= s.stop:
        roll(s, q)
    s.op = {op}
    if not s.on:
        try:
            return original(self, {call})
        finally:
            s.out = q
    t = now()
    try:
        r = original(self, {call})
    finally:
        s.out = q
    e = now()
    try:
        n = {size}
    except Exception:
        n = -1
    {put}
    return r
"""

PEER = """
def {name}(self, buf, {peer}, *args, **kwargs):
    g = self._enginelight
    if g is None:
        g = resolve(self)
    s = peer_of(g, {op}, {peer})
    q = s.seq = s.seq + 1
    if q >= s.stop:
        roll(s, q)
    s.op = {op}
    if not s.on:
        try:
            return original(self, buf, {peer}, *args, **kwargs)
        finally:
            s.out = q
    t = now()
    try:
        r = original(self, buf, {peer}, *args, **kwargs)
    finally:
        s.out = q
    e = now()
    try:
        n = {size}
    except Exception:
        n = -1
    {put}
    return r
"""


def size(buffer):
    """Bytes of a buffer as MPI takes them: an array, bytes, or a list that begins with one; -1 if that does not tell."""
    try:
        return buffer.nbytes
    except AttributeError:
        pass
    if isinstance(buffer, (list, tuple)) and buffer:
        return getattr(buffer[0], "nbytes", -1)
    return len(buffer) if isinstance(buffer, (bytes, bytearray)) else -1


def peer_of(group, op, peer):
    if group.size == 0:
        return group
    state = group.peers.get((op, peer))
    return state if state is not None else core.peer_state(group, op, peer if isinstance(peer, int) and peer >= 0 else -1)


def patch(module):
    known = {}

    def resolve(comm):
        try:
            # Names are the same on every rank, because making a communicator is itself collective.
            group = core.Group(comm._enginelight_name, comm.Get_size(), comm.Get_rank(), "mpi")
            group = core.add_group(group)
        except Exception as error:
            core.quiet(error)
            group = core.NOBODY
        comm._enginelight = group
        return group

    base = module.Intracomm
    scope = dict(core.shared, resolve=resolve, kind=core.hub.collective, size=size, peer_of=peer_of, SUM=getattr(module, "SUM", None))
    body = {"_enginelight": None, "_enginelight_name": "world"}
    for name, op in METHODS.items():
        original = getattr(base, name, None)
        if original is not None:
            signature, call = SIGNATURES.get(name, ("*args, **kwargs", "*args, **kwargs"))
            # What is pickled has no size here; what is in place has it in the second argument.
            text = "-1"
            if name == "Barrier":
                text = "0"
            elif name == "Bcast":
                text = "buf.nbytes if hasattr(buf, 'nbytes') else size(buf)"
            elif signature.startswith("sendbuf"):
                text = "size(recvbuf if isinstance(sendbuf, int) else sendbuf)"
            elif name[0].isupper():
                text = "size(args[1] if isinstance(args[0], int) else args[0])"
            source = COLLECTIVE.format(name=name, op=core.OPS.index(op), put=core.recording(core.OPS.index(op), 4), size=text, signature=signature, call=call)
            body[name] = compiled(source, name, dict(scope, original=original))
    for name, (op, peer) in PEERS.items():
        original = getattr(base, name, None)
        if original is not None:
            source = PEER.format(name=name, op=core.OPS.index(op), put=core.recording(core.OPS.index(op), 4), peer=peer, size="size(buf)" if name[0].isupper() else "-1")
            body[name] = compiled(source, name, dict(scope, original=original))
    # The receiving side may leave everything out, so it is not generated.
    for name in ("Recv", "recv"):
        if hasattr(base, name):
            body[name] = receiver(getattr(base, name), name, resolve)
    for name in MAKERS:
        original = getattr(base, name, None)
        if original is not None:
            body[name] = maker(original, name, known, module, lambda: wrapped)
    body["__doc__"] = base.__doc__
    wrapped = type("Intracomm", (base,), body)
    wrapped.__module__ = base.__module__
    world = wrapped(module.COMM_WORLD)
    module.COMM_WORLD = world


def compiled(source, name, scope):
    exec(compile(source, "<enginelight_hooks %s>" % name, "exec"), scope)
    return scope[name]


def receiver(original, name, resolve):
    op = core.OPS.index("recv")

    def receive(self, buf=None, source=None, *args, **kwargs):
        if source is None:
            return original(self, buf, *args, **kwargs)
        if source < 0:
            return original(self, buf, source, *args, **kwargs)
        s = peer_of(self._enginelight or resolve(self), op, source)
        q = s.seq = s.seq + 1
        if q >= s.stop:
            core.roll(s, q)
        s.op = op
        t = core.now() if s.on else 0
        try:
            result = original(self, buf, source, *args, **kwargs)
        finally:
            s.out = q
        if t:
            core.hub.collective.put(t, core.now(), s.codes[op], q, size(buf))
        return result

    receive.__name__ = name
    receive.__doc__ = original.__doc__
    return receive


def maker(original, name, known, module, wrapped):
    """Communicators made of one that is watched are watched: named after it, by how many it has made."""

    def make(self, *args, **kwargs):
        made = original(self, *args, **kwargs)
        try:
            number = known.get(self._enginelight_name, 0)
            known[self._enginelight_name] = number + 1
            if isinstance(made, module.Intracomm) and made != module.COMM_NULL and type(made) is module.Intracomm:
                made = wrapped()(made)
            if hasattr(type(made), "_enginelight_name"):
                color = args[0] if name.startswith("Split") and args else ""
                made._enginelight = None
                made._enginelight_name = "%s/%s%d%s" % (self._enginelight_name, name.lower(), number, "" if color == "" else ":%s" % color)
        except Exception as error:
            core.quiet(error)
        return made

    make.__name__ = name
    make.__doc__ = original.__doc__
    return make
