"""Steps, pipeline stages and requests of vLLM and SGLang, from the public methods that every release has had under these
names. What a release does not have is not wrapped; what has another form is not recorded."""

import sys
import time

from . import core, device

_step = {"id": 0, "schedule_ns": -1, "output": None}


def wrap(cls, name, around):
    """Replaces a method by `around(original)`, once, and only where the class itself has it."""
    original = cls.__dict__.get(name)
    if original is None or hasattr(original, "_enginelight_hook") or not callable(original):
        return
    wrapper = around(original)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        try:
            setattr(wrapper, attribute, getattr(original, attribute))
        except AttributeError:
            pass
    wrapper.__wrapped__ = original
    wrapper._enginelight_hook = True
    setattr(cls, name, wrapper)


def timed(after):
    """Around a method: calls `after(start, end, self, args, kwargs, result)` when the event is wanted."""

    def of(kind_name):
        def around(original):
            def method(self, *args, **kwargs):
                kind = core.hub.kinds[kind_name]
                if not kind.wants():
                    return original(self, *args, **kwargs)
                begin = core.now()
                result = original(self, *args, **kwargs)
                try:
                    after(begin, core.now(), self, args, kwargs, result)
                except Exception as error:
                    core.quiet(error)
                return result

            return method

        return around

    return of


# vLLM ---------------------------------------------------------------------------------------------------------------


def _vllm_scheduler(module):
    def around(original):
        def schedule(self, *args, **kwargs):
            begin = core.now()
            output = original(self, *args, **kwargs)
            _step["schedule_ns"] = core.now() - begin
            _step["output"] = output
            return output

        return schedule

    wrap(module.Scheduler, "schedule", around)


def split(output):
    """(tokens of prefills, sequences in decode) of a scheduler's output."""
    tokens = output.num_scheduled_tokens
    fresh = {request.req_id for request in output.scheduled_new_reqs}
    prefill = decode = 0
    for request, count in tokens.items():
        if count == 1 and request not in fresh:
            decode += 1
        else:
            prefill += count
    return prefill, decode


def _vllm_core(module):
    def after(begin, end, _self, _args, _kwargs, _result):
        output, _step["output"] = _step["output"], None
        if output is None or not output.total_num_scheduled_tokens:
            return  # nothing ran
        prefill, decode = split(output)
        _step["id"] += 1
        core.record("engine_step", (begin, end, _step["id"], prefill, decode, -1, _step["schedule_ns"], ""))

    around = timed(after)("engine_step")

    def started(original):
        method = around(original)

        def step(self, *args, **kwargs):
            core.start()
            return method(self, *args, **kwargs)

        return step

    for name in ("step", "step_with_batch_queue"):
        wrap(module.EngineCore, name, started)


def _vllm_worker(module):
    def after(begin, end, _self, args, kwargs, _result):
        state = sys.modules.get("vllm.distributed.parallel_state")
        group = getattr(state, "_PP", None)
        if group is None or group.world_size < 2:
            return
        output = args[0] if args else kwargs.get("scheduler_output")
        _step["stage"] = _step.get("stage", 0) + 1
        tokens = getattr(output, "total_num_scheduled_tokens", -1)
        if tokens:
            row = (begin, end, group.rank_in_group, group.world_size, 0, _step["stage"], tokens)
            core.record("pipeline_stage", row)

    wrap(module.Worker, "execute_model", timed(after)("pipeline_stage"))


def _vllm_output(module):
    """Requests, from the engine's own times, unless the engine traces them itself."""

    def around(original):
        def finished(self, req_state, *args, **kwargs):
            result = original(self, req_state, *args, **kwargs)
            try:
                if not (getattr(self, "tracer", None) or getattr(self, "tracing_enabled", False)):
                    _vllm_request(req_state)
            except Exception as error:
                core.quiet(error)
            return result

        return finished

    wrap(module.OutputProcessor, "_update_stats_from_finished", around)


def _vllm_request(state):
    stats = state.stats
    end = core.now()
    # Arrival is wall time, the rest monotonic; differences within each are what is meant.
    e2e = time.time() - stats.arrival_time
    attributes = {
        "gen_ai.request.id": str(getattr(state, "external_req_id", None) or state.request_id),
        "gen_ai.latency.e2e": e2e,
        "gen_ai.usage.prompt_tokens": int(getattr(state, "prompt_len", None) or len(state.prompt_token_ids)),
        "gen_ai.usage.completion_tokens": int(stats.num_generation_tokens),
    }
    if getattr(stats, "first_token_latency", 0):
        attributes["gen_ai.latency.time_to_first_token"] = stats.first_token_latency
    queued, scheduled, first, last = stats.queued_ts, stats.scheduled_ts, stats.first_token_ts, stats.last_token_ts
    if queued and scheduled:
        attributes["gen_ai.latency.time_in_queue"] = scheduled - queued
    if scheduled and first:
        attributes["gen_ai.latency.time_in_model_prefill"] = first - scheduled
    if first and last:
        attributes["gen_ai.latency.time_in_model_decode"] = last - first
        attributes["gen_ai.latency.time_in_model_inference"] = last - scheduled
    core.start()
    core.span("llm_request", end - int(e2e * 1e9), end, attributes)


# SGLang -------------------------------------------------------------------------------------------------------------


def _sglang_scheduler(module):
    def schedule(original):
        def get_next_batch_to_run(self, *args, **kwargs):
            begin = core.now()
            result = original(self, *args, **kwargs)
            _step["schedule_ns"] = core.now() - begin
            return result

        return get_next_batch_to_run

    def after(begin, end, self, args, kwargs, _result):
        batch = args[0] if args else kwargs.get("batch")
        mode = batch.forward_mode
        prefill = int(getattr(batch, "extend_num_tokens", None) or 0) if mode.is_extend() else 0
        decode = len(batch.reqs) if mode.is_decode() else 0
        _step["id"] += 1
        core.record("engine_step", (begin, end, _step["id"], prefill, decode, -1, _step["schedule_ns"], ""))

    wrap(module.Scheduler, "get_next_batch_to_run", schedule)
    around = timed(after)("engine_step")

    def started(original):
        method = around(original)

        def run_batch(self, *args, **kwargs):
            core.start()
            return method(self, *args, **kwargs)

        return run_batch

    wrap(module.Scheduler, "run_batch", started)


def _sglang_worker(module):
    def after(begin, end, self, args, kwargs, _result):
        count = int(getattr(self, "pp_size", 1) or 1)
        if count < 2:
            return
        batch = args[0] if args else None
        tokens = len(batch.input_ids) if getattr(batch, "input_ids", None) is not None else -1
        _step["stage"] = _step.get("stage", 0) + 1
        core.record("pipeline_stage", (begin, end, int(self.pp_rank), count, 0, _step["stage"], tokens))

    for name in ("TpModelWorker", "BaseTpWorker"):
        cls = getattr(module, name, None)
        if cls is not None:
            wrap(cls, "forward_batch_generation", timed(after)("pipeline_stage"))


# Communicators beside torch.distributed -----------------------------------------------------------------------------

NCCL = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "broadcast": "broadcast",
}


def _pynccl(module):
    """vLLM's and SGLang's own binding of NCCL: collectives of the model, outside of torch.distributed. Calls inside a
    graph that is being captured are only numbered."""
    groups = {}

    def group_of(comm):
        known = groups.get(id(comm))
        if known is None:
            ranks = "?"
            c10d = sys.modules.get("torch.distributed.distributed_c10d")
            if c10d is not None and not hasattr(comm.group, "store"):
                from .torch_hooks import compact

                ranks = compact(c10d.get_process_group_ranks(comm.group))
            backend = "rccl" if getattr(getattr(sys.modules.get("torch"), "version", None), "hip", None) else "nccl"
            number = sum(1 for g in core.hub.groups if g.id.startswith("pynccl"))
            ident = "pynccl%d:%s" % (number, ranks)
            known = groups[id(comm)] = core.add_group(
                core.Group(ident, comm.world_size, comm.rank, backend, device=True)
            )
        return known

    def around(op):
        number = core.OPS.index(op)

        def of(original):
            def method(self, *args, **kwargs):
                try:
                    group = group_of(self)
                    seq = group.seq = group.seq + 1
                    if seq >= group.stop:
                        core.roll(group, seq)
                    group.op = number
                    on = group.on
                except Exception as error:
                    core.quiet(error)
                    return original(self, *args, **kwargs)
                if not on:
                    try:
                        return original(self, *args, **kwargs)
                    finally:
                        group.out = seq
                # The larger side: the result of a gather, what goes into a scatter.
                place = 1 if op == "reduce_scatter" and len(args) > 1 else 0
                tensor = args[place] if args else None
                return device.call(group, number, seq, tensor, original, (self, *args), kwargs, returns=True)

            return method

        return of

    for name, op in NCCL.items():
        wrap(module.PyNcclCommunicator, name, around(op))


PATCHERS = {
    "torch.cuda.graphs": device.patch_graphs,
    "vllm.v1.core.sched.scheduler": _vllm_scheduler,
    "vllm.v1.engine.core": _vllm_core,
    "vllm.v1.worker.gpu_worker": _vllm_worker,
    "vllm.v1.engine.output_processor": _vllm_output,
    "vllm.distributed.device_communicators.pynccl": _pynccl,
    "sglang.srt.managers.scheduler": _sglang_scheduler,
    "sglang.srt.managers.tp_worker": _sglang_worker,
    "sglang.srt.distributed.device_communicators.pynccl": _pynccl,
}
