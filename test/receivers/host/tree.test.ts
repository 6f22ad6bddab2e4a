import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { isNumberPoint, type KeyValues, type NumberPoint } from '../../../pipeline/model.ts';
import { host } from '../../../receivers/host/index.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

/** A machine made of files: path below the root → content, or a link to where it points. */
type Files = Record<string, string | { link: string }>;

function machine(files: Files): string {
  const root = mkdtempSync(join(tmpdir(), 'host-'));
  write(root, files);
  return root;
}

function write(root: string, files: Files) {
  for (const [path, content] of Object.entries(files)) {
    const at = join(root, path);
    mkdirSync(dirname(at), { recursive: true });
    if (typeof content === 'string') writeFileSync(at, content);
    else symlinkSync(content.link, at);
  }
}

const ID = 'f'.repeat(64);
const STAT = (utime: number, processor = 0) =>
  `4242 (python (x)) S 1 4242 4242 0 -1 4194304 100 0 0 0 ${utime} 50 0 0 20 0 12 0 5000 1000000 256 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 ${processor} 0 0\n`;

const NODE: Files = {
  'proc/sys/kernel/hostname': 'n1\n',
  'proc/stat':
    'cpu  30 0 30 200 0 0 0 10\ncpu0 10 1 20 100 5 1 2 3 0 0\ncpu1 20 0 10 100 0 0 0 7 0 0\nctxt 12345\nbtime 1700000000\nprocesses 99\nprocs_running 3\nprocs_blocked 1\n',
  'proc/loadavg': '0.50 0.40 0.30 2/300 1000\n',
  'proc/uptime': '1000.00 1900.00\n',
  'proc/schedstat': 'version 15\ntimestamp 4294\ncpu0 0 0 0 0 0 0 5000000000 2500000000 77\ndomain0 3 1 2\n',
  'proc/pressure/cpu':
    'some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n',
  'proc/pressure/io':
    'some avg10=0.00 avg60=0.00 avg300=0.00 total=500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n',
  'proc/meminfo':
    'MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\nBuffers: 50 kB\nCached: 350 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n',
  'proc/vmstat': 'oom_kill 2\npgmajfault 11\npswpin 1\npswpout 2\n',
  'proc/diskstats':
    ' 259 0 nvme0n1 10 0 200 1500 20 0 400 2500 1 3000 4000\n 259 1 nvme0n1p1 10 0 200 1500 20 0 400 2500 0 3000 4000\n   7 0 loop0 1 0 2 3 0 0 0 0 0 0 0\n',
  'proc/net/dev':
    'Inter-|   Receive\n face |bytes\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n  veth12: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n',
  'proc/net/snmp': 'Tcp: RtoAlgorithm CurrEstab InSegs OutSegs RetransSegs\nTcp: 1 5 700 800 9\n',
  'sys/class/net/eth0/operstate': 'up\n',
  'sys/class/net/eth0/speed': '100000\n',
  'sys/class/net/eth0/carrier_changes': '4\n',
  'sys/class/infiniband/mlx5_0/ports/1/counters/port_rcv_data': '1000\n',
  'sys/class/infiniband/mlx5_0/ports/1/counters/symbol_error': '7\n',
  'sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_wait': '33\n',
  'sys/class/infiniband/mlx5_0/ports/1/hw_counters/np_cnp_sent': '44\n',
  'sys/class/infiniband/mlx5_0/ports/1/state': '4: ACTIVE\n',
  'sys/class/infiniband/mlx5_0/ports/1/rate': '400 Gb/sec (4X NDR)\n',
  'sys/bus/pci/devices/0000:17:00.0/class': '0x030200\n',
  'sys/bus/pci/devices/0000:17:00.0/vendor': '0x10de\n',
  'sys/bus/pci/devices/0000:17:00.0/numa_node': '0\n',
  'sys/bus/pci/devices/0000:17:00.0/current_link_speed': '16.0 GT/s PCIe\n',
  'sys/bus/pci/devices/0000:17:00.0/max_link_speed': '32.0 GT/s PCIe\n',
  'sys/bus/pci/devices/0000:17:00.0/current_link_width': '8\n',
  'sys/bus/pci/devices/0000:17:00.0/max_link_width': '16\n',
  'sys/class/thermal/thermal_zone0/type': 'x86_pkg_temp\n',
  'sys/class/thermal/thermal_zone0/temp': '55500\n',
  'sys/devices/system/node/node0/cpulist': '0\n',
  'sys/devices/system/node/node1/cpulist': '1\n',
};

const ENGINE: Files = {
  'proc/4242/stat': STAT(1000),
  'proc/4242/comm': 'python\n',
  'proc/4242/cmdline': 'python\0-m\0vllm.entrypoints.openai.api_server\0--api-key\0secret\0',
  'proc/4242/status':
    'Name: python\nThreads: 2\nCpus_allowed_list: 0-1\nvoluntary_ctxt_switches: 10\nnonvoluntary_ctxt_switches: 20\n',
  'proc/4242/cgroup': `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789012.slice/cri-containerd-${ID}.scope\n`,
  'proc/4242/fd/3': { link: '/dev/nvidia0' },
  'proc/4242/task/4242/schedstat': '1000000000 200000000 5\n',
  'proc/4242/task/4242/comm': 'python\n',
  'proc/4242/task/4242/stat': STAT(1000, 1),
  'proc/4242/task/4243/schedstat': '500000000 100000000 5\n',
  'proc/4242/task/4243/comm': 'scheduler\n',
  'proc/4242/task/4243/stat': STAT(1000, 1),
  'proc/driver/nvidia/gpus/0000:17:00.0/information': 'Model: H100\nDevice Minor: \t 0\n',
};
const CGROUP = `sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789012.slice/cri-containerd-${ID}.scope`;
const V2: Files = {
  [`${CGROUP}/cgroup.controllers`]: 'cpu memory\n',
  [`${CGROUP}/cpu.stat`]:
    'usage_usec 9000000\nuser_usec 1\nsystem_usec 1\nnr_periods 100\nnr_throttled 40\nthrottled_usec 3000000\n',
  [`${CGROUP}/cpu.max`]: '600000 100000\n',
  [`${CGROUP}/memory.current`]: '5000\n',
  [`${CGROUP}/memory.max`]: 'max\n',
  [`${CGROUP}/memory.stat`]: 'anon 3000\ninactive_file 1000\n',
  [`${CGROUP}/memory.events`]: 'low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n',
};

async function sample(root: string, between: (clock: ManualClock) => void = () => {}, rounds = 1) {
  const context = testContext({ id: 'host' });
  const out = sink();
  const clock = context.clock as ManualClock;
  const running = await host.start(resolve(host.config, { root_path: root }), out, context);
  await clock.advance(31_000);
  between(clock);
  for (let i = 0; i < rounds; i++) await clock.advance(5_000);
  await running.stop();
  const points = out.points().filter(isNumberPoint);
  return { points, out, context };
}

/** The last value of a metric whose attributes (of point and resource) include these. */
function last(
  points: readonly NumberPoint[],
  name: string,
  attributes: Record<string, unknown> = {},
): number | undefined {
  const found = points.filter(
    (p) =>
      p.series.metric.name === name &&
      Object.entries(attributes).every(([k, v]) => (p.series.attributes[k] ?? p.series.resource.attributes[k]) === v),
  );
  const value = found.at(-1)?.value;
  return value === undefined ? undefined : Number(value);
}

describe('host', () => {
  test('says what the files of a machine say, in the units of the conventions', async () => {
    const { points, context } = await sample(machine({ ...NODE, ...ENGINE, ...V2 }));
    const expected: [string, Record<string, unknown>, number][] = [
      ['system.cpu.time', { 'cpu.mode': 'steal', 'cpu.logical_number': 1 }, 0.07],
      ['system.cpu.wait.time', { 'cpu.logical_number': 0 }, 2.5],
      ['system.context_switches', {}, 12345],
      ['system.process.count', { 'process.state': 'blocked' }, 1],
      ['system.psi.time', { resource: 'cpu', kind: 'some' }, 2],
      ['system.psi.time', { resource: 'io', kind: 'full' }, 0.25],
      ['system.memory.usage', { 'system.memory.state': 'used' }, 500 * 1024],
      ['system.memory.oom_kills', {}, 2],
      ['system.disk.io', { 'system.device': 'nvme0n1', 'disk.io.direction': 'write' }, 400 * 512],
      ['system.disk.operation_time', { 'system.device': 'nvme0n1', 'disk.io.direction': 'read' }, 1.5],
      ['system.network.packet.dropped', { 'network.interface.name': 'eth0', 'network.io.direction': 'transmit' }, 4],
      ['system.network.tcp.retransmissions', {}, 9],
      ['hw.network.bandwidth.limit', { 'network.interface.name': 'eth0' }, 12.5e9],
      ['hw.network.io', { 'hw.nic.device': 'mlx5_0', 'network.io.direction': 'receive' }, 4000],
      ['hw.errors', { 'hw.nic.device': 'mlx5_0', 'error.type': 'symbol' }, 7],
      ['hw.network.congestion', { kind: 'cnp_sent' }, 44],
      ['hw.network.congestion', { kind: 'transmit_wait' }, 33],
      ['hw.network.bandwidth.limit', { 'hw.nic.device': 'mlx5_0' }, 50e9],
      ['hw.gpu.pcie.width', { 'hw.gpu.pci_bus_id': '0000:17:00.0', limit_type: 'max' }, 16],
      ['hw.temperature', { 'hw.sensor_location': 'x86_pkg_temp' }, 55.5],
      ['process.cpu.time', { 'process.pid': 4242, 'cpu.mode': 'user' }, 10],
      ['process.cpu.allowed.count', { 'process.pid': 4242 }, 2],
      ['container.cpu.limit', { 'container.id': ID }, 6],
      ['container.cpu.throttled.periods', { 'container.id': ID }, 40],
      ['container.cpu.throttled.time', { 'k8s.pod.uid': '12345678-1234-1234-1234-123456789012' }, 3],
      ['container.memory.working_set', {}, 4000],
      ['container.memory.oom_kills', {}, 1],
    ];
    for (const [name, attributes, value] of expected) {
      expect(last(points, name, attributes), `${name} ${JSON.stringify(attributes)}`).toBeCloseTo(value, 6);
    }
    expect(last(points, 'system.disk.io', { 'system.device': 'nvme0n1p1' })).toBeUndefined();
    expect(last(points, 'system.network.io', { 'network.interface.name': 'veth12' })).toBeUndefined();
    expect(last(points, 'container.memory.limit')).toBeUndefined();
    expect(JSON.stringify(points.map((p) => p.series.resource.attributes))).not.toContain('secret');
    expect(context.log.records.filter((r) => r.level === 'error')).toEqual([]);
  });

  test('knows the GPU that a process has open, and that its busy threads run on the other NUMA node', async () => {
    const root = machine({ ...NODE, ...ENGINE, ...V2 });
    const { points } = await sample(
      root,
      () => {
        writeFileSync(join(root, 'proc/4242/task/4242/schedstat'), '3000000000 400000000 9\n');
      },
      1,
    );
    expect(
      last(points, 'process.thread.cpu.time', { 'thread.name': 'python', 'hw.gpu.pci_bus_id': '0000:17:00.0' }),
    ).toBe(3);
    expect(last(points, 'process.cpu.wait.time', { 'process.pid': 4242 })).toBeCloseTo(0.5);
    expect(last(points, 'process.numa.remote', { 'process.pid': 4242 })).toBe(1);
  });

  test('reads cgroup v1, and both versions at once', async () => {
    const v1: Files = {
      'proc/4242/cgroup': `5:cpu,cpuacct:/docker/${ID}\n4:memory:/docker/${ID}\n0::/\n`,
      [`sys/fs/cgroup/cpu,cpuacct/docker/${ID}/cpu.stat`]: 'nr_periods 10\nnr_throttled 4\nthrottled_time 2000000000\n',
      [`sys/fs/cgroup/cpu,cpuacct/docker/${ID}/cpu.cfs_quota_us`]: '200000\n',
      [`sys/fs/cgroup/cpu,cpuacct/docker/${ID}/cpu.cfs_period_us`]: '100000\n',
      [`sys/fs/cgroup/memory/docker/${ID}/memory.usage_in_bytes`]: '900\n',
      [`sys/fs/cgroup/memory/docker/${ID}/memory.limit_in_bytes`]: '9223372036854771712\n',
      'sys/fs/cgroup/unified/cgroup.procs': '\n',
    };
    const { points } = await sample(machine({ ...NODE, ...ENGINE, ...v1 }));
    expect(last(points, 'container.cpu.limit', { 'container.id': ID })).toBe(2);
    expect(last(points, 'container.cpu.throttled.time', { 'container.id': ID })).toBe(2);
    expect(last(points, 'container.memory.usage', { 'container.id': ID })).toBe(900);
    expect(last(points, 'container.memory.limit', { 'container.id': ID })).toBeUndefined();
  });

  test('names what a machine lacks once, keeps the gap visible, and says the rest', async () => {
    const { points, context } = await sample(machine({ 'proc/loadavg': '1.5 1 1 1/1 1\n' }), () => {}, 4);
    expect(last(points, 'system.cpu.load_average.1m')).toBe(1.5);
    expect(last(points, 'system.memory.limit')).toBeUndefined();
    const gaps = context.log.records
      .filter((r) => r.message === 'Not available on this machine.')
      .map((r) => r.fields['what']);
    expect([...gaps].sort()).toEqual([...new Set(gaps)].sort());
    expect(gaps).toEqual(expect.arrayContaining(['cpu', 'memory', 'network', 'pressure', 'run_queue']));
    expect(context.measured.gauges.get('probe_gap')?.()).toBe(1);
  });

  test('a sensor and a process that vanish take only their own numbers with them', async () => {
    const root = machine({ ...NODE, ...ENGINE, ...V2 });
    const { points, context } = await sample(
      root,
      () => {
        rmSync(join(root, 'proc/4242'), { recursive: true });
        rmSync(join(root, 'sys/class/infiniband'), { recursive: true });
        writeFileSync(join(root, 'proc/meminfo'), 'MemTotal: x\n\0garbage');
      },
      2,
    );
    const latest = points.at(-1)!.time;
    const names = new Set(points.filter((p) => p.time === latest).map((p) => p.series.metric.name));
    expect(names).toContain('system.cpu.time');
    expect(names).not.toContain('process.cpu.time');
    expect(names).not.toContain('hw.network.io');
    expect(context.log.records.filter((r) => r.level === 'error')).toEqual([]);
  });

  test('the inventory lists GPUs and NICs with their place, and is sent again only when it changes', async () => {
    const { out } = await sample(machine(NODE), () => {}, 14);
    const records = out.logs().filter((r) => r.eventName === 'inference.inventory');
    expect(records).toHaveLength(1);
    const gpu = (records[0]!.body as readonly KeyValues[])[0]!.entries;
    expect(gpu).toMatchObject({ kind: 'gpu', 'hw.gpu.pci_bus_id': '0000:17:00.0', vendor: 'nvidia', numa_node: 0 });
  });
});
