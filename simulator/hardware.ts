/**
 * The machines and models of the world. Peak rates are the vendors' data sheets (dense, no sparsity); `mfu` and
 * `bandwidthEfficiency` are what serving kernels reach of them. docs/simulator.md lists the sources.
 */
export interface Sku {
  readonly name: string;
  readonly vendor: 'nvidia' | 'amd';
  /** As nvidia-smi or amd-smi prints it. */
  readonly productName: string;
  /** Dense bf16 FLOP/s. */
  readonly flops: number;
  /** HBM bytes/s. */
  readonly bandwidth: number;
  readonly memoryMiB: number;
  /** NVLink or xGMI bytes/s, one direction, all links; 0 = PCIe only. */
  readonly linkBandwidth: number;
  readonly links: number;
  readonly pcieGen: number;
  readonly pcieWidth: number;
  readonly tdpW: number;
  readonly idleW: number;
  /** SM clock under full load within TDP, and the most the chip may boost to. */
  readonly maxClockMHz: number;
  readonly memClockMHz: number;
  readonly slowdownC: number;
  /** Kelvin per watt to the air, and seconds of the thermal time constant. */
  readonly thermalResistance: number;
  readonly thermalTau: number;
  readonly driver: string;
}

export const SKUS: Readonly<Record<string, Sku>> = {
  'H100-like': {
    name: 'H100-like',
    vendor: 'nvidia',
    productName: 'NVIDIA H100 80GB HBM3',
    flops: 989e12,
    bandwidth: 3.35e12,
    memoryMiB: 81559,
    linkBandwidth: 450e9,
    links: 18,
    pcieGen: 5,
    pcieWidth: 16,
    tdpW: 700,
    idleW: 72,
    maxClockMHz: 1980,
    memClockMHz: 2619,
    slowdownC: 87,
    thermalResistance: 0.065,
    thermalTau: 25,
    driver: '570.124.06',
  },
  'A100-like': {
    name: 'A100-like',
    vendor: 'nvidia',
    productName: 'NVIDIA A100-SXM4-80GB',
    flops: 312e12,
    bandwidth: 2.039e12,
    memoryMiB: 81920,
    linkBandwidth: 300e9,
    links: 12,
    pcieGen: 4,
    pcieWidth: 16,
    tdpW: 400,
    idleW: 58,
    maxClockMHz: 1410,
    memClockMHz: 1593,
    slowdownC: 88,
    thermalResistance: 0.095,
    thermalTau: 28,
    driver: '550.144.03',
  },
  'L40S-like': {
    name: 'L40S-like',
    vendor: 'nvidia',
    productName: 'NVIDIA L40S',
    flops: 362e12,
    bandwidth: 0.864e12,
    memoryMiB: 46068,
    linkBandwidth: 0,
    links: 0,
    pcieGen: 4,
    pcieWidth: 16,
    tdpW: 350,
    idleW: 34,
    maxClockMHz: 2520,
    memClockMHz: 9001,
    slowdownC: 88,
    thermalResistance: 0.115,
    thermalTau: 30,
    driver: '550.144.03',
  },
  'MI300X-like': {
    name: 'MI300X-like',
    vendor: 'amd',
    productName: 'AMD Instinct MI300X',
    flops: 1307e12,
    bandwidth: 5.3e12,
    memoryMiB: 196592,
    linkBandwidth: 448e9,
    links: 7,
    pcieGen: 5,
    pcieWidth: 16,
    tdpW: 750,
    idleW: 140,
    maxClockMHz: 2100,
    memClockMHz: 1300,
    slowdownC: 95,
    thermalResistance: 0.062,
    thermalTau: 26,
    driver: '6.10.5',
  },
};

export interface Model {
  readonly name: string;
  /** As the engine is asked for it. */
  readonly servedName: string;
  readonly params: number;
  /** Parameters used per token. */
  readonly activeParams: number;
  readonly layers: number;
  readonly hidden: number;
  /** Bytes of KV of one token over all layers. */
  readonly kvBytes: number;
  /** Bytes of one weight. */
  readonly weightBytes: number;
  readonly experts: number;
  readonly topK: number;
  /** Share of the active parameters that sits in experts. */
  readonly moeShare: number;
  readonly maxModelLen: number;
}

export const MODELS: Readonly<Record<string, Model>> = {
  '8b-like': {
    name: '8b-like',
    servedName: 'llama-8b',
    params: 8.03e9,
    activeParams: 8.03e9,
    layers: 32,
    hidden: 4096,
    kvBytes: 131072,
    weightBytes: 2,
    experts: 0,
    topK: 0,
    moeShare: 0,
    maxModelLen: 32768,
  },
  '32b-like': {
    name: '32b-like',
    servedName: 'qwen3-32b',
    params: 32.8e9,
    activeParams: 32.8e9,
    layers: 64,
    hidden: 5120,
    kvBytes: 262144,
    weightBytes: 2,
    experts: 0,
    topK: 0,
    moeShare: 0,
    maxModelLen: 40960,
  },
  '70b-like': {
    name: '70b-like',
    servedName: 'llama-70b',
    params: 70.6e9,
    activeParams: 70.6e9,
    layers: 80,
    hidden: 8192,
    kvBytes: 327680,
    weightBytes: 2,
    experts: 0,
    topK: 0,
    moeShare: 0,
    maxModelLen: 65536,
  },
  'moe-like': {
    name: 'moe-like',
    servedName: 'qwen-235b',
    params: 235e9,
    activeParams: 22e9,
    layers: 94,
    hidden: 4096,
    kvBytes: 192512,
    weightBytes: 1,
    experts: 128,
    topK: 8,
    moeShare: 0.7,
    maxModelLen: 65536,
  },
};

/** Share of the data-sheet FLOP/s that large prefill matrix products reach at the reference clock. */
export const PREFILL_MFU = 0.52;
/** Share of HBM bandwidth that decode kernels reach. */
export const BANDWIDTH_EFFICIENCY = 0.8;
