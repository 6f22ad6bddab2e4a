import { describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { relabel, relabelRule } from '../../../pipeline/kit/relabel.ts';
import { labelsFromUrl, type Target, targetFrom, type WhoOptions } from '../../../pipeline/kit/scrape-who.ts';

const options = (more: Partial<WhoOptions> = {}): WhoOptions => ({
  job: 'vllm',
  scheme: 'http',
  path: '/metrics',
  params: {},
  relabel: undefined,
  labels: 'resource',
  attributes: {},
  ...more,
});
const rules = (...list: Record<string, unknown>[]) => relabel(list.map((rule) => resolve(relabelRule, rule)));
const target = (labels: Record<string, string>, more: Partial<WhoOptions> = {}): Target => {
  const found = targetFrom(labels, options(more));
  if ('wrong' in found) throw new Error(found.wrong);
  return found;
};

describe('an address as people write it', () => {
  it.each<[string, Record<string, string>]>([
    ['http://h:8000/metrics', { __address__: 'h:8000', __scheme__: 'http', __metrics_path__: '/metrics' }],
    ['http://h:8000', { __address__: 'h:8000', __scheme__: 'http' }],
    ['http://h', { __address__: 'h:80', __scheme__: 'http' }],
    ['https://h/', { __address__: 'h:443', __scheme__: 'https' }],
    ['https://h:443/x?y=z', { __address__: 'h:443', __scheme__: 'https', __metrics_path__: '/x?y=z' }],
    ['h', { __address__: 'h', __scheme__: 'http' }],
    ['h:80', { __address__: 'h:80', __scheme__: 'http' }],
    ['h:8000/m', { __address__: 'h:8000', __scheme__: 'http', __metrics_path__: '/m' }],
    ['10.0.0.1:8000', { __address__: '10.0.0.1:8000', __scheme__: 'http' }],
    ['[fd00::1]:8000', { __address__: '[fd00::1]:8000', __scheme__: 'http' }],
    ['http://u:p%40@h:1', { __address__: 'h:1', __scheme__: 'http', __user_info__: 'u:p%40' }],
  ])('%s', (written, labels) => {
    expect(labelsFromUrl(written)).toEqual(labels);
  });

  it.each(['', 'http://', 'ftp://h', 'h:99999', 'http://h h'])('%j is none', (written) => {
    expect(typeof labelsFromUrl(written)).toBe('string');
  });
});

describe('a target', () => {
  it('gets the usual port only where it names none', () => {
    const url = (written: string) => target(labelsFromUrl(written) as Record<string, string>, { port: 30000 }).url;
    expect(url('h')).toBe('http://h:30000/metrics');
    expect(url('h:80')).toBe('http://h/metrics');
    expect(url('http://h')).toBe('http://h/metrics');
    expect(url('[fd00::1]')).toBe('http://[fd00::1]:30000/metrics');
  });

  it('says where it is, but not of this machine’s own names', () => {
    const attributes = (address: string, more = {}) => target({ __address__: address, ...more }).attributes;
    expect(attributes('10.0.0.1:8000')).toMatchObject({
      'server.address': '10.0.0.1',
      'server.port': 8000,
      'url.scheme': 'http',
    });
    expect(attributes('h', { __scheme__: 'https' })).toMatchObject({
      'server.address': 'h',
      'server.port': 443,
      'url.scheme': 'https',
    });
    for (const own of ['localhost:1', '127.0.0.1:1', '[::1]:1', '0.0.0.0:1']) {
      expect('server.address' in attributes(own), own).toBe(false);
    }
  });

  it('keeps ranks as numbers, and what is no number as it is', () => {
    const labels = { __address__: 'h:1', tp_rank: '3', rank: '0', dp_rank: 'x', pci_bus_id: '0000:AF:00.0', empty: '' };
    expect(target(labels).attributes).toMatchObject({
      'inference.rank.tp': 3,
      'inference.rank': 0,
      'inference.rank.dp': 'x',
      'hw.gpu.pci_bus_id': '0000:af:00.0',
    });
    expect('empty' in target(labels).attributes).toBe(false);
  });

  it('is the same target exactly if all of it is the same', () => {
    const key = (labels: Record<string, string>) => target({ __address__: 'h:1', ...labels }).key;
    expect(key({ a: '1', b: '2' })).toBe(key({ b: '2', a: '1' }));
    expect(key({ a: '1' })).not.toBe(key({ a: '2' }));
    expect(key({})).not.toBe(key({ __metrics_path__: '/x' }));
  });

  it('shows no password', () => {
    const t = target(labelsFromUrl('http://u:p%40ss@h:1') as Record<string, string>);
    expect(t.url).toBe('http://h:1/metrics');
    expect(t.userInfo).toEqual({ username: 'u', password: 'p@ss' });
  });

  it('is what relabelling makes of it: address, path, scheme, parameters, instance, job', () => {
    const t = target(
      { __address__: 'h:1', __meta_x: '/stats', a: 'b' },
      {
        labels: 'points',
        params: { p: ['1', '2'] },
        relabel: rules(
          { source_labels: ['__meta_x'], target_label: '__metrics_path__' },
          { target_label: '__scheme__', replacement: 'https' },
          { target_label: '__param_p', replacement: '9' },
          { target_label: 'instance', replacement: 'i' },
          { target_label: 'job', replacement: 'j' },
        ),
      },
    );
    expect(new URL(t.url).searchParams.getAll('p').sort()).toEqual(['2', '9']);
    expect(t).toMatchObject({ path: '/stats', origin: 'https://h:1', job: 'j', instance: 'i', labels: ['a', 'b'] });
    expect(t.attributes).toMatchObject({ 'service.name': 'j', 'service.instance.id': 'i' });
  });

  it.each<[Record<string, string>, Partial<WhoOptions>, string]>([
    [
      { __address__: 'h:1' },
      { relabel: rules({ source_labels: ['__address__'], action: 'drop', regex: 'h.*' }) },
      'dropped',
    ],
    [{}, {}, 'no address'],
    [{ __address__: 'http://h:1' }, {}, '"http://h:1" is not a valid hostname'],
    [{ __address__: 'u@h' }, {}, '"u@h" is not a valid hostname'],
    [{ __address__: 'h h' }, {}, '"h h" is not a valid hostname'],
    [{ __address__: 'h', __scheme__: 'gopher' }, {}, 'invalid scheme "gopher"'],
  ])('%j is none: %s', (labels, more, wrong) => {
    expect(targetFrom(labels, options(more))).toEqual({ wrong });
  });
});
