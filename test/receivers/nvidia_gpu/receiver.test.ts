import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import { nvidiaGpu, startNvidia } from '../../../receivers/nvidia_gpu/index.ts';
import { compiled } from '../../kit/compiled.ts';
import { type ManualClock, sink, type TestContext, testContext } from '../../kit/harness.ts';
import { hasCompiler, healthyNode, nvmlDouble } from '../../kit/nvml-double/build.ts';
import { last } from './kit.ts';

const A = 'GPU-00000000-1111-2222-3333-444444444444';
const worker = compiled('receivers/nvidia_gpu/worker.ts');
afterAll(() => worker.remove());

let running: Running | undefined;
let server: Server | undefined;
afterEach(async () => {
  await running?.stop(AbortSignal.timeout(3000));
  running = undefined;
  await new Promise((done) => (server ? server.close(done) : done(undefined)));
  server = undefined;
});

/** Starts the receiver on an empty machine; nothing of this one is asked. */
async function start(
  options: Record<string, unknown>,
  context = testContext({ id: 'nvidia_gpu', clock: systemClock }),
) {
  const root = mkdtempSync(join(tmpdir(), 'gpu-root-'));
  const out = sink();
  const config = resolve(nvidiaGpu.config, {
    nvml_library: '/nowhere/libnvidia-ml.so.1',
    nvidia_smi: '/nowhere/nvidia-smi',
    dcgm_url: '',
    pod_resources_socket: '',
    root_path: root,
    ...options,
  });
  running = await startNvidia(config, out, context, worker.url);
  return { out, context, root };
}

const gaps = (context: TestContext) =>
  context.log.records.filter((r) => r.message === 'Not available on this machine.').map((r) => r.fields);
const patient = { timeout: 15_000, interval: 20 };

/** A tool that writes a file, or does whatever a line of shell says. */
function tool(line: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'smi-')), 'nvidia-smi');
  writeFileSync(path, `#!/bin/sh\n${line}\n`);
  chmodSync(path, 0o755);
  return path;
}

test('where there is nothing, that is said once with every source’s cause and remedy, and stays visible', async () => {
  const { context, out } = await start({ retry_interval: '1s' }, testContext({ id: 'nvidia_gpu' }));
  for (let i = 0; i < 3; i++) await (context.clock as ManualClock).advance(1000);
  expect(gaps(context)).toHaveLength(1);
  const [{ because, enable }] = gaps(context) as [{ because: string; enable: string }];
  expect(because).toMatch(/nvml: .*; nvidia-smi: \/nowhere\/nvidia-smi is not installed; dcgm-exporter: no dcgm_url/);
  expect(enable).toContain('driver');
  expect(context.measured.gauges.get('probe_gap')?.()).toBe(1);
  expect(context.statuses.at(-1)).toMatchObject({ status: 'ok' });
  expect(out.points()).toEqual([]);
});

describe.runIf(hasCompiler)('through the thread', () => {
  test('NVML is preferred; XIDs are events at once, and counted', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { out, context } = await start({ nvml_library: double.library, collection_interval: '100ms' });
    expect(context.measured.gauges.get('gpu_source')?.()).toBe(1);
    await vi.waitFor(
      () => expect(last(out.points(), 'hw.gpu.clock', { 'hw.id': A, clock: 'sm' })).toBe(1.98e9),
      patient,
    );
    double.script({ 'event.1': '0 8 79' });
    await vi.waitFor(() => expect(out.logs().map((r) => r.eventName)).toContain('inference.gpu.xid'), patient);
    const xid = out.logs().find((r) => r.eventName === 'inference.gpu.xid')!;
    expect(xid.attributes).toEqual({ 'hw.gpu.xid': 79 });
    expect(xid.resource.attributes).toMatchObject({ 'hw.id': A, 'hw.gpu.pci_bus_id': '0000:17:00.0' });
    await vi.waitFor(
      () => expect(last(out.points(), 'hw.errors', { 'hw.id': A, 'error.type': 'xid', xid: '79' })).toBe(1),
      patient,
    );
  });

  test('where the driver gives no events, the kernel’s log does; where that is closed, it is a gap', async () => {
    const double = nvmlDouble({ ...healthyNode(1), 'error.nvmlEventSetCreate': 4 });
    const { context } = await start({ nvml_library: double.library });
    await vi.waitFor(() => expect(gaps(context).map((g) => g['what'])).toContain('gpu_xid'), patient);
    expect(gaps(context).find((g) => g['what'] === 'gpu_xid')!['because']).toMatch(/no permission.*kmsg/);
  });

  test('a call that hangs stalls nothing: the GPUs are told as failed, and read again when it answers', async () => {
    const double = nvmlDouble(healthyNode(1));
    const { out, context } = await start({
      nvml_library: double.library,
      collection_interval: '100ms',
      driver_timeout: '300ms',
    });
    await vi.waitFor(() => expect(last(out.points(), 'hw.power', { 'hw.id': A })).toBe(650), patient);
    double.script({ 'slow.nvmlDeviceGetPowerUsage': 1500 });
    const failed = { 'hw.id': A, check: 'driver', 'hw.state': 'failed' };
    await vi.waitFor(() => expect(last(out.points(), 'hw.status', failed)).toBe(1), patient);
    expect(context.statuses.some((s) => s.status === 'recoverable_error')).toBe(true);
    double.script({ 'slow.nvmlDeviceGetPowerUsage': null, 'gpu.0.power': 111_000 });
    await vi.waitFor(() => expect(last(out.points(), 'hw.power', { 'hw.id': A })).toBe(111), patient);
    expect(last(out.points(), 'hw.status', failed)).toBe(0);
  });

  test('a driver that is slow is asked less often, and the log says which call it is', async () => {
    const double = nvmlDouble({ ...healthyNode(1), 'slow.nvmlDeviceGetPowerUsage': 20 });
    const { context } = await start({ nvml_library: double.library, collection_interval: '100ms' });
    await vi.waitFor(
      () => expect(context.log.records.map((r) => r.message)).toContain('Sampling less often to stay within max_load.'),
      patient,
    );
    const said = context.log.records.find((r) => r.message.startsWith('Sampling less often'))!;
    expect(said.fields).toMatchObject({ group: 'fast', slowest: 'nvmlDeviceGetPowerUsage' });
    expect(Number(said.fields['interval_ms'])).toBeGreaterThan(1000);
  });

  test('a driver that is not loaded is no source: the next one is asked', async () => {
    const double = nvmlDouble({ ...healthyNode(1), 'error.nvmlInit_v2': 9 });
    const { context } = await start({ nvml_library: double.library });
    expect(gaps(context)[0]!['because']).toContain('nvml: the driver is not loaded');
  });
});

const XML = new URL('../../fixtures/gpu/nvidia-smi.xml', import.meta.url).pathname;

test('without NVML, nvidia-smi is run; its XML gives the same signals', async () => {
  const { out } = await start({ nvidia_smi: tool(`[ "$1" = -q ] && cat ${XML}`) });
  const scope = out.points()[0]!.series.scope;
  expect(scope.attributes).toEqual({ source: 'nvidia-smi' });
  const one = { 'hw.id': 'GPU-11111111-2222-3333-4444-555555555555' };
  const expected: [string, Record<string, unknown>, number | undefined][] = [
    ['hw.gpu.utilization', { 'hw.gpu.task': undefined }, 0.97],
    ['hw.gpu.memory.usage', {}, 70_000 * 2 ** 20],
    ['hw.power', {}, 689.12],
    ['hw.power.limit', {}, 700],
    ['hw.temperature', { 'hw.sensor_location': 'gpu' }, 88],
    ['hw.temperature', { 'hw.sensor_location': 'memory' }, undefined],
    ['hw.gpu.throttle', { reason: 'hw_thermal' }, 0],
    ['hw.gpu.pcie.speed', { limit_type: undefined }, 16],
    ['hw.gpu.pcie.speed', { limit_type: 'max' }, 32],
    ['hw.gpu.pcie.width', { limit_type: undefined }, 8],
    ['hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' }, 12],
    ['hw.errors', { 'error.type': 'corrected' }, 7],
    ['hw.errors', { 'error.type': 'uncorrected' }, 1],
    ['hw.errors', { 'error.type': 'row_remap_pending' }, 1],
    ['hw.status', { check: 'row_remap', 'hw.state': 'failed' }, 0],
    ['hw.gpu.process.memory.usage', { 'process.pid': 4242 }, 69_000 * 2 ** 20],
  ];
  for (const [name, attributes, wanted] of expected) {
    const value = last(out.points(), name, { ...one, ...attributes });
    if (wanted === undefined) expect(value, name).toBeUndefined();
    else expect(value, `${name} ${JSON.stringify(attributes)}`).toBeCloseTo(wanted, 6);
  }
  // Everything about the second GPU is [N/A] but what it is.
  const two = out.points().filter((p) => p.series.resource.attributes['hw.gpu.pci_bus_id'] === '0000:ca:00.0');
  expect(new Set(two.map((p) => p.series.metric.name))).toEqual(new Set(['hw.status']));
});

test('where the XML cannot be read, the CSV is', async () => {
  const csv =
    '0, GPU-x, 00000000:17:00.0, H100, [N/A], 550.54, 50, 10, 81559, 100, 120.5, 700.00, 700.00, 40, [N/A], 345, 2619, 1980, 2619, 16, 16, 0, 0, [N/A], 0, 5, 5, 0x0000000000000008';
  const { out, context } = await start({
    nvidia_smi: tool(`if [ "$1" = -q ]; then echo '<cut'; else echo '${csv}'; fi`),
  });
  expect(last(out.points(), 'hw.gpu.clock', { 'hw.id': 'GPU-x', clock: 'sm' })).toBe(345e6);
  expect(last(out.points(), 'hw.temperature', { 'hw.sensor_location': 'memory' })).toBeUndefined();
  expect(last(out.points(), 'hw.gpu.throttle', { reason: 'hw_slowdown' })).toBe(0);
  expect(gaps(context).map((g) => g['what'])).toEqual(expect.arrayContaining(['gpu_sm_activity', 'gpu_processes']));
});

test('an nvidia-smi that hangs is killed and left in peace for a while; one that fails tells the GPU that is lost', async () => {
  const flag = join(mkdtempSync(join(tmpdir(), 'smi-')), 'mode');
  writeFileSync(flag, 'well');
  const nvidia_smi = tool(
    `case $(cat ${flag}) in well) cat ${XML};; hang) exec sleep 60;; *) echo 'Unable to determine the device handle for GPU0000:CA:00.0: GPU is lost.  Reboot the system' >&2; exit 15;; esac`,
  );
  const { out, context } = await start({ nvidia_smi, nvidia_smi_interval: '1s', driver_timeout: '1s', max_load: 0 });
  const failed = (uuid: string) =>
    last(out.points(), 'hw.status', { 'hw.id': uuid, check: 'driver', 'hw.state': 'failed' });
  writeFileSync(flag, 'lost');
  await vi.waitFor(() => expect(failed('GPU-99999999-2222-3333-4444-555555555555')).toBe(1), patient);
  expect(failed('GPU-11111111-2222-3333-4444-555555555555')).toBe(0);
  writeFileSync(flag, 'hang');
  await vi.waitFor(() => expect(failed('GPU-11111111-2222-3333-4444-555555555555')).toBe(1), patient);
  expect(context.statuses.at(-1)!.message).toMatch(/nvidia-smi has not answered/);
});

test('else a dcgm-exporter is scraped; its last XID becomes an event only when it changes', async () => {
  let xid = 31;
  const pod = 'pod="llm-0",namespace="serving",container="vllm"';
  server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    response.end(
      `# TYPE DCGM_FI_DEV_XID_ERRORS gauge\nDCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-d",pci_bus_id="00000000:17:00.0",${pod}} ${xid}\n# TYPE DCGM_FI_DEV_GPU_TEMP gauge\nDCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-d",${pod}} 61\n`,
    );
  });
  await new Promise<void>((done) => server!.listen(0, '127.0.0.1', done));
  const dcgm_url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
  const { out } = await start({ dcgm_url, dcgm_interval: '1s' });
  await vi.waitFor(
    () => expect(last(out.points(), 'DCGM_FI_DEV_GPU_TEMP', { UUID: 'GPU-d', pod: 'llm-0' })).toBe(61),
    patient,
  );
  expect(out.points()[0]!.series.scope.attributes).toEqual({ source: 'dcgm-exporter' });
  expect(out.logs()).toEqual([]);
  xid = 79;
  await vi.waitFor(() => expect(out.logs().map((r) => r.attributes)).toEqual([{ 'hw.gpu.xid': 79 }]), patient);
  expect(out.logs()[0]!.resource.attributes['hw.id']).toBe('GPU-d');
});

test('XIDs of the kernel’s log are found by their bus id', async () => {
  // A pipe stands for /dev/kmsg: what was there before is passed over, what comes is read.
  const root = mkdtempSync(join(tmpdir(), 'kmsg-'));
  mkdirSync(join(root, 'dev'));
  execFileSync('mkfifo', [join(root, 'dev/kmsg')]);
  const { openSync, writeSync, closeSync, constants } = await import('node:fs');
  const context = testContext({ id: 'nvidia_gpu' });
  const { out } = await start({ nvidia_smi: tool(`cat ${XML}`), root_path: root }, context);
  const fd = openSync(join(root, 'dev/kmsg'), constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(
    fd,
    '4,1,2,-;NVRM: Xid (PCI:0000:17:00): 79, pid=4242, name=python, GPU has fallen off the bus.\n SUBSYSTEM=pci\n',
  );
  await (context.clock as ManualClock).advance(2000);
  closeSync(fd);
  expect(
    out
      .logs()
      .filter((r) => r.eventName === 'inference.gpu.xid')
      .map((r) => r.resource.attributes['hw.id']),
  ).toEqual(['GPU-11111111-2222-3333-4444-555555555555']);
});
