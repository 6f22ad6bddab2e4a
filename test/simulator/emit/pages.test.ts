import { describe, expect, it } from 'vitest';
import { loadCatalog, lookUp, recognise } from '../../../config/catalog.ts';
import { DIALECTS, generateCase } from '../../../simulator/cases.ts';
import { targetsOf } from '../../../simulator/emit/record.ts';
import { simulateCase, worldOf } from '../../../simulator/simulate.ts';
import type { SpecOverrides } from '../../../simulator/spec.ts';
import { advance } from '../../../simulator/world/world.ts';
import { small } from '../kit.ts';

interface Sample {
  readonly name: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly value: number;
}
interface Family {
  readonly name: string;
  readonly type: string;
  readonly samples: Sample[];
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{((?:${LABEL}(?:,${LABEL})*)?)\\})? (\\S+)$`);

/** The text format, version 0.0.4, read strictly and independently of the product's own parser. */
function read(text: string): Family[] {
  const families: Family[] = [];
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    if (line.startsWith('# TYPE ')) {
      const [, , name, type] = line.split(' ');
      expect(['counter', 'gauge', 'histogram', 'summary', 'untyped']).toContain(type);
      expect(
        families.some((f) => f.name === name),
        `${name} twice`,
      ).toBe(false);
      families.push({ name: name!, type: type!, samples: [] });
      continue;
    }
    const m = SAMPLE.exec(line);
    expect(m, line).not.toBeNull();
    const value = m![3] === '+Inf' ? Number.POSITIVE_INFINITY : Number(m![3]);
    expect(Number.isNaN(value), line).toBe(false);
    const labels = [...(m![2] ?? '').matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g)].map(
      (x) => [x[1]!, x[2]!] as const,
    );
    const family = families.at(-1)!;
    const suffix = m![1]!.slice(family.name.length);
    expect(m![1]!.startsWith(family.name), line).toBe(true);
    const allowed =
      family.type === 'histogram'
        ? ['_bucket', '_sum', '_count']
        : family.type === 'summary'
          ? ['', '_sum', '_count']
          : [''];
    expect(allowed, line).toContain(suffix);
    family.samples.push({ name: m![1]!, labels, value });
  }
  return families;
}

const VARIANTS: Readonly<Record<string, SpecOverrides>> = {
  'vLLM 0.20, one API server': {
    deploy: {
      version: '0.20',
      apiServers: 1,
      speculative: { tokens: 3, acceptance: 0.7 },
      lora: { adapters: 6, slots: 3 },
    },
  },
  'vLLM 0.20, two API servers': { deploy: { version: '0.20', apiServers: 2, lmcache: true } },
  'vLLM 0.10': { deploy: { version: '0.10' } },
  'vLLM, split': { cluster: { nodes: 3, gpusPerNode: 4 }, deploy: { pd: { prefill: 1, decode: 2 }, tp: 4 } },
  SGLang: {
    deploy: {
      engine: 'sglang',
      version: '0.5',
      speculative: { tokens: 3, acceptance: 0.7 },
      lora: { adapters: 6, slots: 3 },
    },
    load: { rps: [[0, 6]], structured: 0.3 },
  },
  'SGLang, split': {
    cluster: { nodes: 3, gpusPerNode: 4 },
    deploy: { engine: 'sglang', version: '0.5', pd: { prefill: 1, decode: 2 }, tp: 4 },
  },
  'SGLang, experts': {
    cluster: { nodes: 1, gpusPerNode: 8 },
    deploy: { engine: 'sglang', version: '0.5', model: 'moe-like', tp: 2, dp: 4, ep: true, replicas: 1 },
  },
  Dynamo: { deploy: { engine: 'dynamo', version: '1.1', frontend: 'dynamo', router: 'kv-cost' } },
  AMD: { cluster: { sku: 'MI300X-like' } },
  'default counters, no Kubernetes': { cluster: { kubernetes: false }, observe: { gpuExporter: 'default' } },
};

function pages(over: SpecOverrides): { name: string; text: string; families: Family[] }[] {
  const { world } = worldOf(small({ ...over, durationS: 60 }));
  advance(world, 60);
  return targetsOf(world, 1_777_636_800_000, false).map((t) => {
    const text = t.page.text();
    return { name: t.name, text, families: read(text) };
  });
}

describe.each(Object.entries(VARIANTS))('the pages of %s', (_name, over) => {
  const all = pages(over);

  it('follow the text format, every sample in its family', () => {
    for (const page of all) {
      expect(page.text.endsWith('\n')).toBe(true);
      expect(page.families.length).toBeGreaterThan(3);
    }
  });

  it('have cumulative buckets that end in the count', () => {
    let seen = 0;
    for (const page of all)
      for (const f of page.families) {
        if (f.type !== 'histogram') continue;
        const series = new Map<string, { buckets: [number, number][]; count: number }>();
        for (const s of f.samples) {
          const key = JSON.stringify(s.labels.filter(([k]) => k !== 'le'));
          const entry = series.get(key) ?? { buckets: [], count: Number.NaN };
          series.set(key, entry);
          const le = s.labels.find(([k]) => k === 'le')?.[1];
          if (s.name.endsWith('_bucket'))
            entry.buckets.push([le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le), s.value]);
          else if (s.name.endsWith('_count')) entry.count = s.value;
        }
        for (const { buckets, count } of series.values()) {
          seen++;
          for (let i = 1; i < buckets.length; i++) {
            expect(buckets[i]![0]).toBeGreaterThan(buckets[i - 1]![0]);
            expect(buckets[i]![1]).toBeGreaterThanOrEqual(buckets[i - 1]![1]);
          }
          expect(buckets.at(-1)).toEqual([Number.POSITIVE_INFINITY, count]);
        }
      }
    expect(seen).toBeGreaterThan(3);
  });

  it('show only families that the catalogue of that source knows', () => {
    const catalog = loadCatalog();
    const unknown: string[] = [];
    for (const page of all) {
      const names = page.families.map((f) => f.name);
      const { sources } = recognise(catalog, names);
      expect(sources.length, page.name).toBeGreaterThan(0);
      for (const name of names) {
        const base = name.replace(/_created$/, '');
        const known = [name, base, `${base}_total`].some((n) => (lookUp(catalog, n, sources)?.hits.length ?? 0) > 0);
        if (!known) unknown.push(`${page.name} ${name}`);
      }
    }
    expect(unknown).toEqual([]);
  });

  it('have every series once', () => {
    for (const page of all) {
      const series = page.text
        .split('\n')
        .filter((l) => l !== '' && !l.startsWith('#'))
        .map((l) => l.slice(0, l.lastIndexOf(' ')));
      expect(new Set(series).size).toBe(series.length);
    }
  });
});

it('every line of a recording is JSON, in time order per target, of a kind that recordings have', () => {
  for (const dialect of DIALECTS) {
    const last = new Map<string, string>();
    for (const line of simulateCase(
      generateCase(7, {
        fault: 'oom-crash',
        dialect,
        topology: 'aggregated',
        durationS: 150,
        at: 60,
        forS: 60,
        load: 0.5,
      }),
    ).lines) {
      const parsed = JSON.parse(line);
      const kind = Object.keys(parsed);
      expect(kind).toHaveLength(1);
      expect(['scrape', 'resourceSpans', 'event']).toContain(kind[0]);
      if (kind[0] !== 'scrape') continue;
      const s = parsed.scrape;
      expect(s.time >= (last.get(s.url) ?? '')).toBe(true);
      last.set(s.url, s.time);
      expect(s.error === undefined).toBe(typeof s.body === 'string');
    }
  }
});
