/** PCIe links of GPUs and NICs, temperatures of the machine, and the tree of what sits where: /sys. */
import { numberList } from '../../pipeline/kit/tree.ts';
import { type Attributes, gauge } from '../../pipeline/model.ts';
import type { Host, Reader } from './reader.ts';

const GPU_SPEED = gauge('hw.gpu.pcie.speed', 'GT/s', 'PCIe signalling rate now');
const GPU_WIDTH = gauge('hw.gpu.pcie.width', '{lane}', 'PCIe lanes in use now');
const NIC_SPEED = gauge('hw.network.pcie.speed', 'GT/s', 'PCIe signalling rate of a network device now');
const NIC_WIDTH = gauge('hw.network.pcie.width', '{lane}', 'PCIe lanes a network device uses now');
const TEMPERATURE = gauge('hw.temperature', 'Cel', 'Temperature');
const MAX = { limit_type: 'max' };

export interface Device {
  readonly kind: 'gpu' | 'nic';
  /** Lower case, `0000:17:00.0`. */
  readonly busId: string;
  readonly vendor: string;
  /** -1 where the machine has one node or does not say. */
  readonly numaNode: number;
  /** Interface and RDMA device names of a NIC. */
  readonly names: readonly string[];
  /** The PCIe path from the root port: devices that share a prefix share a switch. */
  readonly path: string;
}

/** PCI classes: 0300 VGA, 0302 3D, 0380 display, 1200 processing accelerator; 0200 Ethernet, 0207 InfiniBand. */
const KINDS: Record<string, Device['kind']> = {
  '0300': 'gpu',
  '0302': 'gpu',
  '0380': 'gpu',
  '1200': 'gpu',
  '0200': 'nic',
  '0207': 'nic',
};
/** A virtual display of a hypervisor is no GPU that serves models. */
const GPU_VENDORS: Record<string, string> = { '0x10de': 'nvidia', '0x1002': 'amd', '0x8086': 'intel' };

/** Every GPU and NIC on the PCI bus. */
export function listDevices({ tree }: Host): Device[] {
  const found: Device[] = [];
  for (const busId of tree.list('/sys/bus/pci/devices')) {
    const base = `/sys/bus/pci/devices/${busId}`;
    const kind = KINDS[tree.read(`${base}/class`)?.trim().slice(2, 6) ?? ''];
    if (!kind) continue;
    const vendorId = tree.read(`${base}/vendor`)?.trim() ?? '';
    if (kind === 'gpu' && !GPU_VENDORS[vendorId]) continue;
    found.push({
      kind,
      busId: busId.toLowerCase(),
      vendor: GPU_VENDORS[vendorId] ?? vendorId,
      numaNode: tree.number(`${base}/numa_node`) ?? -1,
      names: kind === 'nic' ? [...tree.list(`${base}/net`), ...tree.list(`${base}/infiniband`)] : [],
      path: (tree.link(base) ?? '').replace(/^(?:\.\.\/)+devices\//, ''),
    });
  }
  return found;
}

export function pcieReader(host: Host): Reader {
  let devices: Device[] | undefined;
  let rounds = 0;
  return (round) => {
    // A hot-plugged device is found within twenty rounds.
    if (!devices || rounds % 20 === 0) devices = listDevices(host);
    rounds++;
    for (const device of devices) {
      const base = `/sys/bus/pci/devices/${device.busId}`;
      const resource = host.part(deviceAttributes(device));
      const [speed, width] = device.kind === 'gpu' ? [GPU_SPEED, GPU_WIDTH] : [NIC_SPEED, NIC_WIDTH];
      round.add(resource, speed, transfers(host.tree.read(`${base}/current_link_speed`)));
      round.add(resource, speed, transfers(host.tree.read(`${base}/max_link_speed`)), MAX);
      round.add(resource, width, lanes(host.tree.number(`${base}/current_link_width`)));
      round.add(resource, width, lanes(host.tree.number(`${base}/max_link_width`)), MAX);
    }
  };
}

export function deviceAttributes(device: Device): Attributes {
  if (device.kind === 'gpu') return { 'hw.gpu.pci_bus_id': device.busId };
  const name = device.names[0];
  return name === undefined
    ? { 'hw.nic.pci_bus_id': device.busId }
    : { 'hw.nic.device': device.names.at(-1) ?? name, 'hw.nic.pci_bus_id': device.busId };
}

/** `16.0 GT/s PCIe` → 16. A virtual device says `Unknown`. */
function transfers(text: string | undefined): number | undefined {
  const match = text && /^(\d+(?:\.\d+)?)\s*GT\/s/.exec(text);
  return match ? Number(match[1]) : undefined;
}
/** 255 and 0 mean that there is no such link. */
const lanes = (width: number | undefined) => (width === undefined || width === 0 || width >= 255 ? undefined : width);

export function thermalReader({ tree, node }: Host): Reader {
  return (round) => {
    for (const zone of tree.list('/sys/class/thermal')) {
      if (!zone.startsWith('thermal_zone')) continue;
      const millidegrees = tree.number(`/sys/class/thermal/${zone}/temp`);
      if (millidegrees === undefined) continue;
      round.add(node, TEMPERATURE, millidegrees / 1000, {
        'hw.type': 'host',
        'hw.sensor_location': tree.read(`/sys/class/thermal/${zone}/type`)?.trim() ?? zone,
        'hw.sensor_index': zone.slice('thermal_zone'.length),
      });
    }
    for (const chip of tree.list('/sys/class/hwmon')) {
      const base = `/sys/class/hwmon/${chip}`;
      const name = tree.read(`${base}/name`)?.trim() ?? chip;
      for (const file of tree.list(base)) {
        const sensor = /^temp(\d+)_input$/.exec(file)?.[1];
        if (sensor === undefined) continue;
        const millidegrees = tree.number(`${base}/${file}`);
        if (millidegrees === undefined) continue;
        round.add(node, TEMPERATURE, millidegrees / 1000, {
          'hw.type': 'host',
          'hw.sensor_location': name,
          'hw.sensor_index': `${chip}/${sensor}`,
        });
      }
    }
  };
}

/** CPU number → NUMA node. Empty on a machine with one node or without /sys. */
export function numaNodes({ tree }: Host): Map<number, number> {
  const nodes = new Map<number, number>();
  for (const name of tree.list('/sys/devices/system/node')) {
    const node = /^node(\d+)$/.exec(name)?.[1];
    if (node === undefined) continue;
    for (const cpu of numberList(tree.read(`/sys/devices/system/node/${name}/cpulist`) ?? ''))
      nodes.set(cpu, Number(node));
  }
  return nodes;
}
