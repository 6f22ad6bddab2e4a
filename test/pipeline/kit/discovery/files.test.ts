import { mkdirSync, mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { manualClock } from '../../../../pipeline/kit/clock.ts';
import type { TargetLabels } from '../../../../pipeline/kit/discovery/discovery.ts';
import { fromTargetFiles, parseTargetFile } from '../../../../pipeline/kit/discovery/files.ts';
import { memoryLogger } from '../../../../pipeline/kit/log.ts';
import { until } from '../../../kit/targets.ts';

async function discover(files: (folder: string) => string[], before: (folder: string) => void = () => {}) {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-files-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  before(folder);
  const clock = manualClock();
  const log = memoryLogger();
  const updates: (readonly TargetLabels[])[] = [];
  const problems: (string | undefined)[] = [];
  const running = await fromTargetFiles({ files: files(folder), refreshMs: 300_000 })((t) => updates.push(t), {
    clock,
    log,
    problem: (p) => problems.push(p),
  });
  onTestFinished(() => running.stop());
  const addresses = () => (updates.at(-1) ?? []).map((t) => t['__address__']);
  /** Lets watchers report and files settle. */
  const settled = (what: string, test: () => boolean) =>
    until(what, async () => {
      await clock.advance(100);
      return test();
    });
  return { folder, clock, log, updates, problems, running, addresses, settled };
}

describe('files of targets', () => {
  it('are read at the start and again when they change, come or go', async () => {
    const d = await discover(
      (f) => [join(f, '*.json'), join(f, 'more.yaml')],
      (f) => {
        writeFileSync(join(f, 'a.json'), '[{"targets": ["h1:1", "h2:2"], "labels": {"replica": "r", "n": 7}}]');
        writeFileSync(join(f, 'more.yaml'), '- targets: [h3:3]\n');
        writeFileSync(join(f, 'ignored.txt'), 'x');
      },
    );
    expect(d.updates).toEqual([
      [
        { __meta_filepath: join(d.folder, 'a.json'), __address__: 'h1:1', replica: 'r', n: '7' },
        { __meta_filepath: join(d.folder, 'a.json'), __address__: 'h2:2', replica: 'r', n: '7' },
        { __meta_filepath: join(d.folder, 'more.yaml'), __address__: 'h3:3' },
      ],
    ]);
    writeFileSync(join(d.folder, 'b.json'), '[{"targets": ["h4:4"]}]');
    await d.settled('a new file', () => d.addresses().includes('h4:4'));
    writeFileSync(join(d.folder, 'new'), '[]');
    renameSync(join(d.folder, 'new'), join(d.folder, 'a.json'));
    await d.settled('an emptied file', () => d.addresses().sort().join() === 'h3:3,h4:4');
    unlinkSync(join(d.folder, 'b.json'));
    await d.settled('a removed file', () => d.addresses().join() === 'h3:3');
    expect(d.problems.at(-1)).toBeUndefined();
  });

  it.each([
    '[{"targets": ["h1:1", "h2',
    '',
    '{"targets": []}',
    '[{"targets": "h1:1"}]',
    'not json',
  ])('that hold %j keep the targets they gave, and the log says so once', async (half) => {
    const d = await discover(
      (f) => [join(f, 'a.json')],
      (f) => writeFileSync(join(f, 'a.json'), '[{"targets": ["h1:1"]}]'),
    );
    writeFileSync(join(d.folder, 'a.json'), half);
    await d.settled('a complaint', () => d.log.records.length > 0);
    await d.clock.advance(600_000);
    expect(d.addresses()).toEqual(['h1:1']);
    expect(d.log.records.filter((r) => r.level === 'warn')).toMatchObject([
      {
        message: 'Cannot read a file of targets.',
        fields: { file: join(d.folder, 'a.json'), keeping: '1 targets it gave before' },
      },
    ]);
    expect(d.problems.at(-1)).toContain('a.json');
    writeFileSync(join(d.folder, 'a.json'), '[{"targets": ["h1:1", "h2:2"]}]');
    await d.settled('the whole file', () => d.addresses().length === 2);
    expect(d.log.records.at(-1)).toMatchObject({ level: 'info', message: 'A file of targets can be read again.' });
    expect(d.problems.at(-1)).toBeUndefined();
  });

  it('that do not exist are said, and found when they come', async () => {
    const d = await discover((f) => [join(f, 'later.yml')]);
    expect(d.addresses()).toEqual([]);
    expect(d.problems.at(-1)).toContain('no such file');
    writeFileSync(join(d.folder, 'later.yml'), '[{targets: [h:1]}]');
    await d.settled('the file', () => d.addresses().length === 1);
    expect(d.problems.at(-1)).toBeUndefined();
  });

  it('are looked at every 5 s where nobody tells of changes, as in a folder that comes later', async () => {
    const d = await discover((f) => [join(f, 'later', 'a.json')]);
    expect(d.problems.at(-1)).toContain('no such file');
    mkdirSync(join(d.folder, 'later'));
    writeFileSync(join(d.folder, 'later', 'a.json'), '[{"targets": ["h:1"]}]');
    await d.clock.advance(4900);
    expect(d.addresses()).toEqual([]);
    await d.clock.advance(100);
    await until('the file', () => d.addresses().length === 1);
    await d.running.stop();
    expect(d.clock.pending()).toBe(0);
  });

  it.each([
    ['a.json', '[{"targets": [1]}]', 'a target of entry 1 is not a text'],
    ['a.json', '[{"targets": [], "labels": []}]', 'labels of entry 1 is not a mapping'],
    ['a.json', '[{"targets": [], "labels": {"a": {}}}]', 'label "a" of entry 1 is not a text'],
    ['a.json', '[{"target": []}]', 'entry 1 has the unknown key "target"'],
    ['a.json', '[1]', 'entry 1 is not a mapping'],
    ['a.yaml', 'targets: []', 'a list of {targets, labels} is expected'],
    ['a.txt', '[]', 'file name must end with .json, .yml or .yaml'],
  ])('%s with %s is refused: %s', (name, text, message) => {
    expect(() => parseTargetFile(text, name)).toThrow(message);
  });
});
