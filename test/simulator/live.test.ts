import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { type Live, startLive } from '../../simulator/live.ts';
import { ImpossibleSpec } from '../../simulator/simulate.ts';
import { small } from './kit.ts';

let live: Live | undefined;
afterEach(async () => {
  await live?.stop();
  live = undefined;
});

const value = (page: string, prefix: string) =>
  Number(
    page
      .split('\n')
      .find((l) => l.startsWith(prefix))
      ?.split(' ')
      .at(-1),
  );

/** Asks while the clock moves, because an answer takes simulated milliseconds. */
async function get(clock: ReturnType<typeof manualClock>, url: string): Promise<string> {
  let done = false;
  const answer = fetch(url).finally(() => {
    done = true;
  });
  answer.catch(() => {});
  for (let i = 0; i < 400 && !done; i++) await clock.advance(5);
  return (await answer).text();
}

it('serves every target on loopback and moves with the clock it is given', async () => {
  const clock = manualClock();
  live = await startLive(small({ durationS: 600 }), { clock, speed: 10 });
  expect(live.targets.map((t) => t.name.split('/')[0])).toEqual(
    expect.arrayContaining(['engine', 'gpu', 'node', 'cadvisor', 'router']),
  );
  const url = live.targets.find((t) => t.name === 'engine/r0')!.url;
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
  const first = value(await get(clock, url), 'vllm:generation_tokens_total{');
  await clock.advance(5_000);
  expect(live.elapsed()).toBeGreaterThan(50);
  const second = value(await get(clock, url), 'vllm:generation_tokens_total{');
  expect(second).toBeGreaterThan(first + 1000);
  expect((await fetch(url.replace('/metrics', '/reset'), { method: 'POST' })).status).toBe(405);
});

it('breaks while it runs, on command, and knows the truth about it', async () => {
  const clock = manualClock();
  live = await startLive(small({ durationS: 3600 }), { clock, speed: 20 });
  await clock.advance(1_000);
  expect(live.inject({ kind: 'gremlin', entity: 'r0' })).toMatch(/no fault "gremlin"/);
  expect(live.inject({ kind: 'thermal-gpu', entity: 'node9/gpu0' })).toMatch(/no GPU/);
  expect(live.inject({ kind: 'power-brake', entity: 'node0/gpu1', dose: 0.6 })).toBeNull();
  await clock.advance(5_000);
  const gpu = live.world.nodes[0]!.gpus[1]!;
  const page = await get(clock, live.targets.find((t) => t.name === 'gpu/node0')!.url);
  expect(value(page, `DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="${gpu.uuid}"`)).toBeLessThan(900);
  const truth = live.truth();
  expect(truth.roots[0]).toMatchObject({
    id: 'power-throttle',
    entity: `gpu:${gpu.uuid}`,
    replica: 'r0',
    impact: true,
  });
});

it('a dead replica breaks connections, and answers again when it is back', async () => {
  const clock = manualClock();
  live = await startLive(small({ durationS: 3600 }), { clock, speed: 50 });
  const url = live.targets.find((t) => t.name === 'engine/r1')!.url;
  live.inject({ kind: 'oom-crash', entity: 'r1', dose: 0.6 });
  await clock.advance(300);
  await expect(get(clock, url)).rejects.toThrow();
  await clock.advance(4_000);
  expect(await get(clock, url)).toContain('vllm:num_requests_running');
});

it('posts its hook events to a socket', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'simulator-live-'));
  const socketPath = join(dir, 'hooks.sock');
  const bodies: string[] = [];
  const server = createServer((req, res) => {
    let body = '';
    req.on('data', (d) => {
      body += d;
    });
    req.on('end', () => {
      bodies.push(`${req.method} ${req.url} ${body}`);
      res.end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    const clock = manualClock();
    live = await startLive(small({ durationS: 600, observe: { hooksEveryS: 5 } }), {
      clock,
      speed: 10,
      spans: { socketPath },
    });
    for (let i = 0; i < 200 && !bodies.some((b) => b.includes('"collective"')); i++) await clock.advance(100);
    expect(bodies.some((b) => b.startsWith('POST /v1/traces {"resourceSpans"') && b.includes('"collective"'))).toBe(
      true,
    );
    expect(live.undelivered()).toBe(0);
  } finally {
    server.close();
    rmSync(dir, { recursive: true });
  }
});

it('refuses what cannot be, and stops twice without complaint', async () => {
  const clock = manualClock();
  await expect(startLive(small({ deploy: { replicas: 99 } }), { clock })).rejects.toThrow(ImpossibleSpec);
  await expect(startLive(small(), { clock, speed: 0 })).rejects.toThrow(/speed is 0/);
  live = await startLive(small(), { clock });
  await live.stop();
  await live.stop();
  expect(clock.pending()).toBe(0);
});
