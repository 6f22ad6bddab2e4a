import { describe, expect, it, vi } from 'vitest';
import { main } from '../../simulator/cli.ts';
import { ImpossibleSpec, simulateCase } from '../../simulator/simulate.ts';
import { checkSpec, injection, makeSpec, type SpecOverrides } from '../../simulator/spec.ts';
import { advance, createWorld } from '../../simulator/world/world.ts';
import { small } from './kit.ts';

describe('an impossible world is refused with a sentence', () => {
  const cases: readonly (readonly [string, SpecOverrides, RegExp])[] = [
    ['more GPUs than there are', { deploy: { replicas: 9, tp: 4 } }, /need 36 GPUs, the cluster has 32/],
    [
      'a group across nodes',
      { cluster: { nodes: 4, gpusPerNode: 2 }, deploy: { tp: 4, replicas: 1 } },
      /does not fit into a node of 2/,
    ],
    ['a model that does not fit', { deploy: { model: '70b-like', tp: 1, replicas: 4 } }, /needs 141 GB per GPU/],
    ['more KV than memory', { deploy: { kvTokens: 9_000_000 } }, /kvTokens 9000000 need/],
    ['an unknown GPU', { cluster: { sku: 'Z80' } }, /GPU "Z80" is not known; there are H100-like/],
    ['an unknown model', { deploy: { model: '1t' } }, /model "1t" is not known/],
    ['an engine without that version', { deploy: { version: '7' } }, /has no version "7" here/],
    ['experts of a dense model', { deploy: { ep: true } }, /70b-like has no experts/],
    ['a negative rate', { load: { rps: [[0, -3]] } }, /a rate is between 0 and 10000/],
    ['no rate at all', { load: { rps: [] } }, /load.rps is empty/],
    [
      'a batch budget below the batch',
      { deploy: { maxSeqs: 512, maxBatchTokens: 256 } },
      /maxBatchTokens 256 is below maxSeqs 512/,
    ],
    ['half a replica', { deploy: { replicas: 1.5 } }, /deploy.replicas is 1.5/],
    ['a time that is none', { start: 'yesterday' }, /start is "yesterday"/],
    [
      'time that goes back',
      {
        load: {
          rps: [
            [10, 1],
            [5, 1],
          ],
        },
      },
      /goes back in time/,
    ],
    ['a scrape every nanosecond', { observe: { engineScrapeS: 1e-9 } }, /observe.engineScrapeS is 1e-9/],
  ];
  it.each(cases)('%s', (_name, over, sentence) => {
    const mistakes = checkSpec(makeSpec(over));
    expect(mistakes.join('\n')).toMatch(sentence);
    expect(() => simulateCase(makeSpec(over))).toThrow(ImpossibleSpec);
  });

  it('names every mistake at once', () => {
    expect(
      checkSpec(makeSpec({ cluster: { sku: 'x' }, deploy: { model: 'y', engine: 'z' as never } })).length,
    ).toBeGreaterThanOrEqual(3);
  });
});

describe('an impossible fault is refused with a sentence', () => {
  const fails = (part: Parameters<typeof injection>[0], over: SpecOverrides = {}) => {
    try {
      simulateCase(small({ ...over, inject: [injection(part)] }));
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  it('of an unknown kind', () =>
    expect(fails({ kind: 'gremlin' })).toMatch(/there is no fault "gremlin"; there are thermal-gpu/));
  it('of a victim that is not there', () =>
    expect(fails({ kind: 'thermal-gpu', entity: 'node7/gpu1' })).toMatch(/no GPU "node7\/gpu1"/));
  it('of a victim of another kind', () =>
    expect(fails({ kind: 'thermal-gpu', entity: 'r0' })).toMatch(/happens to a gpu, and "r0" is a replica/));
  it('that this deployment cannot have', () =>
    expect(fails({ kind: 'pp-partition', entity: 'r0/tp0' })).toMatch(/needs pipeline parallelism/));
  it('with a dose of nothing or everything', () => {
    expect(fails({ kind: 'thermal-gpu', entity: 'node0/gpu0', dose: 0 })).toMatch(/dose is 0/);
    expect(fails({ kind: 'thermal-gpu', entity: 'node0/gpu0', dose: 1 })).toMatch(/dose is 1/);
  });
  it('of a shape that there is not, or that comes when all is over', () => {
    expect(fails({ kind: 'thermal-gpu', entity: 'node0/gpu0', shape: 'zigzag' as never })).toMatch(
      /no shape "zigzag"; there are step, ramp, intermittent/,
    );
    expect(fails({ kind: 'thermal-gpu', entity: 'node0/gpu0', at: 90 }, { durationS: 60 })).toMatch(
      /begins at second 90, and all is over at second 60/,
    );
  });
  it('that contradicts another one', () => {
    const one = injection({ kind: 'power-cap', entity: 'node0/gpu0', at: 10, durationS: 60, dose: 0.1 });
    expect(() => simulateCase(small({ inject: [one, { ...one, at: 20, dose: 0.6 }] }))).toThrow(
      /contradict each other/,
    );
  });
});

describe('the command line refuses', () => {
  const said = async (...args: string[]) => {
    const spy = vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
    try {
      const code = await main(args);
      return { code, text: spy.mock.calls.map(([text]) => String(text)).join('') };
    } finally {
      spy.mockRestore();
    }
  };
  it.each<[string[], RegExp]>([
    [['--topology', 'bogus'], /^--topology bogus: there are aggregated, split, parallel\n$/],
    [['--engine', 'bogus'], /^--engine bogus: there are vllm-0.10/],
    [['--seed', 'abc'], /^--seed abc: a whole number\n$/],
    [['--fault', 'hang', '--duration', '60'], /all is over at second 60/],
  ])('%j with a sentence', async (args, sentence) => {
    const { code, text } = await said(...args);
    expect(text).toMatch(sentence);
    expect(code).toBe(2);
  });
  it('a file that cannot be written, with a sentence', async () => {
    const { code, text } = await said('--duration', '5', '--fault', 'none', '--out', '/nonexistent/x.jsonl.gz');
    expect(text).toMatch(/^--out \/nonexistent\/x.jsonl.gz cannot be written: ENOENT/);
    expect(code).toBe(1);
  });
});

describe('an extreme load is simulated sensibly', () => {
  it('zero from the first second on', () => {
    const sim = simulateCase(small({ load: { rps: [[0, 0]] }, durationS: 60 }));
    const lines = [...sim.lines];
    expect(lines.length).toBeGreaterThan(20);
    expect(sim.world.totals.arrived).toBe(0);
    expect(lines.some((l) => l.includes('vllm:num_requests_running'))).toBe(true);
  });

  it('far too much from the first second on', () => {
    const w = createWorld(small({ load: { rps: [[0, 400]], clientRetry: { timeoutS: 10, max: 2 } }, durationS: 60 }));
    advance(w, 60);
    expect(w.totals.timedOut).toBeGreaterThan(1000);
    expect(w.replicas[0]!.scheds[0]!.running.n).toBeLessThanOrEqual(w.spec.deploy.maxSeqs);
    expect(w.totals.arrived).toBe(w.totals.completed + w.totals.aborted + w.totals.failed + w.totals.inSystem);
  });

  it('prompts longer than the whole pool are refused, not waited for', () => {
    const w = createWorld(small({ deploy: { kvTokens: 1024 }, load: { rps: [[0, 3]], mix: 'code' }, durationS: 60 }));
    advance(w, 60);
    expect(w.totals.failed).toBeGreaterThan(50);
  });

  it('a fault at the first second, and one that outlives the recording', () => {
    const sim = simulateCase(
      small({
        inject: [injection({ kind: 'power-cap', entity: 'node0/gpu0', at: 0, durationS: 9999, dose: 0.3 })],
        durationS: 60,
      }),
      { record: false },
    );
    expect(sim.truth().roots[0]).toMatchObject({ id: 'power-throttle', onset: 0, end: 60 });
  });
});
