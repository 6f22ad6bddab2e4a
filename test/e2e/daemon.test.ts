/** The built daemon between a real engine page and a real OTLP backend, over real sockets, from start to end. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { backend, type Daemon, enginelight, fakeEngine, folder, until } from './kit.ts';

const READY = 'Everything is ready. Begin running and processing data.';

interface Spec {
  readonly engine: string;
  readonly backend: string;
  readonly more?: string;
  readonly queue?: string;
  readonly telemetry?: string;
}

const config = (spec: Spec) => `
receivers:
  vllm:
    targets: [{ url: "${spec.engine}", labels: { replica: r7, service: chat } }]
    collection_interval: 100ms
    max_scrape_load: 0
processors:
  normalize: {}
exporters:
  otlp_http:
    endpoint: ${spec.backend}
    ${spec.queue ?? 'sending_queue: {}'}
    retry_on_failure: { initial_interval: 50ms, max_interval: 100ms }
${spec.more ?? ''}
service:
  shutdown_timeout: 3s
  telemetry: { metrics: { ${spec.telemetry ?? 'level: none'} } }
  pipelines:
    inference: { receivers: [vllm], processors: [normalize], exporters: [otlp_http] }
`;

async function running(text: string): Promise<Daemon & { file: string }> {
  const file = join(folder({ 'enginelight.yaml': text }), 'enginelight.yaml');
  const daemon = enginelight(['--config', file]);
  await daemon.says(READY);
  return { ...daemon, file };
}

describe('the daemon', () => {
  it("brings an engine's numbers to a backend, under its own names and under engine-neutral ones", async () => {
    const engine = await fakeEngine();
    const otlp = await backend();
    const daemon = await running(config({ engine: engine.url, backend: otlp.url }));
    const own = await until('vllm:num_requests_running', () => otlp.last('vllm:num_requests_running'));
    expect(own.value).toBe(2);
    expect(own.attributes).toMatchObject({ model_name: 'Qwen/Qwen2.5-7B-Instruct' });
    expect(own.resource).toMatchObject({
      'service.name': 'chat',
      'service.instance.id': 'r7',
      'inference.engine': 'vllm',
    });
    const neutral = (name: string) => until(name, () => otlp.last(name));
    expect((await neutral('inference.requests.running')).value).toBe(2);
    expect((await neutral('inference.kv.usage')).value).toBe(0.25);
    expect(Number((await neutral('inference.tokens.generated')).value)).toBe(1000);
    expect(Number((await neutral('gen_ai.server.time_to_first_token')).value)).toBe(6);
    engine.state.running = 9;
    await until('the new value', () => otlp.last('inference.requests.running')?.value === 9);
    expect(await daemon.end()).toBe(0);
    expect(new Set(engine.state.paths)).toEqual(new Set(['GET /metrics']));
  });

  it('sends what it has scraped before it ends, when it is told to stop', async () => {
    const engine = await fakeEngine();
    const otlp = await backend();
    otlp.state.status = 503;
    const daemon = await running(config({ engine: engine.url, backend: otlp.url }));
    await until('some scrapes', () => engine.state.scrapes >= 5);
    engine.state.running = 77;
    const before = engine.state.scrapes;
    await until('one more scrape', () => engine.state.scrapes >= before + 2);
    otlp.state.status = 200;
    expect(await daemon.end()).toBe(0);
    const arrived = otlp.values.filter((v) => v.name === 'vllm:num_requests_running').map((v) => v.value);
    expect(arrived).toContain(77);
    expect(daemon.stderr()).toMatch(/Stopped\. dropped_items=0/);
  });

  it('ends in time when the backend stays away, and says how many items of which exporter were lost', async () => {
    const engine = await fakeEngine();
    const otlp = await backend();
    otlp.state.status = 503;
    const daemon = await running(config({ engine: engine.url, backend: otlp.url }).replace('3s', '500ms'));
    await until('some scrapes', () => engine.state.scrapes >= 3);
    const asked = Date.now();
    expect(await daemon.end('SIGINT')).toBe(0);
    expect(Date.now() - asked).toBeLessThan(4000);
    expect(daemon.stderr()).toMatch(
      /Items were lost while stopping\. where="exporter otlp_http" signal=metrics reason=shutdown dropped_items=\d+/,
    );
  });

  it('ends at once at a second signal', async () => {
    const engine = await fakeEngine();
    const otlp = await backend();
    otlp.state.status = 503;
    const daemon = await running(config({ engine: engine.url, backend: otlp.url }).replace('3s', '1h'));
    await until('some scrapes', () => engine.state.scrapes >= 3);
    daemon.child.kill('SIGTERM');
    await daemon.says('Stopping.');
    expect(await daemon.end('SIGTERM')).toBe(1);
  });

  it('keeps going when the engine goes away, and picks it up when it is back', async () => {
    const engine = await fakeEngine();
    const otlp = await backend();
    const daemon = await running(config({ engine: engine.url, backend: otlp.url }));
    await until('data', () => otlp.last('up')?.value === 1);
    await engine.close();
    await until('up is 0', () => otlp.last('up')?.value === 0);
    expect(daemon.child.exitCode).toBeNull();
    expect(await daemon.end()).toBe(0);
  });

  it('delivers what was queued on disk after it was killed and started again', async () => {
    const engine = await fakeEngine();
    const queue = folder({});
    const otlp = await backend();
    otlp.state.status = 503;
    const text = config({
      engine: engine.url,
      backend: otlp.url,
      queue: `sending_queue: { storage: { directory: ${JSON.stringify(queue)}, fsync: always } }`,
    });
    const first = await running(text);
    engine.state.running = 4242;
    const before = engine.state.scrapes;
    await until('a scrape with the value', () => engine.state.scrapes >= before + 3);
    await first.end('SIGKILL');
    engine.state.running = 1;
    otlp.state.status = 200;
    const second = await running(text);
    await until('the value from before', () =>
      otlp.values.find((v) => v.name === 'vllm:num_requests_running' && v.value === 4242),
    );
    expect(await second.end()).toBe(0);
  });
});

describe('SIGHUP', () => {
  it('takes a new config over, and one with mistakes not: each is named with its place and the old one runs on', async () => {
    const engine = await fakeEngine();
    const one = await backend();
    const other = await backend();
    const text = config({ engine: engine.url, backend: one.url, telemetry: 'address: "127.0.0.1:0"' });
    const daemon = await running(text);
    const page = /own metrics are served\. url=(\S+)/.exec(daemon.stderr())![1]!;
    await until('data', () => one.values.length > 0);

    writeFileSync(daemon.file, text.replace('  vllm:\n', '  vlm:\n').replace('[normalize]', '[nrmalize]'));
    daemon.child.kill('SIGHUP');
    await daemon.says('The new config has mistakes; the old one runs on.');
    await daemon.says('did you mean "normalize"');
    expect(daemon.stderr()).toContain(`${daemon.file}:3:3`);
    const seen = one.values.length;
    await until('more data', () => one.values.length > seen);

    writeFileSync(daemon.file, text.replace(one.url, other.url));
    daemon.child.kill('SIGHUP');
    await daemon.says('The new config runs.');
    await until('data at the other backend', () => other.last('inference.requests.running'));
    expect(daemon.stderr()).toMatch(
      /The new config runs\. stopped="exporter otlp_http" started="exporter otlp_http" kept=2/,
    );

    const own = await (await fetch(page)).text();
    expect(own).toContain('enginelight_config_reloads_total{outcome="success"} 1');
    expect(own).toContain('enginelight_config_reloads_total{outcome="invalid"} 1');
    expect(own).toMatch(/enginelight_exporter_sent_items_total\{component="otlp_http",signal="metrics"\} [1-9]/);
    expect(await daemon.end()).toBe(0);
  });
});

describe('without a config', () => {
  it('shows what the engine at an address does', async () => {
    const engine = await fakeEngine();
    const daemon = enginelight([
      engine.url,
      '--set',
      'exporters.console.interval=200ms',
      '--set',
      'service.telemetry.metrics.level=none',
    ]);
    await until(`a table: ${daemon.stderr()}`, () => daemon.stdout().includes('Qwen/Qwen2.5-7B-Instruct'));
    const row = daemon
      .stdout()
      .split('\n')
      .find((line) => line.includes('Qwen'))!
      .split(/ {2,}/);
    expect(row.slice(1, 6)).toEqual(['vllm', 'Qwen/Qwen2.5-7B-Instruct', '2', '1', '25 %']);
    expect(await daemon.end('SIGINT')).toBe(0);
  });

  it('says how to point it at an engine where there is none, and goes on looking', async () => {
    const gone = await fakeEngine();
    await gone.close();
    const daemon = enginelight([
      gone.url,
      '--set',
      'exporters.console.interval=200ms',
      '--set',
      'service.telemetry.metrics.level=none',
    ]);
    await until('the hint', () => daemon.stdout().includes('npm start -- http://HOST:PORT'));
    expect(daemon.stdout()).toContain(`Looking at ${gone.url}.`);
    expect(daemon.child.exitCode).toBeNull();
    expect(await daemon.end()).toBe(0);
  });
});
