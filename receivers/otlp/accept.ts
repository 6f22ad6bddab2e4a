/** One export request, whatever it came over: read, handed to the pipeline, and what to tell the sender. */
import type { Consumer, Context } from '../../pipeline/component.ts';
import { describeError, PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { itemCount, type Signal } from '../../pipeline/model.ts';
import { GrpcCode } from '../../pipeline/wire/grpc.ts';
import {
  createInterner,
  createRejections,
  decodeRequest,
  type OtlpEncoding,
  OtlpJsonError,
  openRequest,
  type PartialSuccess,
  ProtobufError,
  type RpcStatus,
} from '../../pipeline/wire/otlp/index.ts';

/** Why a request was not accepted, in the words of google.rpc; HTTP's status follows from the code. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: RpcStatus;
  constructor(status: RpcStatus) {
    super(status.message);
    this.status = status;
  }
}

/** What a sender is asked to wait when the pipeline does not say how long. */
const DEFAULT_RETRY_AFTER_MS = 1000;

export interface Acceptor {
  /** Whether some pipeline takes this signal. */
  takes(signal: Signal): boolean;
  /**
   * Resolves once the pipeline has accepted the items, with what was left out. Rejects with a Refusal; the sender must
   * then not count the items as delivered.
   */
  accept(
    signal: Signal,
    bytes: Uint8Array,
    encoding: OtlpEncoding,
    transport: 'http' | 'grpc',
  ): Promise<PartialSuccess>;
}

export function createAcceptor(next: Consumer, context: Context): Acceptor {
  const { meter, log, signals } = context;
  // One for all signals and transports: a sender's resource is the same thing in its metrics and its spans.
  const interner = createInterner();
  const malformed = meter.counter(
    'receiver_otlp_malformed_requests',
    'Requests that were refused because they are not OTLP.',
    '{request}',
  );

  const refusalOf = (error: unknown): Refusal => {
    if (error instanceof RetryableError) {
      return new Refusal({
        code: error.exhausted ? GrpcCode.RESOURCE_EXHAUSTED : GrpcCode.UNAVAILABLE,
        message: error.message,
        retryAfterMs: error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS,
      });
    }
    return new Refusal({
      code: GrpcCode.INTERNAL,
      // What a bug says is for the log, not for the sender.
      message: error instanceof PermanentError ? error.message : 'internal error',
    });
  };

  return {
    takes: (signal) => signals.has(signal),
    async accept(signal, bytes, encoding, transport) {
      const rejections = createRejections();
      const options = { interner, rejections };
      const batch = (() => {
        try {
          return encoding === 'json'
            ? decodeRequest(signal, bytes, encoding, options)
            : openRequest(signal, bytes, options);
        } catch (error) {
          if (!(error instanceof ProtobufError || error instanceof OtlpJsonError)) throw error;
          malformed.add(1, { transport, signal });
          log.warn('A request is not OTLP and was refused.', { transport, signal, encoding, error: error.message });
          throw new Refusal({
            code: GrpcCode.INVALID_ARGUMENT,
            message: `the request is not an OTLP ${signal} request in ${encoding}: ${error.message}`,
          });
        }
      })();
      const items = itemCount(batch);
      if (rejections.count > 0) {
        meter.dropped(signal, rejections.count, 'bad_line');
        log.warn('Items of a request were left out.', {
          transport,
          signal,
          items: rejections.count,
          error: rejections.message,
        });
      }
      let { count: rejected, message } = rejections;
      if (items > 0) {
        try {
          await next.consume(batch);
        } catch (error) {
          if (error instanceof PermanentError && error.rejected !== undefined && error.rejected < items) {
            rejected += error.rejected;
            message = [message, error.message].filter((part) => part !== '').join('; ');
          } else {
            if (!(error instanceof PermanentError || error instanceof RetryableError)) {
              log.error('A pipeline failed because of a bug.', { transport, signal, error: describeError(error) });
            }
            throw refusalOf(error);
          }
        }
      }
      return { rejected, message };
    },
  };
}
