/** One JSON document to somebody's server, within a time; the answer is of interest only where it says no. */
import type { Clock } from './clock.ts';
import { answerError, excerpt } from './http-answers.ts';
import { type Poster, shownUrl } from './post.ts';

export interface JsonPostOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Gives up at once. */
  readonly stop: AbortSignal;
}

/** Resolves once the server took it (2xx); rejects with a PermanentError or a RetryableError. */
export async function postJson(client: Poster, url: URL, value: unknown, options: JsonPostOptions): Promise<void> {
  const { clock, stop } = options;
  const abort = new AbortController();
  const end = () => abort.abort();
  const timer = clock.after(options.timeoutMs, end);
  stop.addEventListener('abort', end, { once: true });
  if (stop.aborted) end();
  try {
    const body = Buffer.from(JSON.stringify(value));
    const answer = await client.post(url, body, { 'content-type': 'application/json' }, abort.signal);
    if (answer.status >= 200 && answer.status < 300) return;
    throw answerError(shownUrl(url), answer, excerpt(answer.body), (s) => s === 429 || s >= 500, clock);
  } finally {
    timer.cancel();
    stop.removeEventListener('abort', end);
  }
}
