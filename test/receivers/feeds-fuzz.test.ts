/** Whatever stands in a file of somebody else: it is read or refused with a sentence, and never anything else happens. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readDump } from '../../pipeline/kit/flight-recorder-dump.ts';
import { dumpSpans } from '../../pipeline/kit/flight-recorder-spans.ts';
import { createTraceReader, readBeside } from '../../pipeline/kit/kineto-trace.ts';
import { resource } from '../../pipeline/model.ts';
import { readDynamoLine } from '../../pipeline/wire/dynamo-trace.ts';
import { match, ranksOf, unwrap } from '../../receivers/engine_log/match.ts';
import { ENGINE_PATTERNS, KERNEL_PATTERNS } from '../../receivers/engine_log/patterns.ts';
import { readInspectorLine } from '../../receivers/nccl_inspector/line.ts';
import { stallWatch } from '../../receivers/nccl_ras/stalls.ts';
import { readStatus } from '../../receivers/nccl_ras/status.ts';

const numRuns = Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 300);
const parameters = { numRuns, seed: Number(process.env['ENGINELIGHT_FUZZ_SEED'] ?? 4) };

/** JSON whose keys are those that a reader looks for, with values of every kind behind them. */
function near(keys: readonly string[], texts: readonly string[]) {
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      fc.constantFrom(...texts),
      fc.constantFrom(null, true, false, 0, -1, 1, 7, 1.5, 2 ** 53, 1e300, 1_748_030_377_748_202),
      fc.string(),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom(...keys), tie('tree'), { maxKeys: 8 }),
    ),
  }));
  return fc.dictionary(fc.constantFrom(...keys), tree, { maxKeys: 10 }).map((value) => JSON.stringify(value));
}

const refused = (run: () => void) => {
  try {
    run();
  } catch (error) {
    // A TypeError would be a mistake of ours.
    expect(['Error', 'SyntaxError', 'PickleError']).toContain((error as Error).name);
    expect((error as Error).message).not.toBe('');
  }
};

describe('random JSON near the real form', () => {
  test('NCCL Inspector', () => {
    const keys =
      'header id rank n_ranks metadata hostname pid dump_timestamp_us coll_perf p2p_perf coll coll_sn coll_exec_time_us coll_msg_size_bytes coll_busbw_gbs coll_timing_source event_trace_ts kernel_events kernel_stop_ts p2p p2p_sn p2p_exec_time_us p2p_peer';
    fc.assert(
      fc.property(near(keys.split(' '), ['AllReduce', 'Send', '0x1']), (line) =>
        refused(() => void readInspectorLine(line)),
      ),
      parameters,
    );
  });

  test('NCCL RAS', () => {
    const keys =
      'communicators hash size ranks missing_ranks rank host pid nvml_dev status async_error abort_flag collective_counts AllReduce Broadcast ras timeouts_count unresponsive considered_dead';
    const watch = stallWatch(2);
    fc.assert(
      fc.property(near(keys.split(' '), ['0x1', '10.0.0.1']), (body) =>
        refused(() => void watch(readStatus(body).communicators, 0)),
      ),
      parameters,
    );
  });

  test('Dynamo', () => {
    const keys =
      'schema event event_type request request_id request_received_ms event_time_unix_ms total_time_ms ttft_ms worker replay input_length finish_reason_metadata fpm source observed_at_unix_ms wall_time scheduled_requests queued_requests num_decode_requests';
    const texts = ['dynamo.request.trace.v1', 'dynamo.fpm.trace.v1', 'request_end'];
    fc.assert(
      fc.property(near(keys.split(' '), texts), (line) => refused(() => void readDynamoLine(line))),
      parameters,
    );
  });

  test('the flight recorder', () => {
    const keys =
      'version pg_config pg_status entries 0 ranks desc process_group collective_seq_id p2p_seq_id profiling_name time_created_ns duration_ms state is_p2p input_sizes input_dtypes time_discovered_completed_ns time_discovered_started_ns';
    const texts = ['nccl:all_reduce', 'completed', 'started', '[0, 1]', 'Float', '1724779239936775119'];
    fc.assert(
      fc.property(near(keys.split(' '), texts), (text) =>
        refused(() => {
          const about = () => resource({});
          dumpSpans(readDump(Buffer.from(text)), {
            name: 'rank_0',
            writtenMs: 1,
            about,
            make: (span) => span as never,
          });
        }),
      ),
      parameters,
    );
  });

  test('torch.profiler', () => {
    const keys = 'ph cat name ts dur args dtype Seq rank world_size backend';
    const texts = [
      'X',
      'kernel',
      'user_annotation',
      'allreduce',
      'ProfilerStep#1',
      '[0, 1]',
      'execute_context_1(2)_generation_3(4)',
    ];
    const names = ['Collective name', 'Group size', 'Process Group Name', 'Process Group Ranks', ...keys.split(' ')];
    fc.assert(
      fc.property(near(names, texts), near(names, texts), (info, event) =>
        refused(() => {
          const header = { base: 1n, rank: undefined, worldSize: undefined, backend: '' };
          readBeside(header, 'distributedInfo', info);
          const reader = createTraceReader(header, () => resource({}));
          reader.read(Buffer.from(event));
          reader.steps();
        }),
      ),
      parameters,
    );
  });
});

test('random lines of logs, with pieces of real ones in them', () => {
  const pieces = [...ENGINE_PATTERNS, ...KERNEL_PATTERNS].map((p) => p.words);
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(fc.constantFrom(...pieces, '{"log":"', '[TP0] ', '(DP1) ', '2026-05-01T12:00:00Z '), fc.string()),
        { maxLength: 12 },
      ),
      (parts) => {
        const { text } = unwrap(parts.join(''));
        const found = match(text, [...ENGINE_PATTERNS, ...KERNEL_PATTERNS]);
        expect((found?.text ?? '').length).toBeLessThanOrEqual(200);
        ranksOf(text);
      },
    ),
    parameters,
  );
});
