/** A bare gRPC client on node:http2, for tests that have to send what a real client would not. */
import http2, { type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2';
import { decodeGrpcMessage, frame } from '../../pipeline/wire/grpc.ts';

export interface GrpcAnswer {
  readonly httpStatus: number;
  readonly headers: Readonly<Record<string, unknown>>;
  /** -1 when there was none. */
  readonly status: number;
  readonly message: string;
  readonly details: Buffer | undefined;
  /** The response message, without its frame. */
  readonly body: Buffer;
}

export interface GrpcSend {
  readonly headers?: OutgoingHttpHeaders;
  /** The frame is marked as compressed. */
  readonly compressed?: boolean;
  /** Sent as it is, instead of a framed message. */
  readonly raw?: Uint8Array;
  /** Leaves the request open. */
  readonly keepOpen?: boolean;
}

/** One call on a session of the caller. */
export function grpcCall(
  session: ClientHttp2Session,
  path: string,
  message: Uint8Array,
  send: GrpcSend = {},
): Promise<GrpcAnswer> {
  return new Promise((resolve, reject) => {
    const request = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...send.headers,
    });
    let headers: Record<string, unknown> = {};
    let trailers: Record<string, unknown> = {};
    const chunks: Buffer[] = [];
    request.on('response', (h) => {
      headers = h;
    });
    request.on('trailers', (t) => {
      trailers = t;
    });
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('error', (error) => {
      if (headers[':status'] === undefined) reject(error);
    });
    request.on('close', () => {
      const all = { ...headers, ...trailers };
      if (all[':status'] === undefined) return reject(new Error('the stream closed without an answer'));
      const details = all['grpc-status-details-bin'];
      resolve({
        httpStatus: Number(all[':status']),
        headers: all,
        status: all['grpc-status'] === undefined ? -1 : Number(all['grpc-status']),
        message: decodeGrpcMessage(String(all['grpc-message'] ?? '')),
        details: typeof details === 'string' ? Buffer.from(details, 'base64') : undefined,
        body: Buffer.concat(chunks).subarray(5),
      });
    });
    const bytes = send.raw ?? frame(message, send.compressed ?? false);
    if (send.keepOpen) request.write(bytes);
    else request.end(bytes);
  });
}

/** One call on a connection of its own. */
export async function grpcOnce(
  url: string,
  path: string,
  message: Uint8Array,
  send: GrpcSend = {},
  tls = {},
): Promise<GrpcAnswer> {
  const session = http2.connect(url, tls);
  try {
    const failed = new Promise<never>((_resolve, reject) => session.once('error', reject));
    return await Promise.race([grpcCall(session, path, message, send), failed]);
  } finally {
    session.destroy();
  }
}
