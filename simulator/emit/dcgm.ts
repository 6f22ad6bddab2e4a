/** dcgm-exporter of one node: the default counter list, or the full one that people make of it. */
import type { Gpu, Node, World } from '../world/types.ts';
import { six, whole } from './number.ts';
import { type Labels, type Page, pageBuilder } from './page.ts';

interface Field {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  readonly format: (x: number) => string;
  readonly value: (g: Gpu) => number;
  readonly full?: true;
}

const FIELDS: readonly Field[] = [
  {
    name: 'DCGM_FI_DEV_SM_CLOCK',
    type: 'gauge',
    help: 'SM clock frequency (in MHz).',
    format: whole,
    value: (g) => g.clockMHz,
  },
  {
    name: 'DCGM_FI_DEV_MEM_CLOCK',
    type: 'gauge',
    help: 'Memory clock frequency (in MHz).',
    format: whole,
    value: (g) => g.memClockMHz,
  },
  {
    name: 'DCGM_FI_DEV_MEMORY_TEMP',
    type: 'gauge',
    help: 'Memory temperature (in C).',
    format: whole,
    value: (g) => g.memTemperature,
  },
  {
    name: 'DCGM_FI_DEV_GPU_TEMP',
    type: 'gauge',
    help: 'GPU temperature (in C).',
    format: whole,
    value: (g) => g.temperature,
  },
  {
    name: 'DCGM_FI_DEV_POWER_USAGE',
    type: 'gauge',
    help: 'Power draw (in W).',
    format: six,
    value: (g) => Math.round(g.powerW * 1000) / 1000,
  },
  {
    name: 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION',
    type: 'counter',
    help: 'Total energy consumption since boot (in mJ).',
    format: whole,
    value: (g) => g.energyJ * 1000,
  },
  {
    name: 'DCGM_FI_DEV_PCIE_REPLAY_COUNTER',
    type: 'counter',
    help: 'Total number of PCIe retries.',
    format: whole,
    value: (g) => g.pcieReplays,
  },
  {
    name: 'DCGM_FI_DEV_GPU_UTIL',
    type: 'gauge',
    help: 'GPU utilization (in %).',
    format: whole,
    value: (g) => g.shown.gr * 100,
  },
  {
    name: 'DCGM_FI_DEV_MEM_COPY_UTIL',
    type: 'gauge',
    help: 'Memory utilization (in %).',
    format: whole,
    value: (g) => g.shown.dram * 100,
  },
  { name: 'DCGM_FI_DEV_ENC_UTIL', type: 'gauge', help: 'Encoder utilization (in %).', format: whole, value: () => 0 },
  { name: 'DCGM_FI_DEV_DEC_UTIL', type: 'gauge', help: 'Decoder utilization (in %).', format: whole, value: () => 0 },
  {
    name: 'DCGM_FI_DEV_XID_ERRORS',
    type: 'gauge',
    help: 'Value of the last XID error encountered.',
    format: whole,
    value: (g) => g.xid,
  },
  {
    name: 'DCGM_FI_DEV_POWER_VIOLATION',
    type: 'counter',
    help: 'Throttling duration due to power constraints (in ns).',
    format: whole,
    value: (g) => g.violationS.power * 1e9,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_THERMAL_VIOLATION',
    type: 'counter',
    help: 'Throttling duration due to thermal constraints (in ns).',
    format: whole,
    value: (g) => g.violationS.thermal * 1e9,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_CLOCKS_EVENT_REASONS',
    type: 'gauge',
    help: 'Bit mask of the current clock event reasons.',
    format: whole,
    value: (g) => g.reasons,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_POWER_MGMT_LIMIT',
    type: 'gauge',
    help: 'Current power limit (in W).',
    format: six,
    value: (g) => g.limitW,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_FB_FREE',
    type: 'gauge',
    help: 'Framebuffer memory free (in MiB).',
    format: whole,
    value: (g) => g.sku.memoryMiB - g.fbReservedMiB - fbUsed(g),
  },
  {
    name: 'DCGM_FI_DEV_FB_USED',
    type: 'gauge',
    help: 'Framebuffer memory used (in MiB).',
    format: whole,
    value: (g) => fbUsed(g),
  },
  {
    name: 'DCGM_FI_DEV_FB_RESERVED',
    type: 'gauge',
    help: 'Framebuffer memory reserved (in MiB).',
    format: whole,
    value: (g) => g.fbReservedMiB,
  },
  {
    name: 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL',
    type: 'counter',
    help: 'Single-bit volatile ECC errors.',
    format: whole,
    value: (g) => g.sbe,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL',
    type: 'counter',
    help: 'Double-bit volatile ECC errors.',
    format: whole,
    value: (g) => g.dbe,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL',
    type: 'counter',
    help: 'NVLink flow-control CRC errors.',
    format: whole,
    value: (g) => g.nvlinkCrc,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL',
    type: 'counter',
    help: 'NVLink retries.',
    format: whole,
    value: (g) => g.nvlinkReplay,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL',
    type: 'counter',
    help: 'NVLink recovery errors.',
    format: whole,
    value: (g) => g.nvlinkRecovery,
    full: true,
  },
  {
    name: 'DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL',
    type: 'counter',
    help: 'NVLink bandwidth counters for all lanes.',
    format: whole,
    value: (g) => (g.shown.linkTx * 2) / 1048576,
  },
  {
    name: 'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS',
    type: 'counter',
    help: 'Remapped rows for uncorrectable errors.',
    format: whole,
    value: (g) => g.remappedUncorrectable,
  },
  {
    name: 'DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS',
    type: 'counter',
    help: 'Remapped rows for correctable errors.',
    format: whole,
    value: (g) => g.remappedCorrectable,
  },
  {
    name: 'DCGM_FI_DEV_ROW_REMAP_FAILURE',
    type: 'gauge',
    help: 'Whether remapping of rows has failed.',
    format: whole,
    value: (g) => g.remapFailure,
  },
  {
    name: 'DCGM_FI_PROF_GR_ENGINE_ACTIVE',
    type: 'gauge',
    help: 'Ratio of time the graphics engine is active.',
    format: six,
    value: (g) => g.shown.gr,
  },
  {
    name: 'DCGM_FI_PROF_SM_ACTIVE',
    type: 'gauge',
    help: 'Ratio of cycles an SM has a warp assigned.',
    format: six,
    value: (g) => g.shown.sm,
    full: true,
  },
  {
    name: 'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE',
    type: 'gauge',
    help: 'Ratio of cycles the tensor pipe is active.',
    format: six,
    value: (g) => g.shown.tensor,
  },
  {
    name: 'DCGM_FI_PROF_DRAM_ACTIVE',
    type: 'gauge',
    help: 'Ratio of cycles the memory interface is active.',
    format: six,
    value: (g) => g.shown.dram,
  },
  {
    name: 'DCGM_FI_PROF_PCIE_TX_BYTES',
    type: 'gauge',
    help: 'PCIe bytes transmitted per second.',
    format: whole,
    value: (g) => g.shown.pcieTx,
  },
  {
    name: 'DCGM_FI_PROF_PCIE_RX_BYTES',
    type: 'gauge',
    help: 'PCIe bytes received per second.',
    format: whole,
    value: (g) => g.shown.pcieRx,
  },
  {
    name: 'DCGM_FI_PROF_NVLINK_TX_BYTES',
    type: 'gauge',
    help: 'NVLink bytes transmitted per second.',
    format: whole,
    value: (g) => g.shown.linkTx,
    full: true,
  },
  {
    name: 'DCGM_FI_PROF_NVLINK_RX_BYTES',
    type: 'gauge',
    help: 'NVLink bytes received per second.',
    format: whole,
    value: (g) => g.shown.linkTx,
    full: true,
  },
];

const fbUsed = (g: Gpu): number =>
  Math.min(g.sku.memoryMiB - g.fbReservedMiB, g.fbUsedMiB + g.fault.tenantMiB + Math.round(g.fault.leakedMiB));

/** The labels dcgm-exporter puts on every series of a GPU. */
export function dcgmLabels(w: World, g: Gpu): Labels {
  const labels: [string, string][] = [
    ['gpu', String(g.index)],
    ['UUID', g.uuid],
    ['pci_bus_id', `0000${g.pci.toUpperCase()}`],
    ['device', `nvidia${g.index}`],
    ['modelName', g.sku.productName],
    ['Hostname', g.node.name],
    ['DCGM_FI_DRIVER_VERSION', g.sku.driver],
  ];
  if (w.spec.cluster.kubernetes && g.rank)
    labels.push(['container', 'engine'], ['namespace', 'inference'], ['pod', g.rank.replica.pod]);
  return labels;
}

export function dcgmPage(w: World, node: Node, full: boolean, escaped: boolean): Page {
  const b = pageBuilder({ format: whole, escaped });
  for (const f of FIELDS) {
    if (f.full && !full) continue;
    b.family(f.name, f.type, f.help);
    for (const g of node.gpus)
      b.when(
        () => !g.lost,
        () => {
          const labels = dcgmLabels(w, g);
          b.sample(
            f.name,
            f.name === 'DCGM_FI_DEV_XID_ERRORS' ? [...labels, ['err_code', '0'], ['err_msg', '']] : labels,
            () => f.value(g),
            f.format,
          );
        },
      );
  }
  return b.build();
}
