import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_COMMANDS } from '../../../pipeline/kit/gpu-processes.ts';
import { createGpuRounds } from '../../../pipeline/kit/gpu-rounds.ts';
import { createTree } from '../../../pipeline/kit/tree.ts';
import type { KeyValues } from '../../../pipeline/model.ts';
import { gapsOf } from '../../../receivers/nvidia_gpu/gaps.ts';
import { openLibrary, Return } from '../../../receivers/nvidia_gpu/library.ts';
import { createSampler, type Group, timed } from '../../../receivers/nvidia_gpu/sampler.ts';
import { sink, testContext } from '../../kit/harness.ts';
import { hasCompiler, healthyNode, type NvmlDouble, nvmlDouble } from '../../kit/nvml-double/build.ts';
import { last } from './kit.ts';

const A = 'GPU-00000000-1111-2222-3333-444444444444';
const B = 'GPU-00000001-1111-2222-3333-444444444444';
const POD = '12345678-1234-1234-1234-123456789012';
const CONTAINER = 'c'.repeat(64);

/** A machine of files: an engine's worker (4242), what runs beside it in its container (99), and a stranger (77). */
function machine(): string {
  const root = mkdtempSync(join(tmpdir(), 'gpu-'));
  const put = (path: string, text: string) => {
    const at = join(root, path);
    mkdirSync(dirname(at), { recursive: true });
    writeFileSync(at, text);
  };
  const process = (pid: number, command: string, cgroup: string) => {
    put(`proc/${pid}/stat`, `${pid} (x) S 1 ${'0 '.repeat(17)}5000 0\n`);
    put(`proc/${pid}/cmdline`, command);
    put(`proc/${pid}/comm`, `${command.slice(0, 15)}\n`);
    put(`proc/${pid}/cgroup`, `0::${cgroup}\n`);
  };
  const own = `/kubepods.slice/kubepods-pod${POD.replaceAll('-', '_')}.slice/cri-containerd-${CONTAINER}.scope`;
  process(4242, 'VLLM::Worker_TP3', own);
  process(99, 'python helper.py', own);
  process(77, 'python train.py', '/user.slice');
  put('proc/sys/kernel/hostname', 'n1\n');
  put('sys/bus/pci/devices/0000:17:00.0/numa_node', '1\n');
  put('sys/bus/pci/devices/0000:17:00.0/local_cpulist', '32-63\n');
  return root;
}

async function probe(double: NvmlDouble, now: () => number = () => 0) {
  const opened = await openLibrary(double.library);
  if ('because' in opened) throw new Error(opened.because);
  const context = testContext({ id: 'nvidia_gpu' });
  const out = sink();
  const rounds = createGpuRounds({
    context,
    next: out,
    tree: createTree(machine()),
    vendor: 'nvidia',
    source: 'nvml',
    hostName: undefined,
    engines: ENGINE_COMMANDS.map(({ engine, command }) => ({ engine, pattern: new RegExp(command) })),
  });
  const sampler = createSampler(timed(opened.library, now));
  let time = 1_700_000_000_000;
  return {
    context,
    out,
    rounds,
    sampler,
    /** One look at some groups, a second after the last one. */
    async look(...groups: Group[]) {
      time += 1000;
      let sample = sampler.sample(groups[0]!);
      for (const [i, group] of groups.entries()) {
        if (i > 0) sample = sampler.sample(group);
        await rounds.send(sample.readings, time);
      }
      return sample;
    },
    value: (name: string, attributes: Record<string, unknown> = {}) =>
      last(out.points(), name, { 'hw.id': A, ...attributes }),
    inventory: () => rounds.inventory(time, {}),
  };
}

describe.runIf(hasCompiler)('NVML through its double', () => {
  test('every field becomes a signal in its unit, on the GPU it is of', async () => {
    const { look, value, out } = await probe(nvmlDouble(healthyNode(2)));
    await look('slow', 'medium', 'fast');
    await look('fast');
    const expected: [string, Record<string, unknown>, number][] = [
      ['hw.gpu.utilization', { 'hw.id': B, 'hw.gpu.task': undefined }, 0.91],
      ['hw.gpu.utilization', { 'hw.gpu.task': 'decoder' }, 0.05],
      ['hw.gpu.memory.activity', {}, 0.4],
      ['hw.gpu.memory.usage', {}, 70 * 2 ** 30],
      ['hw.gpu.memory.limit', {}, 80 * 2 ** 30],
      ['hw.gpu.memory.reserved', {}, 2 ** 30],
      ['hw.gpu.bar1.usage', {}, 2 ** 20],
      ['hw.power', {}, 650],
      ['hw.power.limit', {}, 700],
      ['hw.power.limit.default', {}, 700],
      ['hw.energy', {}, 123_456],
      ['hw.temperature', { 'hw.sensor_location': 'gpu' }, 60],
      ['hw.temperature', { 'hw.sensor_location': 'memory' }, 70],
      ['hw.temperature.limit', { limit_type: 'slowdown' }, 89],
      ['hw.gpu.clock', { clock: 'sm' }, 1.98e9],
      ['hw.gpu.clock', { clock: 'video' }, 1.545e9],
      ['hw.gpu.clock.limit', { clock: 'memory', limit_type: 'max' }, 2.619e9],
      ['hw.gpu.clock.limit', { clock: 'sm', limit_type: 'application' }, 1.98e9],
      ['hw.gpu.throttle', { reason: 'power' }, 1],
      ['hw.gpu.pcie.speed', {}, 32],
      ['hw.gpu.pcie.width', { limit_type: 'max' }, 16],
      ['hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' }, 3],
      ['hw.gpu.io', { link: 'pcie', 'network.io.direction': 'transmit' }, 5_000_000],
      ['hw.gpu.io', { link: 'nvlink', 'link.index': 2, 'network.io.direction': 'receive' }, 6000 * 1024],
      ['hw.gpu.link.up', { 'link.index': 3 }, 1],
      ['hw.errors', { 'error.type': 'corrected' }, 2],
      ['hw.gpu.errors.lifetime', { 'error.type': 'corrected' }, 12],
      ['hw.errors', { 'error.type': 'row_remapped_corrected' }, 1],
      ['hw.gpu.sm_active', {}, 0.855],
      ['hw.gpu.tensor_active', {}, 0.42],
      ['hw.gpu.dram_active', {}, 0.61],
      ['hw.status', { 'hw.state': 'ok', check: 'driver' }, 1],
      ['hw.gpu.process.memory.usage', { 'process.pid': 4242, owner: 'engine' }, 70 * 2 ** 30],
    ];
    for (const [name, attributes, wanted] of expected)
      expect(value(name, attributes), `${name} ${JSON.stringify(attributes)}`).toBeCloseTo(wanted, 6);
    const { resource, scope } = out.points().find((p) => p.series.resource.attributes['hw.id'] === A)!.series;
    expect(resource.attributes).toMatchObject({
      'host.name': 'n1',
      'hw.gpu.index': 0,
      'hw.gpu.pci_bus_id': '0000:17:00.0',
      'hw.model': 'NVIDIA H100 80GB HBM3',
      'hw.driver_version': '550.54.15',
    });
    expect(scope.attributes).toEqual({ source: 'nvml' });
  });

  test('thermal throttling: time with the reason, and the clock it costs', async () => {
    const double = nvmlDouble({ ...healthyNode(1), 'gpu.0.field.270': 0 });
    const { look, value } = await probe(double);
    await look('fast');
    double.script({
      'gpu.0.reasons': 0x48,
      'gpu.0.field.270': 900_000_000,
      'gpu.0.clock.1': 1200,
      'gpu.0.temperature': 90,
    });
    await look('fast');
    expect(value('hw.gpu.throttle', { reason: 'hw_thermal' })).toBeCloseTo(0.9);
    expect(value('hw.gpu.throttle', { reason: 'hw_slowdown' })).toBe(1);
    expect(value('hw.gpu.throttle', { reason: 'sw_power_cap' })).toBe(0);
    expect(value('hw.gpu.clock', { clock: 'sm' })).toBe(1.2e9);
    expect(value('hw.temperature', { 'hw.sensor_location': 'gpu' })).toBe(90);
  });

  test('a power brake, on a driver that counts no nanoseconds: our own seconds', async () => {
    const double = nvmlDouble({ ...healthyNode(1) });
    double.script({ 'gpu.0.field.269': null, 'gpu.0.field.270': null, 'gpu.0.field.271': null });
    const { look, value } = await probe(double);
    await look('fast');
    double.script({ 'gpu.0.reasons': 0x80 });
    await look('fast');
    await look('fast');
    expect(value('hw.gpu.throttle', { reason: 'hw_power_brake' })).toBe(2);
    double.script({ 'gpu.0.reasons': 0 });
    await look('fast');
    expect(value('hw.gpu.throttle', { reason: 'hw_power_brake' })).toBe(2);
  });

  test('a PCIe link that came up slower and narrower than it can', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { look, value } = await probe(double);
    double.script({ 'gpu.0.pcie.generation': 3, 'gpu.0.pcie.width': 8, 'gpu.0.pcie.replays': 40 });
    await look('slow', 'medium');
    expect([
      value('hw.gpu.pcie.speed', { limit_type: 'max' }),
      value('hw.gpu.pcie.width', { limit_type: 'max' }),
    ]).toEqual([32, 16]);
    const now = (name: string) => value(name, { limit_type: undefined });
    expect([now('hw.gpu.pcie.speed'), now('hw.gpu.pcie.width')]).toEqual([8, 8]);
    expect(value('hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' })).toBe(40);
  });

  test('NVLink errors by link, and a link that goes down', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { look, value } = await probe(double);
    await look('medium');
    expect(value('hw.status', { check: 'nvlink', 'hw.state': 'failed' })).toBe(0);
    double.script({ 'gpu.0.nvlink.error.2.1': 505, 'gpu.0.nvlink.error.2.2': 7, 'gpu.0.nvlink.state.3': 0 });
    await look('medium');
    expect(value('hw.gpu.link.errors', { link: 'nvlink', 'link.index': 2, 'error.type': 'recovery' })).toBe(505);
    expect(value('hw.gpu.link.errors', { link: 'nvlink', 'link.index': 2, 'error.type': 'crc_flit' })).toBe(7);
    expect(value('hw.gpu.link.up', { 'link.index': 3 })).toBe(0);
    expect(value('hw.status', { check: 'nvlink', 'hw.state': 'failed' })).toBe(1);
  });

  test('ECC errors, rows that wait for a reset, and a remap that failed', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { look, value } = await probe(double);
    double.script({
      'gpu.0.ecc.0.0': 300,
      'gpu.0.ecc.1.0': 2,
      'gpu.0.field.6': 3,
      'gpu.0.remapped.uncorrected': 2,
      'gpu.0.remapped.pending': 1,
      'gpu.0.remapped.failed': 1,
    });
    await look('slow');
    expect(value('hw.errors', { 'error.type': 'corrected' })).toBe(300);
    expect(value('hw.errors', { 'error.type': 'uncorrected' })).toBe(2);
    expect(value('hw.gpu.errors.lifetime', { 'error.type': 'uncorrected' })).toBe(3);
    expect(value('hw.errors', { 'error.type': 'row_remapped_uncorrected' })).toBe(2);
    expect(value('hw.errors', { 'error.type': 'row_remap_pending' })).toBe(1);
    expect(value('hw.status', { check: 'row_remap', 'hw.state': 'failed' })).toBe(1);
  });

  test('old boards retire pages, those that wait included', async () => {
    const double = nvmlDouble({
      ...healthyNode(1),
      'gpu.0.retired.0': 3,
      'gpu.0.retired.1': 1,
      'gpu.0.retired.pending': 1,
    });
    const { look, value } = await probe(double);
    await look('slow');
    expect(value('hw.errors', { 'error.type': 'page_retired_corrected' })).toBe(3);
    expect(value('hw.errors', { 'error.type': 'page_retired_uncorrected' })).toBe(1);
    expect(value('hw.errors', { 'error.type': 'page_retirement_pending' })).toBe(1);
  });

  test('a lost GPU is a state, said once, and its neighbour is read on', async () => {
    const double = nvmlDouble(healthyNode(2));
    const { look, value, context } = await probe(double);
    await look('slow', 'fast');
    double.script({ 'gpu.0.error.*': Return.GPU_IS_LOST, 'gpu.1.utilization': 33 });
    await look('fast');
    await look('slow', 'fast');
    expect(value('hw.status', { check: 'driver', 'hw.state': 'failed' })).toBe(1);
    expect(value('hw.status', { check: 'driver', 'hw.state': 'ok' })).toBe(0);
    expect(value('hw.gpu.utilization', { 'hw.id': B, 'hw.gpu.task': undefined })).toBe(0.33);
    expect(value('hw.status', { 'hw.id': B, check: 'driver', 'hw.state': 'ok' })).toBe(1);
    const said = context.log.records.filter((r) => r.message === 'A GPU is not well.');
    expect(said.map((r) => [r.fields['gpu'], r.fields['because']])).toEqual([[A, 'the GPU is lost']]);
    double.script({ 'gpu.0.error.*': null });
    await look('slow', 'fast');
    expect(value('hw.status', { check: 'driver', 'hw.state': 'failed' })).toBe(0);
  });

  test('a GPU that is pulled out is told as failed, one that needs a reset as degraded', async () => {
    const double = nvmlDouble(healthyNode(2));
    const { look, value, context } = await probe(double);
    await look('slow');
    double.script({ count: 1, 'gpu.0.error.nvmlDeviceGetTemperature': Return.RESET_REQUIRED });
    await look('slow', 'fast');
    expect(value('hw.status', { 'hw.id': B, check: 'driver', 'hw.state': 'failed' })).toBe(1);
    expect(value('hw.status', { check: 'driver', 'hw.state': 'degraded' })).toBe(1);
    expect(context.log.records.map((r) => r.fields['because'])).toContain('it is no longer there');
  });

  test('a driver that is unloaded, replaced and loaded again: failed meanwhile, then everything comes back', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { look, value } = await probe(double);
    await look('slow', 'fast');
    double.script({ 'error.*': Return.UNINITIALIZED, 'error.nvmlInit_v2': Return.LIB_RM_VERSION_MISMATCH });
    expect((await look('fast')).lost).toMatchObject({ because: 'not initialised' });
    expect((await look('fast')).lost).toMatchObject({ because: 'library and driver have different versions' });
    expect(value('hw.status', { check: 'driver', 'hw.state': 'failed' })).toBe(1);
    double.script({ 'error.*': null, 'error.nvmlInit_v2': null, 'gpu.0.utilization': 12 });
    await look('fast');
    expect(value('hw.status', { check: 'driver', 'hw.state': 'failed' })).toBe(0);
    expect(value('hw.gpu.utilization', { 'hw.gpu.task': undefined })).toBe(0.12);
  });

  test('every return code of every function takes only its own numbers away', async () => {
    const codes = [...Array.from({ length: 30 }, (_, i) => i + 1), 999];
    const double = nvmlDouble(healthyNode(1));
    const { look, value } = await probe(double);
    await look('slow', 'medium', 'fast');
    for (const code of codes) {
      double.script({ 'gpu.0.error.nvmlDeviceGetPowerUsage': code, 'gpu.0.utilization': code % 100 });
      await look('fast');
      if (![Return.UNINITIALIZED, 9, 15, 18, 28].includes(code as 1))
        expect(value('hw.gpu.utilization', { 'hw.gpu.task': undefined }), `code ${code}`).toBe((code % 100) / 100);
    }
  });

  test('what is not permitted is a gap with its cause and remedy', async () => {
    const double = nvmlDouble({ ...healthyNode(1), 'error.nvmlDeviceGetProcessUtilization': Return.NO_PERMISSION });
    const { look, value } = await probe(double);
    const sample = await look('medium');
    expect(gapsOf(sample.refusals)).toMatchObject([
      { what: 'gpu_process_utilization', because: 'nvmlDeviceGetProcessUtilization: no permission' },
    ]);
    expect(value('hw.gpu.process.memory.usage', { 'process.pid': 4242 })).toBe(70 * 2 ** 30);
  });

  test('an old driver lacks functions: the older ones are asked, the rest is absent', async () => {
    const { look, value } = await probe(nvmlDouble(healthyNode(1), true));
    await look('slow', 'medium', 'fast');
    await look('fast');
    expect(value('hw.gpu.memory.usage')).toBe(71 * 2 ** 30);
    expect(value('hw.gpu.memory.reserved')).toBeUndefined();
    expect(value('hw.gpu.throttle', { reason: 'sw_power_cap' })).toBe(0);
    expect(value('hw.gpu.sm_active')).toBeUndefined();
    expect(value('hw.gpu.utilization', { 'hw.gpu.task': undefined })).toBe(0.9);
  });

  test('a 32-bit counter that begins again goes on; a reset one does not', async () => {
    const double = nvmlDouble({ ...healthyNode(1), 'gpu.0.pcie.replays': 4_294_967_290 });
    const { look, value } = await probe(double);
    const replays = () => value('hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' });
    await look('medium');
    double.script({ 'gpu.0.pcie.replays': 4 });
    await look('medium');
    expect(replays()).toBe(2 ** 32 + 4);
    double.script({ 'gpu.0.pcie.replays': 1 });
    await look('medium');
    expect(replays()).toBe(1);
  });

  test('a sensor that vanishes takes only itself along, and values beyond sense are not said', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { look, out } = await probe(double);
    await look('fast');
    double.script({ 'gpu.0.temperature': null, 'gpu.0.utilization': 4_000_000_000, 'gpu.0.field.82': 0 });
    out.batches.length = 0;
    await look('fast');
    const points = out.points();
    expect(last(points, 'hw.temperature')).toBeUndefined();
    expect(last(points, 'hw.gpu.utilization', { 'hw.gpu.task': undefined })).toBeUndefined();
    expect(last(points, 'hw.power')).toBe(650);
  });

  test('MIG instances have their own UUID and memory, and say whose part they are', async () => {
    const double = nvmlDouble({
      ...healthyNode(1),
      'gpu.0.mig': 1,
      'gpu.0.migs.max': 7,
      'gpu.0.mig.0.uuid': 'MIG-aaaa',
      'gpu.0.mig.0.instance': 9,
      'gpu.0.mig.0.memory.total': 10 * 2 ** 30,
      'gpu.0.mig.0.memory.used': 2 ** 30,
    });
    const { look, value, out } = await probe(double);
    await look('slow', 'fast');
    expect(value('hw.gpu.memory.usage', { 'hw.id': 'MIG-aaaa', 'hw.parent': A })).toBe(2 ** 30);
    const mig = out.points().find((p) => p.series.resource.attributes['hw.id'] === 'MIG-aaaa')!;
    expect(mig.series.resource.attributes['hw.gpu.mig.id']).toBe('9');
  });

  test('whose a process is: the engine’s with its rank, its container’s, a stranger’s', async () => {
    const double = nvmlDouble({
      ...healthyNode(1),
      'gpu.0.processes': 3,
      'gpu.0.process.1': `99 ${2 ** 20}`,
      'gpu.0.process.2': `77 ${5 * 2 ** 30}`,
      'gpu.0.samples': 2,
      'gpu.0.sample.1': '77 1000 35 0 0 0',
    });
    const { look, value, out } = await probe(double);
    await look('medium');
    expect(value('hw.gpu.process.memory.usage', { 'process.pid': 99, owner: 'engine' })).toBe(2 ** 20);
    expect(value('hw.gpu.process.memory.usage', { 'process.pid': 77, owner: 'foreign' })).toBe(5 * 2 ** 30);
    expect(value('hw.gpu.foreign.processes')).toBe(1);
    expect(value('hw.gpu.foreign.memory.usage')).toBe(5 * 2 ** 30);
    expect(value('hw.gpu.foreign.utilization')).toBeCloseTo(0.35);
    const engine = out.points().find((p) => p.series.resource.attributes['process.pid'] === 4242)!;
    expect(engine.series.resource.attributes).toMatchObject({
      'inference.engine': 'vllm',
      'inference.rank.tp': 3,
      'k8s.pod.uid': POD,
      'container.id': CONTAINER,
      'hw.id': A,
    });
  });

  test('the inventory: GPU, bus id, NUMA node, peers and processes in one record, again only when it changes', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { look, inventory, out } = await probe(double);
    await look('slow', 'medium');
    await inventory();
    await inventory();
    double.script({ 'gpu.0.processes': 0 });
    await look('medium');
    await inventory();
    const records = out.logs().filter((r) => r.eventName === 'inference.inventory');
    expect(records).toHaveLength(2);
    const gpu = (records[0]!.body as readonly KeyValues[])[0]!.entries;
    expect(gpu).toMatchObject({
      kind: 'gpu',
      'hw.id': A,
      'hw.gpu.pci_bus_id': '0000:17:00.0',
      numa_node: 1,
      cpus: '32-63',
      peers: ['0000:c0:00.0'],
    });
    expect((gpu['processes'] as readonly KeyValues[])[0]!.entries).toMatchObject({
      'process.pid': 4242,
      owner: 'engine',
      'k8s.pod.uid': POD,
    });
  });

  test('what a look costs is measured, and what costs most is named', async () => {
    let ms = 0;
    const double = nvmlDouble(healthyNode(1));
    const { look } = await probe(double, () => (ms += 1));
    const sample = await look('fast');
    expect(sample.spentMs).toBeGreaterThan(20);
    expect(sample.slowest).toMatch(/^nvml/);
  });
});
