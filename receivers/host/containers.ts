/** What a container may use and what it was refused: cgroup v2, v1 and both at once. */
import type { CgroupPlace } from '../../pipeline/kit/cgroup.ts';
import type { Round } from '../../pipeline/kit/probe.ts';
import { keyedNumbers } from '../../pipeline/kit/tree.ts';
import { gauge, type Resource, sum } from '../../pipeline/model.ts';
import { PRESSURE_RESOURCES, parsePressure } from './cpu.ts';
import type { Host } from './reader.ts';

const CPU = sum('container.cpu.time', 's', 'CPU time of a container');
const LIMIT = gauge('container.cpu.limit', '{cpu}', 'CPUs a container may use (its quota)');
const PERIODS = sum('container.cpu.periods', '{period}', 'Scheduling periods of the CPU quota');
const THROTTLED = sum('container.cpu.throttled.periods', '{period}', 'Periods in which the quota ran out');
const THROTTLED_TIME = sum('container.cpu.throttled.time', 's', 'Time threads waited for the next period');
const MEMORY = gauge('container.memory.usage', 'By', 'Memory charged to a container, page cache included');
const WORKING_SET = gauge('container.memory.working_set', 'By', 'Memory that cannot be reclaimed at once');
const RSS = gauge('container.memory.rss', 'By', 'Anonymous memory');
const MEMORY_LIMIT = gauge('container.memory.limit', 'By', 'Memory limit');
const FAILURES = sum('container.memory.failures', '{event}', 'Times the memory limit was hit');
const OOM = sum('container.memory.oom_kills', '{process}', 'Processes of the container killed for lack of memory');
const PRESSURE = sum('container.psi.time', 's', 'Time tasks of a container stalled for want of a resource (PSI)');

/** Larger than any machine: the kernel's way to say "no limit". */
const NO_LIMIT = 2 ** 60;

/** Adds the numbers of one cgroup to the round. A path outside the mount (another namespace) falls back to the root. */
export function readContainer(host: Host, round: Round, place: CgroupPlace, resource: Resource): void {
  const { tree, probe } = host;
  const v2 = first(
    host,
    [`/sys/fs/cgroup${place.unified ?? ''}`, `/sys/fs/cgroup/unified${place.unified ?? ''}`, '/sys/fs/cgroup'],
    'cpu.stat',
  );
  // The root of a hierarchy has a cpu.stat too; with a quota file it is a container's own root.
  if (v2 !== undefined && tree.read(`${v2}/cgroup.controllers`) !== undefined) {
    readV2(host, round, v2, resource);
    return;
  }
  const cpu = first(
    host,
    [
      `/sys/fs/cgroup/cpu,cpuacct${place.controllers['cpu'] ?? ''}`,
      `/sys/fs/cgroup/cpu${place.controllers['cpu'] ?? ''}`,
      '/sys/fs/cgroup/cpu',
    ],
    'cpu.stat',
  );
  const memory = first(
    host,
    [`/sys/fs/cgroup/memory${place.controllers['memory'] ?? ''}`, '/sys/fs/cgroup/memory'],
    'memory.usage_in_bytes',
  );
  if (cpu === undefined && memory === undefined) {
    probe.gap(
      'cgroup',
      `/sys/fs/cgroup shows nothing of the engine's cgroup`,
      "mount the host's /sys/fs/cgroup below root_path",
    );
    return;
  }
  probe.filled('cgroup');
  readV1(host, round, cpu, memory, resource);
}

function first({ tree }: Host, folders: readonly string[], file: string): string | undefined {
  return folders.find((folder) => tree.read(`${folder.replace(/\/$/, '')}/${file}`) !== undefined)?.replace(/\/$/, '');
}

function readV2({ tree, probe }: Host, round: Round, at: string, resource: Resource): void {
  probe.filled('cgroup');
  const cpu = keyedNumbers(tree.read(`${at}/cpu.stat`) ?? '');
  const seconds = (name: string) => {
    const micros = cpu.get(name);
    return micros === undefined ? undefined : micros / 1e6;
  };
  round.add(resource, CPU, seconds('usage_usec'));
  round.add(resource, PERIODS, cpu.get('nr_periods'));
  round.add(resource, THROTTLED, cpu.get('nr_throttled'));
  round.add(resource, THROTTLED_TIME, seconds('throttled_usec'));
  const [quota, period] = (tree.read(`${at}/cpu.max`) ?? '').trim().split(' ');
  if (quota !== undefined && quota !== '' && quota !== 'max')
    round.add(resource, LIMIT, Number(quota) / Number(period));
  const current = tree.number(`${at}/memory.current`);
  round.add(resource, MEMORY, current);
  const stat = keyedNumbers(tree.read(`${at}/memory.stat`) ?? '');
  if (current !== undefined) round.add(resource, WORKING_SET, Math.max(0, current - (stat.get('inactive_file') ?? 0)));
  round.add(resource, RSS, stat.get('anon'));
  round.add(resource, MEMORY_LIMIT, tree.number(`${at}/memory.max`));
  const events = keyedNumbers(tree.read(`${at}/memory.events`) ?? '');
  round.add(resource, FAILURES, events.get('max'));
  round.add(resource, OOM, events.get('oom_kill'));
  for (const name of PRESSURE_RESOURCES) {
    const text = tree.read(`${at}/${name}.pressure`);
    if (text === undefined) continue;
    const { some, full } = parsePressure(text);
    round.add(resource, PRESSURE, some, { resource: name, kind: 'some' });
    round.add(resource, PRESSURE, full, { resource: name, kind: 'full' });
  }
}

function readV1(
  { tree }: Host,
  round: Round,
  cpuAt: string | undefined,
  memoryAt: string | undefined,
  resource: Resource,
): void {
  if (cpuAt !== undefined) {
    const stat = keyedNumbers(tree.read(`${cpuAt}/cpu.stat`) ?? '');
    round.add(resource, PERIODS, stat.get('nr_periods'));
    round.add(resource, THROTTLED, stat.get('nr_throttled'));
    const nanos = stat.get('throttled_time');
    round.add(resource, THROTTLED_TIME, nanos === undefined ? undefined : nanos / 1e9);
    const usage = tree.number(`${cpuAt}/cpuacct.usage`);
    round.add(resource, CPU, usage === undefined ? undefined : usage / 1e9);
    const quota = tree.number(`${cpuAt}/cpu.cfs_quota_us`);
    const period = tree.number(`${cpuAt}/cpu.cfs_period_us`);
    if (quota !== undefined && quota > 0 && period) round.add(resource, LIMIT, quota / period);
  }
  if (memoryAt !== undefined) {
    const usage = tree.number(`${memoryAt}/memory.usage_in_bytes`);
    round.add(resource, MEMORY, usage);
    const stat = keyedNumbers(tree.read(`${memoryAt}/memory.stat`) ?? '');
    if (usage !== undefined)
      round.add(resource, WORKING_SET, Math.max(0, usage - (stat.get('total_inactive_file') ?? 0)));
    round.add(resource, RSS, stat.get('total_rss'));
    const limit = tree.number(`${memoryAt}/memory.limit_in_bytes`);
    if (limit !== undefined && limit < NO_LIMIT) round.add(resource, MEMORY_LIMIT, limit);
    round.add(resource, FAILURES, tree.number(`${memoryAt}/memory.failcnt`));
    round.add(resource, OOM, keyedNumbers(tree.read(`${memoryAt}/memory.oom_control`) ?? '').get('oom_kill'));
  }
}
