import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hooks } from '../../commands/hooks.ts';
import { resolve } from '../../config/schema.ts';
import type { Running } from '../../pipeline/component.ts';
import { hooksReceiver } from '../../receivers/hooks/index.ts';
import { sink, testContext } from '../kit/harness.ts';
import { hookFrame } from '../kit/hook-frame.ts';

let folder: string;
let running: Running;
let url: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hooks-'));
  const context = testContext();
  const config = resolve(hooksReceiver.config, {
    socket: { path: join(folder, 'enginelight/hooks.sock') },
    http: { endpoint: '127.0.0.1:0', auth: { bearer_token: 'open sesame' } },
  });
  running = await hooksReceiver.start(config, sink(), context);
  url = String(context.log.records.find((r) => r.fields['url'])!.fields['url']);
});
afterEach(async () => {
  await running.stop(AbortSignal.abort());
  rmSync(folder, { recursive: true, force: true });
});

async function run(...args: string[]) {
  const said = { out: '', err: '' };
  const code = await hooks(args, {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    env: { XDG_RUNTIME_DIR: folder, TOKEN: 'open sesame' },
    version: '0',
    registry: () => Promise.reject(new Error('not needed')),
  });
  return { code, ...said };
}

describe('enginelight hooks', () => {
  it('lists what is asked for and who sends, from the default socket', async () => {
    expect((await run('list')).out).toContain('No process has sent anything lately.');
    const headers = { authorization: 'Bearer open sesame' };
    const resource = { 'service.instance.id': 'r0', 'inference.rank': 3, 'host.name': '\u001b[31mn1' };
    const body = hookFrame({ collectives: 2, resource });
    await (await fetch(`${url}/v1/hooks`, { method: 'POST', headers, body })).arrayBuffer();
    const { code, out } = await run('list');
    expect(code).toBe(0);
    expect(out).toMatch(/^collective +on +12\.5 % +65536 bytes\/s$/m);
    expect(out).toMatch(/^r0 +3 +\?\[31mn1 +17 +2 +2 +0 +20/m);
  });

  it('switches kinds off and on, and changes rates and budgets', async () => {
    expect((await run('disable', 'collective', 'engine_step')).out).toMatch(/^collective +off/m);
    expect((await run('enable', 'all')).out).not.toMatch(/ off /);
    expect((await run('rate', 'collective', '1')).out).toMatch(/^collective +on +100 %/m);
    expect((await run('budget', 'collective', '2KiB')).out).toMatch(/^collective +on +100 % +2048 bytes/m);
    const { out } = await run('--json');
    expect(JSON.parse(out).control.kinds.collective).toEqual({ enabled: true, rate: 1, bytes_per_second: 2048 });
  });

  it('reaches a daemon over loopback, with its token', async () => {
    expect((await run('list', '--url', url, '--token', 'TOKEN')).code).toBe(0);
    const refused = await run('list', '--url', url);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('401');
  });

  it('says where it looked when nobody answers', async () => {
    const { code, err } = await run('list', '--socket', join(folder, 'nowhere.sock'));
    expect(code).toBe(1);
    expect(err).toContain('nowhere.sock');
    expect(err).toContain('--socket');
  });

  it.each([
    [['stop'], 'it can list, enable'],
    [['list', 'x'], 'takes nothing more'],
    [['enable'], 'needs a kind'],
    [['enable', 'colective'], 'no kind of event "colective"'],
    [['rate', 'collective'], 'needs a kind of event and a value'],
    [['rate', 'collective', '7'], 'not a share'],
    [['rate', 'collective', ''], 'not a share'],
    [['budget', 'collective', 'much'], 'not a size'],
  ])('refuses %j, and says what it takes', async (args, message) => {
    await expect(run(...args)).rejects.toThrow(message);
  });
});
