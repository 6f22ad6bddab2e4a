/**
 * The two failures that cross an edge between components. Anything else that is thrown is a bug: the edge logs it with the
 * component's id and counts it, and the loop that called goes on.
 */

/**
 * Why items were lost, a closed list (documented in docs/telemetry.md): every drop is counted with one of these.
 */
export type DropReason =
  | 'queue_full'
  | 'too_large'
  | 'permanent_error'
  | 'retries_exhausted'
  | 'shutdown'
  | 'partial_success'
  | 'duplicate'
  | 'bad_line'
  | 'limit'
  | 'unsupported'
  | 'memory'
  | 'stale'
  | 'filtered'
  | 'disk';

/** Trying again cannot help: the data is wrong, or the peer refused it for good. */
export class PermanentError extends Error {
  override readonly name = 'PermanentError';
  /** Items that were affected, when not the whole batch. */
  readonly rejected: number | undefined;
  /** What the items are counted under if nobody else takes them; by default `permanent_error`. */
  readonly reason: DropReason;
  constructor(message: string, options: { cause?: unknown; rejected?: number; reason?: DropReason } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.rejected = options.rejected;
    this.reason = options.reason ?? 'permanent_error';
  }
}

/** Trying again later may help: a full queue, a busy peer. */
export class RetryableError extends Error {
  override readonly name = 'RetryableError';
  /** How long the peer asked us to wait, milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** True when the cause is a lack of room here or there (HTTP 429, RESOURCE_EXHAUSTED), not unavailability. */
  readonly exhausted: boolean;
  /** What the items are counted under if nobody tries again; by default `queue_full`. */
  readonly reason: DropReason;
  constructor(
    message: string,
    options: { cause?: unknown; retryAfterMs?: number; exhausted?: boolean; reason?: DropReason } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.exhausted = options.exhausted ?? false;
    this.reason = options.reason ?? 'queue_full';
  }
}

/** What items are counted under when they are lost to this. */
export const reasonOf = (error: unknown): DropReason =>
  error instanceof RetryableError || error instanceof PermanentError ? error.reason : 'permanent_error';

/** The message of anything thrown, with the chain of causes. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  while (current !== undefined && current !== null && parts.length < 5) {
    const text = current instanceof Error ? current.message || current.name : String(current);
    if (!parts.includes(text)) parts.push(text);
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join(': ');
}
