/** AMD's device-metrics-exporter of one node: every family a gauge, also those that only grow. */
import { type Gpu, type Node, REASON, type World } from '../world/types.ts';
import { go } from './number.ts';
import { type Labels, type Page, pageBuilder } from './page.ts';

const fbUsed = (g: Gpu): number =>
  Math.min(g.sku.memoryMiB - g.fbReservedMiB, g.fbUsedMiB + g.fault.tenantMiB + Math.round(g.fault.leakedMiB));

export function amdPage(w: World, node: Node, full: boolean, escaped: boolean): Page {
  const b = pageBuilder({ format: go, escaped });
  const labels = (g: Gpu): Labels => [
    ['card_model', g.sku.productName],
    ['card_series', 'AMD INSTINCT MI300 (MCM) OAM AC MBA'],
    ['card_vendor', 'Advanced Micro Devices, Inc. [AMD/ATI]'],
    ...(w.spec.cluster.kubernetes && g.rank ? ([['container', 'engine']] as const) : []),
    ['gpu_compute_partition_type', 'spx'],
    ['gpu_id', String(g.index)],
    ['gpu_memory_partition_type', 'nps1'],
    ['gpu_partition_id', '0'],
    ['gpu_uuid', g.uuid],
    ['hostname', node.name],
    ...(w.spec.cluster.kubernetes && g.rank
      ? ([
          ['namespace', 'inference'],
          ['pod', g.rank.replica.pod],
        ] as const)
      : []),
    ['serial_number', g.serial],
  ];
  const gauge = (name: string, help: string, value: (g: Gpu) => number, extra: Labels = []) => {
    b.family(name, 'gauge', help);
    for (const g of node.gpus)
      b.when(
        () => !g.lost,
        () =>
          b.sample(
            name,
            [...labels(g), ...extra].sort((x, y) => (x[0] < y[0] ? -1 : 1)),
            () => value(g),
          ),
      );
  };
  const round = (x: number) => Math.round(x);
  b.family('gpu_nodes_total', 'gauge', 'Number of GPUs in the node');
  b.sample('gpu_nodes_total', [['hostname', node.name]], () => node.gpus.length);
  gauge('gpu_package_power', 'Current socket power in Watts', (g) => round(g.powerW));
  gauge('gpu_junction_temperature', 'Junction temperature in Celsius', (g) => round(g.temperature));
  gauge('gpu_memory_temperature', 'Memory temperature in Celsius', (g) => round(g.memTemperature));
  gauge('gpu_gfx_activity', 'Graphics engine usage percentage', (g) => round(g.shown.gr * 100));
  gauge('gpu_umc_activity', 'Memory engine usage percentage', (g) => round(g.shown.dram * 100));
  const clock = (name: string, help: string) => {
    b.family(name, 'gauge', help);
    for (const g of node.gpus)
      b.when(
        () => !g.lost,
        () => {
          const all = (type: string, index: string): Labels =>
            [...labels(g), ['clock_index', index] as const, ['clock_type', type] as const].sort((x, y) =>
              x[0] < y[0] ? -1 : 1,
            );
          b.sample(name, all('system', '0'), () => g.clockMHz);
          b.sample(name, all('memory', '8'), () => g.memClockMHz);
        },
      );
  };
  clock('gpu_clock', 'Clock measure of the GPU in MHz');
  gauge('gpu_energy_consumed', 'Energy consumed since boot in microjoules', (g) => round(g.energyJ * 1e6));
  gauge('gpu_total_vram', 'Total VRAM in MB', (g) => g.sku.memoryMiB);
  gauge('gpu_used_vram', 'Used VRAM in MB', (g) => fbUsed(g));
  gauge('gpu_free_vram', 'Free VRAM in MB', (g) => g.sku.memoryMiB - fbUsed(g));
  gauge('pcie_speed', 'Current PCIe speed in GT/s', (g) => 2 ** (g.pcieGen - 1) * 2 + (g.pcieGen === 1 ? 0.5 : 0));
  gauge('pcie_max_speed', 'Maximum PCIe speed in GT/s', (g) => 2 ** (g.sku.pcieGen - 1) * 2);
  gauge('pcie_bandwidth', 'Current PCIe bandwidth in Mb/s', (g) =>
    round(((g.shown.pcieTx + g.shown.pcieRx) * 8) / 1e6),
  );
  gauge('pcie_replay_count', 'Total PCIe replays', (g) => g.pcieReplays);
  gauge('gpu_ecc_correct_total', 'Total correctable errors', (g) => g.sbe);
  gauge('gpu_ecc_uncorrect_total', 'Total uncorrectable errors', (g) => g.dbe);
  gauge('gpu_health', 'Health of the GPU (0 unhealthy, 1 healthy)', (g) => (g.remapFailure ? 0 : 1));
  if (!full) return b.build();
  const residency = (g: Gpu, bits: number) => {
    let s = 0;
    for (let bit = 1; bit <= 0x80; bit <<= 1) if (bits & bit) s = Math.max(s, g.reasonS.get(bit) ?? 0);
    return round(s * 1000);
  };
  gauge('gpu_violation_current_accumulated_counter', 'Samples that the residencies are out of', () =>
    round((w.now + 40_000) * 1000),
  );
  gauge('gpu_violation_ppt_residency_accumulated', 'Power residency, samples', (g) =>
    residency(g, REASON.powerCap | REASON.powerBrake),
  );
  gauge('gpu_violation_socket_thermal_residency_accumulated', 'Socket thermal residency, samples', (g) =>
    residency(g, REASON.swThermal | REASON.hwThermal),
  );
  gauge('gpu_violation_low_utilization_accumulated', 'Low utilization, samples', (g) => residency(g, REASON.idle), [
    ['xcc_index', '0'],
  ]);
  b.family('gpu_xgmi_link_tx', 'gauge', 'xGMI data written in KB');
  for (const g of node.gpus)
    b.when(
      () => !g.lost,
      () =>
        b.sample(
          'gpu_xgmi_link_tx',
          [...labels(g), ['link_index', '0'] as const].sort((x, y) => (x[0] < y[0] ? -1 : 1)),
          () => round(g.linkTotal / 1024),
        ),
    );
  return b.build();
}
