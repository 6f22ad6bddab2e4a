/**
 * The kubelet's answer to "which pod has which device": ListPodResourcesResponse of k8s.io/kubelet's podresources/v1. Only
 * the fields that name pods, containers and devices are read.
 */
import { Reader } from './protobuf/reader.ts';

export interface PodDevice {
  readonly pod: string;
  readonly namespace: string;
  readonly container: string;
  /** `nvidia.com/gpu`, `amd.com/gpu`, … */
  readonly resource: string;
  /** As the device plug-in names it: for NVIDIA the GPU UUID, also `GPU-…::3` when GPUs are shared in time. */
  readonly id: string;
}

/** Reads the response. Throws a ProtobufError where it is no such message. */
export function readPodResources(bytes: Uint8Array): PodDevice[] {
  const reader = new Reader(bytes);
  const devices: PodDevice[] = [];
  const end = bytes.length;
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === 0x0a) readPod(reader, reader.enter(end), devices);
    else reader.skip(tag, end);
  }
  return devices;
}

function readPod(reader: Reader, end: number, out: PodDevice[]): void {
  let pod = '';
  let namespace = '';
  const containers: { name: string; devices: { resource: string; id: string }[] }[] = [];
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === 0x0a) pod = reader.string(end);
    else if (tag === 0x12) namespace = reader.string(end);
    else if (tag === 0x1a) containers.push(readContainer(reader, reader.enter(end)));
    else reader.skip(tag, end);
  }
  for (const { name, devices } of containers) {
    for (const device of devices) out.push({ pod, namespace, container: name, ...device });
  }
}

function readContainer(reader: Reader, end: number) {
  let name = '';
  const devices: { resource: string; id: string }[] = [];
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === 0x0a) name = reader.string(end);
    else if (tag === 0x12) readDevices(reader, reader.enter(end), devices);
    else reader.skip(tag, end);
  }
  return { name, devices };
}

function readDevices(reader: Reader, end: number, out: { resource: string; id: string }[]): void {
  let resource = '';
  const ids: string[] = [];
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === 0x0a) resource = reader.string(end);
    else if (tag === 0x12) ids.push(reader.string(end));
    else reader.skip(tag, end);
  }
  for (const id of ids) out.push({ resource, id });
}
