/** CPU time by mode, run-queue waits, load, pressure, and what the scheduler did: /proc/stat, schedstat, loadavg, pressure. */
import { gauge, sum } from '../../pipeline/model.ts';
import { type Host, type Reader, TICKS_PER_SECOND } from './reader.ts';

const TIME = sum('system.cpu.time', 's', 'CPU time by mode');
const WAIT = sum('system.cpu.wait.time', 's', 'Time threads were ready to run and had no CPU');
const LOGICAL = sum('system.cpu.logical.count', '{cpu}', 'Logical CPUs online', false);
const FREQUENCY = gauge('system.cpu.frequency', 'Hz', 'CPU clock');
const LOADS = [
  gauge('system.cpu.load_average.1m', '{thread}', 'Load average over 1 minute'),
  gauge('system.cpu.load_average.5m', '{thread}', 'Load average over 5 minutes'),
  gauge('system.cpu.load_average.15m', '{thread}', 'Load average over 15 minutes'),
] as const;
const SWITCHES = sum('system.context_switches', '{switch}', 'Context switches');
const CREATED = sum('system.process.created', '{process}', 'Processes started');
const PROCESSES = sum('system.process.count', '{process}', 'Processes by state', false);
const UPTIME = gauge('system.uptime', 's', 'Time since the host started');
const PRESSURE = sum('system.psi.time', 's', 'Time tasks stalled for want of a resource (PSI)');

/** /proc/stat's columns; guest time is already in user and nice. */
const MODES = ['user', 'nice', 'system', 'idle', 'iowait', 'interrupt', 'softirq', 'steal'] as const;

/** Seconds since the epoch at which this kernel started, from /proc/stat. */
export function bootTime(stat: string | undefined): number | undefined {
  const match = stat && /^btime (\d+)/m.exec(stat);
  return match ? Number(match[1]) : undefined;
}

export function cpuReader({ tree, probe, node }: Host): Reader {
  const attributes = new Map<string, { 'cpu.mode': string; 'cpu.logical_number': number }[]>();
  const modes = (cpu: string) => {
    const found = attributes.get(cpu);
    if (found) return found;
    const made = MODES.map((mode) => ({ 'cpu.mode': mode, 'cpu.logical_number': Number(cpu) }));
    attributes.set(cpu, made);
    return made;
  };
  const running = { 'process.state': 'running' };
  const blocked = { 'process.state': 'blocked' };

  return (round) => {
    const stat = tree.read('/proc/stat');
    if (stat === undefined)
      probe.gap('cpu', `/proc/stat is ${tree.problem()}`, "mount the host's /proc and set root_path");
    else {
      probe.filled('cpu');
      let cpus = 0;
      for (const line of stat.split('\n')) {
        const word = line.slice(0, line.indexOf(' '));
        if (word.length > 3 && word.startsWith('cpu')) {
          cpus++;
          const columns = line.split(' ');
          const named = modes(word.slice(3));
          for (let i = 0; i < MODES.length; i++) {
            round.add(
              node,
              TIME,
              columns[i + 1] === undefined ? undefined : Number(columns[i + 1]) / TICKS_PER_SECOND,
              named[i],
            );
          }
        } else if (word === 'ctxt') round.add(node, SWITCHES, Number(line.slice(5)));
        else if (word === 'processes') round.add(node, CREATED, Number(line.slice(10)));
        else if (word === 'procs_running') round.add(node, PROCESSES, Number(line.slice(14)), running);
        else if (word === 'procs_blocked') round.add(node, PROCESSES, Number(line.slice(14)), blocked);
      }
      round.add(node, LOGICAL, cpus);
    }
    const loads = tree.read('/proc/loadavg')?.split(' ');
    for (let i = 0; i < LOADS.length; i++)
      round.add(node, LOADS[i]!, loads?.[i] === undefined ? undefined : Number(loads[i]));
    const uptime = tree.read('/proc/uptime');
    round.add(node, UPTIME, uptime === undefined ? undefined : Number(uptime.split(' ')[0]));
    const waits = tree.read('/proc/schedstat');
    if (waits === undefined) {
      probe.gap('run_queue', `/proc/schedstat is ${tree.problem()}`, 'a kernel with CONFIG_SCHEDSTATS');
    } else {
      probe.filled('run_queue');
      // cpuN … <ns run> <ns waited> <timeslices>: the last three columns since version 15.
      for (const [, cpu, waited] of waits.matchAll(/^cpu(\d+) .*?(\d+) \d+$/gm)) {
        round.add(node, WAIT, Number(waited) / 1e9, waitAttributes(cpu!));
      }
    }
  };
}

const waitKeys = new Map<string, { 'cpu.logical_number': number }>();
function waitAttributes(cpu: string): { 'cpu.logical_number': number } {
  const found = waitKeys.get(cpu);
  if (found) return found;
  const made = { 'cpu.logical_number': Number(cpu) };
  waitKeys.set(cpu, made);
  return made;
}

/** The clocks of all CPUs: one small file each, so this belongs to the slow group. */
export function frequencyReader({ tree, node }: Host): Reader {
  return (round) => {
    for (const name of tree.list('/sys/devices/system/cpu')) {
      const cpu = /^cpu(\d+)$/.exec(name)?.[1];
      if (cpu === undefined) continue;
      const kilohertz = tree.number(`/sys/devices/system/cpu/${name}/cpufreq/scaling_cur_freq`);
      // Where the first CPU has no clock to read, no CPU has.
      if (kilohertz === undefined) break;
      round.add(node, FREQUENCY, kilohertz * 1000, waitAttributes(cpu));
    }
  };
}

/** Pressure stall information: `some` = a task waited, `full` = all did. Microseconds in the file. */
export function parsePressure(text: string): { some?: number; full?: number } {
  const total = (kind: string) => {
    const match = new RegExp(`^${kind} .*total=(\\d+)`, 'm').exec(text);
    return match ? Number(match[1]) / 1e6 : undefined;
  };
  const some = total('some');
  const full = total('full');
  return { ...(some === undefined ? {} : { some }), ...(full === undefined ? {} : { full }) };
}

export const PRESSURE_RESOURCES = ['cpu', 'memory', 'io', 'irq'] as const;
const PRESSURE_ATTRIBUTES = PRESSURE_RESOURCES.map((resource) => ({
  some: { resource, kind: 'some' },
  full: { resource, kind: 'full' },
}));

export function pressureReader({ tree, probe, node }: Host): Reader {
  return (round) => {
    let found = false;
    PRESSURE_RESOURCES.forEach((resource, i) => {
      const text = tree.read(`/proc/pressure/${resource}`);
      if (text === undefined) return;
      found = true;
      const { some, full } = parsePressure(text);
      round.add(node, PRESSURE, some, PRESSURE_ATTRIBUTES[i]!.some);
      // For the CPU, `full` of the whole system means nothing; the kernel prints zeros.
      if (resource !== 'cpu') round.add(node, PRESSURE, full, PRESSURE_ATTRIBUTES[i]!.full);
    });
    if (found) probe.filled('pressure');
    else
      probe.gap(
        'pressure',
        `/proc/pressure is ${tree.problem()}`,
        'Linux 4.20 or newer with psi=1 on the kernel command line',
      );
  };
}
