import { describe, expect, test } from 'vitest';
import { zstdFrames } from '../../../pipeline/wire/zstd-frames.ts';

const hex = (text: string) => Buffer.from(text, 'hex');
/** Written by libzstd: "hello", without and with a checksum; 300 times x; a stream flushed in two blocks. */
const FRAMES = {
  plain: hex('28b52ffd200529000068656c6c6f'),
  checksum: hex('28b52ffd240529000068656c6c6fa36d9f88'),
  compressed: hex('28b52ffd602c004d00001078780100272ac002'),
  stream: hex('28b52ffd00584c00001061610100272ac00209000062'),
};
const SKIPPABLE = hex('502a4d1803000000616263');

describe.each(Object.entries(FRAMES))('a zstd frame (%s)', (_name, frame) => {
  test('is found whole', () => {
    expect(zstdFrames(frame)).toEqual([[0, frame.length]]);
    expect(zstdFrames(Buffer.concat([SKIPPABLE, frame, frame]))).toEqual([
      [11, 11 + frame.length],
      [11 + frame.length, 11 + 2 * frame.length],
    ]);
  });

  test('that is cut anywhere is not a frame', () => {
    for (let n = 0; n < frame.length; n++) expect(zstdFrames(frame.subarray(0, n))).toBeTypeOf('string');
  });

  test('with something behind it that is no frame is an error', () => {
    expect(zstdFrames(Buffer.concat([frame, hex('00')]))).toMatch(/cut short/);
    expect(zstdFrames(Buffer.concat([frame, Buffer.from('some tail')]))).toMatch(/no frame at byte/);
  });
});

test('a frame may not ask for more memory than HTTP allows', () => {
  // Magic, a descriptor without a content size, a window of 2^27 bytes, one empty last block.
  expect(zstdFrames(hex('28b52ffd0088010000'))).toBe(
    'the frame at byte 0 asks for a window of 134217728 bytes, above 8388608',
  );
  expect(zstdFrames(hex('28b52ffd0068010000'))).toEqual([[0, 9]]);
  // The content size stands for the window of a frame without one: 2^40 bytes in eight.
  expect(zstdFrames(hex('28b52ffde00000000000010000010000'))).toMatch(/window of 1099511627776 bytes/);
});

test('a block of a type that does not exist is an error', () => {
  expect(zstdFrames(hex('28b52ffd0058070000'))).toMatch(/unknown type/);
});
