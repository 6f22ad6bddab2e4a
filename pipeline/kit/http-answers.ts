/** What an HTTP answer means for a sender: taken, try again, or refused. */
import { PermanentError, RetryableError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { PostAnswer } from './post.ts';

/** `Retry-After` in milliseconds: seconds or an HTTP date, a date in the past is 0; undefined if absent or neither. */
export function retryAfterMs(header: string | undefined, clock: Clock): number | undefined {
  const text = header?.trim();
  if (!text) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - clock.now());
}

/** Up to 300 characters of a text that a stranger sent, on one line, without control characters. */
export function excerpt(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, 2000)).toString('utf8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const line = text.replace(/[\s\u0000-\u001f\u007f-\u009f\ufffd]+/g, ' ').trim();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

/**
 * The error for an answer that is not 2xx. `retryable` says which statuses may be tried again; `message` is what the
 * body says, in the protocol's own way.
 */
export function answerError(
  where: string,
  answer: PostAnswer,
  message: string,
  retryable: (status: number) => boolean,
  clock: Clock,
): PermanentError | RetryableError {
  const { status } = answer;
  const text = `${where} answered ${status}${message ? `: ${message}` : ''}${advice(status)}`;
  if (!retryable(status)) return new PermanentError(text);
  const wait = retryAfterMs(answer.headers['retry-after'], clock);
  return new RetryableError(text, { exhausted: status === 429, ...(wait === undefined ? {} : { retryAfterMs: wait }) });
}

function advice(status: number): string {
  switch (status) {
    case 401:
    case 403:
      return ' (check the credentials: authorization, basic_auth, headers, tls)';
    case 404:
    case 405:
      return ' (check the path of the endpoint)';
    case 413:
      return ' (the request is too large for it: lower max_request_size or sending_queue.batch.max_size)';
    default:
      return '';
  }
}
