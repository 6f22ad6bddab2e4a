/** Names of frames: without ids, so that the same work of many requests is one frame; safe and short whatever spans are called. */
import type { AnyValue, Span } from '../../model.ts';

const MAX_NAME = 120;
/** Spans whose names tell an id apart each; beyond this the names are worked out again each time. */
const MAX_KNOWN = 50_000;

/** Control characters, and those that turn the direction of the text around them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+/g;
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;
/** Hexadecimal, with a digit in it, as long as ids are. */
const HEX = /(?<![0-9a-z])(?:0x[0-9a-f]+|(?=[a-f]*[0-9])[0-9a-f]{8,})(?![0-9a-z])/gi;
const LONG_NUMBER = /\d{3,}/g;

/** A name as a frame's: ids become `#`, and what ends a frame in folded stacks (`;`, line ends) becomes something else. */
export function plainName(raw: string): string {
  const cut = raw.length > 4 * MAX_NAME ? raw.slice(0, 4 * MAX_NAME) : raw;
  const plain = cut
    .replace(INVISIBLE, ' ')
    .replace(LONE, '\ufffd')
    .replaceAll(';', ':')
    .replace(UUID, '#')
    .replace(HEX, '#')
    .replace(LONG_NUMBER, '#')
    .trim();
  if (plain === '') return '(no name)';
  return plain.length > MAX_NAME ? `${plain.slice(0, MAX_NAME - 1).replace(LONE, '')}…` : plain;
}

/** Like `plainName`, of ids that matter: who something is about. Digits stay. */
export function plainId(raw: string): string {
  const plain = raw.slice(0, MAX_NAME).replace(INVISIBLE, ' ').replace(LONE, '\ufffd').replaceAll(';', ':').trim();
  return plain === '' ? '(no name)' : plain;
}

/** What tells spans of one name apart, and is no id. */
const KINDS: Readonly<Record<string, string>> = { collective: 'comm.op', kv_transfer: 'kv.transport' };

const word = (v: AnyValue | undefined): string => (typeof v === 'string' ? v : '');

/** Names of spans as frames, remembered. */
export function createNames(): (span: Span) => string {
  const known = new Map<string, string>();
  const plain = (raw: string): string => {
    let name = known.get(raw);
    if (name === undefined) {
      name = plainName(raw);
      if (known.size < MAX_KNOWN && raw.length < 1000) known.set(raw, name);
    }
    return name;
  };
  return (span) => {
    const kind = KINDS[span.name];
    if (kind !== undefined) {
      const more = word(span.attributes[kind]);
      return more === '' ? span.name : `${span.name} ${plain(more)}`;
    }
    if (span.name === 'engine_step') {
      const phase = stepPhase(span);
      return phase === '' ? span.name : `engine_step ${phase}`;
    }
    return plain(span.name);
  };
}

const count = (v: AnyValue | undefined): number => (typeof v === 'number' ? v : typeof v === 'bigint' ? Number(v) : 0);

/** What an engine step did: `prefill`, `decode`, `mixed`; '' if it does not say. */
export function stepPhase(span: Span): string {
  const prefill = count(span.attributes['step.prefill_tokens']) > 0;
  const decode = count(span.attributes['step.decode_seqs']) > 0;
  return prefill ? (decode ? 'mixed' : 'prefill') : decode ? 'decode' : '';
}
