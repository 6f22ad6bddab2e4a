/**
 * What must not come in: prompts, completions, messages and tool arguments. They are replaced by a marker before anything
 * else sees them, so that "was there, is not kept" differs from "was not there". Identifiers can be hashed.
 */
import { createHmac } from 'node:crypto';
import type { AnyValue, Attributes, Span } from '../../pipeline/model.ts';

export const CONTENT_MARKER = '[content removed]';

/**
 * Keys that carry content, by whole segments: `gen_ai.prompt.0.content` is one, `gen_ai.usage.prompt_tokens` is not.
 * From OpenTelemetry's GenAI conventions (old and new), OpenLLMetry and OpenInference.
 */
const CONTENT =
  /(^|[._])(messages|system_instructions|documents|embeddings?)(\.|$)|(^|\.)(prompts?|completions?|prompt_text|completion_text|output_text|input_text|generated_text|content|contents)(\.|$)|^gen_ai\.tool\.(call\.(arguments|result)|definitions|description)$|(^|\.)(tool_calls?|function_call|invocation_parameters|tool\.(arguments|parameters|result|output|input))(\.|$)|^(input|output|retrieval)\.(value|text|documents)(\.|$)|^traceloop\.entity\.(input|output)$|^(input|output|arguments|response_body|request_body)$|^http\.(request|response)\.body(\.|$)(?!size)/;

/** Keys of who asked: a request, a user, a session, a conversation. */
const IDENTIFIER =
  /(^|\.)(request_id|request\.id|response\.id|user\.id|enduser\.id|session\.id|conversation\.id|tenant\.id|rid|user|x_request_id|client\.address|api_key)$/;

const MOST_KEYS = 4096;

/** Remembers what each key is; keys come from strangers, so only so many are kept. */
function remembered(test: (key: string) => boolean): (key: string) => boolean {
  const known = new Map<string, boolean>();
  return (key) => {
    let answer = known.get(key);
    if (answer === undefined) {
      answer = test(key);
      if (known.size >= MOST_KEYS) known.clear();
      known.set(key, answer);
    }
    return answer;
  };
}

export interface Guard {
  /** The same object where there was nothing to remove. */
  attributes(attributes: Attributes): Attributes;
  span(span: Span): Span;
  /** A hashed identifier, or the text itself where identifiers are kept. */
  identifier(text: string): string;
  /** How many values were replaced so far. */
  removed(): number;
}

export interface GuardOptions {
  /** Further keys that carry content; `*` stands for any characters. */
  readonly contentKeys: readonly string[];
  readonly hashIdentifiers: boolean;
  /** Key of the hash, so that it cannot be guessed by trying; the same everywhere the identifiers are to be joined. */
  readonly hashKey: string;
}

export function createGuard(options: GuardOptions): Guard {
  const more = options.contentKeys.map(
    (key) =>
      new RegExp(
        `^${key
          .split('*')
          .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
          .join('.*')}$`,
      ),
  );
  const isContent = remembered((key) => CONTENT.test(key) || more.some((pattern) => pattern.test(key)));
  const isIdentifier = remembered((key) => IDENTIFIER.test(key));
  let removed = 0;
  const identifier = (text: string) =>
    options.hashIdentifiers && text !== ''
      ? createHmac('sha256', options.hashKey).update(text).digest('hex').slice(0, 16)
      : text;

  const attributes = (given: Attributes): Attributes => {
    let changed: Record<string, AnyValue> | undefined;
    for (const key in given) {
      if (isContent(key)) {
        if (given[key] === CONTENT_MARKER) continue;
        removed++;
        changed ??= Object.assign(Object.create(null) as Record<string, AnyValue>, given);
        changed[key] = CONTENT_MARKER;
      } else if (options.hashIdentifiers && isIdentifier(key)) {
        changed ??= Object.assign(Object.create(null) as Record<string, AnyValue>, given);
        changed[key] = identifier(String(given[key]));
      }
    }
    return changed ?? given;
  };
  return {
    attributes,
    span(span) {
      const own = attributes(span.attributes);
      const events = mapped(span.events, attributes);
      const links = mapped(span.links, attributes);
      return own === span.attributes && events === span.events && links === span.links
        ? span
        : { ...span, attributes: own, events, links };
    },
    identifier,
    removed: () => removed,
  };
}

/** The list itself where nothing in it changed. */
function mapped<T extends { readonly attributes: Attributes }>(
  items: readonly T[],
  change: (attributes: Attributes) => Attributes,
): readonly T[] {
  let out: T[] | undefined;
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    const attributes = change(item.attributes);
    if (attributes === item.attributes) continue;
    out ??= [...items];
    out[i] = { ...item, attributes };
  }
  return out ?? items;
}
