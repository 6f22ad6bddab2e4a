import { describe, expect, test } from 'vitest';
import { parseCgroup } from '../../../pipeline/kit/cgroup.ts';

const ID = '0123456789abcdef'.repeat(4);
const UID = '12345678-1234-1234-1234-1234567890ab';
const SLICE = `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID.replaceAll('-', '_')}.slice`;

describe('the container and pod of a process, by its cgroup path', () => {
  test.each([
    ['Docker, cgroupfs', `0::/docker/${ID}`, ID, undefined],
    ['Docker, systemd', `0::/system.slice/docker-${ID}.scope`, ID, undefined],
    ['Podman', `0::/machine.slice/libpod-${ID}.scope/container`, ID, undefined],
    ['containerd in Kubernetes, systemd', `0::${SLICE}/cri-containerd-${ID}.scope`, ID, UID],
    ['CRI-O in Kubernetes', `0::${SLICE}/crio-${ID}.scope`, ID, UID],
    ['containerd in Kubernetes, cgroupfs, v1', `4:memory:/kubepods/burstable/pod${UID}/${ID}`, ID, UID],
    [
      'a static pod, whose uid is a hash',
      `0::/kubepods/pod0123456789abcdef0123456789abcdef/${ID}`,
      ID,
      '0123456789abcdef0123456789abcdef',
    ],
    ['a service of the host', '0::/system.slice/vllm.service', undefined, undefined],
    ['its own cgroup namespace', '0::/', undefined, undefined],
  ])('%s', (_name, line, containerId, podUid) => {
    const place = parseCgroup(`${line}\n`);
    expect(place.containerId).toBe(containerId);
    expect(place.podUid).toBe(podUid);
  });

  test('a hybrid machine has paths of both versions, and lines that are none are passed over', () => {
    const place = parseCgroup(`garbage\n3:cpu,cpuacct:/a\n2:memory:/b\n1:name=systemd:/c\n0::/d\n`);
    expect(place.unified).toBe('/d');
    expect(place.controllers).toMatchObject({ cpu: '/a', cpuacct: '/a', memory: '/b' });
  });
});
