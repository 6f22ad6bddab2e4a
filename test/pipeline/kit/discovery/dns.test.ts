import { describe, expect, it, onTestFinished } from 'vitest';
import { manualClock } from '../../../../pipeline/kit/clock.ts';
import type { TargetLabels } from '../../../../pipeline/kit/discovery/discovery.ts';
import { type DnsOptions, fromDns, type Resolver } from '../../../../pipeline/kit/discovery/dns.ts';
import { memoryLogger } from '../../../../pipeline/kit/log.ts';

const failing = (code: string) => Promise.reject(Object.assign(new Error(`query ${code}`), { code }));

async function discover(options: Partial<DnsOptions>, resolver: Partial<Resolver>) {
  const clock = manualClock();
  const log = memoryLogger();
  const updates: (readonly TargetLabels[])[] = [];
  const problems: (string | undefined)[] = [];
  const nothing = () => failing('ENOTFOUND');
  const running = await fromDns({
    names: ['engine.test'],
    type: 'A',
    port: 8000,
    refreshMs: 30_000,
    resolver: { resolve4: nothing, resolve6: nothing, resolveSrv: nothing, ...resolver },
    ...options,
  })((t) => updates.push(t), { clock, log, problem: (p) => problems.push(p) });
  onTestFinished(() => running.stop());
  await clock.advance(0);
  return {
    clock,
    log,
    updates,
    problems,
    running,
    addresses: () => (updates.at(-1) ?? []).map((t) => t['__address__']),
  };
}

describe('targets from DNS', () => {
  it('are addresses with a port, or what SRV records say', async () => {
    const a = await discover({}, { resolve4: async () => ['10.0.0.2', '10.0.0.1'] });
    expect(a.updates.at(-1)).toEqual([
      { __address__: '10.0.0.1:8000', __meta_dns_name: 'engine.test' },
      { __address__: '10.0.0.2:8000', __meta_dns_name: 'engine.test' },
    ]);
    const aaaa = await discover({ type: 'AAAA' }, { resolve6: async () => ['fd00::1'] });
    expect(aaaa.addresses()).toEqual(['[fd00::1]:8000']);
    const srv = await discover({ type: 'SRV' }, { resolveSrv: async () => [{ name: 'h1.test.', port: 9000 }] });
    expect(srv.updates.at(-1)).toEqual([
      {
        __address__: 'h1.test:9000',
        __meta_dns_name: 'engine.test',
        __meta_dns_srv_record_target: 'h1.test.',
        __meta_dns_srv_record_port: '9000',
      },
    ]);
  });

  it('are looked up again; an answer in another order is no change', async () => {
    let answer = ['10.0.0.1', '10.0.0.2'];
    const d = await discover({}, { resolve4: async () => answer });
    answer = ['10.0.0.2', '10.0.0.1'];
    await d.clock.advance(30_000);
    expect(d.updates).toHaveLength(1);
    answer = ['10.0.0.3'];
    await d.clock.advance(30_000);
    expect(d.addresses()).toEqual(['10.0.0.3:8000']);
  });

  it('stay while the name cannot be looked up, which is said once; a name that is gone has none', async () => {
    let code: string | undefined;
    const d = await discover({}, { resolve4: async () => (code ? failing(code) : ['10.0.0.1']) });
    code = 'ESERVFAIL';
    await d.clock.advance(90_000);
    expect(d.addresses()).toEqual(['10.0.0.1:8000']);
    expect(d.log.records).toMatchObject([
      { level: 'warn', message: 'Cannot look up a name of targets.', fields: { keeping: '1 targets' } },
    ]);
    expect(d.problems.at(-1)).toContain('engine.test');
    code = 'ENOTFOUND';
    await d.clock.advance(30_000);
    expect(d.addresses()).toEqual([]);
    code = undefined;
    await d.clock.advance(30_000);
    expect(d.addresses()).toEqual(['10.0.0.1:8000']);
    expect(d.problems.at(-1)).toBeUndefined();
  });

  it('one name that fails does not cost the others', async () => {
    const d = await discover(
      { names: ['bad.test', 'good.test'] },
      { resolve4: async (name) => (name === 'bad.test' ? failing('ETIMEOUT') : ['10.0.0.9']) },
    );
    expect(d.addresses()).toEqual(['10.0.0.9:8000']);
  });
});
