import { gunzipSync } from 'node:zlib';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { drawFlame } from '../../../../pipeline/kit/flame/draw.ts';
import { pprofFile } from '../../../../pipeline/kit/flame/pprof.ts';
import { speedscope } from '../../../../pipeline/kit/flame/speedscope.ts';
import { storeOf } from './spans.ts';

const drawn = () =>
  drawFlame(
    storeOf([
      { id: 1, at: 0, took: 100, name: 'request "<b>"' },
      { id: 2, parent: 1, at: 10, took: 50, name: 'prefill' },
      { id: 3, trace: 2, at: 10, took: 0.0005, name: 'nothing' },
    ]),
    { view: 'resource', by: 'service' },
  );

/** What of the format's proto is used, as google/pprof's profile.proto numbers it. */
const { root } = protobuf.parse(`syntax = "proto3";
message Profile { repeated ValueType sample_type = 1; repeated Sample sample = 2; repeated Location location = 4;
  repeated Function function = 5; repeated string string_table = 6; int64 time_nanos = 9; int64 duration_nanos = 10;
  repeated int64 comment = 13; int64 default_sample_type = 14; }
message ValueType { int64 type = 1; int64 unit = 2; }
message Sample { repeated uint64 location_id = 1; repeated int64 value = 2; }
message Location { uint64 id = 1; uint64 mapping_id = 2; uint64 address = 3; repeated Line line = 4; }
message Line { uint64 function_id = 1; int64 line = 2; }
message Function { uint64 id = 1; int64 name = 2; int64 system_name = 3; int64 filename = 4; }`);

describe('formats of flame graphs', () => {
  test('speedscope: frames, stacks from the top and weights in nanoseconds that add up', () => {
    const { tree } = drawn();
    const file = JSON.parse([...speedscope([{ name: 'p', tree }], 'rec', 'enginelight 1')].join(''));
    expect(file).toMatchObject({ exporter: 'enginelight 1', name: 'rec', activeProfileIndex: 0 });
    const [profile] = file.profiles;
    expect(profile).toMatchObject({ type: 'sampled', unit: 'nanoseconds', startValue: 0, endValue: 100_000_500 });
    expect(profile.weights.reduce((a: number, b: number) => a + b, 0)).toBe(profile.endValue);
    const names = profile.samples.map((stack: number[]) => stack.map((id) => file.shared.frames[id].name));
    expect(names).toEqual([
      ['chat', 'request "<b>"'],
      ['chat', 'request "<b>"', 'prefill'],
      ['chat', 'nothing'],
    ]);
  });

  test('pprof: an independent reader finds the same stacks, innermost first', () => {
    const { tree, start, durationNanos } = drawn();
    const bytes = gunzipSync(pprofFile(tree, start, durationNanos, 'hello'));
    const profile = root.lookupType('Profile').toObject(root.lookupType('Profile').decode(bytes), {
      longs: Number,
      arrays: true,
    });
    const strings: string[] = profile['stringTable'];
    expect(strings[0]).toBe('');
    expect(
      profile['sampleType'].map((t: { type: number; unit: number }) => [strings[t.type], strings[t.unit]]),
    ).toEqual([['time', 'nanoseconds']]);
    const functions = new Map(profile['function'].map((f: { id: number; name: number }) => [f.id, strings[f.name]]));
    const locations = new Map(
      profile['location'].map((l: { id: number; line: { functionId: number }[] }) => [
        l.id,
        functions.get(l.line[0]!.functionId),
      ]),
    );
    const stacks = profile['sample'].map((s: { locationId: number[]; value: number[] }) => [
      ...s.locationId.map((id) => locations.get(id)),
      s.value[0],
    ]);
    expect(stacks).toEqual([
      ['request "<b>"', 'chat', 50_000_000],
      ['nothing', 'chat', 500],
      ['prefill', 'request "<b>"', 'chat', 50_000_000],
    ]);
    expect(strings[profile['comment'][0]]).toBe('hello');
    expect(profile['durationNanos']).toBe(100_000_000);
  });
});
