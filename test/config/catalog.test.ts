import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  allSignals,
  type Catalog,
  describeCatalog,
  extendCatalog,
  loadCatalog,
  mappingFor,
  recognise,
  semanticsOf,
  signalInfo,
  sourceByName,
} from '../../config/catalog.ts';
import { readCatalogFile } from '../../config/catalog-file.ts';
import { mappingsOf } from '../../config/catalog-index.ts';
import { configFile } from '../../config/config-files.ts';
import { normalName } from '../../config/mapping.ts';
import { conversion } from '../../config/units.ts';

const catalog = loadCatalog();
const folder = mkdtempSync(join(tmpdir(), 'catalog-'));
afterAll(() => rmSync(folder, { recursive: true }));

function written(text: string, name = 'mine.yaml'): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** The signal that a name leads to; null for one that is known and has none, undefined for an unknown one. */
function to(name: string, engine?: string, from: Catalog = catalog): string | null | undefined {
  const rows = mappingFor(from, engine, name);
  return rows && (rows[0]?.signal?.name ?? null);
}

describe('the built-in catalogue', () => {
  test.each(readdirSync(configFile('catalog')))('%s says only what can be true', (file) => {
    expect(() => readCatalogFile(join(configFile('catalog'), file))).not.toThrow();
  });

  test('has a file for every source, named after it', () => {
    expect(readdirSync(configFile('catalog')).sort()).toEqual(catalog.sources.map((s) => `${s.name}.yaml`).sort());
    expect(catalog.sources.map((s) => s.name)).toEqual(
      expect.arrayContaining([
        'vllm',
        'sglang',
        'sglang_gateway',
        'dynamo',
        'llm_d',
        'lmcache',
        'mooncake',
        'trtllm',
        'triton',
        'tgi',
        'nim',
        'nixl',
        'nccl',
        'dcgm',
        'amd',
        'node_exporter',
        'cadvisor',
        'kube_state_metrics',
        'process',
      ]),
    );
  });

  test('maps every name to a signal of the vocabulary, in an instrument and unit that the signal has', () => {
    for (const source of catalog.sources) {
      for (const mapping of mappingsOf(source)) {
        const { signal } = mapping;
        if (!signal) continue;
        expect(signalInfo(catalog, signal.name), mapping.names[0]!.name).toBeDefined();
        for (const target of Object.values(mapping.targets)) {
          const forms = [signal, ...signal.forms].map((f) => `${f.instrument} ${f.unit}`);
          const shown = `${target.instrument === 'summary' ? 'histogram' : target.instrument} ${target.unit}`;
          expect(forms, mapping.names[0]!.name).toContain(shown);
          const free = mapping.combine || mapping.expand || target.scale === 32;
          if (!free) expect(conversion(mapping.unit, target.unit), mapping.names[0]!.name).toBe(target.scale);
        }
      }
    }
  });

  test('names only attributes that the signal says it has, or labels that pass through', () => {
    for (const source of catalog.sources) {
      for (const { signal, set, names } of mappingsOf(source)) {
        if (!signal) continue;
        const known = new Set([...signal.attributes, ...signal.views, ...FREE]);
        for (const attribute of Object.keys(set)) {
          expect([...known], `${names[0]!.name} sets ${attribute} on ${signal.name}`).toContain(attribute);
        }
      }
    }
  });

  test('never leads from one name to the same signal twice without a condition that tells them apart', () => {
    for (const source of catalog.sources) {
      const seen = new Set<string>();
      for (const m of mappingsOf(source)) {
        if (!m.signal) continue;
        for (const { name } of m.names) {
          const key = JSON.stringify([normalName(name), m.signal.name, m.set, [...m.when], m.take ?? '']);
          expect(seen, `${source.name}: ${name}`).not.toContain(key);
          seen.add(key);
        }
      }
    }
  });

  test('refers only to metrics that it knows', () => {
    for (const source of catalog.sources) {
      const own = new Set(mappingsOf(source).flatMap((m) => m.names.map((n) => normalName(n.name))));
      for (const m of mappingsOf(source)) {
        for (const other of [...m.unless, ...(m.combine?.with ?? []).map((o) => o.name)]) {
          expect(own, `${source.name}: ${m.names[0]!.name} refers to ${other}`).toContain(other);
        }
      }
    }
  });

  test('describes more than two thousand names, half of them with a signal', () => {
    const rows = describeCatalog(catalog);
    expect(rows.length).toBeGreaterThan(2_000);
    expect(rows.filter((r) => r.to !== undefined).length).toBeGreaterThan(1_000);
    expect(rows.find((r) => r.source === 'vllm' && r.metric === 'vllm:gpu_cache_usage_perc')).toMatchObject({
      source: 'vllm',
      since: '0.2.3',
      until: '0.12.0',
      to: 'inference.kv.usage',
      toInstrument: 'gauge',
      toUnit: '1',
    });
  });

  test('is read without its rows, and those of a source only when a name of it is met', () => {
    expect(mappingFor(catalog, undefined, 'tgi_queue_size')).toHaveLength(1);
  });
});

/** Attributes that are not parts of one signal but can stand on many. */
const FREE = [
  'hw.type',
  'hw.state',
  'check',
  'kind',
  'stage',
  'tier',
  'run',
  'limit',
  'operation',
  'direction',
  'phase',
];

describe('a name', () => {
  test.each([
    ['vllm:num_requests_running', 'inference.requests.running'],
    ['vllm_num_requests_running', 'inference.requests.running'],
    ['ray_vllm_num_requests_running', 'inference.requests.running'],
    ['sglang_num_running_reqs', 'inference.requests.running'],
    ['vllm:prompt_tokens', 'inference.tokens.prompt'],
    ['vllm:gpu_prefix_cache_hits', 'inference.prefix_cache.hits'],
    ['trtllm:time_to_first_token_seconds', 'gen_ai.server.time_to_first_token'],
    ['tgi_request_count', 'inference.requests.started'],
    ['tgi_request_count_total', 'inference.requests.started'],
    ['nv_llm_http_service_time_to_first_token_seconds', 'gen_ai.server.time_to_first_token'],
    ['inference_model_request_total', 'inference.router.requests'],
    ['kvcache_index_lookup_latency_seconds', 'inference.router.decision.duration'],
    ['sgl_router_requests_total', 'inference.router.requests'],
    ['dcgm_gpu_temp', 'hw.temperature'],
    ['gpu_usage', undefined],
    ['process_resident_memory_bytes', 'process.memory.usage'],
    ['kube_deployment_spec_replicas', 'k8s.deployment.pod.desired'],
    ['vllm:websocket_connections_active', null],
    ['vllm:something_new', undefined],
    ['num_requests_running', undefined],
    ['http_requests_total', undefined],
  ])('%s leads to %s', (name, signal) => {
    expect(to(name)).toBe(signal);
  });

  test('without a prefix leads somewhere only on a page that is known', () => {
    expect(to('num_requests_running', 'nim')).toBe('inference.requests.running');
    expect(to('http_requests_total', 'vllm')).toBe('http.server.request.count');
    expect(to('gpu_usage', 'amd')).toBe('hw.gpu.utilization');
  });
});

describe('recognition', () => {
  test.each([
    [['vllm:num_requests_running', 'process_cpu_seconds_total'], 'vllm', ['vllm', 'process']],
    [['sglang_num_running_reqs'], 'sglang', ['sglang']],
    [['smg_http_requests_total'], 'sglang', ['sglang_gateway']],
    [['dynamo_frontend_requests_total'], 'dynamo', ['dynamo']],
    [['dynamo_component_requests_total', 'vllm:num_requests_running'], 'vllm', ['vllm', 'dynamo']],
    [['inference_pool_ready_pods'], 'llm_d', ['llm_d']],
    [['lmcache:num_hit_tokens_total', 'vllm:num_requests_running'], 'vllm', ['vllm', 'lmcache']],
    [['lmcache_mp_l1_usage_ratio'], 'lmcache', ['lmcache']],
    [['nv_inference_count', 'nv_trt_llm_request_metrics'], 'trtllm', ['trtllm', 'triton']],
    [['num_requests_running', 'request_finish_total'], 'nim', ['nim']],
    [['num_requests_running'], undefined, []],
    [['vllm:num_requests_running', 'vllm:healthy_pods_total'], 'vllm', ['production_stack_router']],
    [['DCGM_FI_DEV_GPU_UTIL'], undefined, ['dcgm']],
    [['gpu_gfx_activity', 'pcie_speed'], undefined, ['amd']],
    [['amd_gpu_gfx_activity', 'amd_gpu_total_vram'], undefined, ['amd']],
    [['node_cpu_seconds_total'], undefined, ['node_exporter']],
    [['kube_pod_info'], undefined, ['kube_state_metrics']],
    [['container_cpu_usage_seconds_total', 'machine_memory_bytes'], undefined, ['cadvisor']],
    [['master_allocated_bytes', 'master_key_count'], undefined, ['mooncake']],
    [['agent_tx_bytes_total'], undefined, ['nixl']],
    [['go_goroutines', 'my_app_requests_total'], undefined, []],
  ])('takes %j for %s', (names, engine, sources) => {
    const found = recognise(catalog, names);
    expect([found.engine, found.sources.map((s) => s.name)]).toEqual([engine, sources]);
  });

  test('tells look-alikes from the engine', () => {
    expect(recognise(catalog, ['vllm:num_requests_running', 'vllm:max_num_generation_tokens']).variant).toBe(
      'llm-d-inference-sim',
    );
    expect(recognise(catalog, ['ray_vllm_num_requests_running']).variant).toBe('vllm under Ray');
    expect(recognise(catalog, ['vllm:num_requests_running', 'vllm:current_qps'])).toMatchObject({
      engine: 'vllm',
      role: 'router',
    });
  });

  test.each([
    [['vllm:time_per_output_token_seconds'], '<0.10.2'],
    [['vllm:time_per_output_token_seconds', 'vllm:inter_token_latency_seconds'], '0.10.2-0.11'],
    [['vllm:kv_cache_usage_perc', 'vllm:inter_token_latency_seconds'], '>=0.11'],
    [['vllm:prompt_tokens_recomputed_total', 'vllm:kv_cache_usage_perc'], '0.16-0.19'],
    [['vllm:num_requests_waiting_by_reason', 'vllm:kv_cache_usage_perc'], '>=0.20'],
  ])('reads the version out of %j', (names, version) => {
    expect(recognise(catalog, names).version).toBe(version);
  });

  test('finds a prefix that somebody chose', () => {
    const names = ['input_sequence_tokens', 'output_sequence_tokens', 'request_duration_seconds'].map(
      (n) => `acme_${n}`,
    );
    expect(recognise(catalog, names)).toMatchObject({
      engine: 'dynamo',
      aliases: [{ from: 'acme_', to: 'dynamo_frontend_' }],
    });
  });

  test('knows where each engine serves its metrics', () => {
    const first = (name: string) => sourceByName(catalog, name)?.endpoints[0];
    expect(first('vllm')).toMatchObject({ port: 8000, path: '/metrics' });
    expect(first('sglang')).toMatchObject({ port: 30000, path: '/metrics' });
    expect(first('trtllm')).toMatchObject({ port: 8000, path: '/prometheus/metrics' });
    expect(first('dcgm')).toMatchObject({ port: 9400, path: '/metrics' });
    expect(sourceByName(catalog, 'nobody')).toBeUndefined();
  });
});

describe('semantics', () => {
  test('say which values are late and which stand still', () => {
    expect(semanticsOf(catalog, 'vllm', 'inference.request.queue.duration')).toMatchObject({
      population: 'at_completion',
    });
    expect(semanticsOf(catalog, 'vllm', 'gen_ai.server.time_to_first_token')).toMatchObject({ population: 'live' });
    expect(semanticsOf(catalog, 'sglang', 'inference.tokens.generated')).toMatchObject({ population: 'at_completion' });
    expect(semanticsOf(catalog, 'sglang', 'inference.kv.usage')).toEqual({
      population: 'live',
      freezesWhenIdle: true,
      kvUsage: 'live',
    });
    expect(semanticsOf(catalog, 'tgi', 'inference.kv.usage')).toBeUndefined();
  });
});

describe("a user's file", () => {
  const good = `name: acme
kind: engine
engine: acme
prefixes: [acme_]
signals:
  - { name: acme.mood, instrument: gauge, unit: '1', meaning: how it feels }
metrics:
  - { from: [acme_running, acme_active 1.0..2.0], to: inference.requests.running, type: gauge, unit: '{request}', brief: requests }
  - { from: acme_wait_ms, to: inference.request.queue.duration, type: histogram, unit: ms, brief: waiting }
  - { from: acme_mood, to: acme.mood, type: gauge, unit: '%', brief: mood }
`;

  test('adds an engine', () => {
    const mine = loadCatalog([written(good)]);
    expect(to('acme_active', undefined, mine)).toBe('inference.requests.running');
    expect(to('acme_mood', undefined, mine)).toBe('acme.mood');
    expect(recognise(mine, ['acme_running']).engine).toBe('acme');
    expect(allSignals(mine).map((s) => s.name)).toContain('acme.mood');
    expect(loadCatalog().sources).toHaveLength(catalog.sources.length);
  });

  test('wins over a built-in row of the same name', () => {
    const file = written(
      "name: fix\nkind: engine\nprefixes: ['vllm:']\nmetrics:\n  - { from: 'vllm:num_requests_waiting', to: inference.requests.paused, type: gauge, unit: '{request}', brief: x }\n",
      'fix.yaml',
    );
    expect(to('vllm:num_requests_waiting', undefined, loadCatalog([file]))).toBe('inference.requests.paused');
    expect(to('vllm:num_requests_running', undefined, loadCatalog([file]))).toBe('inference.requests.running');
  });

  test('can be given as an object', () => {
    const entry = {
      name: 'acme',
      kind: 'engine',
      prefixes: ['acme_'],
      metrics: [{ from: 'acme_x', to: null, type: 'gauge', unit: '1', brief: 'x' }],
    };
    expect(to('acme_x', undefined, extendCatalog(catalog, entry))).toBeNull();
    expect(() => extendCatalog(catalog, { ...entry, kind: 'motor' })).toThrow('kind');
  });

  test.each([
    [
      'an unknown signal',
      'inference.requests.runing',
      "'",
      /mine\.yaml:8:\d+: error: metrics::0::to: to: there is no signal "inference\.requests\.runing".*inference\.requests\.running/,
    ],
    [
      'a unit that cannot be',
      'inference.kv.usage',
      "'",
      /mine\.yaml:8:\d+: .*gauge in \{request\} cannot be inference\.kv\.usage, which is a gauge in 1/,
    ],
  ])('with %s says where and what', (_name, signal, _quote, message) => {
    const file = written(good.replace('to: inference.requests.running', `to: ${signal}`));
    expect(() => loadCatalog([file])).toThrow(message);
  });

  test('with a mistyped key says where, and the nearest valid one', () => {
    const file = written(good.replace('prefixes:', 'prefixs:'));
    expect(() => loadCatalog([file])).toThrow(/mine\.yaml:4:1: .*prefixs.*prefixes/);
  });

  test('that lacks what every row needs says which', () => {
    const file = written(good.replace(', unit: ms, brief: waiting', ''));
    expect(() => loadCatalog([file])).toThrow(/mine\.yaml:9:\d+: .*"unit" is missing[\s\S]*"brief" is missing/);
  });

  test('that is not YAML says where', () => {
    expect(() => loadCatalog([written('name: [acme\n')])).toThrow(
      /mine\.yaml:\d+:\d+: error: cannot be parsed as YAML/,
    );
    expect(() => loadCatalog([join(folder, 'absent.yaml')])).toThrow(/absent\.yaml cannot be read/);
  });
});
