/** A protobuf request with other resources and everything else as it is, byte for byte: what the resources own is not read. */
import type { Resource } from '../../model.ts';
import { framable } from '../grpc.ts';
import { Reader } from '../protobuf/reader.ts';
import { readEnvelope, readResource } from './decode-common.ts';
import { resourceEnvelope } from './encode-common.ts';
import { type Interner, keyOf } from './interner.ts';

/** A request of more parts than this is somebody's attack or costs as much as decoding it. */
const MOST_ENVELOPES = 10_000;

/**
 * The request with every resource changed; the same bytes if nothing changes, undefined if it has so many of them that it is
 * better decoded. The request must be well-formed. `change` is asked once for every Resource… envelope, with the objects
 * that `interner` gives a reader of the request.
 */
export function changeResources(
  bytes: Uint8Array,
  interner: Interner,
  change: (resource: Resource) => Resource,
): Uint8Array | undefined {
  const r = new Reader(bytes);
  const end = bytes.length;
  const parts: Uint8Array[] = [];
  /** Up to here everything is in `parts`. */
  let done = 0;
  let envelopes = 0;
  interner.begin();
  while (r.at < end) {
    const start = r.at;
    const tag = r.tag(end);
    if (tag !== 0x0a) {
      r.skip(tag, end);
      continue;
    }
    if (++envelopes > MOST_ENVELOPES) return undefined;
    const stop = r.enter(end);
    const body = r.at;
    const envelope = readEnvelope(r, stop);
    const { resource } = interner.resource(keyOf(envelope), () => readResource(envelope.head, envelope.schemaUrl));
    const made = change(resource);
    r.at = stop;
    if (made === resource) continue;
    const { head, tail } = resourceEnvelope(made);
    const kept = others(r, body, stop);
    const length = kept.reduce((sum, part) => sum + part.length, head.length + tail.length);
    parts.push(bytes.subarray(done, start), envelopeStart(length), head, ...kept, tail);
    done = stop;
  }
  if (parts.length === 0) return bytes;
  parts.push(bytes.subarray(done));
  // It will perhaps leave over gRPC, and need not be copied again for its frame.
  const out = framable(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** All fields of an envelope but its resource and schema URL, neighbours in one piece. Leaves the reader at `stop`. */
function others(r: Reader, body: number, stop: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let from = body;
  r.at = body;
  const cut = (to: number) => {
    if (to > from) pieces.push(r.buffer.subarray(from, to));
  };
  while (r.at < stop) {
    const start = r.at;
    const tag = r.tag(stop);
    r.skip(tag, stop);
    if (tag !== 0x0a && tag !== 0x1a) continue;
    cut(start);
    from = r.at;
  }
  cut(stop);
  return pieces;
}

/** Tag and length of a Resource… envelope. */
function envelopeStart(length: number): Uint8Array {
  const out = [0x0a];
  let rest = length;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) out.push((rest % 128) | 0x80);
  out.push(rest);
  return Uint8Array.from(out);
}
