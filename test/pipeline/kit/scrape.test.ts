/** Targets that misbehave, on real sockets, beside one that does not: each costs itself, with one message and its counter. */
import type { RequestListener } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { isNumberPoint, isStale } from '../../../pipeline/model.ts';
import { prometheusReceiver } from '../../../receivers/prometheus/index.ts';
import { report, type Scraping, scraping, shown } from '../../kit/scraping.ts';
import { fakeSocket, fakeTarget, freePort, page, until } from '../../kit/targets.ts';

const GOOD = 'good 1\n';

/** A receiver with a good target and this one. */
async function beside(url: string, more: Record<string, unknown> = {}): Promise<Scraping & { good(): number }> {
  const good = await fakeTarget(page(GOOD));
  const s = await scraping(prometheusReceiver, {
    targets: [
      { url: good.url, labels: { replica: 'good' } },
      { url, labels: { replica: 'bad' } },
    ],
    ...more,
  });
  return {
    ...s,
    good: () => s.out.points().filter((p) => p.series.metric.name === 'good' && !isStale(p)).length,
  };
}

const failures = (s: Scraping) =>
  Object.fromEntries(
    [...s.context.measured.counters].flatMap(([name, n]) => {
      const reason = /^receiver_scrape_failures\{reason=(.*)\}$/.exec(name)?.[1];
      return reason ? [[reason, n]] : [];
    }),
  );

describe('a target that fails costs only itself', () => {
  const endless: RequestListener = (_request, response) => {
    const more = () => {
      while (!response.destroyed && response.write(`a{b="${'x'.repeat(1000)}"} 1\n`.repeat(60)));
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  };
  const bomb = gzipSync(Buffer.alloc(80 << 20, 'a'));
  const rows: [string, () => Promise<string>, string, string][] = [
    ['unreachable', async () => `http://127.0.0.1:${await freePort()}`, 'refused', 'connection refused'],
    ['endless', async () => (await fakeTarget(endless)).url, 'too_large', 'body size limit exceeded (67108864 bytes)'],
    [
      'gzip-bombing',
      async () => (await fakeTarget((_q, r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb))).url,
      'too_large',
      'body size limit exceeded (67108864 bytes)',
    ],
    [
      'half-closing',
      async () =>
        (
          await fakeSocket((socket) =>
            socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\na 1\n')),
          )
        ).url,
      'reset',
      'the connection was closed in the middle of the answer',
    ],
    [
      'lying about its length',
      async () =>
        (
          await fakeSocket((socket) =>
            socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\na 1\n')),
          )
        ).url,
      'reset',
      'the connection was closed in the middle of the answer',
    ],
    [
      'answering 500',
      async () => (await fakeTarget((_q, r) => r.writeHead(500).end('oops'))).url,
      'status',
      'server returned HTTP status 500 Internal Server Error',
    ],
    [
      'answering HTML',
      async () => (await fakeTarget(page('<!doctype html><p>Welcome', 'text/html'))).url,
      'refused_page',
      'the answer is HTML or XML',
    ],
    [
      'answering nonsense',
      async () => (await fakeTarget(page('what is\nthis?\n'))).url,
      'refused_page',
      'no line is a sample; line 1 is "what is"',
    ],
    [
      'not speaking HTTP',
      async () => (await fakeSocket((socket) => socket.end('220 smtp ready\r\n'))).url,
      'protocol',
      'the answer is not valid HTTP',
    ],
  ];

  it.each(rows)('%s', async (_, start, reason, message) => {
    const s = await beside(await start());
    for (let i = 0; i < 3; i++) await s.round(2);
    expect(s.good()).toBe(3);
    expect(s.up()).toEqual({ good: 1, bad: 0 });
    expect(failures(s)).toEqual({ [reason]: 3 });
    expect(s.warnings()).toEqual([expect.stringContaining(message)]);
    expect(s.warnings()[0]).toMatch(/^Failed to scrape Prometheus endpoint\./);
  });

  it('slow: it is given up after the timeout, while the good one is scraped on its beat', async () => {
    const slow = await fakeTarget((_request, response) => void response.write('a 1\n'));
    const s = await beside(slow.url);
    // The slow one holds up no step of the clock: only the good one is waited for.
    const target = 3;
    for (let i = 0; i < 1000 && (s.good() < target || (failures(s)['timeout'] ?? 0) < 2); i++) {
      await s.clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(s.good()).toBeGreaterThanOrEqual(target);
    expect(s.up()).toMatchObject({ bad: 0 });
    expect(failures(s)['timeout']).toBeGreaterThanOrEqual(2);
    expect(s.warnings()).toEqual([expect.stringContaining('no complete answer within 4000 ms')]);
    expect(slow.mostAtOnce()).toBe(1);
  });

  it('restarting in the middle of a scrape: that scrape fails, the next one is of the new process', async () => {
    let restarted = false;
    const t = await fakeTarget((_request, response) => {
      const start = restarted ? 1_700_000_007 : 1_699_000_000;
      response.write(`process_start_time_seconds ${start}\n# TYPE c counter\n`);
      if (kill) {
        kill = false;
        restarted = true;
        setTimeout(() => response.destroy(), 20);
      } else response.end(`c ${restarted ? 1 : 50}\n`);
    });
    let kill = false;
    const s = await beside(t.url);
    await s.round(2);
    kill = true;
    const broken = await s.round(2);
    expect(shown(broken).filter((line) => !line.startsWith('good'))).toEqual([
      'process_start_time_seconds{} stale',
      'c{} stale',
    ]);
    const after = await s.round(2);
    const c = after.find((p) => p.series.metric.name === 'c')!;
    expect(isNumberPoint(c) && c.value).toBe(1);
    expect(c.startTime).toBe(1_700_000_007_000_000_000n);
    expect(s.good()).toBe(3);
    expect(failures(s)).toEqual({ reset: 1 });
    expect(s.context.log.records.map((r) => r.message)).toEqual([
      'Failed to scrape Prometheus endpoint.',
      'The target can be scraped again.',
    ]);
  });

  it('a million series: the page is refused, what it would have been is counted, and memory stays', async () => {
    const lines: string[] = [];
    for (let i = 0; i < 1_000_000; i++) lines.push(`a{i="${i}"} 1`);
    const text = `${lines.join('\n')}\n`;
    const t = await fakeTarget(page(text));
    const s = await beside(t.url);
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 3; i++) await s.round(2);
    expect(s.good()).toBe(3);
    expect(s.up()).toEqual({ good: 1, bad: 0 });
    expect(s.warnings()).toEqual([expect.stringContaining('sample limit exceeded (samples: 1000000, limit: 100000)')]);
    expect(s.context.measured.drops).toEqual(Array(3).fill({ signal: 'metrics', items: 1_000_000, reason: 'limit' }));
    expect(process.memoryUsage().rss - before).toBeLessThan(400 << 20);
    t.answer(page('a{i="1"} 2\n'));
    await s.round(2);
    expect(s.up()).toEqual({ good: 1, bad: 1 });
  });
});

describe('lines that cannot be read cost themselves', () => {
  const bytes = Buffer.concat([
    Buffer.from('# TYPE ok gauge\nok 1\n'),
    Buffer.from([0x62, 0x7b, 0x78, 0x3d, 0x22, 0xff, 0xc3, 0x28, 0x22, 0x7d, 0x20, 0x31, 0x0a]),
    Buffer.from('nan NaN\ninf +Inf\nbroken{ 1\nok 2\nlast 3\n'),
  ]);

  it('non-UTF-8, NaN, infinities, duplicates: everything else of the page is there, each is counted, one of a kind is named once', async () => {
    const t = await fakeTarget((_q, r) => r.end(bytes));
    const s = await beside(t.url);
    for (let i = 0; i < 2; i++) {
      const points = await s.round(2);
      const bad = points.filter((p) => p.series.resource.attributes['service.instance.id'] === 'bad');
      expect(shown(bad)).toEqual(['ok{} 1', 'nan{} NaN', 'inf{} Infinity', 'last{} 3']);
      expect(report(bad)).toMatchObject({ up: 1, scrape_samples_scraped: 5 });
    }
    expect(s.context.measured.drops).toEqual([
      { signal: 'metrics', items: 1, reason: 'duplicate' },
      { signal: 'metrics', items: 2, reason: 'bad_line' },
      { signal: 'metrics', items: 1, reason: 'duplicate' },
      { signal: 'metrics', items: 2, reason: 'bad_line' },
    ]);
    expect(s.context.log.records.filter((r) => r.level === 'warn')).toMatchObject([
      {
        message: 'Some lines cannot be read; the others were taken.',
        fields: {
          target: `${t.url}/metrics`,
          bad_lines: 2,
          line: 3,
          error: 'not valid UTF-8 text',
          text: expect.stringContaining('b{x='),
        },
      },
      {
        message: 'Some series are on the page more than once; the first sample of each was taken.',
        fields: { target: `${t.url}/metrics`, duplicates: 1, line: 7, text: 'ok 2' },
      },
    ]);
  });

  it('are named again when others are lost, or the same after a page without any', async () => {
    const t = await fakeTarget(page('ok 1\nbroken{ 1\n'));
    const s = await beside(t.url);
    const pages = ['ok 2\nbroken{ 2\n', 'ok 3\nother{ 1\n', 'ok 4\n', 'ok 5\nother{ 1\n'];
    await s.round(2);
    for (const text of pages) {
      t.answer(page(text));
      await s.round(2);
    }
    expect(s.context.log.records.map((r) => r.fields['text'])).toEqual(['broken{ 1', 'other{ 1', 'other{ 1']);
  });
});

describe('many targets', () => {
  it('do not wait for one another, and stop together', async () => {
    const hung = await fakeTarget(() => {});
    const good = await Promise.all(Array.from({ length: 20 }, () => fakeTarget(page(GOOD))));
    const s = await scraping(prometheusReceiver, { targets: [hung.url, ...good.map((t) => t.url)] });
    for (let i = 0; i < 100; i++) {
      await s.clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until('every good target', () => good.every((t) => t.asked.length >= 1));
    await s.running.stop(AbortSignal.abort());
    expect(s.clock.pending()).toBe(0);
    const asked = good.map((t) => t.asked.length);
    await s.clock.advance(60_000);
    expect(good.map((t) => t.asked.length)).toEqual(asked);
  });
});
