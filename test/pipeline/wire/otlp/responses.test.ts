import { describe, expect, test } from 'vitest';
import { SIGNALS } from '../../../../pipeline/model.ts';
import { decodeResponse, decodeStatus, encodeResponse, encodeStatus } from '../../../../pipeline/wire/otlp/index.ts';
import { oracleDecodeResponse, oracleEncodeResponse } from '../../../kit/otlp-oracle.ts';

const KEYS = { metrics: 'rejectedDataPoints', traces: 'rejectedSpans', logs: 'rejectedLogRecords' } as const;

describe.each(SIGNALS)('an answer about %s', (signal) => {
  test('that everything was taken is empty', () => {
    expect(encodeResponse(signal, 'protobuf').length).toBe(0);
    expect(Buffer.from(encodeResponse(signal, 'json')).toString()).toBe('{}');
    expect(encodeResponse(signal, 'protobuf', { rejected: 0, message: '' }).length).toBe(0);
  });

  test.each([
    { rejected: 3, message: 'three are wrong' },
    { rejected: 2 ** 40, message: '' },
    { rejected: 0, message: 'only a warning' },
  ])('with $rejected rejected items is what an independent implementation reads and writes', (partial) => {
    const bytes = encodeResponse(signal, 'protobuf', partial);
    const plain = {
      partialSuccess: {
        ...(partial.rejected ? { [KEYS[signal]]: String(partial.rejected) } : {}),
        ...(partial.message ? { errorMessage: partial.message } : {}),
      },
    };
    expect(oracleDecodeResponse(signal, bytes)).toEqual(plain);
    expect(decodeResponse(signal, oracleEncodeResponse(signal, plain), 'protobuf')).toEqual(partial);
    expect(decodeResponse(signal, encodeResponse(signal, 'json', partial), 'json')).toEqual(partial);
  });
});

test('counts in JSON answers are strings, and read as strings or numbers', () => {
  const text = Buffer.from(encodeResponse('metrics', 'json', { rejected: 5, message: 'm' })).toString();
  expect(JSON.parse(text)).toEqual({ partialSuccess: { rejectedDataPoints: '5', errorMessage: 'm' } });
  const read = (json: string) => decodeResponse('metrics', Buffer.from(json), 'json');
  expect(read('{"partialSuccess":{"rejectedDataPoints":5}}')).toEqual({ rejected: 5, message: '' });
  expect(read('{"partialSuccess":null,"other":1}')).toEqual({ rejected: 0, message: '' });
  expect(() => read('[]')).toThrow(/JSON object/);
  expect(() => read('{"partialSuccess":{"rejectedDataPoints":"x"}}')).toThrow(/partialSuccess\.rejectedDataPoints/);
});

describe.each(['protobuf', 'json'] as const)('a status in %s', (encoding) => {
  test.each([
    { code: 8, message: 'the queue is full', retryAfterMs: 1500 },
    { code: 14, message: 'später', retryAfterMs: 0 },
    { code: 3, message: '' },
    { code: 0, message: '' },
  ])('comes back as it was: $code', (status) => {
    expect(decodeStatus(encodeStatus(status, encoding), encoding)).toEqual(status);
  });
});

test('the bytes of a status with a RetryInfo are those of google.rpc', () => {
  // code 8; message "m"; details { type_url, value { retry_delay { seconds 1, nanos 500000000 } } }
  const type = Buffer.from('type.googleapis.com/google.rpc.RetryInfo').toString('hex');
  const duration = '0a08' + '0801' + '1080cab5ee01';
  const any = `0a28${type}120a${duration}`;
  const expected = `080812016d1a${(any.length / 2).toString(16)}${any}`;
  expect(Buffer.from(encodeStatus({ code: 8, message: 'm', retryAfterMs: 1500 }, 'protobuf')).toString('hex')).toBe(
    expected,
  );
});

test('details of other types are passed over', () => {
  const json = { code: 3, message: 'm', details: [{ '@type': 'type.googleapis.com/google.rpc.BadRequest' }] };
  expect(decodeStatus(Buffer.from(JSON.stringify(json)), 'json')).toEqual({ code: 3, message: 'm' });
});
