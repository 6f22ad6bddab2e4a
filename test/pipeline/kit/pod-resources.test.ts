import { mkdtempSync } from 'node:fs';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { afterEach, expect, test } from 'vitest';
import { manualClock, systemClock } from '../../../pipeline/kit/clock.ts';
import { listPodDevices } from '../../../pipeline/kit/pod-resources.ts';
import { frame } from '../../../pipeline/wire/grpc.ts';

/** The message of the kubelet's API, as its .proto has it, encoded by an independent implementation. */
const { root } = protobuf.parse(`
  syntax = "proto3"; package v1;
  message ListPodResourcesResponse { repeated PodResources pod_resources = 1; }
  message PodResources { string name = 1; string namespace = 2; repeated ContainerResources containers = 3; repeated int64 cpu_ids = 4; }
  message ContainerResources { string name = 1; repeated ContainerDevices devices = 2; repeated int64 cpu_ids = 3; }
  message ContainerDevices { string resource_name = 1; repeated string device_ids = 2; TopologyInfo topology = 3; }
  message TopologyInfo { repeated NUMANode nodes = 1; }
  message NUMANode { int64 ID = 1; }
`);
const Response = root.lookupType('v1.ListPodResourcesResponse');

let server: Http2Server | undefined;
afterEach(() => server?.close());

async function kubelet(answer: (stream: ServerHttp2Stream, path: string) => void): Promise<string> {
  const socket = join(mkdtempSync(join(tmpdir(), 'kubelet-')), 'kubelet.sock');
  server = createServer();
  server.on('stream', (stream, headers) => answer(stream, String(headers[':path'])));
  server.on('session', (session) => session.on('error', () => {}));
  await new Promise<void>((resolve) => server!.listen(socket, resolve));
  return socket;
}

function reply(stream: ServerHttp2Stream, body: Uint8Array, status = '0', message = '') {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'grpc-message': message }));
  stream.end(body);
}

test('lists the devices of every container, and asks for nothing but the list', async () => {
  const asked: string[] = [];
  const bytes = Response.encode({
    podResources: [
      {
        name: 'llm-0',
        namespace: 'serving',
        cpuIds: [1, 2],
        containers: [
          {
            name: 'vllm',
            devices: [
              { resourceName: 'nvidia.com/gpu', deviceIds: ['GPU-aa', 'GPU-bb'], topology: { nodes: [{ ID: 1 }] } },
            ],
          },
          { name: 'sidecar' },
        ],
      },
      { name: 'other', namespace: 'default' },
    ],
  }).finish();
  const socket = await kubelet((stream, path) => {
    asked.push(path);
    reply(stream, frame(bytes, false));
  });
  expect(await listPodDevices(socket, systemClock)).toEqual([
    { pod: 'llm-0', namespace: 'serving', container: 'vllm', resource: 'nvidia.com/gpu', id: 'GPU-aa' },
    { pod: 'llm-0', namespace: 'serving', container: 'vllm', resource: 'nvidia.com/gpu', id: 'GPU-bb' },
  ]);
  expect(asked).toEqual(['/v1.PodResourcesLister/List']);
});

test('says why it could not be asked: no socket, a refusal, rubbish, silence', async () => {
  await expect(listPodDevices('/nowhere/kubelet.sock', systemClock)).rejects.toThrow(/ENOENT/);
  const refused = await kubelet((stream) => reply(stream, new Uint8Array(0), '7', 'not%20allowed'));
  await expect(listPodDevices(refused, systemClock)).rejects.toThrow('status 7: not allowed');
  const rubbish = await kubelet((stream) => reply(stream, frame(Buffer.from([0x0a, 0x7f, 1]), false)));
  await expect(listPodDevices(rubbish, systemClock)).rejects.toThrow(/at byte/);
  const silent = await kubelet(() => {});
  const clock = manualClock();
  const asking = listPodDevices(silent, clock, 2000);
  const settled = expect(asking).rejects.toThrow('did not answer within 2000 ms');
  await clock.advance(2000);
  await settled;
});
