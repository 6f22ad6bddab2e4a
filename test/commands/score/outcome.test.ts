import { describe, expect, it } from 'vitest';
import { BadLabel, readLabel } from '../../../commands/score/labels.ts';
import { judgeRun } from '../../../commands/score/outcome.ts';
import { T } from '../../kit/incident.ts';
import { cause, finding, headedBy, healthy, hot, said } from './kit.ts';

const judge = (records: Parameters<typeof judgeRun>[0], label = hot()) => judgeRun(records, T, label, 'full');

describe('a verdict against the truth', () => {
  it('is right when kind and entity of the first root are, from the moment it says so', () => {
    const run = judge([
      said(140, headedBy(cause('power-throttle', 'gpu', 'GPU-3'))),
      said(150, headedBy(cause('thermal-throttle', 'gpu', 'GPU-3'))),
    ]);
    expect(run.roots[0]).toMatchObject({
      rank: 1,
      counted: true,
      alarmAt: 140,
      namedAt: 150,
      first: 'thermal-throttle',
    });
    expect(run.alarms).toMatchObject([{ when: 'during', right: true, answered: true }]);
  });

  it('is wrong on a sibling, which is half right', () => {
    const run = judge([said(150, headedBy(cause('thermal-throttle', 'gpu', 'GPU-4')))]);
    expect(run.roots[0]).toMatchObject({ rank: null, kindRank: 1, namedAt: null });
    expect(run.alarms[0]).toMatchObject({ right: false });
  });

  it('is what an incident says last: who named it once and then changed their mind is wrong', () => {
    const run = judge([
      said(150, headedBy(cause('thermal-throttle', 'gpu', 'GPU-3'))),
      said(200, headedBy(cause('cpu-starvation', 'node', 'n1'))),
    ]);
    expect(run.roots[0]).toMatchObject({ rank: null, first: 'cpu-starvation' });
  });

  it('counts lower places by their order', () => {
    const run = judge([
      said(150, {
        ...headedBy(cause('cpu-starvation', 'node', 'n1')),
        candidates: [cause('thermal-throttle', 'gpu', 'GPU-3', 0.2), cause('kv-exhaustion', 'replica', 'r1', 0.3)],
      }),
    ]);
    expect(run.roots[0]!.rank).toBe(3);
  });

  it('does not profit from an incident that was over, or came after', () => {
    const right = headedBy(cause('thermal-throttle', 'gpu', 'GPU-3'));
    const early = judge([said(20, right), said(60, { ...right, state: 'resolved' })]);
    expect(early.roots[0]).toMatchObject({ rank: null, namedAt: null, alarmAt: null, first: null });
    expect(early.alarms[0]).toMatchObject({ when: 'early', right: false });
    expect(judge([said(560, right)]).roots[0]).toMatchObject({ rank: null, namedAt: null });
  });

  it('has a true way only if each of its steps happened', () => {
    const right = headedBy(cause('thermal-throttle', 'gpu', 'GPU-3'));
    expect(judge([said(150, right)]).roots[0]!.pathGrounded).toBe(true);
    const other = hot({ path: ['thermal-throttle@gpu:GPU-3', 'tp-straggler@rank:r2/tp0'] });
    expect(judge([said(150, right)], other).roots[0]!.pathGrounded).toBe(false);
    // A root alone explains nothing.
    const alone = { ...right, path: [{ detector: 'thermal-throttle', entity: right.root!.entity }] };
    expect(judge([said(150, alone)]).roots[0]!.pathGrounded).toBe(false);
  });

  it('gives two roots of one time the first two places', () => {
    const both = hot({
      roots: [
        { id: 'thermal-throttle', entity: 'gpu:GPU-3', onset: 100, end: 400 },
        { id: 'cpu-starvation', entity: 'node:n0', onset: 150, end: 400 },
      ],
    });
    const run = judge(
      [said(160, headedBy(cause('cpu-starvation', 'node', 'n0'), cause('thermal-throttle', 'gpu', 'GPU-3')))],
      both,
    );
    expect(run.roots.map((r) => [r.rank, r.together])).toEqual([
      [2, 2],
      [1, 2],
    ]);
  });

  it('does not count what nobody felt or the telemetry cannot show', () => {
    expect(judge([], hot({ impact: false })).roots[0]!.counted).toBe(false);
    expect(judge([], hot({ observable: { full: false } })).roots[0]!.counted).toBe(false);
    expect(judge([]).roots[0]).toMatchObject({ counted: true, first: null, rank: null });
  });

  it('counts symptoms that were put under the right root', () => {
    const symptom = { class: 'symptom' as const, detector: 'slo-burn' };
    const run = judge([
      finding(140, { ...symptom, id: 's1' }),
      finding(141, { ...symptom, id: 's2' }),
      finding(142, { ...symptom, id: 's3', observed: true }),
      said(150, { ...headedBy(cause('thermal-throttle', 'gpu', 'GPU-3')), symptoms: ['s1'] }),
    ]);
    expect(run.symptoms).toEqual({ attached: 1, all: 2 });
  });

  it('is a false alarm where nothing was wrong', () => {
    expect(judge([said(50)], healthy()).alarms).toMatchObject([
      { when: 'healthy', right: false, severity: 'critical' },
    ]);
  });
});

describe('a label', () => {
  it('accepts answers that are as right', () => {
    const label = hot({
      roots: [
        { id: 'thermal-throttle', entity: 'gpu:GPU-3', onset: 100, accept: ['power-throttle@gpu:*', 'node-hot@*'] },
      ],
    });
    for (const [detector, kind, id] of [
      ['power-throttle', 'gpu', 'GPU-9'],
      ['node-hot', 'node', 'n1'],
    ] as const)
      expect(judge([said(150, headedBy(cause(detector, kind, id)))], label).roots[0]!.rank).toBe(1);
    expect(judge([said(150, headedBy(cause('power-throttle', 'node', 'n1')))], label).roots[0]!.rank).toBeNull();
  });

  it('needs a root’s detector, entity and onset, and says all that is missing', () => {
    expect(() => readLabel({ roots: [{ entity: 'GPU-3' }] }, 'mine', 600)).toThrow(BadLabel);
    expect(() => readLabel({ roots: [{ entity: 'GPU-3' }] }, 'mine', 600)).toThrow(
      /^mine: roots\[0\]\.id is missing.*write kind:id.*onset is missing/,
    );
    expect(() => readLabel({}, 'mine', 600)).toThrow('a healthy recording says "roots": []');
    expect(() => readLabel([], 'mine', 600)).toThrow('a label is a JSON object');
  });
});
