/** Which exposition format an answer is in: what the server says, checked against what the body looks like. */

export type Format = 'text' | 'openmetrics';

/** What a scrape asks for: OpenMetrics first (it carries exemplars and created times), then text; as Prometheus does. */
export const ACCEPT = [
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6',
  'application/openmetrics-text;version=0.0.1;q=0.5',
  'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4',
  'text/plain;version=0.0.4;q=0.3',
  '*/*;q=0.2',
].join(',');

/**
 * The format of a body, or why it is none. Engines send bare, missing and wrong content types, so a body that ends in
 * `# EOF` is OpenMetrics and everything else that could be lines of text is the text format.
 */
export function formatOf(contentType: string | undefined, body: Uint8Array): Format | { readonly wrong: string } {
  const type = (contentType ?? '').split(';')[0]!.trim().toLowerCase();
  if (type === 'application/vnd.google.protobuf') return { wrong: 'the answer is protobuf, which was not asked for' };
  let first = 0;
  while (first < body.length && body[first]! <= 0x20) first++;
  let last = body.length - 1;
  while (last > first && body[last]! <= 0x20) last--;
  if (body[first] === 0x3c && (type === 'text/html' || MARKUP.test(latin1(body, first, first + 16)))) {
    return { wrong: 'the answer is HTML or XML, not metrics: is this the metrics path?' };
  }
  // No line of an exposition ends in a bracket, while one with a quoted metric name does start with a brace.
  if ((body[first] === 0x5b && body[last] === 0x5d) || (body[first] === 0x7b && body[last] === 0x7d)) {
    return { wrong: 'the answer is JSON, not metrics: is this the metrics path?' };
  }
  if (type === 'application/openmetrics-text' || endsWithEof(body)) return 'openmetrics';
  return 'text';
}

const MARKUP = /^<(!doctype|html|\?xml)/i;
const latin1 = (body: Uint8Array, start: number, end: number): string =>
  Buffer.from(body.subarray(start, end)).toString('latin1');

function endsWithEof(body: Uint8Array): boolean {
  let end = body.length;
  while (end > 0 && body[end - 1]! <= 0x20) end--;
  return (
    end >= 5 &&
    body[end - 5] === 0x23 &&
    body[end - 4] === 0x20 &&
    body[end - 3] === 0x45 &&
    body[end - 2] === 0x4f &&
    body[end - 1] === 0x46 &&
    (end === 5 || body[end - 6] === 0x0a)
  );
}
