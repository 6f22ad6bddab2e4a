import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Double, gauge, KeyValues, type Metric, NO_ATTRIBUTES, sum } from '../../../pipeline/model.ts';
import {
  boundText,
  escapeName,
  isLegacyName,
  labelName,
  metricName,
  numberText,
  type TranslationStrategy,
  valueText,
} from '../../../pipeline/wire/prometheus-text-names.ts';

const metric = (name: string, unit: string, type: string): Metric =>
  type === 'counter' ? sum(name, unit) : type === 'updown' ? sum(name, unit, '', false) : gauge(name, unit);

describe('names of metrics', () => {
  const cases: [name: string, unit: string, type: string, expected: string][] = [
    ['system.cpu.time', 's', 'counter', 'system_cpu_time_seconds_total'],
    ['system.memory.usage', 'By', 'updown', 'system_memory_usage_bytes'],
    ['inference.kv.usage', '1', 'gauge', 'inference_kv_usage_ratio'],
    ['hw.gpu.utilization', '1', 'gauge', 'hw_gpu_utilization_ratio'],
    ['requests', '{request}', 'counter', 'requests_total'],
    ['requests_total', '{request}', 'counter', 'requests_total'],
    ['total.requests', '1', 'counter', 'requests_total'],
    ['throughput', 'By/s', 'gauge', 'throughput_bytes_per_second'],
    ['tokens.rate', '{token}/s', 'gauge', 'tokens_rate_per_second'],
    ['latency', 'ms', 'gauge', 'latency_milliseconds'],
    ['latency_ms_milliseconds', 'ms', 'gauge', 'latency_ms_milliseconds'],
    ['temperature', 'Cel', 'gauge', 'temperature_celsius'],
    ['share', '%', 'gauge', 'share_percent'],
    ['odd', 'foo bar', 'gauge', 'odd_foo_bar'],
    ['a..b--c', '', 'gauge', 'a_b_c'],
    ['2xx.count', '', 'gauge', '_2xx_count'],
    ['größe', 'By', 'gauge', 'gr_e_bytes'],
    ['vllm:num_requests_running', '', 'gauge', 'vllm:num_requests_running'],
    ['vllm:prompt_tokens_total', '', 'counter', 'vllm:prompt_tokens_total'],
  ];
  it.each(cases)('%s (unit "%s", %s) is %s', (name, unit, type, expected) => {
    expect(metricName(metric(name, unit, type), 'UnderscoreEscapingWithSuffixes')).toBe(expected);
  });

  it.each([
    ['UnderscoreEscapingWithSuffixes', 'ns_http_duration_seconds_total'],
    ['UnderscoreEscapingWithoutSuffixes', 'ns_http_duration'],
    ['NoUTF8EscapingWithSuffixes', 'ns_http.duration_seconds_total'],
    ['NoTranslation', 'ns_http.duration'],
  ] as [TranslationStrategy, string][])('%s makes %s', (strategy, expected) => {
    expect(metricName(metric('http.duration', 's', 'counter'), strategy, 'ns')).toBe(expected);
  });

  it('leaves scraped names alone, whatever their unit and type', () => {
    const metadata = { 'prometheus.type': 'counter' };
    for (const name of ['vllm:kv_cache_usage_perc', 'sglang:num_running_reqs', 'foo__bar', 'vllm:e2e_time']) {
      const scraped = { ...sum(name, '1'), metadata };
      expect(metricName(scraped, 'UnderscoreEscapingWithSuffixes')).toBe(name);
      expect(metricName({ ...gauge(name, 's'), metadata }, 'NoUTF8EscapingWithSuffixes')).toBe(name);
    }
    expect(metricName({ ...gauge('a.b', ''), metadata }, 'UnderscoreEscapingWithSuffixes')).toBe('a_b');
  });

  it('makes a name that every scraper can read of any text', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: 'binary' }), fc.string(), (name, unit) => {
        const made = metricName(gauge(name, unit), 'UnderscoreEscapingWithSuffixes');
        expect(made === '' || isLegacyName(made)).toBe(true);
      }),
    );
  });
});

describe('names of labels', () => {
  it.each([
    ['service.name', 'service_name'],
    ['a..b', 'a_b'],
    ['__name__', '_name_'],
    ['1st', 'key_1st'],
    ['le', 'le'],
    ['ünï', '_n_'],
  ])('%s becomes %s', (name, expected) => {
    expect(labelName(name, 'UnderscoreEscapingWithSuffixes')).toBe(expected);
  });

  it('stay as they are where UTF-8 is allowed, but never take a reserved name', () => {
    expect(labelName('service.name', 'NoTranslation')).toBe('service.name');
    expect(labelName('__name__', 'NoTranslation')).toBe('_name__');
  });
});

// Expected values as in the tests of Prometheus' common library.
describe('escaping for scrapers that cannot read UTF-8', () => {
  it.each([
    ['no:escaping_required', 'no:escaping_required', 'no:escaping__required', 'no:escaping_required'],
    [
      'mysystem.prod.west.cpu.load',
      'mysystem_prod_west_cpu_load',
      'mysystem_dot_prod_dot_west_dot_cpu_dot_load',
      'U__mysystem_2e_prod_2e_west_2e_cpu_2e_load',
    ],
    [
      'mysystem.prod.west.cpu.load_total',
      'mysystem_prod_west_cpu_load_total',
      'mysystem_dot_prod_dot_west_dot_cpu_dot_load__total',
      'U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total',
    ],
    ['http.status:sum', 'http_status:sum', 'http_dot_status:sum', 'U__http_2e_status:sum'],
    ['label with 😱', 'label_with__', 'label__with____', 'U__label_20_with_20__1f631_'],
    ['花火', '__', '____', 'U___82b1__706b_'],
  ])('%s', (name, underscores, dots, values) => {
    expect(escapeName(name, 'underscores')).toBe(underscores);
    expect(escapeName(name, 'dots')).toBe(dots);
    expect(escapeName(name, 'values')).toBe(values);
    expect(escapeName(name, 'allow-utf-8')).toBe(name);
  });

  it('does not leave a colon in the name of a label', () => {
    expect(escapeName('a:b', 'underscores', true)).toBe('a_b');
    expect(escapeName('a:b', 'values', true)).toBe('U__a_3a_b');
  });
});

describe('values as text', () => {
  it.each([
    [0.5, '0.5'],
    [1, '1.0'],
    [-2, '-2.0'],
    [0, '0.0'],
    [0.001, '0.001'],
    [0.000_01, '1e-05'],
    [999_999, '999999.0'],
    [1_000_000, '1e+06'],
    [12_500_000, '1.25e+07'],
    [1e100, '1e+100'],
    [Number.POSITIVE_INFINITY, '+Inf'],
  ])('a bound of %d is %s', (value, text) => {
    expect(boundText(value)).toBe(text);
    expect(Number(text.replace('Inf', 'Infinity'))).toBe(value);
  });

  it('numbers keep their value', () => {
    expect(['+Inf', '-Inf', 'NaN', '9007199254740993']).toEqual(
      [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 9007199254740993n].map(numberText),
    );
  });

  it('attributes of any type have one', () => {
    expect(valueText(true)).toBe('true');
    expect(valueText(new Double(2))).toBe('2');
    expect(valueText(12345678901234567890n)).toBe('12345678901234567890');
    expect(valueText(new Uint8Array([1, 2, 255]))).toBe('AQL/');
    expect(valueText(['a', 1, new KeyValues({ b: null })])).toBe('["a",1,{"b":null}]');
    expect(valueText(null)).toBe('');
  });
});

describe('the model of a metric', () => {
  it('has no scraped mark by itself', () => expect(gauge('a', '').metadata).toBe(NO_ATTRIBUTES));
});
