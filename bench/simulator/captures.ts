/**
 * The simulator's pages against captures of real servers, which are not part of this repository: `node build/bench/simulator/captures.js
 * FOLDER` reads `vllm-*.prom`, `sglang-*.prom` and so on, and says for each of our pages which of its families the captures know, and
 * whether these agree in type, label names and bucket bounds. Versions differ, so differences are to be read, not to be none.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { startLive } from '../../simulator/live.ts';
import { makeSpec, type SpecOverrides } from '../../simulator/spec.ts';

interface Family {
  type: string;
  readonly labels: Set<string>;
  readonly bounds: Set<string>;
}

/** Families of a text page, read with nothing of our own codecs. */
function familiesOf(text: string): Map<string, Family> {
  const out = new Map<string, Family>();
  const types = new Map<string, string>();
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\w+)/gm)) types.set(name!, type!);
  for (const [, sample, inside] of text.matchAll(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+/gm)) {
    const base = sample!.replace(/_(bucket|sum|count|created)$/, '');
    const name = types.has(sample!) ? sample! : types.has(base) ? base : sample!;
    const family = out.get(name) ?? { type: types.get(name) ?? 'untyped', labels: new Set(), bounds: new Set() };
    for (const [, label, value] of (inside ?? '').matchAll(/([\w.]+)="((?:[^"\\]|\\.)*)"/g)) {
      if (label === 'le') family.bounds.add(String(Number(value!.replace('+Inf', 'Infinity'))));
      else family.labels.add(label!);
    }
    out.set(name, family);
  }
  return out;
}

const WORLDS: readonly (readonly [captures: RegExp, target: string, over: SpecOverrides])[] = [
  [/^vllm-/, 'engine/', { deploy: { engine: 'vllm', version: '0.20' } }],
  [/^vllm-/, 'engine/', { deploy: { engine: 'vllm', version: '0.10' } }],
  [/^sglang-/, 'engine/', { deploy: { engine: 'sglang', version: '0.5', frontend: 'none', router: 'random' } }],
  [/^llmd-epp-/, 'router/', { deploy: { engine: 'vllm', version: '0.20', frontend: 'llm-d', router: 'prefix' } }],
  [/^dcgm-/, 'gpu/', {}],
];

const same = (a: ReadonlySet<string>, b: ReadonlySet<string>) => a.size === b.size && [...a].every((x) => b.has(x));

async function main(folder: string | undefined): Promise<number> {
  if (folder === undefined) {
    process.stderr.write('!!! SKIPPED: name the folder of the captures\n');
    return 2;
  }
  for (const [pattern, target, over] of WORLDS) {
    const files = readdirSync(folder).filter((f) => pattern.test(f) && f.endsWith('.prom'));
    const real = new Map<string, Family[]>();
    for (const file of files) {
      for (const [name, family] of familiesOf(readFileSync(join(folder, file), 'utf8')))
        real.set(name, [...(real.get(name) ?? []), family]);
    }
    const live = await startLive(makeSpec({ ...over, warmupS: 30 }), { clock: systemClock });
    try {
      const one = live.targets.find((t) => t.name.startsWith(target));
      if (!one) throw new Error(`no target ${target}`);
      const ours = familiesOf(await (await fetch(one.url)).text());
      const known = [...ours].filter(([name]) => real.has(name));
      const differ = (what: string, test: (mine: Family, theirs: Family) => boolean) =>
        known
          .filter(([name, mine]) => !real.get(name)!.some((theirs) => test(mine, theirs)))
          .map(([name]) => `      ${what}: ${name}`);
      const lines = [
        ...differ('type', (a, b) => a.type === b.type),
        ...differ('bounds', (a, b) => a.bounds.size === 0 || same(a.bounds, b.bounds)),
        ...differ('labels', (a, b) => same(a.labels, b.labels)),
      ];
      process.stdout.write(
        `${pattern.source.slice(1)} ${over.deploy?.engine ?? ''} ${over.deploy?.version ?? ''}: ${ours.size} families on our page, ${known.length} of them in ${files.length} captures; ${lines.length} differences\n${lines.join('\n')}${lines.length > 0 ? '\n' : ''}`,
      );
    } finally {
      await live.stop();
    }
  }
  return 0;
}

process.exitCode = await main(process.argv[2]);
