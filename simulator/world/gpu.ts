/**
 * Heat, power and clocks of a GPU, once a second: an RC circuit to the air, a power model of clock and use, a power-cap
 * loop, throttling with hysteresis, and the reasons NVML would give.
 */
import { type Gpu, REASON, type World } from './types.ts';

const CLOCK_POWER = 2.2;
/** How much memory-bound kernels feel the SM clock. */
const MEMORY_CLOCK_SENSITIVITY = 0.35;

/** Watts at this clock and use. */
export function powerAt(gpu: Gpu, clockMHz: number, gr: number, tensor: number, dram: number): number {
  const { sku } = gpu;
  const use = 0.38 * gr + (0.4 * tensor) / 0.6 + (0.22 * dram) / 0.8;
  const dynamic = (1.06 * sku.tdpW - sku.idleW) * gpu.leakage * (clockMHz / sku.maxClockMHz) ** CLOCK_POWER;
  return sku.idleW + dynamic * Math.min(1.1, use);
}

/** The thermal resistance at which a GPU in typical use settles at `1 - loss` of its clock. */
export function resistanceForLoss(gpu: Gpu, loss: number): number {
  const watts = powerAt(gpu, gpu.sku.maxClockMHz * (1 - loss), 0.9, 0.2, 0.5);
  return (gpu.sku.slowdownC + 0.6 - ambientOf(gpu)) / watts;
}

const ambientOf = (gpu: Gpu): number => 27 + gpu.node.fault.ambient + gpu.fault.ambient + (gpu.index % 4) * 0.8;

/** Moves one GPU on by `dt` seconds. */
export function tickGpu(w: World, gpu: Gpu, dt: number): void {
  if (gpu.lost) return;
  const { sku, fault } = gpu;
  const take = (have: number) => Math.min(have, dt);
  let gr = take(gpu.busyS);
  gpu.busyS -= gr;
  let tensor = Math.min(gpu.tensorS, dt);
  gpu.tensorS -= tensor;
  let dram = Math.min(gpu.dramS, dt);
  gpu.dramS -= dram;
  gr /= dt;
  tensor /= dt;
  dram /= dt;
  const replica = gpu.rank?.replica;
  if (replica?.state === 'hung') {
    // Whoever waits for the missing rank spins inside the collective.
    gr = gpu.rank!.global === replica.hungRank ? 0 : 1;
    tensor = 0;
    dram = gr * 0.01;
  }
  if (fault.tenant > 0) {
    gr = Math.min(1, gr + fault.tenant * (1 - gr * 0.5));
    dram = Math.min(0.92, dram + fault.tenant * 0.6);
    tensor = Math.min(0.9, tensor + fault.tenant * 0.25);
  }
  const noise = 1 + 0.006 * gpu.random.normal();
  const s = gpu.shown;
  s.gr = Math.min(1, gr * noise);
  s.sm = Math.min(1, gr * 0.86 * noise);
  s.tensor = Math.min(1, tensor * noise);
  s.dram = Math.min(1, dram * noise);
  s.linkTx = gpu.linkBytes / dt;
  gpu.linkTotal += gpu.linkBytes;
  gpu.linkBytes = 0;
  s.pcieTx = gpu.pcieTx / dt + 2e6 + 6e6 * gr;
  s.pcieRx = gpu.pcieRx / dt + 3e6 + 9e6 * gr;
  gpu.pcieTx = 0;
  gpu.pcieRx = 0;

  // Clock: what is allowed, then what heat and power leave of it.
  let reasons = 0;
  let allowed = sku.maxClockMHz;
  if (fault.lockMHz > 0 && fault.lockMHz < allowed) {
    allowed = fault.lockMHz;
    reasons |= REASON.applied;
  }
  if (fault.hiddenClock > 0) allowed *= 1 - fault.hiddenClock;
  const over = gpu.temperature - sku.slowdownC;
  if (over > 0) gpu.thermalShare = Math.max(0.2, gpu.thermalShare - Math.min(0.05, 0.009 * over + 0.002));
  else if (over < -1.2) gpu.thermalShare = Math.min(1, gpu.thermalShare + 0.006);
  let clock = allowed * gpu.thermalShare;
  if (gpu.thermalShare < 0.995)
    reasons |= over > 4 ? REASON.hwThermal | REASON.swThermal | REASON.hwSlowdown : REASON.swThermal;
  const limit = fault.capW > 0 ? Math.min(fault.capW, sku.tdpW) : sku.tdpW;
  gpu.limitW = fault.capW > 0 ? limit : sku.tdpW;
  const wanted = powerAt(gpu, clock, gr, tensor, dram);
  if (wanted > limit && gr > 0.02) {
    const room = Math.max(0.02, (limit - sku.idleW) / (wanted - sku.idleW));
    clock = Math.max(sku.maxClockMHz * 0.15, clock * room ** (1 / CLOCK_POWER));
    reasons |= REASON.powerCap;
  }
  if (fault.brake) {
    clock = Math.min(clock, sku.maxClockMHz * 0.4);
    reasons |= REASON.powerBrake | REASON.hwSlowdown;
  }
  if (gr < 0.005) {
    reasons |= REASON.idle;
    clock = Math.min(clock, 345);
  }
  gpu.reasons = reasons;
  const step = sku.vendor === 'nvidia' ? 15 : 1;
  gpu.clockMHz = Math.max(step, Math.round(clock / step) * step);
  gpu.memClockMHz = Math.round(sku.memClockMHz * (fault.memClock > 0 ? 1 - fault.memClock : 1));
  gpu.powerW = Math.max(
    sku.idleW * 0.9,
    powerAt(gpu, gpu.clockMHz, gr, tensor, dram) * (1 + 0.008 * gpu.random.normal()),
  );
  gpu.energyJ += gpu.powerW * dt;
  const working = Math.max(gpu.clockMHz, sku.maxClockMHz * 0.12);
  const clocked = gr < 0.005 ? sku.maxClockMHz : working;
  gpu.slowCompute = sku.maxClockMHz / clocked;
  gpu.slowMemory = (sku.memClockMHz / gpu.memClockMHz) * (sku.maxClockMHz / clocked) ** MEMORY_CLOCK_SENSITIVITY;
  for (let bit = 1; bit <= 0x80; bit <<= 1) if (reasons & bit) gpu.reasonS.set(bit, (gpu.reasonS.get(bit) ?? 0) + dt);
  const v = gpu.violationS;
  const lost = dt * (1 - gpu.clockMHz / sku.maxClockMHz);
  if (reasons & (REASON.swThermal | REASON.hwThermal)) v.thermal += lost;
  else if (reasons & (REASON.powerCap | REASON.powerBrake)) v.power += lost;
  if (reasons & REASON.idle) v.lowUtil += dt;

  // Heat. Neighbours in the same air stream warm each other a little.
  let neighbour = 0;
  for (const other of gpu.node.gpus)
    if (other !== gpu && Math.abs(other.index - gpu.index) === 1) neighbour += other.powerW;
  const resistance = (fault.resistance > 0 ? fault.resistance : gpu.resistance) * gpu.node.fault.airflow;
  const settle = ambientOf(gpu) + w.spec.cluster.ambientC - 27 + gpu.powerW * resistance + neighbour * 0.004;
  gpu.temperature += ((settle - gpu.temperature) * dt) / sku.thermalTau;
  const memSettle = gpu.temperature + 4 + 8 * dram;
  gpu.memTemperature += ((memSettle - gpu.memTemperature) * dt) / 12;

  // Errors.
  if (fault.sbePerS > 0) gpu.sbe += poissonLike(gpu, fault.sbePerS * dt);
  if (fault.linkCrcPerS > 0) {
    const n = poissonLike(gpu, fault.linkCrcPerS * dt);
    gpu.nvlinkCrc += n;
    gpu.nvlinkReplay += Math.ceil(n / 4);
    if (n > 0 && gpu.random.chance(0.05)) gpu.nvlinkRecovery++;
  }
  if (fault.leakMiBPerS > 0) gpu.fault.leakedMiB += fault.leakMiBPerS * dt;
  // An idle link trains down to save power; under load it shows what it can do.
  const speed = gr > 0.01 || s.pcieRx > 50e6 ? sku.pcieGen : 1;
  gpu.pcieGen = Math.min(speed, fault.pcieGen > 0 ? fault.pcieGen : sku.pcieGen);
  gpu.pcieWidth = fault.pcieWidth > 0 ? fault.pcieWidth : sku.pcieWidth;
  if (fault.pcieWidth > 0 || fault.pcieGen > 0) gpu.pcieReplays += poissonLike(gpu, 0.25 * dt);
}

function poissonLike(gpu: Gpu, mean: number): number {
  if (mean <= 0) return 0;
  if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * gpu.random.normal()));
  let n = 0;
  let p = Math.exp(-mean);
  let x = gpu.random.next();
  while (x > p && n < 200) {
    x -= p;
    n++;
    p *= mean / n;
  }
  return n;
}

/** An XID appears: in the counters, the sticky gauge and the list. */
export function raiseXid(w: World, gpu: Gpu, code: number): void {
  gpu.xid = code;
  gpu.xids.push({ at: w.now, code });
}
