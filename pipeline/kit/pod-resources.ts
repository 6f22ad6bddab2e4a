/**
 * Asks the kubelet which pod has which GPU: the PodResources API, one unary call over its Unix socket that only lists. No
 * Kubernetes credentials are needed, only the socket, mounted read-only.
 */
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { FRAME_HEADER_BYTES, frame } from '../wire/grpc.ts';
import { type PodDevice, readPodResources } from '../wire/pod-resources.ts';
import type { Clock } from './clock.ts';

export const POD_RESOURCES_SOCKET = '/var/lib/kubelet/pod-resources/kubelet.sock';

const PATH = '/v1.PodResourcesLister/List';
/** A node with 250 pods of 8 devices answers with about 100 KiB. */
const MAX_BYTES = 16 << 20;

/** The devices of every pod on this node. Rejects with an Error that says why it could not be asked. */
export function listPodDevices(socket: string, clock: Clock, timeoutMs = 5000): Promise<PodDevice[]> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2('http://localhost', { createConnection: () => connect(socket) });
    let over = false;
    const end = (settle: () => void) => {
      if (over) return;
      over = true;
      timer.cancel();
      session.destroy();
      settle();
    };
    const fail = (error: Error) => end(() => reject(error));
    const timer = clock.after(timeoutMs, () => fail(new Error(`the kubelet did not answer within ${timeoutMs} ms`)));
    session.on('error', fail);
    const stream = session.request({
      ':method': 'POST',
      ':path': PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    let size = 0;
    let status: string | undefined;
    let message = '';
    const note = (headers: Record<string, unknown>) => {
      if (headers['grpc-status'] === undefined) return;
      status = String(headers['grpc-status']);
      message = String(headers['grpc-message'] ?? '');
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_BYTES) fail(new Error(`the kubelet's answer is larger than ${MAX_BYTES} bytes`));
      else chunks.push(chunk);
    });
    stream.on('error', fail);
    stream.on('end', () => {
      if (status !== undefined && status !== '0') {
        fail(
          new Error(
            `the kubelet answered with status ${status}${message === '' ? '' : `: ${decodeURIComponent(message)}`}`,
          ),
        );
        return;
      }
      const body = Buffer.concat(chunks);
      if (body.length < FRAME_HEADER_BYTES || body[0] !== 0) {
        fail(new Error('the kubelet answered with no message'));
        return;
      }
      const length = body.readUInt32BE(1);
      try {
        const devices = readPodResources(body.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length));
        end(() => resolve(devices));
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
      }
    });
    stream.end(frame(new Uint8Array(0), false));
  });
}
