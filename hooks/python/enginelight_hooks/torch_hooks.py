"""Wraps torch.distributed's collectives and point-to-point operations, by name, in the module that defines them.

Object collectives (all_gather_object …) are made of these, and so are counted once, by their parts.
"""

import inspect
import keyword
import sys

from . import core, device

# name -> operation, the tensor whose size is the message's, and how its size follows from that:
# "one": it is that of the tensor; "times": of every rank together; "sum": of a list of tensors; "none": no message.
COLLECTIVES = {
    "all_reduce": ("all_reduce", "tensor", "one"),
    "all_reduce_coalesced": ("all_reduce", "tensors", "sum"),
    "all_gather": ("all_gather", "tensor", "times"),
    "all_gather_into_tensor": ("all_gather", "output_tensor", "one"),
    "_all_gather_base": ("all_gather", "output_tensor", "one"),
    "all_gather_coalesced": ("all_gather", "input_tensor_list", "sum"),
    "reduce_scatter": ("reduce_scatter", "output", "times"),
    "reduce_scatter_tensor": ("reduce_scatter", "input", "one"),
    "_reduce_scatter_base": ("reduce_scatter", "input", "one"),
    "all_to_all": ("all_to_all", "input_tensor_list", "sum"),
    "all_to_all_single": ("all_to_all", "input", "one"),
    "broadcast": ("broadcast", "tensor", "one"),
    "reduce": ("reduce", "tensor", "one"),
    "gather": ("gather", "tensor", "one"),
    "scatter": ("scatter", "tensor", "one"),
    "barrier": ("barrier", None, "none"),
}
# name -> operation, the tensor, the parameters that name the other side (newer releases have two).
POINT_TO_POINT = {
    "send": ("send", "tensor", ("dst", "group_dst")),
    "recv": ("recv", "tensor", ("src", "group_src")),
    "isend": ("send", "tensor", ("dst", "group_dst")),
    "irecv": ("recv", "tensor", ("src", "group_src")),
}

SIZES = {
    "one": "{t}.numel() * {t}.element_size()",
    "times": "{t}.numel() * {t}.element_size() * s.size",
    "sum": "total({t})",
    "none": "0",
}

# The group's number goes up before the call and `out` follows it after: a number that does not come out is an operation
# that hangs, seen without a clock. `try` costs nothing where nothing is raised.
COLLECTIVE = """
def {name}({signature}):
    try:
        s = states[None if {group} is None else id({group})]
    except KeyError:
        s = resolve({group})
    q = s.seq = s.seq + 1
    if q >= s.stop:
        roll(s, q)
    s.op = {op}
    if not s.on:
        try:
            return original({call})
        finally:
            s.out = q
    if s.device:
        return on_device(s, {op}, q, {tensor}, original, ({args}), {{{kwargs}}})
    t = now()
    try:
        r = original({call})
    finally:
        s.out = q
    e = now()
    try:
        n = {size}
    except Exception:
        n = -1
    if r is None:
        {put}
    else:
        later(s, {op}, q, t, n, r)
    return r
"""

PEER = """
def {name}({signature}):
    try:
        g = states[None if {group} is None else id({group})]
    except KeyError:
        g = resolve({group})
    s = peer_of(g, {op}, {peers})
    q = s.seq = s.seq + 1
    if q >= s.stop:
        roll(s, q)
    s.op = {op}
    if not s.on:
        try:
            return original({call})
        finally:
            s.out = q
    if s.device:
        return on_device(s, {op}, q, {tensor}, original, ({args}), {{{kwargs}}})
    t = now()
    try:
        r = original({call})
    finally:
        s.out = q
    e = now()
    try:
        n = {size}
    except Exception:
        n = -1
    if r is None or {returns}:
        {put}
    else:
        later(s, {op}, q, t, n, r)
    return r
"""


def total(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def make(template, original, namespace, **parts):
    """A function with the signature of `original`, defaults included. Raises if that cannot be written down."""
    signature, call, args, kwargs = [], [], [], []
    star = False
    defaults = {}
    for index, p in enumerate(inspect.signature(original).parameters.values()):
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or keyword.iskeyword(p.name):
            raise ValueError("parameters of another form: %s" % p)
        if p.kind is p.KEYWORD_ONLY and not star:
            signature.append("*")
            star = True
        if p.default is p.empty:
            signature.append(p.name)
        else:
            defaults["d%d_" % index] = p.default
            signature.append("%s=d%d_" % (p.name, index))
        if star:
            call.append("%s=%s" % (p.name, p.name))
            kwargs.append("%r: %s" % (p.name, p.name))
        else:
            call.append(p.name)
            args.append(p.name + ",")
    names = set(inspect.signature(original).parameters)
    if "group" not in names:
        raise ValueError("no group among %s" % sorted(names))
    scope = dict(core.shared, **namespace)
    scope.update(defaults, original=original)
    source = template.format(
        name=original.__name__,
        signature=", ".join(signature),
        call=", ".join(call),
        args=" ".join(args),
        kwargs=", ".join(kwargs),
        group="group",
        put=core.recording(parts["op"], 8),
        **parts,
    )
    exec(compile(source, "<enginelight_hooks %s>" % original.__name__, "exec"), scope)
    wrapper = scope[original.__name__]
    for attribute in ("__doc__", "__qualname__", "__module__", "__annotations__"):
        setattr(wrapper, attribute, getattr(original, attribute))
    wrapper.__wrapped__ = original
    wrapper._enginelight_hook = True
    return wrapper


def patch(module):
    """Wraps torch.distributed.distributed_c10d, and its copies in torch.distributed where those exist already."""
    states = {}
    package = sys.modules.get("torch.distributed")

    def put(name, wrapper, original):
        setattr(module, name, wrapper)
        if package is not None and getattr(package, name, None) is original:
            setattr(package, name, wrapper)

    def resolve(group):
        return _resolve(module, states, group)

    namespace = {
        "states": states,
        "resolve": resolve,
        "kind": core.hub.collective,
        "later": later,
        "total": total,
        "on_device": device.call,
        "peer_of": peer_of,
    }
    for name, (op, tensor, how) in COLLECTIVES.items():
        original = getattr(module, name, None)
        if original is None or hasattr(original, "_enginelight_hook"):
            continue
        try:
            names = list(inspect.signature(original).parameters)
            if tensor is not None and tensor not in names:
                tensor = names[0]
            wrapper = make(
                COLLECTIVE,
                original,
                namespace,
                op=core.OPS.index(op),
                tensor=tensor or "None",
                size=SIZES[how].format(t=tensor),
            )
            put(name, wrapper, original)
        except Exception as error:
            core.quiet(error)
    for name, (op, tensor, peers) in POINT_TO_POINT.items():
        original = getattr(module, name, None)
        if original is None or hasattr(original, "_enginelight_hook"):
            continue
        try:
            names = list(inspect.signature(original).parameters)
            wrapper = make(
                PEER,
                original,
                namespace,
                op=core.OPS.index(op),
                tensor=tensor,
                size=SIZES["one"].format(t=tensor),
                peers=", ".join(p for p in peers if p in names),
                # send and recv return a rank or nothing, and have then ended; isend and irecv return work to wait for.
                returns="True" if name == op else "False",
            )
            put(name, wrapper, original)
        except Exception as error:
            core.quiet(error)
    _watch_destruction(module, put, states)


def _watch_destruction(module, put, states):
    original = getattr(module, "destroy_process_group", None)
    if original is None or hasattr(original, "_enginelight_hook"):
        return

    def destroy_process_group(group=None):
        # Groups are known by identity, which a later group may get again.
        try:
            if group is None:
                states.clear()
            else:
                states.pop(id(group), None)
        except Exception as error:
            core.quiet(error)
        return original(group) if group is not None else original()

    destroy_process_group.__doc__ = original.__doc__
    destroy_process_group._enginelight_hook = True
    put("destroy_process_group", destroy_process_group, original)


def _resolve(module, states, group):
    """The group behind an argument, looked up once. Never raises: what is no group is nobody's."""
    try:
        actual = group if group is not None else default_group(module)
        if actual is None:
            return core.NOBODY  # not initialised: the call will say so
        known = states.get(id(actual))
        if known is None:
            known = describe(module, actual)
            if known is None:
                return core.NOBODY
            known = core.add_group(known)
            states[id(actual)] = known
        if group is None:
            states[None] = known
        return known
    except Exception as error:
        core.quiet(error)
        return core.NOBODY


def default_group(module):
    getter = getattr(module, "_get_default_group", None)
    try:
        return getter() if getter is not None else None
    except Exception:
        return None


_generations = {}


def describe(module, group):
    """Name, ranks, size and backend of a process group; None if this process is not in it."""
    world = getattr(module, "_world", None)

    def table(old, new):
        found = getattr(world, new, None) if world is not None else None
        return found if found is not None else getattr(module, old, {})

    name = str(table("_pg_names", "pg_names").get(group, "?"))
    members = table("_pg_group_ranks", "pg_group_ranks").get(group)
    if members is None:
        return None
    ranks = sorted(members, key=members.get)
    rank = module.get_rank(group)
    if rank is None or rank < 0:
        return None
    try:
        backend = str(module.get_backend(group))
    except Exception:
        backend = "unknown"
    ident = "%s:%s" % (name, compact(ranks))
    generation = _generations.get(ident, 0)
    _generations[ident] = generation + 1
    if generation:
        ident = "%s#%d" % (ident, generation)
    torch = sys.modules.get("torch")
    rocm = torch is not None and getattr(getattr(torch, "version", None), "hip", None)
    if backend == "nccl" and rocm:
        backend = "rccl"
    on_device = "nccl" in backend or "rccl" in backend
    return core.Group(ident, len(ranks), rank, backend, ranks=ranks, device=on_device)


def compact(ranks):
    """`0-7`, `0-6/2`, or a checksum: the same text on every rank, short for any number of them."""
    if len(ranks) > 1:
        step = ranks[1] - ranks[0]
        if step > 0 and ranks == list(range(ranks[0], ranks[-1] + 1, step)):
            return "%d-%d%s" % (ranks[0], ranks[-1], "" if step == 1 else "/%d" % step)
    if len(ranks) <= 4:
        return ",".join(map(str, ranks))
    import zlib

    return "%08x" % zlib.crc32(",".join(map(str, ranks)).encode())


def peer_of(group, op, peer, local=None):
    """The numbered line between this rank and another one, which may be named by its place in the group."""
    try:
        if group.size == 0:
            return group
        if local is not None and peer is None:
            place = local
        elif peer is None:
            place = -1  # receive from anybody
        elif group.ranks is not None:
            place = group.ranks.index(peer)
        else:
            place = peer
        state = group.peers.get((op, place))
        return state if state is not None else core.peer_state(group, op, place)
    except Exception as error:
        core.quiet(error)
        return core.NOBODY


def later(group, op, seq, start, size, work):
    """An asynchronous operation: its end is recorded when it ends, by the future of its work, else when it is waited for."""
    try:
        number = group.codes[op]
        kind = core.hub.collective
        key = (id(group), op, seq)
        pending = core.hub.pending
        if len(pending) >= 4096:
            kind.lost += 1
            return

        def done(_):
            pending.pop(key, None)
            kind.put(start, core.now(), number, seq, size)

        pending[key] = (start, group, op, seq, size)
        try:
            work.get_future().add_done_callback(done)
        except Exception:
            # Sends and receives of some backends have no future: then the end is when somebody has waited for it.
            if not watch_wait(work, key, done):
                pending.pop(key, None)
                kind.lost += 1
    except Exception as error:
        core.quiet(error)


_waits = {}
_watched = set()


def watch_wait(work, key, done):
    """Has `done` called after the next wait on this work. Work objects take no attributes, so their class is told once."""
    cls = type(work)
    if cls not in _watched:
        _watched.add(cls)
        try:
            original = cls.wait

            def wait(self, *args, **kwargs):
                result = original(self, *args, **kwargs)
                callback = _waits.pop(id(self), None)
                if callback is not None:
                    try:
                        callback(None)
                    except Exception as error:
                        core.quiet(error)
                return result

            wait._enginelight_hook = True
            cls.wait = wait
        except Exception as error:
            core.quiet(error)
            return False
    if not hasattr(cls.wait, "_enginelight_hook"):
        return False
    if len(_waits) >= 4096:
        _waits.clear()
    _waits[id(work)] = done
    return True
