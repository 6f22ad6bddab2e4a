/** What sits in the machine and where, as one log record that is sent again when it changes. */

import { VERSION } from '../../pipeline/kit/version.ts';
import { KeyValues, type LogRecord, NO_ATTRIBUTES, nanosFromMs, scope } from '../../pipeline/model.ts';
import { listDevices } from './devices.ts';
import type { Host } from './reader.ts';

const SCOPE = scope('enginelight/receivers/host', VERSION);

/**
 * `inference.inventory`: the body is a list with one map per GPU and NIC: kind, hw.gpu.pci_bus_id or hw.nic.pci_bus_id,
 * names, vendor, numa_node, and pcie_switch, the bus that devices behind one switch share.
 */
export function inventoryRecord(host: Host, timeMs: number): LogRecord {
  const time = nanosFromMs(timeMs);
  return {
    resource: host.node,
    scope: SCOPE,
    time,
    observedTime: time,
    severityNumber: 9,
    severityText: 'INFO',
    eventName: 'inference.inventory',
    body: listDevices(host).map(
      (device) =>
        new KeyValues({
          kind: device.kind,
          [device.kind === 'gpu' ? 'hw.gpu.pci_bus_id' : 'hw.nic.pci_bus_id']: device.busId,
          names: [...device.names],
          vendor: device.vendor,
          numa_node: device.numaNode,
          pcie_switch: device.path.split('/').slice(0, -2).join('/'),
        }),
    ),
    attributes: NO_ATTRIBUTES,
    droppedAttributesCount: 0,
    flags: 0,
    traceId: '',
    spanId: '',
  };
}
