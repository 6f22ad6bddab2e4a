/** Our daemon before a real engine: who it takes it for, what it makes of its page, and whether every number is right. */
import { join } from 'node:path';
import { between } from './between.ts';
import { type Bench, until } from './kit.ts';
import { readOtlpFile, type Seen } from './otlp-file.ts';

export interface Watched {
  /** Compares the page of the last scrape, every number of it, with what our daemon wrote; gives the last points. */
  compare(): Promise<Seen[]>;
}

/** Watches an address with the `engine` receiver (or another one). */
export async function watch(world: Bench, url: string, receiver = 'engine'): Promise<Watched> {
  const path = join(world.folder, `${receiver}.jsonl`);
  const target = new URL(url);
  const page = target.pathname === '/' ? '/metrics' : target.pathname;
  const middle = await between(target, page);
  const daemon = await world.enginelight(`
receivers:
  ${receiver}:
    targets: ["http://${middle.address}${target.pathname.replace(/\/$/, '')}"]
    collection_interval: 1s
    max_scrape_load: 0
processors:
  normalize: {}
exporters:
  file: { path: ${path}, flush_interval: 100ms }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference: { receivers: [${receiver}], processors: [normalize], exporters: [file] }
`);
  /** The scrapes that are in the file, by their times. */
  const scrapes = () => [
    ...new Set(
      readOtlpFile(path)
        .filter((s) => s.name === 'up' && s.value === 1)
        .map((s) => s.time),
    ),
  ];
  return {
    async compare() {
      const seen = scrapes().length;
      await until(`three scrapes of ${url}`, () => scrapes().length >= seen + 3).catch((error) => {
        throw new Error(`${error.message}\n${daemon.output()}`);
      });
      await daemon.stop();
      await middle.close();
      const times = scrapes();
      // Recognising an engine reads its page as well, before any scrape; a last page may have been cut off by the stop.
      const pages = middle.pages().slice(-times.length - 1);
      const all = readOtlpFile(path);
      const newest = times.at(-1)!;
      const last = new Map<string, Seen>();
      for (const one of all) if (!one.stale) last.set(keyOf(one.name, one.labels), one);
      const arrived = new Map([...last.values()].flatMap(samplesOf));
      const wrongOf = (text: string) =>
        [...numbersOf(text)].flatMap(([key, value]) => {
          const got = arrived.get(key);
          return Object.is((got ?? -1) + 0, value + 0) ? [] : [`${key} is ${got}, the page says ${value}`];
        });
      const tries = pages.slice(-2).map((text) => ({ text, wrong: wrongOf(text) }));
      const best = tries.sort((a, b) => a.wrong.length - b.wrong.length)[0];
      if (!best) throw new Error(`no page went by\n${daemon.output()}`);
      const count = numbersOf(best.text).size;
      world.say(`${count} samples on the page scraped at ${newest}; all compared, ${best.wrong.length} wrong`);
      const failures = [...best.wrong, ...(count === 0 ? ['there was nothing to compare'] : [])];
      if (failures.length > 0) throw new Error(`${failures.slice(0, 10).join('\n')}\n${daemon.output()}`);
      return [...last.values()];
    },
  };
}

/** A label with an empty value is a label that is not there. */
const keyOf = (name: string, labels: Readonly<Record<string, string>>) =>
  JSON.stringify([
    name,
    Object.entries(labels)
      .filter(([, value]) => value !== '')
      .sort(),
  ]);

/** Every sample of a page by name and labels, read with nothing of our own codecs. */
function numbersOf(page: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const line of page.split('\n')) {
    const sample = /^([^#\s{]+)(?:\{(.*)\})?\s+(\S+)$/.exec(line);
    if (!sample) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (sample[2] ?? '').matchAll(/([^=,\s]+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name!] = value!.replace(/\\(.)/g, (_all, c: string) => (c === 'n' ? '\n' : c));
    }
    for (const one of ['le', 'quantile']) {
      if (labels[one] !== undefined) labels[one] = `${Number(labels[one].replace('+Inf', 'Infinity'))}`;
    }
    out.set(keyOf(sample[1]!, labels), Number(sample[3]!.replace('+Inf', 'Infinity').replace('-Inf', '-Infinity')));
  }
  return out;
}

/** The samples that a point was made of, by name and labels as on the page. */
function samplesOf({ name, labels, value, histogram, summary }: Seen): [string, number][] {
  if (value !== undefined) return [[keyOf(name, labels), value]];
  const { sum, count } = (histogram ?? summary)!;
  const out: [string, number][] = [
    [keyOf(`${name}_sum`, labels), sum],
    [keyOf(`${name}_count`, labels), count],
  ];
  for (const [q, v] of summary?.quantiles ?? []) out.push([keyOf(name, { ...labels, quantile: `${q}` }), v]);
  let cumulative = 0;
  for (const [i, n] of (histogram?.counts ?? []).entries()) {
    cumulative += n;
    out.push([keyOf(`${name}_bucket`, { ...labels, le: `${histogram?.bounds[i] ?? 'Infinity'}` }), cumulative]);
  }
  return out;
}

/** Fails unless these signals arrived, of an engine of this name; says what arrived. */
export function expectSignals(world: Bench, seen: readonly Seen[], engine: string, wanted: readonly string[]): void {
  const engines = new Set(seen.map((s) => s.resource['inference.engine']).filter((e) => e !== undefined));
  world.say(`recognised as ${[...engines].join(', ') || 'nothing'}`);
  if (!engines.has(engine)) throw new Error(`not recognised as ${engine}`);
  const neutral = new Map<string, Seen[]>();
  for (const one of seen) {
    if (!/^(inference|gen_ai|http)\./.test(one.name)) continue;
    neutral.set(one.name, [...(neutral.get(one.name) ?? []), one]);
  }
  world.say(`signals: ${[...neutral.keys()].sort().join(' ')}`);
  const missing = wanted.filter((name) => !neutral.has(name));
  if (missing.length > 0) throw new Error(`did not arrive: ${missing.join(', ')}`);
}

/** The value (or the count) of a signal, summed over its series. */
export const total = (seen: readonly Seen[], name: string): number =>
  seen.filter((s) => s.name === name).reduce((n, s) => n + (s.value ?? s.histogram?.count ?? 0), 0);
