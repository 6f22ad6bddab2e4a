/** Network interfaces, TCP and RDMA ports: /proc/net, /sys/class/net, /sys/class/infiniband. */
import { entryOf } from '../../pipeline/kit/probe.ts';
import { gauge, type Metric, type Resource, sum } from '../../pipeline/model.ts';
import type { Host, Reader } from './reader.ts';

const IO = sum('system.network.io', 'By', 'Bytes through a network interface');
const PACKETS = sum('system.network.packet.count', '{packet}', 'Packets through a network interface');
const DROPPED = sum('system.network.packet.dropped', '{packet}', 'Packets dropped');
const ERRORS = sum('system.network.errors', '{error}', 'Transmission errors');
const SEGMENTS = sum('system.network.tcp.segments', '{segment}', 'TCP segments sent');
const RETRANSMISSIONS = sum('system.network.tcp.retransmissions', '{segment}', 'TCP segments sent again');
const CONNECTIONS = sum('system.network.connection.count', '{connection}', 'TCP connections', false);
const UP = gauge('hw.network.up', '1', '1 when the link of an interface or port is up');
const SPEED = gauge('hw.network.bandwidth.limit', 'By/s', 'Line rate of an interface or port');
const CHANGES = sum('hw.network.link.changes', '{change}', 'Times the carrier came or went');
const PORT_IO = sum('hw.network.io', 'By', 'Bytes through an RDMA or other hardware port');
const PORT_PACKETS = sum('hw.network.packets', '{packet}', 'Packets through an RDMA or other hardware port');
const CONGESTION = sum('hw.network.congestion', '{event}', 'Signs of congestion');
const HW_ERRORS = sum('hw.errors', '{error}', 'Errors of the hardware');

/** Interfaces that only exist inside this machine: one pair for every container. */
const VIRTUAL = /^(?:lo|veth|cali|cilium|lxc|docker|br-|virbr|flannel|cni|nodelocaldns|kube-ipvs|dummy|ifb|tunl|sit)/;
const RECEIVE = 'receive';
const TRANSMIT = 'transmit';

export function interfaceReader({ tree, probe, node }: Host): Reader {
  const known = new Map<string, Record<'receive' | 'transmit', Record<string, string>>>();
  return (round) => {
    const text = tree.read('/proc/1/net/dev') ?? tree.read('/proc/net/dev');
    if (text === undefined)
      return probe.gap('network', `/proc/net/dev is ${tree.problem()}`, "mount the host's /proc and set root_path");
    probe.filled('network');
    for (const line of text.split('\n')) {
      const colon = line.indexOf(':');
      if (colon < 0) continue;
      const name = line.slice(0, colon).trim();
      if (VIRTUAL.test(name)) continue;
      const n = line
        .slice(colon + 1)
        .trim()
        .split(/\s+/)
        .map(Number);
      if (n.length < 16) continue;
      const at = entryOf(known, name, () => ({
        receive: { 'network.interface.name': name, 'network.io.direction': RECEIVE },
        transmit: { 'network.interface.name': name, 'network.io.direction': TRANSMIT },
      }));
      round.add(node, IO, n[0], at.receive);
      round.add(node, PACKETS, n[1], at.receive);
      round.add(node, ERRORS, n[2], at.receive);
      round.add(node, DROPPED, n[3], at.receive);
      round.add(node, IO, n[8], at.transmit);
      round.add(node, PACKETS, n[9], at.transmit);
      round.add(node, ERRORS, n[10], at.transmit);
      round.add(node, DROPPED, n[11], at.transmit);
    }
    const snmp = tree.read('/proc/1/net/snmp') ?? tree.read('/proc/net/snmp');
    const tcp = snmp && tableRow(snmp, 'Tcp');
    if (tcp) {
      round.add(node, SEGMENTS, tcp.get('OutSegs'), { 'network.io.direction': TRANSMIT });
      round.add(node, SEGMENTS, tcp.get('InSegs'), { 'network.io.direction': RECEIVE });
      round.add(node, RETRANSMISSIONS, tcp.get('RetransSegs'));
      round.add(node, CONNECTIONS, tcp.get('CurrEstab'), { 'network.connection.state': 'established' });
    }
  };
}

/** A pair of lines of /proc/net/snmp or netstat: names, then numbers. */
export function tableRow(text: string, name: string): Map<string, number> | undefined {
  const rows = text.split('\n').filter((line) => line.startsWith(`${name}:`));
  if (rows.length < 2) return undefined;
  const keys = rows[0]!.split(/\s+/);
  const values = rows[1]!.split(/\s+/);
  return new Map(keys.slice(1).map((key, i) => [key, Number(values[i + 1])]));
}

/** Line rate, carrier and its changes; part of the slow group. */
export function linkReader(host: Host): Reader {
  const { tree } = host;
  return (round) => {
    for (const name of tree.list('/sys/class/net')) {
      if (VIRTUAL.test(name)) continue;
      const base = `/sys/class/net/${name}`;
      const nic = host.part({ 'network.interface.name': name });
      const state = tree.read(`${base}/operstate`)?.trim();
      if (state === undefined) continue;
      // Virtual machines often say `unknown` for a link that carries traffic.
      if (state !== 'unknown') round.add(nic, UP, state === 'up' ? 1 : 0);
      const megabits = tree.number(`${base}/speed`);
      if (megabits !== undefined && megabits > 0) round.add(nic, SPEED, (megabits * 1e6) / 8);
      round.add(nic, CHANGES, tree.number(`${base}/carrier_changes`));
    }
  };
}

type Row = readonly [file: string, metric: Metric, attributes: Record<string, string>, scale?: number];

/** Counters of a port; data counters are in units of four bytes (InfiniBand architecture, PortCounters). */
const COUNTERS: readonly Row[] = [
  ['port_rcv_data', PORT_IO, { 'network.io.direction': RECEIVE }, 4],
  ['port_xmit_data', PORT_IO, { 'network.io.direction': TRANSMIT }, 4],
  ['port_rcv_packets', PORT_PACKETS, { 'network.io.direction': RECEIVE }],
  ['port_xmit_packets', PORT_PACKETS, { 'network.io.direction': TRANSMIT }],
  ['symbol_error', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'symbol' }],
  ['link_downed', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'link_downed' }],
  ['link_error_recovery', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'link_recovery' }],
  ['port_rcv_errors', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'receive' }],
  ['local_link_integrity_errors', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'link_integrity' }],
  ['excessive_buffer_overrun_errors', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'buffer_overrun' }],
  ['port_xmit_wait', CONGESTION, { kind: 'transmit_wait' }],
  ['port_xmit_discards', CONGESTION, { kind: 'transmit_discard' }],
];
const HW_COUNTERS: readonly Row[] = [
  ['np_cnp_sent', CONGESTION, { kind: 'cnp_sent' }],
  ['rp_cnp_handled', CONGESTION, { kind: 'cnp_handled' }],
  ['np_ecn_marked_roce_packets', CONGESTION, { kind: 'ecn_marked' }],
  ['out_of_sequence', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'out_of_sequence' }],
  ['local_ack_timeout_err', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'ack_timeout' }],
  ['packet_seq_err', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'packet_sequence' }],
  ['rnr_nak_retry_err', HW_ERRORS, { 'hw.type': 'network', 'error.type': 'receiver_not_ready' }],
];

/** Every port of every RDMA device. Absent devices are not a gap: most machines have none. */
export function rdmaReader(host: Host): Reader {
  const { tree } = host;
  const rows = new Map<
    string,
    readonly { path: string; resource: Resource; row: Row; attributes: Record<string, string> }[]
  >();
  const portRows = (device: string, port: string) => {
    const base = `/sys/class/infiniband/${device}/ports/${port}`;
    const resource = host.part({ 'hw.nic.device': device });
    const of = (folder: string) => (row: Row) => ({
      path: `${base}/${folder}/${row[0]}`,
      resource,
      row,
      attributes: { 'hw.nic.port': port, ...row[2] },
    });
    return [...COUNTERS.map(of('counters')), ...HW_COUNTERS.map(of('hw_counters'))].filter(
      (entry) => tree.number(entry.path) !== undefined,
    );
  };
  return (round) => {
    for (const device of tree.list('/sys/class/infiniband')) {
      for (const port of tree.list(`/sys/class/infiniband/${device}/ports`)) {
        for (const { path, resource, row, attributes } of entryOf(rows, `${device}/${port}`, () =>
          portRows(device, port),
        )) {
          const value = tree.number(path);
          round.add(resource, row[1], value === undefined ? undefined : value * (row[3] ?? 1), attributes);
        }
        const base = `/sys/class/infiniband/${device}/ports/${port}`;
        const resource = host.part({ 'hw.nic.device': device });
        const attributes = { 'hw.nic.port': port };
        const state = tree.read(`${base}/state`);
        if (state !== undefined) round.add(resource, UP, state.startsWith('4') ? 1 : 0, attributes);
        const gigabits = /^(\d+(?:\.\d+)?) Gb\/sec/.exec(tree.read(`${base}/rate`) ?? '')?.[1];
        if (gigabits !== undefined) round.add(resource, SPEED, (Number(gigabits) * 1e9) / 8, attributes);
      }
    }
  };
}
