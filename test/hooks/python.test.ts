/** The Python shim: its own tests, and its events in the real receiver. Only the standard library, and fakes of the engines. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { hooksReceiver } from '../../receivers/hooks/index.ts';
import { sink, testContext } from '../kit/harness.ts';

const run = promisify(execFile);
const SHIM = new URL('../../hooks/python', import.meta.url).pathname;

/** Undefined where there is no Python that the shim supports; said aloud, because then it is not tested here. */
const version = await run('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])']).then(
  ({ stdout }) => stdout.trim(),
  () => undefined,
);
const usable = version !== undefined && Number(version.split('.')[1]) >= 9;
if (!usable)
  process.stderr.write(`python3 is ${version ?? 'missing'}: the hooks inside engines are NOT tested here.\n`);

const environment = (socket: string) => ({
  PATH: process.env['PATH'],
  PYTHONPATH: `${SHIM}:${SHIM}/tests/fake`,
  PYTHONDONTWRITEBYTECODE: '1',
  ENGINELIGHT_HOOKS: '1',
  ENGINELIGHT_HOOKS_DEBUG: '1',
  ENGINELIGHT_HOOKS_SOCKET: socket,
  OTEL_RESOURCE_ATTRIBUTES: 'service.instance.id=r0',
});

describe.runIf(usable)('the Python shim', () => {
  it('passes its own tests', async () => {
    const args = ['-m', 'unittest', 'discover', '-s', join(SHIM, 'tests')];
    const { stderr } = await run('python3', args, { env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
    expect(stderr).toMatch(/^OK$/m);
  }, 180_000);

  it('sends collectives that arrive as spans, complete and in order, and follows what the daemon answers', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hooks-'));
    const socket = join(folder, 'h.sock');
    const out = sink();
    const config = resolve(hooksReceiver.config, {
      socket: { path: socket },
      post_interval: '50ms',
      events: { collective: { rate: 1, bytes_per_second: 0 } },
    });
    const running = await hooksReceiver.start(config, out, testContext({ clock: systemClock }));
    const script = `
import time, enginelight_hooks
enginelight_hooks.activate()
from enginelight_hooks import core
import torch, torch.distributed as dist
t = torch.Tensor(256)
dist.barrier()
while core.hub.sender.version is None: time.sleep(0.01)
begin = time.time_ns()
for i in range(5000): dist.all_reduce(t)
dist.send(t, 3)
print(begin, time.time_ns())
`;
    try {
      const { stdout, stderr } = await run('python3', ['-c', script], { env: environment(socket) });
      expect(stderr).toBe('');
      const [begin, end] = stdout.split(' ').map((text) => BigInt(text.trim()));
      const reduced = out.spans().filter((s) => s.attributes['comm.op'] === 'all_reduce');
      expect(reduced.map((s) => s.attributes['comm.seq'])).toEqual(Array.from({ length: 5000 }, (_, i) => i + 2));
      for (const s of reduced) expect(s.startTime >= begin! - 2_000_000n && s.endTime <= end! + 2_000_000n).toBe(true);
      expect(out.spans().at(-1)!.attributes).toMatchObject({ 'comm.op': 'send', 'comm.peer': 3, 'comm.id': '0:0-3' });
      expect(out.spans()[0]!.resource.attributes).toMatchObject({ 'service.instance.id': 'r0', 'inference.rank': 2 });
    } finally {
      await running.stop(AbortSignal.abort());
      rmSync(folder, { recursive: true, force: true });
    }
  }, 60_000);
});
