import { describe, expect, it } from 'vitest';
import { reportBuilder } from '../../../pipeline/kit/report.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { publisher } from '../../../pipeline/kit/topology-records.ts';
import {
  alertOf,
  alertRecord,
  type Finding,
  findingOf,
  findingRecord,
  type Incident,
  incidentOf,
  incidentRecord,
  insufficientRecord,
  isoTime,
} from '../../../pipeline/kit/verdict.ts';
import {
  gauge,
  logsBatch,
  metricsBatch,
  NO_ATTRIBUTES,
  nanosFromMs,
  resource,
  scope,
} from '../../../pipeline/model.ts';
import { deepFreeze } from '../../kit/harness.ts';

const T = Date.parse('2026-05-01T12:00:00Z');
const gpu = { kind: 'gpu' as const, id: 'GPU-a', service: 'chat', replica: 'r2', node: 'n1', rank: 1 };

const finding = (over: Partial<Finding> = {}): Finding => ({
  id: 'f1',
  detector: 'thermal-throttle',
  class: 'root',
  entity: gpu,
  severity: 'warning',
  confidence: 0.81,
  grade: 'B',
  state: 'firing',
  started_at: isoTime(T),
  detected_at: isoTime(T + 20_000),
  ended_at: null,
  summary: 'GPU-a is hot.',
  impact: { latency: 0.34 },
  tags: ['node-cooling'],
  flapping: false,
  observed: false,
  evidence: [
    {
      signal: 'hw.gpu.throttle',
      entity: gpu,
      window_s: 60,
      value: 0.6,
      threshold: 0.05,
      comparison: '>=',
      holds: true,
      baseline: { median: 0, scale: 0.01, n: 120 },
    },
  ],
  counter_evidence: [{ check: 'power', result: '0 %', against: false }],
  would_change_my_mind: 'It cools and stays slow.',
  remedies: [],
  ...over,
});

const incident: Incident = {
  id: 'i1',
  service: 'chat',
  severity: 'warning',
  state: 'open',
  summary: 'GPU-a is hot.',
  impact: { started_at: isoTime(T), ended_at: null, slo: 'itl', before: 0.02, during: 0.03, unit: 's' },
  detected_at: isoTime(T + 30_000),
  root: {
    detector: 'thermal-throttle',
    entity: gpu,
    probability: 0.93,
    grade: 'B',
    finding: 'f1',
    path: [{ detector: 'thermal-throttle', entity: gpu }],
  },
  roots: [],
  candidates: [],
  path: [{ detector: 'thermal-throttle', entity: gpu }],
  symptoms: ['f2'],
  contexts: [],
  ambiguous: null,
  hypotheses: [],
  shared: null,
  metastable: null,
  remedies: [],
  quality: [],
};

describe('records of verdicts', () => {
  it('carry a finding and an incident without loss', () => {
    expect(findingOf(deepFreeze(findingRecord(finding(), T)))).toEqual(finding());
    expect(incidentOf(deepFreeze(incidentRecord(incident, T)))).toEqual(incident);
  });
  it('show who it is about as flat attributes, and say it in words', () => {
    const record = findingRecord(finding(), T);
    expect(record.attributes).toMatchObject({
      'entity.kind': 'gpu',
      'entity.id': 'GPU-a',
      'entity.node': 'n1',
      'finding.detector': 'thermal-throttle',
      'finding.state': 'firing',
    });
    expect(record).toMatchObject({ eventName: 'inference.finding', severityText: 'warning', body: 'GPU-a is hot.' });
    expect(record.resource.attributes).toMatchObject({ 'service.name': 'chat', 'service.instance.id': 'r2' });
  });
  it('are not read from records that only have the name', () => {
    expect(findingOf({ ...findingRecord(finding(), T), attributes: NO_ATTRIBUTES })).toBeUndefined();
    expect(incidentOf(findingRecord(finding(), T))).toBeUndefined();
  });
  it('carry alerts', () => {
    const alert = {
      name: 'KVPressure',
      severity: 'warning' as const,
      labels: { replica: 'r1' },
      starts_at: isoTime(T),
      ends_at: null,
      annotations: { summary: 'KV is full.' },
    };
    expect(alertOf(alertRecord(alert, gpu, T))).toEqual(alert);
  });
});

describe('the report', () => {
  it('has the newest state of every finding and incident, the gaps, the topology and what was seen', () => {
    const builder = reportBuilder();
    const topology = createTopology();
    topology.observe(
      Object.assign(Object.create(null), {
        'service.name': 'chat',
        'service.instance.id': 'r2',
        'inference.engine': 'vllm',
        'inference.rank.tp': 1,
        'host.name': 'n1',
        'hw.id': 'GPU-a',
      }),
      undefined,
      T,
    );
    const about = resource(Object.assign(Object.create(null), { 'service.instance.id': 'r2' }));
    const series = (name: string) => ({
      resource: about,
      scope: scope('t'),
      metric: gauge(name, '1'),
      attributes: NO_ATTRIBUTES,
    });
    builder.add(
      metricsBatch(
        ['up', 'inference.kv.usage', 'vllm:kv_cache_usage_perc'].map((name) => ({
          series: series(name),
          time: nanosFromMs(T),
          startTime: 0n,
          flags: 0,
          value: 1,
        })),
      ),
    );
    builder.add(logsBatch(publisher(topology).snapshot(T)));
    const gap = {
      detector: 'tp-straggler',
      entity: gpu,
      entities: 4,
      missing: ['hook.collective'],
      enable: 'Run the hook.',
    };
    builder.add(
      logsBatch([
        findingRecord(finding({ state: 'pending', id: 'f0' }), T),
        findingRecord(finding(), T),
        incidentRecord(incident, T),
        insufficientRecord(gap, T),
      ]),
    );
    builder.add(logsBatch([findingRecord(finding({ state: 'resolved', ended_at: isoTime(T + 60_000) }), T + 60_000)]));
    const report = builder.build({ lines: 5, cost: { cpu_s: 1 } });
    expect(report).toMatchObject({
      schema: 'enginelight.report/v1',
      window: { start: isoTime(T), end: isoTime(T) },
      inputs: { lines: 5, skipped: 0, targets: 1, signals_seen: ['inference.kv.usage'] },
      topology: {
        services: [{ id: 'chat', replicas: ['r2'] }],
        replicas: [{ id: 'r2', service: 'chat', nodes: ['n1'], gpus: ['GPU-a'], ranks: ['r2/tp1'] }],
        nodes: [{ id: 'n1', gpus: ['GPU-a'] }],
        gpus: [{ id: 'GPU-a', node: 'n1', replica: 'r2', rank: 'r2/tp1' }],
      },
      incidents: [{ id: 'i1', root: { probability: 0.93 } }],
      findings: [{ id: 'f1', state: 'resolved', ended_at: isoTime(T + 60_000) }],
      insufficient: [gap],
      alerts: [],
    });
    expect(builder.worst()).toBe('warning');
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });
  it('stays bounded whatever it is told', () => {
    const builder = reportBuilder({ findings: 10, incidents: 2, signals: 5 });
    for (let i = 0; i < 1000; i++) {
      builder.add(
        logsBatch([findingRecord(finding({ id: `f${i}` }), T), incidentRecord({ ...incident, id: `i${i}` }, T)]),
      );
    }
    const report = builder.build();
    expect(report.findings).toHaveLength(10);
    expect(report.incidents).toHaveLength(2);
  });
});
