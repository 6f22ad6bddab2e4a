import { describe, expect, it } from 'vitest';
import { compareRuns, readRun } from '../../../commands/score/compare.ts';
import { kindCards, measure } from '../../../commands/score/measures.ts';
import { board } from '../../../commands/score/table.ts';
import { cause, headedBy, healthy, hot, judged, said } from './kit.ts';

const right = headedBy(cause('thermal-throttle', 'gpu', 'GPU-3', 0.9));
const wrong = headedBy(cause('cpu-starvation', 'node', 'n1', 0.8));
const hit = (name: string) => judged(name, hot(), [said(160, right)]);
const miss = (name: string) => judged(name, hot(), [said(160, wrong)]);
const fine = (name: string, alarms = 0) =>
  judged(
    name,
    healthy(),
    Array.from({ length: alarms }, (_, i) => said(50 + i, { ...wrong, id: `inc-${i}` })),
  );

describe('the measures', () => {
  const m = measure([hit('a'), hit('b'), hit('c'), miss('d'), judged('e', hot(), []), fine('f'), fine('g', 1)]);

  it('are shares of the faults that count', () => {
    expect(m.counted).toBe(5);
    expect(m.top1).toMatchObject({ value: 0.6, n: 5 });
    expect(m.answered).toBe(0.8);
    expect(m.latencyP50).toBe(30);
    expect(m.fromInjectionP50).toBe(60);
  });

  it('count false alarms over the time in which nothing was wrong', () => {
    // Two controls of 600 s and the 100 s before each of five faults, on 4 nodes.
    expect(m.healthyNodeDays).toBeCloseTo((4 * (2 * 600 + 5 * 100)) / 86_400);
    expect(m.falseBySeverity).toEqual({ info: 0, warning: 0, critical: 1 });
    expect(m.falseAlarms.value).toBeCloseTo(1 / m.healthyNodeDays);
    expect(m.precision).toMatchObject({ value: 0.6, n: 5 });
  });

  it('take promises by their word', () => {
    // Three promised 0.9 and came, one promised 0.8 and did not.
    expect(m.brier).toBeCloseTo((3 * 0.01 + 0.64) / 4);
    expect(m.ece).toBeCloseTo((3 * 0.1 + 0.8) / 4);
    expect(m.wrongAndConfident).toMatchObject({ value: 0.25, n: 4 });
  });

  it('say what was said instead', () => {
    expect(kindCards([hit('a'), miss('b'), judged('c', hot(), [])])[0]).toMatchObject({
      fault: 'thermal-gpu',
      top1: 1,
      instead: [
        ['cpu-starvation', 1],
        ['nothing', 1],
      ],
      byDose: [{ dose: 0.2, hits: 1, n: 3 }],
    });
  });

  it('stand in a table, with their intervals', () => {
    const text = board([hit('a'), miss('b'), fine('c')], 'A run', undefined);
    expect(text).toMatch(/^A run\n3 cases, 2 faults; 2 of them felt/);
    expect(text).toMatch(/enginelight {2,}50 % \[9-91\]/);
    expect(text).toMatch(/thermal-throttle +cpu-starvation 1, right 1|thermal-throttle +right 1, cpu-starvation 1/);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
  });

  it('of nothing are dashes', () => {
    expect(board([fine('a')], 'A run', undefined)).not.toMatch(/NaN|undefined|Infinity/);
    expect(board([], 'A run', undefined)).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('a run against an earlier one', () => {
  const names = [...'abcdefgh'];
  it('is worse when more faults are lost than chance allows', () => {
    const before = names.map(hit);
    expect(compareRuns([...names.slice(0, 5).map(miss), ...names.slice(5).map(hit)], before).drops).toHaveLength(1);
    expect(compareRuns([...names.slice(0, 4).map(miss), ...names.slice(4).map(hit)], before).drops).toEqual([]);
  });

  it('is worse when false alarms came than chance allows', () => {
    const before = names.map((n) => fine(n));
    expect(
      compareRuns(
        names.map((n) => fine(n, 1)),
        before,
      ).drops[0],
    ).toContain('False alarms went from 0 to 8');
    expect(compareRuns([fine('a', 1), ...names.slice(1).map((n) => fine(n))], before).drops).toEqual([]);
  });

  it('never fails for being better, and leaves out cases that only one has', () => {
    expect(compareRuns(names.map(hit), names.map(miss)).drops).toEqual([]);
    const other = compareRuns([miss('x')], names.map(hit));
    expect(other).toMatchObject({ drops: [], text: 'The previous run has none of these cases.' });
  });

  it('needs a file that is one', () => {
    expect(() => readRun('{', 'x.json')).toThrow('x.json is not JSON');
    expect(() => readRun('{"schema":"other"}', 'x.json')).toThrow('x.json is no stored run');
  });
});
