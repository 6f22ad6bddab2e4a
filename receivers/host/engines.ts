/**
 * The processes of inference engines: CPU, memory, waits, threads, where they may run and where they do, which GPUs they
 * hold, and the cgroup (container, pod) that bounds them.
 */
import { parseCgroup } from '../../pipeline/kit/cgroup.ts';
import type { Round } from '../../pipeline/kit/probe.ts';
import { keyedNumbers, numberList } from '../../pipeline/kit/tree.ts';
import { type Attributes, gauge, type Resource, sum } from '../../pipeline/model.ts';
import { readContainer } from './containers.ts';
import { type Host, type Reader, TICKS_PER_SECOND } from './reader.ts';

const CPU = sum('process.cpu.time', 's', 'CPU time');
const WAIT = sum('process.cpu.wait.time', 's', 'Time threads of the process were ready to run and had no CPU');
const THREAD_CPU = sum('process.thread.cpu.time', 's', 'CPU time of the busiest threads');
const THREAD_WAIT = sum(
  'process.thread.cpu.wait.time',
  's',
  'Time the busiest threads were ready to run and had no CPU',
);
const MEMORY = sum('process.memory.usage', 'By', 'Resident memory', false);
const VIRTUAL = sum('process.memory.virtual', 'By', 'Virtual memory', false);
const UPTIME = gauge('process.uptime', 's', 'Time since start');
const FILES = sum('process.unix.file_descriptor.count', '{file_descriptor}', 'Open file descriptors', false);
const THREADS = sum('process.thread.count', '{thread}', 'Threads', false);
const ALLOWED = gauge('process.cpu.allowed.count', '{cpu}', 'CPUs the process may run on');
const SWITCHES = sum('process.context_switches', '{switch}', 'Context switches by kind');
const MISPLACED = gauge(
  'process.numa.remote',
  '1',
  'Share of the busiest threads that run on another NUMA node than the GPU of the process',
);

const USER = { 'cpu.mode': 'user' };
const SYSTEM = { 'cpu.mode': 'system' };
const VOLUNTARY = { 'process.context_switch.type': 'voluntary' };
const INVOLUNTARY = { 'process.context_switch.type': 'involuntary' };

export interface EnginePattern {
  readonly engine: string;
  readonly pattern: RegExp;
}

export interface EngineOptions {
  readonly patterns: readonly EnginePattern[];
  /** Threads named on their own, by CPU time used since the last round. */
  readonly threads: number;
  readonly maxProcesses: number;
  /** CPU → NUMA node, and PCI bus id of a GPU → NUMA node. */
  readonly nodeOfCpu: ReadonlyMap<number, number>;
  readonly nodeOfGpu: ReadonlyMap<string, number>;
}

interface Known {
  readonly start: string;
  readonly engine: string | undefined;
  resource?: Resource;
  cgroup?: ReturnType<typeof parseCgroup>;
  gpus?: readonly string[];
  threads: Map<string, number>;
  seen: number;
}

/** Fields of /proc/PID/stat after the command, which is in parentheses and may hold anything. */
export function parseStat(text: string): readonly string[] | undefined {
  const close = text.lastIndexOf(')');
  return close < 0
    ? undefined
    : text
        .slice(close + 2)
        .trim()
        .split(' ');
}
/** Indices after the command: field numbers of proc(5) minus three. */
const UTIME = 11;
const STIME = 12;
const START_TIME = 19;
const VSIZE = 20;
const RSS = 21;
const PROCESSOR = 36;
const PAGE = 4096;

export function engineReader(host: Host, options: EngineOptions, bootSeconds: () => number | undefined): Reader {
  const { tree, probe } = host;
  const known = new Map<string, Known>();
  const gpuByMinor = gpusByMinor(host);
  let rounds = 0;

  const recognise = (pid: string, start: string): Known => {
    const words = tree.read(`/proc/${pid}/cmdline`)?.split('\0').join(' ').trim() ?? '';
    const engine = options.patterns.find((p) => p.pattern.test(words))?.engine;
    return { start, engine, threads: new Map(), seen: rounds };
  };

  return (round) => {
    rounds++;
    const boot = bootSeconds();
    const containers = new Map<string, Known>();
    let count = 0;
    for (const pid of tree.list('/proc')) {
      if (pid.charCodeAt(0) < 48 || pid.charCodeAt(0) > 57) continue;
      let entry = known.get(pid);
      // What is no engine is looked at again only now and then: the pid may be another process by now.
      if (entry && entry.engine === undefined && rounds - entry.seen < 12) continue;
      const stat = parseStat(tree.read(`/proc/${pid}/stat`) ?? '');
      const start = stat?.[START_TIME];
      if (!stat || start === undefined) {
        known.delete(pid);
        continue;
      }
      if (entry?.start !== start || entry.engine === undefined) {
        entry = recognise(pid, start);
        known.set(pid, entry);
      }
      entry.seen = rounds;
      if (entry.engine === undefined || count >= options.maxProcesses) continue;
      count++;
      const resource = describe(pid, entry);
      readProcess(round, pid, entry, resource, stat, boot);
      const key = entry.cgroup?.unified ?? entry.cgroup?.controllers['cpu'] ?? '';
      if (key !== '' && !containers.has(key)) containers.set(key, entry);
    }
    for (const [pid, entry] of known) if (rounds - entry.seen > 24) known.delete(pid);
    for (const entry of containers.values()) readContainer(host, round, entry.cgroup!, containerOf(entry));
  };

  function describe(pid: string, entry: Known): Resource {
    if (entry.resource) return entry.resource;
    const cgroup = parseCgroup(tree.read(`/proc/${pid}/cgroup`) ?? '');
    entry.cgroup = cgroup;
    entry.gpus = gpusOf(pid);
    const name = tree.read(`/proc/${pid}/comm`)?.trim() ?? '';
    entry.resource = host.part({
      'process.pid': Number(pid),
      'process.executable.name': name.slice(0, 64),
      'inference.engine': entry.engine!,
      ...container(cgroup),
      ...(entry.gpus.length === 1 ? { 'hw.gpu.pci_bus_id': entry.gpus[0]! } : {}),
    });
    return entry.resource;
  }

  function containerOf(entry: Known): Resource {
    return host.part({ 'inference.engine': entry.engine!, ...container(entry.cgroup!) });
  }

  function readProcess(
    round: Round,
    pid: string,
    entry: Known,
    resource: Resource,
    stat: readonly string[],
    boot: number | undefined,
  ) {
    round.add(resource, CPU, Number(stat[UTIME]) / TICKS_PER_SECOND, USER);
    round.add(resource, CPU, Number(stat[STIME]) / TICKS_PER_SECOND, SYSTEM);
    round.add(resource, VIRTUAL, Number(stat[VSIZE]));
    round.add(resource, MEMORY, Number(stat[RSS]) * PAGE);
    const up = Number(tree.read('/proc/uptime')?.split(' ')[0]);
    if (boot !== undefined) round.add(resource, UPTIME, up - Number(stat[START_TIME]) / TICKS_PER_SECOND);
    const status = tree.read(`/proc/${pid}/status`) ?? '';
    const numbers = keyedNumbers(status);
    round.add(resource, THREADS, numbers.get('Threads'));
    round.add(resource, SWITCHES, numbers.get('voluntary_ctxt_switches'), VOLUNTARY);
    round.add(resource, SWITCHES, numbers.get('nonvoluntary_ctxt_switches'), INVOLUNTARY);
    const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1];
    if (allowed !== undefined) round.add(resource, ALLOWED, numberList(allowed).length);
    const open = tree.list(`/proc/${pid}/fd`).length;
    if (open > 0) round.add(resource, FILES, open);
    else if (tree.problem() === 'denied') {
      probe.gap(
        'process_files',
        'the engine runs as another user',
        "run as the engine's user, or as root with CAP_SYS_PTRACE; only file counts and GPU attribution need it",
      );
    }
    readThreads(round, pid, entry, resource);
  }

  /** schedstat of every thread (CPU and wait, nanoseconds); the busiest few by name. */
  function readThreads(round: Round, pid: string, entry: Known, resource: Resource) {
    let waited = 0;
    let any = false;
    const busy: { tid: string; cpu: number; wait: number; used: number }[] = [];
    const now = new Map<string, number>();
    for (const tid of tree.list(`/proc/${pid}/task`).slice(0, 2048)) {
      const columns = tree.read(`/proc/${pid}/task/${tid}/schedstat`)?.split(' ');
      if (!columns || columns.length < 2) continue;
      any = true;
      const cpu = Number(columns[0]) / 1e9;
      const wait = Number(columns[1]) / 1e9;
      waited += wait;
      now.set(tid, cpu);
      const used = cpu - (entry.threads.get(tid) ?? cpu);
      if (used > 0) busy.push({ tid, cpu, wait, used });
    }
    entry.threads = now;
    if (any) round.add(resource, WAIT, waited);
    busy.sort((a, b) => b.used - a.used);
    let remote = 0;
    let placed = 0;
    const home = options.nodeOfGpu.get(entry.gpus?.length === 1 ? entry.gpus[0]! : '');
    for (const thread of busy.slice(0, options.threads)) {
      const name = tree.read(`/proc/${pid}/task/${thread.tid}/comm`)?.trim() ?? '';
      const attributes = { 'thread.id': Number(thread.tid), 'thread.name': name };
      round.add(resource, THREAD_CPU, thread.cpu, attributes);
      round.add(resource, THREAD_WAIT, thread.wait, attributes);
      const cpu = Number(parseStat(tree.read(`/proc/${pid}/task/${thread.tid}/stat`) ?? '')?.[PROCESSOR]);
      const node = options.nodeOfCpu.get(cpu);
      if (home === undefined || home < 0 || node === undefined) continue;
      placed++;
      if (node !== home) remote++;
    }
    if (placed > 0) round.add(resource, MISPLACED, remote / placed);
  }

  /** The PCI bus ids of the NVIDIA and AMD devices a process has open. */
  function gpusOf(pid: string): readonly string[] {
    const found = new Set<string>();
    for (const fd of tree.list(`/proc/${pid}/fd`)) {
      const target = tree.link(`/proc/${pid}/fd/${fd}`);
      const minor = target && /^\/dev\/(nvidia\d+|dri\/renderD\d+)$/.exec(target)?.[1];
      const busId = minor && gpuByMinor.get(minor);
      if (busId) found.add(busId);
    }
    return [...found].sort();
  }
}

function container(cgroup: ReturnType<typeof parseCgroup>): Attributes {
  return {
    ...(cgroup.containerId === undefined ? {} : { 'container.id': cgroup.containerId }),
    ...(cgroup.podUid === undefined ? {} : { 'k8s.pod.uid': cgroup.podUid }),
  };
}

/** `nvidia0` → PCI bus id from the driver's own files; `dri/renderD128` → from DRM. */
function gpusByMinor({ tree }: Host): Map<string, string> {
  const found = new Map<string, string>();
  for (const busId of tree.list('/proc/driver/nvidia/gpus')) {
    const minor = /Device Minor:\s*(\d+)/.exec(tree.read(`/proc/driver/nvidia/gpus/${busId}/information`) ?? '')?.[1];
    if (minor !== undefined) found.set(`nvidia${minor}`, busId.toLowerCase());
  }
  for (const name of tree.list('/sys/class/drm')) {
    if (!name.startsWith('renderD')) continue;
    const busId = tree.link(`/sys/class/drm/${name}/device`)?.split('/').at(-1);
    if (busId) found.set(`dri/${name}`, busId.toLowerCase());
  }
  return found;
}
