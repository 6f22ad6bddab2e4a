import { describe, expect, it } from 'vitest';
import { LiveError, type LiveSource } from '../../../commands/live-client.ts';
import { gpuDetail, replicaDetail } from '../../../commands/top/detail.ts';
import { phaseBar, plainText, render, type View } from '../../../commands/top/render.ts';
import { createScreen, keysOf } from '../../../commands/top/screen.ts';
import { painter, safe, seconds, sized, sparkline } from '../../../commands/top/text.ts';
import { top } from '../../../commands/top.ts';
import { resolve } from '../../../config/schema.ts';
import { liveExporter } from '../../../exporters/live/index.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import { briefly } from '../../../pipeline/kit/live.ts';
import type { LiveGpu, LiveReplica, LiveSnapshot } from '../../../pipeline/kit/live-types.ts';
import { reportBuilder } from '../../../pipeline/kit/report.ts';
import { incidentRecord } from '../../../pipeline/kit/verdict.ts';
import { logsBatch } from '../../../pipeline/model.ts';
import { runCommand } from '../../kit/command.ts';
import { testContext } from '../../kit/harness.ts';
import { anIncident, T } from '../../kit/incident.ts';

const ESC = '\x1b';
// biome-ignore lint/suspicious/noControlCharactersInRegex: colours are made of them
const bare = (line: string) => line.replace(/\x1b\[[0-9;]*m/g, '');
const none = painter(false);

const aReplica = (over: Partial<LiveReplica> = {}): LiveReplica => ({
  id: 'r1',
  service: 'chat',
  engine: 'vllm',
  role: 'decode',
  model: 'llama-70b',
  node: 'n1',
  up: true,
  running: 12,
  waiting: 3,
  kv: 0.834,
  ttft_p50: 0.41,
  ttft_p95: 5.9,
  itl_p50: 0.0412,
  itl_p95: 0.055,
  phases: { queue: 0.2, prefill: 0.3, transfer: null, decode: 4 },
  prompt_rate: 9000,
  output_rate: 512,
  trend: { ttft: [0.1, 0.2, null, 0.8], itl: [] },
  trouble: 'critical',
  ...over,
});
const aGpu = (over: Partial<LiveGpu> = {}): LiveGpu => ({
  id: 'GPU-3',
  index: 3,
  node: 'n1',
  replica: 'r1',
  rank: 'r1/tp3',
  model: 'H100',
  utilization: 0.97,
  clock: 1.41e9,
  power: 412,
  power_limit: 700,
  temperature: 91,
  memory_used: 70 * 2 ** 30,
  memory_limit: 80 * 2 ** 30,
  throttle: 0.62,
  throttle_reason: 'thermal',
  link_errors: 0,
  io: 2.1e10,
  trouble: 'critical',
  ...over,
});
const aState = (over: Partial<LiveSnapshot> = {}): LiveSnapshot => ({
  schema: 'enginelight.live/v1',
  version: '0',
  time: '2026-05-01T12:00:20.000Z',
  verdict: 'Replica r1, rank 3, GPU-3: clock 1,410 of 1,980 MHz (thermal).',
  worst: 'critical',
  counts: { replicas: 1, gpus: 1, nodes: 1, open: 1, findings: 2, insufficient: 0 },
  omitted: { replicas: 0, gpus: 0, incidents: 0 },
  bucket_s: 5,
  services: [{ id: 'chat', replicas: 1, running: 12, waiting: 3, output_rate: 512, incidents: 1 }],
  replicas: [aReplica()],
  gpus: [aGpu()],
  incidents: [briefly(anIncident())],
  ...over,
});
const view = (over: Partial<View> = {}): View => ({
  tab: 'replicas',
  selected: undefined,
  detail: undefined,
  scroll: 0,
  trouble: undefined,
  ...over,
});

describe('the screen of top', () => {
  it('shows the verdict, and a replica with load, latency and phases, in 80 by 24', () => {
    const lines = render(aState(), view(), { columns: 80, rows: 24 }, none);
    expect(lines).toHaveLength(24);
    const all = lines.join('\n');
    expect(all).toContain('clock 1,410 of 1,980 MHz (thermal)');
    expect(lines.find((l) => l.includes(' r1 '))).toMatch(/‼ r1 .* 12 +3 +83% +410ms +5\.90s +41ms +qp?p+d+/);
  });

  it('shows more where there is room', () => {
    const wide = render(aState(), view(), { columns: 200, rows: 24 }, none).join('\n');
    for (const word of ['vllm', 'llama-70b', 'n1', 'chat', '512', '▂▃ █']) expect(wide).toContain(word);
  });

  it('keeps to the size, however small, with and without colour', () => {
    for (const columns of [1, 7, 20, 40, 79, 80, 81, 132, 300]) {
      for (const rows of [1, 2, 5, 24, 60]) {
        for (const tab of ['replicas', 'gpus', 'incidents'] as const) {
          const lines = render(aState(), view({ tab, selected: 'r1' }), { columns, rows }, painter(true));
          expect(lines).toHaveLength(rows);
          for (const line of lines) expect(bare(line).length).toBeLessThanOrEqual(columns);
        }
      }
    }
  });

  it('shows GPUs with clock, what holds it down, power, temperature and memory', () => {
    const line = render(aState(), view({ tab: 'gpus' }), { columns: 100, rows: 24 }, none).find((l) =>
      l.includes('n1'),
    );
    for (const word of ['97%', '1410MHz', '62%', '412W', '91°C', '70G/80G']) expect(line).toContain(word);
  });

  it('keeps the selected row in sight, and says what is left out', () => {
    const replicas = Array.from({ length: 500 }, (_, i) => aReplica({ id: `replica-${i}` }));
    const state = aState({ replicas, omitted: { replicas: 12, gpus: 0, incidents: 0 } });
    const lines = render(state, view({ selected: 'replica-321' }), { columns: 80, rows: 24 }, none);
    expect(lines.filter((l) => l.startsWith('>'))).toEqual([expect.stringContaining('replica-321')]);
    expect(lines.join('\n')).toContain('and 12 more');
  });

  it('says what is missing when nothing is seen', () => {
    const state = aState({ replicas: [], gpus: [], incidents: [], worst: null, verdict: 'Nothing is seen yet.' });
    expect(render(state, view(), { columns: 80, rows: 24 }, none).join('\n')).toContain('normalize');
    expect(render(state, view({ tab: 'gpus' }), { columns: 80, rows: 24 }, none).join('\n')).toContain('nvidia_gpu');
  });

  it('lets nothing that a peer says reach the terminal', () => {
    const evil = `${ESC}]0;owned\x07${ESC}[2J\u202ex\u0301\u9f98${'y'.repeat(100_000)}`;
    const state = aState({
      verdict: evil,
      replicas: [aReplica({ id: evil, node: evil, model: evil, engine: evil, service: evil, role: evil })],
      gpus: [aGpu({ id: evil, node: evil, rank: evil, throttle_reason: evil, model: evil })],
      incidents: [{ ...briefly(anIncident()), service: evil, summary: evil }],
    });
    const texts = [
      ...(['replicas', 'gpus', 'incidents'] as const).flatMap((tab) =>
        render(state, view({ tab }), { columns: 200, rows: 40 }, none),
      ),
      ...replicaDetail(state.replicas[0]!, state, 80, none),
      ...gpuDetail(state.gpus[0]!, state, 80, none),
      plainText(state, 120, none),
    ];
    for (const text of texts) {
      for (const c of text) {
        const code = c.codePointAt(0)!;
        expect(code === 10 || (code >= 32 && code < 127) || (code > 160 && code < 0x300) || code > 0x2010).toBe(true);
        expect('\u202a\u202e\u9f98').not.toContain(c);
      }
      expect(text.length).toBeLessThan(12_000);
    }
  });

  it('writes only the lines that changed', async () => {
    const writes: string[] = [];
    const screen = createScreen(
      (t) => writes.push(t),
      source(),
      () => ({ columns: 80, rows: 24 }),
      none,
      false,
    );
    await screen.show(aState());
    const first = writes.join('').length;
    writes.length = 0;
    await screen.show(aState());
    expect(writes).toEqual([]);
    await screen.show(aState({ replicas: [aReplica({ running: 13 })] }));
    expect(writes.join('').length).toBeLessThan(first / 3);
    expect(writes.join('').match(/\d+;1H/g)).toHaveLength(1);
  });

  it('goes where the keys say: views, rows, details and back', async () => {
    let shown = '';
    const screen = createScreen(
      (t) => (shown += t),
      source(),
      () => ({ columns: 100, rows: 30 }),
      none,
      false,
    );
    await screen.show(aState({ replicas: [aReplica(), aReplica({ id: 'r2' })] }));
    const press = async (...keys: string[]) => {
      shown = '';
      for (const key of keys) expect(await screen.press(key)).toBe(true);
      screen.redraw();
      return shown;
    };
    expect(await press('j', 'j')).toContain('>‼ r2');
    expect(await press('\r')).toContain('replica r2');
    expect(await press('\x1b')).toContain('REPLICA');
    expect(await press('2', '\r')).toContain('temperature');
    expect(await press('\t', '\r')).toContain('thermal-throttle');
    expect(await press('\x1b[D', '\t')).toContain('[1 replicas]');
    expect(await screen.press('q')).toBe(false);
  });

  it('stays up, and says why, when the daemon goes away', async () => {
    let shown = '';
    const screen = createScreen(
      (t) => (shown += t),
      source(),
      () => ({ columns: 80, rows: 24 }),
      none,
      false,
    );
    await screen.show(undefined, 'No daemon answers.');
    expect(shown).toContain('No daemon answers.');
    await screen.show(aState());
    shown = '';
    await screen.show(undefined, 'No daemon answers.');
    expect(shown).toContain('No daemon answers.');
    screen.redraw();
    expect(shown).toContain(' r1 ');
  });
});

function source(): LiveSource {
  const builder = reportBuilder();
  builder.add(logsBatch([incidentRecord(anIncident(), T)]));
  return {
    state: async () => aState(),
    incident: async (id) => {
      if (id !== 'inc-1') throw new LiveError(404, 'none');
      return builder.build();
    },
  };
}

describe('parts of it', () => {
  it('shares a bar among the phases so that none that exists vanishes', () => {
    expect(phaseBar({ queue: 0.001, prefill: 1, transfer: null, decode: 3 }, 12)).toMatch(/^qp+d+$/);
    expect(phaseBar({ queue: 1, prefill: 1, transfer: 1, decode: 1 }, 12)).toBe('qqqppptttddd');
    expect(phaseBar({ queue: null, prefill: null, transfer: null, decode: null }, 12)).toBe('');
  });
  it('keeps both ends of a long name', () => {
    expect(sized('vllm-decode-7f9c4d-x2x9z', 12)).toMatch(/^vllm.*…x?2?x9z$/);
    expect(sized('ab', 4, true)).toBe('  ab');
  });
  it('writes times as people say them', () => {
    expect([null, 0.0004, 0.0412, 0.41, 1.234, 12.3, 250].map(seconds)).toEqual([
      '-',
      '0.4ms',
      '41ms',
      '410ms',
      '1.23s',
      '12.3s',
      '250s',
    ]);
  });
  it('draws gaps as gaps', () => {
    expect(sparkline([null, 0, 1], 4)).toBe('  ▁█');
    expect(safe('a\tb')).toBe('a b');
  });
  it('tells keys apart in what a terminal sends at once', () => {
    expect(keysOf('\x1b[A\x1b[5~q\x1b')).toEqual(['\x1b[A', '\x1b[5~', 'q', '\x1b']);
  });
});

describe('enginelight top', () => {
  it('writes what is now as plain text into a pipe, from a running daemon', async () => {
    const context = testContext({ kind: 'exporter', id: 'live', clock: systemClock });
    const stage = await liveExporter.start(resolve(liveExporter.config, { endpoint: '127.0.0.1:0' }), context);
    try {
      const url = String(context.log.records.find((r) => r.fields['url'])?.fields['url']);
      await stage.consume(logsBatch([incidentRecord(anIncident(), Date.now())]));
      const text = await runCommand(top, ['--daemon', url]);
      expect(text).toMatchObject({ code: 0, err: '' });
      expect(text.out).toContain('thermal-throttle');
      expect(text.out).not.toContain(ESC);
      const json = await runCommand(top, ['--daemon', url, '--json']);
      expect(JSON.parse(json.out)).toMatchObject({ schema: 'enginelight.live/v1', incidents: [{ id: 'inc-1' }] });
    } finally {
      await stage.stop();
    }
  });

  it('says what to do when no daemon answers', async () => {
    const { code, err } = await runCommand(top, ['--daemon', 'http://127.0.0.1:1']);
    expect(code).toBe(1);
    expect(err).toContain('No daemon answers at http://127.0.0.1:1');
    expect(err).toContain('live: {}');
  });

  it('refuses what makes no sense', async () => {
    expect((await runCommand(top, ['--interval', '0'])).code).toBe(2);
    expect((await runCommand(top, ['--daemon', 'ftp://x'])).code).toBe(2);
    expect((await runCommand(top, ['--daemon', 'http://a', 'http://b'])).code).toBe(2);
  });
});
