/** The demo as a newcomer starts it: a simulated cluster, the daemon, a fault, the truth. */
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { enginelight, until } from './kit.ts';

describe('enginelight demo', () => {
  it('names what breaks, shows the truth beside it, and ends by itself', async () => {
    const run = enginelight(['demo', '--fault', 'thermal-gpu', '--speed', '30', '--duration', '6']);
    const [code] = await once(run.child, 'exit');
    const out = run.stdout();
    expect([code, run.stderr()]).toEqual([0, '']);
    expect(out).toMatch(/\d\d:\d\d {2}\w+ incident {2}thermal-throttle on gpu GPU-/);
    expect(out).toMatch(/What really happened[\s\S]*thermal-throttle on gpu:GPU-[\s\S]*right {2}named after \d+ s/);
    // Piped, there are no colours, and no line that is drawn over.
    expect(out).not.toContain('\x1b');
  }, 90_000);

  it('ends at Ctrl-C with what it has', async () => {
    const run = enginelight(['demo']);
    await until('the introduction', () => run.stdout().includes('It first learns what is normal'));
    expect(await run.end('SIGINT')).toBe(0);
    expect(run.stdout()).toContain('nothing broke');
  }, 30_000);

  it('says what it cannot break', async () => {
    const run = enginelight(['demo', '--fault', 'thermal-gpus']);
    const [code] = await once(run.child, 'exit');
    expect([code, run.stderr()]).toEqual([2, expect.stringContaining('did you mean thermal-gpu?')]);
  }, 30_000);
});
