import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeGrpcMessage,
  encodeGrpcMessage,
  formatGrpcTimeout,
  frame,
  GrpcCode,
  grpcCodeName,
  parseGrpcTimeout,
} from '../../../pipeline/wire/grpc.ts';

test('a message is framed with a flag and its length', () => {
  expect(Buffer.from(frame(Buffer.from('abc'), true)).toString('hex')).toBe('0100000003616263');
  expect(Buffer.from(frame(new Uint8Array(0), false)).toString('hex')).toBe('0000000000');
});

test('a message that lies in its frame already is framed without a copy, any other with one', () => {
  const framed = new Uint8Array(Buffer.from('0000000003616263', 'hex'));
  const message = framed.subarray(5);
  expect(frame(message, false).buffer).toBe(framed.buffer);
  expect(Buffer.from(frame(message, true)).toString('hex')).toBe('0100000003616263');
  const other = new Uint8Array(Buffer.from('0000000004616263', 'hex')).subarray(5);
  expect(Buffer.from(frame(other, false)).toString('hex')).toBe('0000000003616263');
  expect(Buffer.from(frame(framed.subarray(5, 7), false)).toString('hex')).toBe('00000000026162');
});

test('any text survives the grpc-message header, which stays printable ASCII', () => {
  expect(encodeGrpcMessage('100% of ü\n')).toBe('100%25 of %C3%BC%0A');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const header = encodeGrpcMessage(text);
      expect(header).toMatch(/^[ -~]*$/);
      expect(decodeGrpcMessage(header)).toBe(text);
    }),
  );
  expect(decodeGrpcMessage('50%, %zz')).toBe('50%, %zz');
});

test('timeouts are read in every unit', () => {
  expect(['1n', '1u', '250m', '5S', '2M', '1H'].map(parseGrpcTimeout)).toEqual([
    1e-6, 1e-3, 250, 5000, 120_000, 3_600_000,
  ]);
  expect([undefined, '', '5', '5s', '123456789m', '-1S'].map(parseGrpcTimeout)).toEqual(Array(6).fill(undefined));
  expect(formatGrpcTimeout(1500.2)).toBe('1501m');
  expect(formatGrpcTimeout(0)).toBe('1m');
  expect(formatGrpcTimeout(1e9)).toBe('1000000S');
});

test('codes have names', () => {
  expect(grpcCodeName(GrpcCode.RESOURCE_EXHAUSTED)).toBe('RESOURCE_EXHAUSTED');
  expect(grpcCodeName(99)).toBe('code 99');
});
