"""KV transfers, where they are made: NIXL's agent (vLLM, SGLang and Dynamo use it), SGLang's Mooncake engine, LMCache."""

from . import core
from .engines import timed, wrap

MOST_OPEN = 4096


def _nixl(module):
    """A transfer begins with `transfer` and ends when its state is first seen to be done."""
    open_transfers = {}

    def transfer(original):
        def method(self, handle, *args, **kwargs):
            begin = core.now()
            state = original(self, handle, *args, **kwargs)
            try:
                if core.hub.kinds["kv_transfer"].wants() and len(open_transfers) < MOST_OPEN:
                    core.start()
                    open_transfers[id(handle)] = begin
                    ended(handle, state, self)
            except Exception as error:
                core.quiet(error)
            return state

        return method

    def check(original):
        def method(self, handle, *args, **kwargs):
            state = original(self, handle, *args, **kwargs)
            if open_transfers:
                try:
                    ended(handle, state, self)
                except Exception as error:
                    core.quiet(error)
            return state

        return method

    def release(original):
        def method(self, handle, *args, **kwargs):
            open_transfers.pop(id(handle), None)
            return original(self, handle, *args, **kwargs)

        return method

    def ended(handle, state, agent):
        if state not in ("DONE", "ERR"):
            return
        begin = open_transfers.pop(id(handle), None)
        if begin is None:
            return
        size = -1
        try:
            telemetry = agent.get_xfer_telemetry(handle)
            size = int(getattr(telemetry, "totalBytes", -1))
        except Exception:
            pass
        source = str(getattr(agent, "name", "") or "")
        error = "the transfer failed" if state == "ERR" else ""
        # Which of NIXL's ways it took is not told: RDMA or TCP look the same from here.
        core.record("kv_transfer", (begin, core.now(), "", source, "", size, -1, "unknown", -1, error))

    wrap(module.nixl_agent, "transfer", transfer)
    wrap(module.nixl_agent, "check_xfer_state", check)
    wrap(module.nixl_agent, "release_xfer_handle", release)


def _mooncake(module):
    def after(begin, end, self, args, kwargs, result):
        names = ("session_id", "buffer", "peer_buffer_address", "length")
        values = dict(zip(names, args))
        session = values.get("session_id", kwargs.get("session_id", ""))
        length = values.get("length", kwargs.get("length", kwargs.get("lengths", -1)))
        several = not isinstance(length, int)
        size = sum(length) if several else length
        blocks = len(length) if several else 1
        error = "" if result is None or result >= 0 else "the transfer failed (%s)" % result
        source = str(getattr(self, "session_id", "") or "")
        core.start()
        core.record("kv_transfer", (begin, end, "", source, str(session), size, blocks, "mooncake", -1, error))

    for name in ("transfer_sync", "batch_transfer_sync"):
        wrap(module.MooncakeTransferEngine, name, timed(after)("kv_transfer"))


def _lmcache(module):
    def after(direction):
        def done(begin, end, _self, args, kwargs, _result):
            request = kwargs.get("request_configs") or {}
            request = kwargs.get("req_id") or (request.get("req_id") if isinstance(request, dict) else "") or ""
            ends = ("engine", "lmcache") if direction == "store" else ("lmcache", "engine")
            core.start()
            # LMCache counts tokens: bytes and blocks depend on the model and are not known here.
            core.record("kv_transfer", (begin, end, str(request), *ends, -1, -1, "lmcache", -1, ""))

        return done

    for name in ("store", "retrieve"):
        wrap(module.LMCacheEngine, name, timed(after(name))("kv_transfer"))


PATCHERS = {
    "nixl._api": _nixl,
    "nixl_cu12._api": _nixl,
    "nixl_cu13._api": _nixl,
    "sglang.srt.distributed.device_communicators.mooncake_transfer_engine": _mooncake,
    "sglang.srt.disaggregation.mooncake.transfer_engine": _mooncake,
    "lmcache.v1.cache_engine": _lmcache,
}
