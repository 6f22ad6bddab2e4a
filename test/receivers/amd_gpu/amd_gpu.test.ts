import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import { isNumberPoint, type KeyValues, type Point } from '../../../pipeline/model.ts';
import { amdGpu } from '../../../receivers/amd_gpu/index.ts';
import { readMetricsTable } from '../../../receivers/amd_gpu/metrics-table.ts';
import { amdLine } from '../../../receivers/amd_gpu/resets.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';
import { fakeTarget, page } from '../../kit/targets.ts';
import { metricsTable } from './table.ts';

type Files = Readonly<Record<string, string | Buffer | { readonly link: string }>>;

const A = 'aaaa000000000001';
const D = 'sys/class/drm/card1/device';
const H = `${D}/hwmon/hwmon4`;
const NODES = 'sys/class/kfd/kfd/topology/nodes';

const healthy = (changes: Record<string, number | bigint | number[]> = {}) =>
  metricsTable('1.6', {
    temperature_hotspot: 70,
    temperature_mem: 55,
    curr_socket_power: 640,
    average_gfx_activity: 93,
    average_umc_activity: 41,
    energy_accumulator: 65536 * 1000,
    accumulation_counter: 1000,
    prochot_residency_acc: 0,
    ppt_residency_acc: 100,
    socket_thm_residency_acc: 0,
    vr_thm_residency_acc: 0,
    hbm_thm_residency_acc: 0,
    pcie_link_width: 16,
    pcie_link_speed: 320,
    pcie_replay_count_acc: 2,
    xgmi_read_data_acc: [1000, 2000],
    xgmi_write_data_acc: [3000, 4000],
    current_gfxclk: [2100],
    current_uclk: 1300,
    ...changes,
  });

/** Two MI300X joined by XGMI, synthesised from the driver's documentation; an engine on the first. */
const machine: Files = {
  'proc/sys/kernel/hostname': 'n1\n',
  'sys/class/drm/card0/device/vendor': '0x1a03\n',
  [`${D}/vendor`]: '0x1002\n',
  [`${D}/uevent`]: 'DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c1:00.0\n',
  [`${D}/unique_id`]: `${A}\n`,
  [`${D}/product_name`]: 'AMD Instinct MI300X\n',
  [`${D}/gpu_busy_percent`]: '92\n',
  [`${D}/mem_info_vram_total`]: `${192 * 2 ** 30}\n`,
  [`${D}/mem_info_vram_used`]: `${100 * 2 ** 30}\n`,
  [`${D}/max_link_speed`]: '32.0 GT/s PCIe\n',
  [`${D}/max_link_width`]: '16\n',
  [`${D}/pp_dpm_sclk`]: '0: 500Mhz\n1: 2100Mhz *\n',
  [`${D}/gpu_metrics`]: healthy(),
  [`${D}/ras/umc_err_count`]: 'ue: 0\nce: 5\nde: 1\n',
  [`${D}/ras/xgmi_wafl_err_count`]: 'ue: 0\nce: 2\n',
  [`${D}/ras/features`]: 'feature mask: 0x1\n',
  [`${H}/power1_average`]: '641000000\n',
  [`${H}/power1_cap`]: '750000000\n',
  [`${H}/power1_cap_default`]: '750000000\n',
  [`${H}/temp2_label`]: 'junction\n',
  [`${H}/temp2_input`]: '71000\n',
  [`${H}/temp2_crit`]: '100000\n',
  [`${H}/freq1_label`]: 'sclk\n',
  [`${H}/freq1_input`]: '2100000000\n',
  'sys/class/drm/card2/device/vendor': '0x1002\n',
  'sys/class/drm/card2/device/uevent': 'PCI_SLOT_NAME=0000:c2:00.0\n',
  'sys/class/drm/card2/device/unique_id': 'aaaa000000000002\n',
  'sys/class/drm/card2/device/mem_info_vram_total': '1000\n',
  'sys/class/drm/card2/device/mem_info_vram_used': '10\n',
  [`${NODES}/0/gpu_id`]: '0\n',
  [`${NODES}/1/gpu_id`]: '111\n',
  [`${NODES}/1/properties`]: 'simd_count 1216\nsimd_per_cu 4\nlocation_id 49408\ndomain 0\n',
  [`${NODES}/1/io_links/0/properties`]: 'type 2\nnode_from 1\nnode_to 0\n',
  [`${NODES}/1/io_links/1/properties`]: 'type 11\nnode_from 1\nnode_to 2\n',
  [`${NODES}/2/gpu_id`]: '222\n',
  [`${NODES}/2/properties`]: 'simd_count 1216\nsimd_per_cu 4\nlocation_id 49664\ndomain 0\n',
  'sys/class/kfd/kfd/proc/4242/vram_111': `${90 * 2 ** 30}\n`,
  'sys/class/kfd/kfd/proc/4242/vram_222': '0\n',
  'sys/class/kfd/kfd/proc/4242/stats_111/cu_occupancy': '152\n',
  'proc/4242/stat': `4242 (x) S 1 ${'0 '.repeat(17)}5000 0\n`,
  'proc/4242/cmdline': 'sglang::scheduler_DP1_TP0',
  'proc/77/stat': `77 (x) S 1 ${'0 '.repeat(17)}5000 0\n`,
  'proc/77/cmdline': 'python train.py',
  'sys/bus/pci/devices/0000:c1:00.0/numa_node': '1\n',
};

function write(root: string, files: Files) {
  for (const [path, content] of Object.entries(files)) {
    const at = join(root, path);
    mkdirSync(dirname(at), { recursive: true });
    if (typeof content === 'object' && 'link' in content) symlinkSync(content.link, at);
    else writeFileSync(at, content);
  }
}

let running: Running | undefined;
afterEach(async () => {
  await running?.stop(AbortSignal.timeout(3000));
  running = undefined;
});

async function start(files: Files, options: Record<string, unknown> = {}, context = testContext({ id: 'amd_gpu' })) {
  const root = mkdtempSync(join(tmpdir(), 'amd-'));
  write(root, files);
  const out = sink();
  const config = resolve(amdGpu.config, {
    root_path: root,
    amd_smi: '/nowhere/amd-smi',
    rocm_smi: '/nowhere/rocm-smi',
    exporter_url: '',
    pod_resources_socket: '',
    max_load: 0,
    ...options,
  });
  running = await amdGpu.start(config, out, context);
  const value = (name: string, attributes: Record<string, unknown> = {}, points: readonly Point[] = out.points()) => {
    const wanted = { 'hw.id': A, ...attributes };
    const point = points.filter(
      (p) =>
        p.series.metric.name === name &&
        Object.entries(wanted).every(([k, v]) => (p.series.attributes[k] ?? p.series.resource.attributes[k]) === v),
    );
    const found = point.at(-1);
    return found && isNumberPoint(found) ? Number(found.value) : undefined;
  };
  return {
    root,
    out,
    context,
    value,
    pass: (ms: number) => (context.clock as ManualClock).advance(ms),
    change: (changes: Files) => write(root, changes),
  };
}

test('every field of /sys becomes the signal that NVIDIA’s have too', async () => {
  const { value, pass, out } = await start(machine);
  await pass(31_000);
  const expected: [string, Record<string, unknown>, number][] = [
    ['hw.gpu.utilization', {}, 0.92],
    ['hw.gpu.dram_active', {}, 0.41],
    ['hw.gpu.memory.usage', {}, 100 * 2 ** 30],
    ['hw.gpu.memory.limit', {}, 192 * 2 ** 30],
    ['hw.power', {}, 641],
    ['hw.power.limit', {}, 750],
    ['hw.power.limit.default', {}, 750],
    ['hw.energy', {}, 1000],
    ['hw.temperature', { 'hw.sensor_location': 'junction' }, 71],
    ['hw.temperature', { 'hw.sensor_location': 'memory' }, 55],
    ['hw.temperature.limit', { limit_type: 'slowdown' }, 100],
    ['hw.gpu.clock', { clock: 'sm' }, 2.1e9],
    ['hw.gpu.clock', { clock: 'memory' }, 1.3e9],
    ['hw.gpu.clock.limit', { clock: 'sm', limit_type: 'max' }, 2.1e9],
    ['hw.gpu.pcie.speed', { limit_type: undefined }, 32],
    ['hw.gpu.pcie.width', { limit_type: 'max' }, 16],
    ['hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' }, 2],
    ['hw.gpu.io', { link: 'xgmi', 'link.index': 1, 'network.io.direction': 'receive' }, 2000 * 1024],
    ['hw.gpu.io', { link: 'xgmi', 'link.index': 0, 'network.io.direction': 'transmit' }, 3000 * 1024],
    ['hw.errors', { 'error.type': 'corrected', block: undefined }, 7],
    ['hw.errors', { 'error.type': 'corrected', block: 'xgmi_wafl' }, 2],
    ['hw.errors', { 'error.type': 'deferred', block: undefined }, 1],
    ['hw.status', { check: 'driver', 'hw.state': 'ok' }, 1],
    ['hw.gpu.process.memory.usage', { 'process.pid': 4242, owner: 'engine' }, 90 * 2 ** 30],
    ['hw.gpu.process.utilization', { 'process.pid': 4242, owner: 'engine', 'inference.rank.dp': 1 }, 0.5],
  ];
  for (const [name, attributes, wanted] of expected)
    expect(value(name, attributes), `${name} ${JSON.stringify(attributes)}`).toBeCloseTo(wanted, 6);
  expect(value('hw.gpu.memory.usage', { 'hw.id': 'aaaa000000000002' })).toBe(10);
  const { resource, scope } = out.points().find((p) => p.series.resource.attributes['hw.id'] === A)!.series;
  expect(resource.attributes).toMatchObject({
    'hw.vendor': 'amd',
    'hw.gpu.pci_bus_id': '0000:c1:00.0',
    'hw.gpu.index': 0,
  });
  expect(scope.attributes).toEqual({ source: 'amdgpu-sysfs' });
  const gpu = (out.logs().find((r) => r.eventName === 'inference.inventory')!.body as readonly KeyValues[])[0]!.entries;
  expect(gpu).toMatchObject({ 'hw.id': A, numa_node: 1 });
});

test('the inventory knows XGMI peers and whose the processes are; a stranger beside the engine is told apart', async () => {
  const { value, pass, out, change } = await start(machine);
  change({ 'sys/class/kfd/kfd/proc/77/vram_111': `${4 * 2 ** 30}\n` });
  await pass(61_000);
  expect(value('hw.gpu.foreign.processes')).toBe(1);
  expect(value('hw.gpu.foreign.memory.usage')).toBe(4 * 2 ** 30);
  expect(value('hw.gpu.process.memory.usage', { 'process.pid': 77, owner: 'foreign' })).toBe(4 * 2 ** 30);
  const last = out
    .logs()
    .filter((r) => r.eventName === 'inference.inventory')
    .at(-1)!;
  expect((last.body as readonly KeyValues[])[0]!.entries['peers']).toEqual(['0000:c2:00.0']);
});

test('thermal throttling, and power: the share of the firmware’s samples becomes time', async () => {
  const { value, pass, change } = await start(machine);
  await pass(3000);
  const before = value('hw.gpu.throttle', { reason: 'thermal' })!;
  change({
    [`${D}/gpu_metrics`]: healthy({
      accumulation_counter: 2000,
      socket_thm_residency_acc: 400,
      ppt_residency_acc: 600,
      current_gfxclk: [1500],
    }),
    [`${H}/freq1_input`]: '1500000000\n',
    [`${H}/temp2_input`]: '104000\n',
  });
  await pass(1000);
  expect(value('hw.gpu.throttle', { reason: 'thermal' })! - before).toBeCloseTo(0.4, 6);
  expect(value('hw.gpu.throttle', { reason: 'power' })).toBeCloseTo(0.5, 6);
  expect(value('hw.gpu.throttle', { reason: 'processor_hot' })).toBe(0);
  expect(value('hw.gpu.clock', { clock: 'sm' })).toBe(1.5e9);
  expect(value('hw.temperature', { 'hw.sensor_location': 'junction' })).toBe(104);
});

test('a power brake (PROCHOT) of a board that has only a mask of what holds now', async () => {
  const { value, pass, change } = await start({
    ...machine,
    [`${D}/gpu_metrics`]: metricsTable('1.5', { throttle_status: 0, average_gfx_activity: 50 }),
  });
  await pass(3000);
  change({ [`${D}/gpu_metrics`]: metricsTable('1.5', { throttle_status: 1, average_gfx_activity: 50 }) });
  await pass(2000);
  expect(value('hw.gpu.throttle', { reason: 'processor_hot' })).toBe(2);
  expect(value('hw.gpu.throttle', { reason: 'thermal' })).toBe(0);
});

test('a PCIe link below what it can, RAS errors, and XGMI errors by block', async () => {
  const { value, pass, change } = await start(machine);
  change({
    [`${D}/gpu_metrics`]: healthy({
      pcie_link_width: 8,
      pcie_link_speed: 160,
      pcie_replay_count_acc: 900,
      pcie_l0_to_recov_count_acc: 3,
    }),
    [`${D}/ras/umc_err_count`]: 'ue: 2\nce: 5\n',
    [`${D}/ras/xgmi_wafl_err_count`]: 'ue: 1\nce: 20\n',
  });
  await pass(31_000);
  expect(value('hw.gpu.pcie.width', { limit_type: undefined })).toBe(8);
  expect(value('hw.gpu.pcie.speed', { limit_type: undefined })).toBe(16);
  expect(value('hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' })).toBe(900);
  expect(value('hw.gpu.link.errors', { link: 'pcie', 'error.type': 'recovery' })).toBe(3);
  expect(value('hw.errors', { 'error.type': 'uncorrected', block: undefined })).toBe(3);
  expect(value('hw.errors', { 'error.type': 'uncorrected', block: 'umc' })).toBe(2);
  expect(value('hw.errors', { 'error.type': 'corrected', block: 'xgmi_wafl' })).toBe(20);
});

test('a GPU that is gone is told as failed, its neighbour is read on', async () => {
  const { value, pass, root, context } = await start(machine);
  await pass(2000);
  rmSync(join(root, 'sys/class/drm/card1'), { recursive: true });
  await pass(31_000);
  expect(value('hw.status', { check: 'driver', 'hw.state': 'failed' })).toBe(1);
  expect(value('hw.status', { 'hw.id': 'aaaa000000000002', check: 'driver', 'hw.state': 'ok' })).toBe(1);
  expect(context.log.records.filter((r) => r.message === 'A GPU is not well.')).toHaveLength(1);
});

test('a reset in the kernel’s log is an event of its GPU', async () => {
  const root = mkdtempSync(join(tmpdir(), 'amd-kmsg-'));
  mkdirSync(join(root, 'dev'));
  execFileSync('mkfifo', [join(root, 'dev/kmsg')]);
  write(root, machine);
  const { out, pass } = await start({}, { root_path: root });
  const fd = openSync(join(root, 'dev/kmsg'), constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(fd, '3,1,2,-;amdgpu 0000:c1:00.0: amdgpu: GPU reset begin!\n');
  writeSync(fd, '3,2,3,-;amdgpu 0000:c1:00.0: amdgpu: 3 uncorrectable hardware errors detected in umc block\n');
  await pass(2000);
  closeSync(fd);
  const events = out.logs().filter((r) => r.eventName !== 'inference.inventory');
  expect(events.map((r) => [r.eventName, r.resource.attributes['hw.id'], r.attributes])).toEqual([
    ['inference.gpu.reset', A, { 'hw.gpu.reset': 1 }],
    ['inference.gpu.ras', A, { 'hw.gpu.ras': 3 }],
  ]);
  expect(amdLine('usb 1-1: new device')).toBeUndefined();
});

test.each([
  '1.3',
  '1.4',
  '1.5',
  '1.6',
  '1.7',
])('table %s is read as the kernel lays it out; a cut one not at all', (version) => {
  const table = metricsTable(version, {
    temperature_hotspot: 81,
    temperature_mem: 62,
    average_gfx_activity: 97,
    average_umc_activity: 33,
    average_socket_power: 500,
    curr_socket_power: 500,
    energy_accumulator: 65536n * 7n,
    current_gfxclk: [1700, 1600],
    current_uclk: 1200,
    pcie_link_width: 16,
    pcie_link_speed: 320,
    pcie_replay_count_acc: 5,
    pcie_replay_rover_count_acc: 6,
    pcie_l0_to_recov_count_acc: 7,
    pcie_nak_sent_count_acc: 8,
    pcie_nak_rcvd_count_acc: 9,
    xgmi_read_data_acc: [0, 0, 0, 0, 0, 0, 0, 11],
    xgmi_write_data_acc: [12],
    throttle_status: version === '1.3' ? 0 : 4,
    indep_throttle_status: 1n << 36n,
    accumulation_counter: 100,
    prochot_residency_acc: 0,
    ppt_residency_acc: 0,
    socket_thm_residency_acc: 50,
    vr_thm_residency_acc: 0,
    hbm_thm_residency_acc: 0,
  });
  const read = readMetricsTable(table)!;
  expect(read).toMatchObject({ version, hotspot: 81, memory: 62, gfx: 97, umc: 33, power: 500, energy: 7 });
  expect(read).toMatchObject({ gfxClock: 1700, memoryClock: 1200, pcieWidth: 16, pcieSpeed: 32 });
  if (version > '1.5') expect(read.residency).toMatchObject({ thermal: 50, power: 0 });
  else expect(read.active).toEqual(['thermal']);
  if (version > '1.3') {
    expect(read).toMatchObject({ pcieReplays: 5, pcieRollovers: 6, pcieRecoveries: 7 });
    expect(read.links![0]!.sent).toBe(12 * 1024);
    expect(read.links![7]!.received).toBe(11 * 1024);
  }
  if (version > '1.4') expect(read).toMatchObject({ nacksSent: 8, nacksReceived: 9 });
  for (let length = 0; length < table.length - 2; length += 3)
    expect(readMetricsTable(table.subarray(0, length))).toBeUndefined();
  expect(readMetricsTable(Buffer.from([8, 0, 3, 0, 0, 0, 0, 0]))).toBeUndefined();
});

const METRIC = [
  {
    gpu: 0,
    usage: { gfx_activity: { value: 96, unit: '%' }, umc_activity: { value: 20, unit: '%' }, mm_activity: 'N/A' },
    power: { socket_power: { value: 700, unit: 'W' }, throttle_status: 'THROTTLED' },
    clock: { gfx_0: { clk: { value: 1900, unit: 'MHz' }, max_clk: { value: 2100, unit: 'MHz' } } },
    temperature: { edge: 'N/A', hotspot: { value: 99, unit: 'C' }, mem: { value: 60, unit: 'C' } },
    pcie: { width: 8, speed: { value: 16, unit: 'GT/s' }, replay_count: 41 },
    ecc: { total_correctable_count: 4, total_uncorrectable_count: 1, total_deferred_count: 'N/A' },
    ecc_blocks: { UMC: { correctable_count: 4, uncorrectable_count: 1 } },
    mem_usage: { total_vram: { value: 196592, unit: 'MB' }, used_vram: { value: 100000, unit: 'MB' } },
    throttle: {
      ppt_violation_status: 'NOT ACTIVE',
      socket_thermal_violation_status: 'ACTIVE',
      hbm_thermal_violation_status: 'N/A',
    },
  },
];
const LIST = [{ gpu: 0, bdf: '0000:C1:00.0', uuid: 'b1ff74a1-0000-1000-80f0-000000000001' }];
const PROCESS = [
  {
    gpu: 0,
    process_list: [
      { process_info: { name: 'python', pid: 4242, memory_usage: { vram_mem: { value: 90, unit: 'GB' } } } },
    ],
  },
];

function tool(line: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'amd-smi-')), 'amd-smi');
  writeFileSync(path, `#!/bin/sh\n${line}\n`);
  chmodSync(path, 0o755);
  return path;
}

test.each([
  ['bare', METRIC],
  ['wrapped, as newer versions do', { gpu_data: METRIC }],
])('without /sys, amd-smi’s JSON gives the same signals (%s)', async (_name, metric) => {
  const amd_smi = tool(
    `case $1 in list) echo '${JSON.stringify(LIST)}';; process) echo '${JSON.stringify(PROCESS)}';; *) echo 'WARNING: something'; echo '${JSON.stringify(metric)}';; esac`,
  );
  const { value, out } = await start({}, { amd_smi }, testContext({ id: 'amd_gpu', clock: systemClock }));
  expect(out.points()[0]!.series.scope.attributes).toEqual({ source: 'amd-smi' });
  const on = { 'hw.id': LIST[0]!.uuid };
  expect(value('hw.gpu.utilization', on)).toBe(0.96);
  expect(value('hw.power', on)).toBe(700);
  expect(value('hw.temperature', { ...on, 'hw.sensor_location': 'junction' })).toBe(99);
  expect(value('hw.temperature', { ...on, 'hw.sensor_location': 'edge' })).toBeUndefined();
  expect(value('hw.gpu.pcie.width', on)).toBe(8);
  expect(value('hw.gpu.memory.usage', on)).toBe(100_000 * 2 ** 20);
  expect(value('hw.errors', { ...on, 'error.type': 'uncorrected', block: 'umc' })).toBe(1);
  expect(value('hw.gpu.throttle', { ...on, reason: 'thermal' })).toBe(0);
  expect(value('hw.gpu.throttle', { ...on, reason: 'memory_thermal' })).toBeUndefined();
  expect(value('hw.gpu.process.memory.usage', { ...on, 'process.pid': 4242 })).toBe(90 * 2 ** 30);
});

test('a tool that hangs or fails makes its GPUs failed, not the receiver', async () => {
  const flag = join(mkdtempSync(join(tmpdir(), 'amd-smi-')), 'mode');
  writeFileSync(flag, 'well');
  const amd_smi = tool(
    `case $(cat ${flag}) in bad) echo 'no permission to open kfd' >&2; exit 1;; hang) exec sleep 60;; esac; case $1 in list) echo '${JSON.stringify(LIST)}';; process) echo '[]';; *) echo '${JSON.stringify(METRIC)}';; esac`,
  );
  const context = testContext({ id: 'amd_gpu', clock: systemClock });
  const { value } = await start({}, { amd_smi, tool_interval: '1s', tool_timeout: '1s' }, context);
  const failed = () => value('hw.status', { 'hw.id': LIST[0]!.uuid, check: 'driver', 'hw.state': 'failed' });
  const patient = { timeout: 15_000, interval: 20 };
  expect(failed()).toBe(0);
  writeFileSync(flag, 'bad');
  await vi.waitFor(() => expect(failed()).toBe(1), patient);
  writeFileSync(flag, 'well');
  await vi.waitFor(() => expect(failed()).toBe(0), patient);
  writeFileSync(flag, 'hang');
  await vi.waitFor(() => expect(context.statuses.at(-1)!.message).toMatch(/amd-smi has not answered/), patient);
  expect(failed()).toBe(1);
});

test('else rocm-smi is asked, else the exporter is scraped', async () => {
  const rocm = {
    card0: {
      'Unique ID': '0xAAAA000000000001',
      'PCI Bus': '0000:C1:00.0',
      'GPU use (%)': '97',
      'VRAM Total Memory (B)': '1000',
      'VRAM Total Used Memory (B)': '400',
      'Average Graphics Package Power (W)': '500.0',
      'Temperature (Sensor junction) (C)': '77.0',
      'Temperature (Sensor edge) (C)': 'N/A',
      'sclk clock speed:': '(1700Mhz)',
    },
    system: { 'Driver version': '6.7' },
  };
  const first = await start(
    {},
    { rocm_smi: tool(`echo '${JSON.stringify(rocm)}'`) },
    testContext({ id: 'amd_gpu', clock: systemClock }),
  );
  expect(first.out.points()[0]!.series.scope.attributes).toEqual({ source: 'rocm-smi' });
  expect(first.value('hw.gpu.utilization')).toBe(0.97);
  expect(first.value('hw.gpu.clock', { clock: 'sm' })).toBe(1.7e9);
  expect(first.value('hw.gpu.memory.utilization')).toBe(0.4);
  await running!.stop();
  let code = 12;
  const target = await fakeTarget(
    page(
      () =>
        `# TYPE gpu_gfx_activity gauge\ngpu_gfx_activity{gpu_id="0",gpu_uuid="u1"} 55\n# TYPE gpu_afid_errors gauge\ngpu_afid_errors{gpu_id="0",gpu_uuid="u1"} ${code}\n`,
    ),
  );
  const context = testContext({ id: 'amd_gpu', clock: systemClock });
  const second = await start({}, { exporter_url: `${target.url}/metrics`, exporter_interval: '1s' }, context);
  const patient = { timeout: 15_000, interval: 20 };
  await vi.waitFor(
    () => expect(second.out.points().some((p) => p.series.metric.name === 'gpu_gfx_activity')).toBe(true),
    patient,
  );
  code = 30;
  await vi.waitFor(() => expect(second.out.logs().map((r) => r.attributes)).toEqual([{ 'hw.gpu.ras': 30 }]), patient);
});

test('where there is no AMD GPU, every source’s cause and remedy is said once', async () => {
  const { context } = await start({ 'proc/loadavg': '' });
  const gaps = context.log.records.filter((r) => r.message === 'Not available on this machine.');
  expect(gaps).toHaveLength(1);
  expect(gaps[0]!.fields['because']).toMatch(
    /amdgpu-sysfs: there is no AMD GPU.*amd-smi: .*not installed.*exporter: no exporter_url/,
  );
});
