import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { PermanentError } from '../../pipeline/errors.ts';
import { isStale } from '../../pipeline/model.ts';
import { metricName } from '../../pipeline/wire/prometheus-text-names.ts';
import { prometheusReceiver } from '../../receivers/prometheus/index.ts';
import { apiServer, pod } from '../kit/api-server.ts';
import { report, resourceOf, scraping, shown } from '../kit/scraping.ts';
import { fakeTarget, freePort, page, pages, until } from '../kit/targets.ts';

const mistakes = (config: unknown) =>
  prometheusReceiver.validate!(resolve(prometheusReceiver.config, config)).map(
    (m) => `${m.path.join('.')}: ${m.message}`,
  );

describe('prometheus receiver, targets form', () => {
  it('scrapes a target and reports about itself as Prometheus does', async () => {
    const t = await fakeTarget(page('# TYPE c_total counter\nc_total 5\ngo_x 1\ngo_x 2\nbad line\n'));
    const s = await scraping(prometheusReceiver, {
      targets: [t.url],
      metric_relabel_configs: [{ source_labels: ['__name__'], regex: 'go_.*', action: 'drop' }],
    });
    const points = await s.round();
    expect(shown(points)).toEqual(['c_total{} 5']);
    expect(report(points)).toEqual({
      up: 1,
      scrape_duration_seconds: expect.any(Number),
      scrape_samples_scraped: 3,
      scrape_samples_post_metric_relabeling: 1,
      scrape_series_added: 1,
    });
    // Nothing is a ratio only because it is a number: dashboards look for `up`, not for `up_ratio`.
    for (const { series } of points)
      expect(metricName(series.metric, 'UnderscoreEscapingWithSuffixes')).toBe(series.metric.name);
    expect(new Set(points.map((p) => p.series.resource)).size).toBe(1);
    expect(resourceOf(points)).toEqual({
      'service.name': 'prometheus',
      'service.instance.id': `127.0.0.1:${t.port}`,
      'server.port': t.port,
      'url.scheme': 'http',
    });
    expect(points[0]!.series.scope.name).toBe('enginelight/receivers/prometheus');
    expect(report(await s.round())).toMatchObject({ scrape_series_added: 0 });
    expect(s.context.measured.drops).toEqual([
      { signal: 'metrics', items: 1, reason: 'bad_line' },
      { signal: 'metrics', items: 1, reason: 'bad_line' },
    ]);
    expect(s.context.measured.counters.get('receiver_scrapes')).toBe(2);
    expect(s.context.measured.gauges.get('receiver_targets')!()).toBe(0);
    expect(t.asked[0]).toMatchObject({
      method: 'GET',
      url: '/metrics',
      headers: {
        accept: expect.stringContaining('application/openmetrics-text;version=1.0.0'),
        'x-prometheus-scrape-timeout-seconds': '4',
        'accept-encoding': 'identity',
      },
    });
    expect(t.connections()).toBe(1);
  });

  it('labels with a meaning become resource attributes, others too under their own name; a bare address will do', async () => {
    const t = await fakeTarget(pages({ '/stats': 'a{role="worker"} 1\n' }));
    const s = await scraping(
      prometheusReceiver,
      {
        targets: [
          {
            url: `127.0.0.1:${t.port}/stats?x=1`,
            labels: {
              replica: 'r1',
              node: 'n2',
              role: 'decode',
              service: 'chat',
              tp_rank: 1,
              gpu_uuid: 'GPU-1',
              namespace: 'ns',
              pod: 'p',
              pool: 'q',
              rack: 7,
            },
          },
        ],
      },
      'prometheus/x',
    );
    const points = await s.round();
    expect(shown(points)).toEqual(['a{role=worker} 1']);
    expect(resourceOf(points)).toMatchObject({
      'service.name': 'chat',
      'service.instance.id': 'r1',
      'host.name': 'n2',
      'inference.role': 'decode',
      'inference.pool': 'q',
      'inference.rank.tp': 1,
      'hw.id': 'GPU-1',
      'k8s.namespace.name': 'ns',
      'k8s.pod.name': 'p',
      rack: '7',
    });
    expect(t.asked[0]!.url).toBe('/stats?x=1');
  });

  it('a target that comes back as another process starts anew; a failure ends its series once', async () => {
    const t = await fakeTarget(page('process_start_time_seconds 1699990000\n# TYPE c counter\nc 5\n'));
    const s = await scraping(prometheusReceiver, { targets: [t.url] });
    await s.round();
    await t.close();
    const gone = await s.round();
    expect(shown(gone)).toEqual(['process_start_time_seconds{} stale', 'c{} stale']);
    expect(report(gone)).toMatchObject({ up: 0, scrape_samples_scraped: 0, scrape_series_added: 0 });
    expect(shown(await s.round())).toEqual([]);
    await fakeTarget(page('process_start_time_seconds 1700000012\n# TYPE c counter\nc 2\n'), undefined, t.port);
    const back = await s.round();
    expect(shown(back)).toEqual(['process_start_time_seconds{} 1700000012', 'c{} 2']);
    expect(back.find((p) => p.series.metric.name === 'c')!.startTime).toBe(1_700_000_012_000_000_000n);
    expect(report(back)).toMatchObject({ up: 1, scrape_series_added: 2 });
    expect(s.context.log.records.map((r) => r.message)).toEqual([
      'Failed to scrape Prometheus endpoint.',
      'The target can be scraped again.',
    ]);
    expect(s.context.log.records[0]!.fields).toMatchObject({
      target: `${t.url}/metrics`,
      error: expect.stringContaining('connection refused'),
      hint: expect.stringContaining('Is the engine running'),
    });
    expect(s.context.measured.counters.get('receiver_scrape_failures{reason=refused}')).toBe(2);
  });

  it('asks for gzip only when told to', async () => {
    const t = await fakeTarget((request, response) => {
      if (request.headers['accept-encoding'] === 'gzip')
        response.setHeader('content-encoding', 'gzip').end(gzipSync('a 1\n'));
      else response.end('a 2\n');
    });
    const plain = await scraping(prometheusReceiver, { targets: [t.url] });
    expect(shown(await plain.round())).toEqual(['a{} 2']);
    const zipped = await scraping(prometheusReceiver, { targets: [t.url], enable_compression: true });
    expect(shown(await zipped.round())).toEqual(['a{} 1']);
  });

  it('says whether all targets fail, in its status', async () => {
    const t = await fakeTarget(page('a 1\n'));
    const s = await scraping(prometheusReceiver, { targets: [t.url, `127.0.0.1:${await freePort()}`] });
    await s.round(2);
    expect(s.context.statuses.at(-1)).toMatchObject({
      status: 'ok',
      message: expect.stringContaining('1 of 2 targets cannot be scraped'),
    });
    t.answer((_q, r) => r.writeHead(503).end());
    await s.round(2);
    expect(s.context.statuses.at(-1)).toMatchObject({
      status: 'recoverable_error',
      message: expect.stringContaining('2 of 2'),
    });
    t.answer(page('a 1\n'));
    await s.round(2);
    expect(s.context.statuses.at(-1)!.status).toBe('ok');
  });

  it('goes on when what follows refuses, and says what was lost', async () => {
    const t = await fakeTarget(page('a 1\n'));
    const s = await scraping(prometheusReceiver, { targets: [t.url] });
    s.out.failWith(new PermanentError('no room'));
    await s.begin();
    await until('a warning', () => s.warnings().length > 0);
    expect(s.warnings()).toEqual([expect.stringContaining('What was scraped was not accepted and is lost.')]);
    s.out.failWith(undefined);
    expect(shown(await s.round())).toEqual(['a{} 1']);
  });

  it('a scrape that takes long makes the interval longer, to 1000 times of it, and says so', async () => {
    const t = await fakeTarget((request, response) => {
      s.clock.advance(20).then(() => page('a 1\n')(request, response));
    });
    const s = await scraping(prometheusReceiver, { targets: [t.url], max_scrape_load: 0.001 });
    for (let i = 0; i < 3; i++) await s.round();
    expect(s.context.log.records.at(-1)).toMatchObject({
      level: 'info',
      fields: { configured_ms: 5000, interval_ms: 20_000, scrape_ms: 20 },
    });
    const before = t.asked.length;
    await s.clock.advance(15_000);
    expect(t.asked.length).toBe(before);
    await s.round(1, 6000);

    const told = await scraping(prometheusReceiver, { targets: [t.url], max_scrape_load: 0 });
    for (let i = 0; i < 5; i++) await told.round();
    expect(told.context.log.records).toEqual([]);
  });

  it('targets of files come and go while it runs; those that go are ended', async () => {
    const { mkdtempSync, rmSync, writeFileSync } = await import('node:fs');
    const { tmpdir } = await import('node:os');
    const { join } = await import('node:path');
    const folder = mkdtempSync(join(tmpdir(), 'enginelight-sd-'));
    const a = await fakeTarget(page('a 1\n'));
    const b = await fakeTarget(page('b 1\n'));
    const file = join(folder, 't.json');
    const list = (...targets: { port: number }[]) =>
      writeFileSync(
        file,
        JSON.stringify([{ targets: targets.map((t) => `127.0.0.1:${t.port}`), labels: { replica: 'r' } }]),
      );
    list(a);
    const s = await scraping(prometheusReceiver, { file_sd_configs: [{ files: [file] }] });
    expect(shown(await s.round())).toEqual(['a{} 1']);
    list(b);
    await s.meanwhile('the end of a', () => s.out.points().some((p) => p.series.metric.name === 'a' && isStale(p)));
    const ended = s.out
      .points()
      .filter(isStale)
      .map((p) => p.series.metric.name);
    expect(ended.sort()).toEqual([
      'a',
      'scrape_duration_seconds',
      'scrape_samples_post_metric_relabeling',
      'scrape_samples_scraped',
      'scrape_series_added',
      'up',
    ]);
    await s.meanwhile('b', () => s.out.points().some((p) => p.series.metric.name === 'b'));
    const asked = a.asked.length;
    await s.round();
    expect(a.asked.length).toBe(asked);
    await s.running.stop();
    rmSync(folder, { recursive: true });
  });

  it('stops with a scrape in flight: at once when the deadline has passed', async () => {
    const t = await fakeTarget(() => {});
    const s = await scraping(prometheusReceiver, { targets: [t.url] });
    await s.begin();
    await until('the request', () => t.asked.length === 1);
    await s.running.stop(AbortSignal.abort());
    expect(s.out.batches).toEqual([]);
    expect(s.clock.pending()).toBe(0);
  });
});

describe("prometheus receiver, the Collector's form", () => {
  it('loads a Collector config unchanged and keeps labels of targets on every point', async () => {
    const t = await fakeTarget(
      pages({ '/stats': '# TYPE h histogram\nh_bucket{zone="z",le="+Inf"} 2\nh_count{zone="z"} 2\n' }),
    );
    const s = await scraping(prometheusReceiver, {
      config: {
        global: { scrape_interval: '30s', external_labels: { cluster: 'c1', rack: 'never' } },
        scrape_configs: [
          {
            job_name: 'engines',
            scrape_interval: '10s',
            scrape_timeout: '9s',
            metrics_path: '/stats',
            scheme: 'http',
            params: { 'name[]': ['x', 'y'] },
            honor_labels: false,
            scrape_protocols: ['OpenMetricsText1.0.0'],
            fallback_scrape_protocol: 'PrometheusText0.0.4',
            follow_redirects: true,
            static_configs: [{ targets: [`127.0.0.1:${t.port}`], labels: { zone: 'a', replica: 'r1', rack: '7' } }],
            relabel_configs: [
              { source_labels: ['__address__'], target_label: 'addr', regex: '(.*):.*', replacement: 'x-$1' },
            ],
            metric_relabel_configs: [{ action: 'labeldrop', regex: 'exported_.*' }],
            sample_limit: 100,
          },
        ],
      },
    });
    const points = await s.round(1, 10_000);
    expect(shown(points)).toEqual(['h{addr=x-127.0.0.1,cluster=c1,rack=7,replica=r1,zone=a} h2']);
    expect(resourceOf(points)).toEqual({
      'service.name': 'engines',
      'service.instance.id': `127.0.0.1:${t.port}`,
      'server.port': t.port,
      'url.scheme': 'http',
    });
    const up = points.find((p) => p.series.metric.name === 'up')!;
    expect(up.series.attributes).toMatchObject({ zone: 'a', replica: 'r1' });
    expect(new URL(t.asked[0]!.url, t.url).searchParams.getAll('name[]').sort()).toEqual(['x', 'y']);
    expect(t.asked[0]!.headers['accept-encoding']).toBe('gzip');
    expect(t.asked[0]!.headers['x-prometheus-scrape-timeout-seconds']).toBe('9');
  });

  it('discovers pods and relabels by what is known of them', async () => {
    const t = await fakeTarget(pages({ '/m': 'a 1\n' }));
    const api = await apiServer();
    const on = { status: { podIP: '127.0.0.1' } };
    const port = (n: number) => ({
      spec: { nodeName: 'node-1', containers: [{ name: 'engine', ports: [{ name: 'http', containerPort: n }] }] },
    });
    api.put(
      pod('yes', {
        ...on,
        ...port(t.port),
        metadata: { name: 'yes', namespace: 'prod', uid: 'u1', annotations: { 'prometheus.io/path': '/m' } },
      }),
    );
    api.put(pod('no', { ...on, ...port(1), metadata: { name: 'no', namespace: 'prod', labels: { skip: 'me' } } }));
    const s = await scraping(prometheusReceiver, {
      config: {
        scrape_configs: [
          {
            job_name: 'pods',
            scrape_interval: '5s',
            kubernetes_sd_configs: [{ role: 'pod', api_server: api.url, namespaces: { names: ['prod'] } }],
            relabel_configs: [
              { source_labels: ['__meta_kubernetes_pod_label_skip'], regex: '.+', action: 'drop' },
              {
                source_labels: ['__meta_kubernetes_pod_annotation_prometheus_io_path'],
                target_label: '__metrics_path__',
                regex: '(.+)',
              },
              { source_labels: ['__meta_kubernetes_pod_name'], target_label: 'pod' },
            ],
          },
        ],
      },
    });
    await s.meanwhile('a scrape', () => s.out.batches.length > 0, 1000);
    expect(shown(s.out.points())).toEqual(['a{pod=yes} 1']);
    expect(resourceOf(s.out.points())).toMatchObject({
      'service.name': 'pods',
      'k8s.pod.name': 'yes',
      'k8s.namespace.name': 'prod',
      'k8s.pod.uid': 'u1',
      'k8s.node.name': 'node-1',
      'host.name': 'node-1',
    });
  });

  it('keeps its intervals whatever a scrape takes', async () => {
    const t = await fakeTarget((request, response) => {
      s.clock.advance(50).then(() => page('a 1\n')(request, response));
    });
    const s = await scraping(prometheusReceiver, {
      max_scrape_load: 0.001,
      config: {
        scrape_configs: [
          { job_name: 'j', scrape_interval: '5s', static_configs: [{ targets: [`127.0.0.1:${t.port}`] }] },
        ],
      },
    });
    for (let i = 0; i < 6; i++) await s.round();
    expect(s.context.log.records).toEqual([]);
  });

  it('names every mistake', () => {
    expect(mistakes({})).toEqual([': no Prometheus scrape_configs, and no targets: there is nothing to scrape']);
    expect(mistakes({ targets: ['ftp://x', ''], timeout: '6s' })).toEqual([
      'targets.0: "ftp://x" has the scheme ftp; only http and https can be scraped',
      'targets.1: "" is not an address: write http://host:port or host:port',
      'timeout: scrape timeout greater than scrape interval',
    ]);
    expect(
      mistakes({
        config: {
          scrape_configs: [
            { job_name: 'a', static_configs: [{ targets: ['http://x:1/metrics'] }] },
            { job_name: 'a', scrape_interval: '5s', scrape_timeout: '6s', file_sd_configs: [{ files: ['x.txt'] }] },
            {
              job_name: 'b',
              dns_sd_configs: [{ names: ['x'], type: 'A' }],
              relabel_configs: [{ regex: '(', target_label: 'x' }],
              bearer_token: 'x',
              bearer_token_file: 'y',
            },
          ],
        },
      }),
    ).toEqual([
      'config.scrape_configs.0.static_configs.0.targets.0: "http://x:1/metrics" is not a valid hostname: write host:port, with scheme and metrics_path beside it',
      'config.scrape_configs.1.job_name: found multiple scrape configs with job name "a"',
      'config.scrape_configs.1.scrape_timeout: scrape timeout greater than scrape interval for scrape config with job name "a"',
      'config.scrape_configs.1.file_sd_configs.0.files.0: path name "x.txt" is not valid for file discovery: it must end in .json, .yml or .yaml, with * only in its last element',
      expect.stringContaining('config.scrape_configs.2.relabel_configs.0.regex: not a regular expression'),
      'config.scrape_configs.2.dns_sd_configs.0.port: a port is required in DNS-SD configs for all record types except SRV',
      'config.scrape_configs.2.bearer_token: at most one of bearer_token & bearer_token_file must be configured',
    ]);
  });
});
