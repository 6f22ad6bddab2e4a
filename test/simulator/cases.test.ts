import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { CONTROLS, caseSpecs, DIALECTS, generateCase, LOADS, SEEDS } from '../../simulator/cases.ts';
import { main } from '../../simulator/cli.ts';
import { BENIGN, checkInjections, FAULTS } from '../../simulator/faults/index.ts';
import { prepared, simulateCase } from '../../simulator/simulate.ts';
import { checkSpec } from '../../simulator/spec.ts';
import { createWorld } from '../../simulator/world/world.ts';
import { writeCase } from '../../simulator/write.ts';

describe('the cases of a tier', () => {
  const dev = caseSpecs({ tier: 'dev' });
  const train = caseSpecs({ tier: 'train' });

  it('come from the seeds of that tier alone', () => {
    for (const [tier, all] of [
      ['train', train],
      ['dev', dev],
    ] as const) {
      const [from, to] = SEEDS[tier];
      for (const spec of all) {
        expect(spec.seed).toBeGreaterThanOrEqual(from);
        expect(spec.seed).toBeLessThanOrEqual(to);
        expect(spec.tier).toBe(tier);
      }
    }
    expect(SEEDS.train).toEqual([1, 199]);
    expect(SEEDS.dev).toEqual([200, 399]);
  });

  it('have every kind at every dose, in every dialect that can show it, and every control', () => {
    const single = dev.filter((s) => s.group === 'single' || s.group === 'cascade');
    for (const fault of FAULTS.filter((f) => !f.benign)) {
      const mine = single.filter((s) => s.inject[0]!.kind === fault.kind);
      expect(mine.length, fault.kind).toBeGreaterThanOrEqual(10);
      expect(new Set(mine.map((s) => s.inject[0]!.dose)).size, fault.kind).toBe(fault.doses.length);
      expect(new Set(mine.map((s) => s.deploy.engine + s.deploy.version)).size, fault.kind).toBeGreaterThanOrEqual(2);
    }
    for (const control of CONTROLS) expect(dev.filter((s) => s.control === control).length).toBeGreaterThanOrEqual(10);
    expect(new Set(dev.map((s) => `${s.deploy.engine}-${s.deploy.version}`))).toEqual(new Set(DIALECTS));
    for (const topology of [
      (s: (typeof dev)[0]) => s.deploy.pd,
      (s: (typeof dev)[0]) => s.deploy.pp > 1,
      (s: (typeof dev)[0]) => s.deploy.ep,
    ])
      expect(dev.filter(topology).length).toBeGreaterThan(30);
    expect(LOADS).toEqual([0.3, 0.6, 0.8, 0.95]);
  });

  it('have faults in pairs, and faults beside harmless events', () => {
    const doubles = dev.filter((s) => s.group === 'double');
    expect(doubles.length).toBeGreaterThanOrEqual(90);
    for (const s of doubles) expect(s.inject).toHaveLength(2);
    const confounded = dev.filter((s) => s.group === 'confounded');
    expect(confounded.length).toBeGreaterThanOrEqual(90);
    for (const s of confounded) expect(BENIGN.some((b) => b.kind === s.inject[1]!.kind)).toBe(true);
  });

  it('are all possible', () => {
    for (const given of [...dev, ...train].filter((_, i) => i % 4 === 0)) {
      const spec = prepared(given);
      expect(checkSpec(spec), spec.name).toEqual([]);
      expect(checkInjections(createWorld(spec)), spec.name).toEqual([]);
    }
  });

  it('have names of their own', () => {
    const names = [...dev, ...train].map((s) => s.name);
    expect(new Set(names).size).toBe(names.length);
  });

  it('can be sampled so that every kind and group comes up', () => {
    const some = caseSpecs({ tier: 'dev', limit: 300 });
    expect(some).toHaveLength(300);
    expect(new Set(some.map((s) => s.name)).size).toBe(300);
    for (const fault of FAULTS.filter((f) => !f.benign))
      expect(
        some.some((s) => s.inject[0]?.kind === fault.kind),
        fault.kind,
      ).toBe(true);
    expect(some.filter((s) => s.group === 'control').length).toBeGreaterThan(30);
    expect(some.filter((s) => s.group === 'double').length).toBeGreaterThan(20);
    expect(caseSpecs({ tier: 'dev', kinds: ['double'], limit: 3 }).map((s) => s.group)).toEqual(
      Array(3).fill('double'),
    );
    expect(caseSpecs({ tier: 'dev', kinds: ['confounded'], limit: 2 }).map((s) => s.group)).toEqual(
      Array(2).fill('confounded'),
    );
    expect(caseSpecs({ tier: 'dev', kinds: ['hang'] }).every((s) => s.inject[0]!.kind === 'hang')).toBe(true);
  });
});

describe('a written case', () => {
  it('is a gzipped recording with its truth', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'simulator-case-'));
    try {
      const path = join(dir, 'case.jsonl.gz');
      const spec = generateCase(4711, {
        fault: 'power-brake',
        durationS: 240,
        at: 100,
        forS: 100,
        load: 0.4,
        topology: 'aggregated',
      });
      const { truth, bytes, lines } = await writeCase(spec, path);
      const text = gunzipSync(readFileSync(path)).toString();
      expect(bytes).toBe(statSync(path).size);
      expect(text.split('\n').length - 1).toBe(lines);
      expect(text).toBe(`${[...simulateCase(spec).lines].join('\n')}\n`);
      expect(truth).toMatchObject({ seed: 4711, roots: [{ id: 'power-throttle', onset: 100, end: 200 }] });
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('comes from the command line too; what is wrong is said and costs exit code 2', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'simulator-cli-'));
    const said: string[] = [];
    const out = process.stdout.write;
    const err = process.stderr.write;
    const keep = ((text: string) => {
      said.push(text);
      return true;
    }) as never;
    process.stdout.write = keep;
    process.stderr.write = keep;
    try {
      const file = join(dir, 'c.jsonl');
      expect(
        await main([
          '--seed',
          '3',
          '--fault',
          'oom-crash',
          '--duration',
          '120',
          '--at',
          '50',
          '--for',
          '40',
          '--out',
          file,
        ]),
      ).toBe(0);
      expect(JSON.parse(readFileSync(join(dir, 'c.truth.json'), 'utf8')).roots[0].id).toBe('gpu-oom-risk');
      expect(JSON.parse(readFileSync(file, 'utf8').split('\n')[0]!)).toBeTypeOf('object');
      expect(await main(['--list'])).toBe(0);
      expect(said.join('')).toContain('thermal-gpu');
      said.length = 0;
      expect(await main(['--seed', '3', '--fault', 'gremlin', '--out', file])).toBe(2);
      expect(said.join('')).toMatch(/there is no fault "gremlin"/);
      expect(await main(['--sed', '3'])).toBe(2);
    } finally {
      process.stdout.write = out;
      process.stderr.write = err;
      rmSync(dir, { recursive: true });
    }
  });
});
