/** node_exporter of one host, and the kubelet's cadvisor page with the containers' CPU throttling. */
import type { Node, World } from '../world/types.ts';
import { go } from './number.ts';
import { type Page, pageBuilder } from './page.ts';

export function nodePage(_w: World, node: Node, epoch: number, escaped: boolean): Page {
  const b = pageBuilder({ format: go, escaped });
  const cents = (x: number) => Math.round(x * 100) / 100;
  b.family('node_boot_time_seconds', 'gauge', 'Node boot time, in unixtime.');
  b.sample('node_boot_time_seconds', [], () => Math.round(epoch - 30 * 86400));
  b.family('node_context_switches_total', 'counter', 'Total number of context switches.');
  b.sample('node_context_switches_total', [], () => Math.round(node.contextSwitches));
  b.family('node_cpu_seconds_total', 'counter', 'Seconds the CPUs spent in each mode.');
  // Work spreads evenly over the cores, up to a fixed weight per core.
  const weights = Array.from({ length: node.cores }, (_, i) => 1 + 0.25 * Math.sin(i * 2.4 + node.index));
  const total = weights.reduce((a, x) => a + x, 0);
  const modes = [
    ['idle', (share: number) => node.cpu.idle * (2 / node.cores - share)],
    ['iowait', (share: number) => node.cpu.iowait * share],
    ['irq', () => 0],
    ['nice', () => 0],
    ['softirq', (share: number) => node.cpu.softirq * share],
    ['steal', (share: number) => node.cpu.steal * share],
    ['system', (share: number) => node.cpu.system * share],
    ['user', (share: number) => node.cpu.user * share],
  ] as const;
  for (let i = 0; i < node.cores; i++)
    for (const [mode, value] of modes)
      b.sample(
        'node_cpu_seconds_total',
        [
          ['cpu', String(i)],
          ['mode', mode],
        ],
        () => cents(value(weights[i]! / total)),
      );
  b.family('node_load1', 'gauge', '1m load average.');
  b.sample('node_load1', [], () => cents(node.load1));
  b.family('node_memory_MemTotal_bytes', 'gauge', 'Memory information field MemTotal_bytes.');
  b.sample('node_memory_MemTotal_bytes', [], () => node.memTotal);
  b.family('node_memory_MemAvailable_bytes', 'gauge', 'Memory information field MemAvailable_bytes.');
  b.sample('node_memory_MemAvailable_bytes', [], () => Math.round(node.memAvailable));
  b.family('node_vmstat_oom_kill', 'untyped', '/proc/vmstat information field oom_kill.');
  b.sample('node_vmstat_oom_kill', [], () => node.oomKills);
  const pressure = (name: string, help: string, value: () => number) => {
    b.family(name, 'counter', help);
    b.sample(name, [], () => Math.round(value() * 1e6) / 1e6);
  };
  pressure(
    'node_pressure_cpu_waiting_seconds_total',
    'Total time in seconds that processes have waited for CPU time',
    () => node.pressure.cpu,
  );
  pressure(
    'node_pressure_io_stalled_seconds_total',
    'Total time in seconds no process could make progress due to IO congestion',
    () => node.pressure.ioFull,
  );
  pressure(
    'node_pressure_io_waiting_seconds_total',
    'Total time in seconds that processes have waited due to IO congestion',
    () => node.pressure.io,
  );
  pressure(
    'node_pressure_memory_stalled_seconds_total',
    'Total time in seconds no process could make progress due to memory congestion',
    () => node.pressure.memoryFull,
  );
  pressure(
    'node_pressure_memory_waiting_seconds_total',
    'Total time in seconds that processes have waited for memory',
    () => node.pressure.memory,
  );
  b.family('node_infiniband_info', 'gauge', 'Non-numeric data of an InfiniBand device.');
  for (const nic of node.nics)
    b.sample(
      'node_infiniband_info',
      [
        ['board_id', 'MT_0000000838'],
        ['device', nic.device],
        ['firmware_version', '28.39.1002'],
        ['hca_type', 'MT4129'],
      ],
      () => 1,
    );
  const port = (name: string, type: string, help: string, value: (nic: Node['nics'][number]) => number) => {
    b.family(name, type, help);
    for (const nic of node.nics)
      b.sample(
        name,
        [
          ['device', nic.device],
          ['port', '1'],
        ],
        () => Math.round(value(nic)),
      );
  };
  port(
    'node_infiniband_link_downed_total',
    'counter',
    'Times the link failed to recover from an error state',
    (n) => n.linkDowned,
  );
  port(
    'node_infiniband_symbol_error_total',
    'counter',
    'Minor link errors detected on one or more physical lanes',
    (n) => n.symbolErrors,
  );
  port(
    'node_infiniband_port_data_received_bytes_total',
    'counter',
    'Data octets received on all links',
    (n) => n.rxBytes,
  );
  port(
    'node_infiniband_port_data_transmitted_bytes_total',
    'counter',
    'Data octets transmitted on all links',
    (n) => n.txBytes,
  );
  port('node_infiniband_port_packets_received_total', 'counter', 'Packets received on all VLs', (n) => n.rxPackets);
  port(
    'node_infiniband_port_packets_transmitted_total',
    'counter',
    'Packets transmitted on all VLs',
    (n) => n.txPackets,
  );
  port(
    'node_infiniband_port_transmit_wait_total',
    'counter',
    'Ticks with data to send but no credits',
    (n) => n.xmitWait,
  );
  port('node_infiniband_rate_bytes_per_second', 'gauge', 'Signal transfer rate', (n) => (n.rateGbps * 1e9) / 8);
  port('node_infiniband_state_id', 'gauge', 'State of the port (4: ACTIVE)', () => 4);
  port(
    'node_infiniband_link_error_recovery_total',
    'counter',
    'Times the link recovered from an error',
    (n) => n.linkRecovered,
  );
  port('node_infiniband_port_receive_errors_total', 'counter', 'Packets with errors received', (n) => n.retransmits);
  port(
    'node_infiniband_port_discards_transmitted_total',
    'counter',
    'Packets discarded because the port was congested',
    (n) => n.ecnMarked / 40,
  );
  const eth = (name: string, help: string, value: () => number) => {
    b.family(name, 'counter', help);
    b.sample(name, [['device', 'eth0']], () => Math.round(value()));
  };
  eth('node_network_receive_bytes_total', 'Network device statistic receive_bytes.', () => node.eth.rx);
  eth('node_network_transmit_bytes_total', 'Network device statistic transmit_bytes.', () => node.eth.tx);
  b.family('node_netstat_Tcp_OutSegs', 'untyped', 'Statistic TcpOutSegs.');
  b.sample('node_netstat_Tcp_OutSegs', [], () => Math.round(node.eth.tx / 1400));
  b.family('node_netstat_Tcp_RetransSegs', 'untyped', 'Statistic TcpRetransSegs.');
  b.sample('node_netstat_Tcp_RetransSegs', [], () => Math.round(node.eth.retransmitted));
  b.family('node_network_up', 'gauge', 'Value is 1 if operstate is up, 0 otherwise.');
  b.sample('node_network_up', [['device', 'eth0']], () => 1);
  b.family('node_timex_offset_seconds', 'gauge', 'Time offset in between local system and reference clock.');
  b.sample('node_timex_offset_seconds', [], () => Math.round(node.clockOffsetMs * 1e6) / 1e9);
  b.family('node_timex_sync_status', 'gauge', 'Is clock synchronized to a reliable server (1 = yes, 0 = no).');
  b.sample('node_timex_sync_status', [], () => 1);
  return b.build();
}

export function cadvisorPage(w: World, node: Node, escaped: boolean): Page {
  const b = pageBuilder({ format: go, escaped });
  const reps = node.replicas;
  const labels = (i: number) => {
    const rep = reps[i]!;
    return [
      ['container', 'engine'],
      ['id', `/kubepods.slice/kubepods-pod${rep.workerId.toString(16)}.slice`],
      ['image', `${w.spec.deploy.engine}:${w.spec.deploy.version}`],
      ['name', rep.workerId.toString(16)],
      ['namespace', 'inference'],
      ['pod', rep.pod],
    ] as const;
  };
  const family = (
    name: string,
    type: string,
    help: string,
    value: (i: number) => number,
    extra?: readonly [string, string],
  ) => {
    b.family(name, type, help);
    reps.forEach((_, i) => {
      const all = extra ? [...labels(i), extra].sort((x, y) => (x[0] < y[0] ? -1 : 1)) : labels(i);
      b.sample(name, all, () => value(i));
    });
  };
  family(
    'container_cpu_cfs_periods_total',
    'counter',
    'Number of elapsed enforcement period intervals.',
    (i) => reps[i]!.cgroup.periods,
  );
  family(
    'container_cpu_cfs_throttled_periods_total',
    'counter',
    'Number of throttled period intervals.',
    (i) => reps[i]!.cgroup.throttledPeriods,
  );
  family(
    'container_cpu_cfs_throttled_seconds_total',
    'counter',
    'Total time duration the container has been throttled.',
    (i) => Math.round(reps[i]!.cgroup.throttledS * 1e6) / 1e6,
  );
  family(
    'container_cpu_usage_seconds_total',
    'counter',
    'Cumulative cpu time consumed in seconds.',
    (i) => Math.round(reps[i]!.cgroup.usageS * 1e6) / 1e6,
    ['cpu', 'total'],
  );
  family('container_spec_cpu_quota', 'gauge', 'CPU quota of the container.', (i) =>
    Math.round(reps[i]!.knobs.cpuQuota * 100_000),
  );
  family('container_spec_cpu_period', 'gauge', 'CPU period of the container.', () => 100_000);
  return b.build();
}
