/** What must never be shown: secrets, by declaration and by name. */
import { type AnySchema, pickAlternative, Secret } from './schema.ts';

export const REDACTED = '[REDACTED]';

/** Keys whose values are taken for secrets wherever no schema says what they are. */
const SENSITIVE_KEY =
  /pass(word|phrase|wd)?$|secret|token$|api[_-]?key|private[_-]?key|authorization|credential|cookie/i;

/** What only the query of a URL calls so. */
const QUERY_CREDENTIAL = /^(key|sig|signature|auth|code|pwd|pw)$/i;

export const isSensitiveKey = (key: string): boolean => SENSITIVE_KEY.test(key);

/** Maps whose every value is secret: what goes into request headers is often a credential. */
const isSecretMap = (key: string | undefined): boolean => key === 'headers';

/** Hides the passwords of URLs in a text, `http://user:[REDACTED]@host`, and what their queries name like one, `?token=[REDACTED]`. */
export const redactUrls = (text: string): string =>
  text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s/?#:@"]*):[^\s/?#@"]*@/gi, `$1:${REDACTED}@`)
    .replace(/([?&])([\w.~%[\]-]+)=([^\s&#"']+)/g, (whole, mark: string, name: string) =>
      isSensitiveKey(name) || QUERY_CREDENTIAL.test(name) ? `${mark}${name}=${REDACTED}` : whole,
    );

/** A copy in which every secret is [REDACTED]: what `print-config` and reports may show. */
export function redact(schema: AnySchema | undefined, value: unknown, key?: string): unknown {
  if (value === null || value === undefined) return value;
  if (value instanceof Secret || schema?.format === 'secret') return REDACTED;
  if (schema?.anyOf) return redact(pickAlternative(schema.anyOf, value), value, key);
  if (Array.isArray(value)) return value.map((item) => redact(schema?.items, item, key));
  if (typeof value === 'object') {
    const out: Record<string, unknown> = {};
    for (const [name, inner] of Object.entries(value)) {
      const declared =
        schema?.properties && Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined;
      const extra = typeof schema?.additionalProperties === 'object' ? schema.additionalProperties : undefined;
      const hidden = isSecretMap(key) && typeof inner !== 'object';
      out[name] = hidden && inner !== null ? REDACTED : redact(declared ?? extra, inner, name);
    }
    return out;
  }
  if (typeof value !== 'string') return value;
  // Where the declaration says what kind of text it is, its author has decided; elsewhere only the name tells.
  const declared = schema?.enum !== undefined || schema?.format !== undefined;
  return !declared && key !== undefined && isSensitiveKey(key) ? REDACTED : redactUrls(value);
}

/** Whether the value at a path must not be shown in a message. */
export function isSecretPath(schema: AnySchema | undefined, path: readonly (string | number)[]): boolean {
  if (schema?.format === 'secret') return true;
  return path.some(
    (step, index) =>
      typeof step === 'string' &&
      (isSecretMap(step) ? index < path.length - 1 : index === path.length - 1 && isSensitiveKey(step)),
  );
}
