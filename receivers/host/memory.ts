/** Memory, swap, paging and OOM kills: /proc/meminfo and /proc/vmstat. */
import { keyedNumbers } from '../../pipeline/kit/tree.ts';
import { sum } from '../../pipeline/model.ts';
import type { Host, Reader } from './reader.ts';

const USAGE = sum('system.memory.usage', 'By', 'Memory by state', false);
const LIMIT = sum('system.memory.limit', 'By', 'Memory of the host', false);
const AVAILABLE = sum('system.memory.linux.available', 'By', 'Memory that can be had without swapping', false);
const SLAB = sum('system.memory.linux.slab.usage', 'By', 'Kernel slab memory', false);
const SWAP = sum('system.paging.usage', 'By', 'Swap by state', false);
const FAULTS = sum('system.paging.faults', '{fault}', 'Page faults');
const OPERATIONS = sum('system.paging.operations', '{operation}', 'Pages swapped in and out');
const OOM = sum('system.memory.oom_kills', '{process}', 'Processes killed for lack of memory');

const state = (value: string) => ({ 'system.memory.state': value });
const USED = state('used');
const FREE = state('free');
const BUFFERS = state('buffers');
const CACHED = state('cached');
const RECLAIMABLE = { 'system.memory.linux.slab.state': 'reclaimable' };
const UNRECLAIMABLE = { 'system.memory.linux.slab.state': 'unreclaimable' };
const SWAP_USED = { 'system.paging.state': 'used' };
const SWAP_FREE = { 'system.paging.state': 'free' };
const MAJOR = { 'system.paging.fault.type': 'major' };
const IN = { 'system.paging.direction': 'in' };
const OUT = { 'system.paging.direction': 'out' };

export function memoryReader({ tree, probe, node }: Host): Reader {
  return (round) => {
    const text = tree.read('/proc/meminfo');
    if (text === undefined)
      probe.gap('memory', `/proc/meminfo is ${tree.problem()}`, "mount the host's /proc and set root_path");
    else {
      probe.filled('memory');
      const values = keyedNumbers(text);
      const bytes = (name: string) => {
        const kib = values.get(name);
        return kib === undefined ? undefined : kib * 1024;
      };
      const total = bytes('MemTotal');
      const free = bytes('MemFree');
      const buffers = bytes('Buffers');
      const cached = bytes('Cached');
      round.add(node, LIMIT, total);
      round.add(node, USAGE, free, FREE);
      round.add(node, USAGE, buffers, BUFFERS);
      round.add(node, USAGE, cached, CACHED);
      if (total !== undefined && free !== undefined) {
        round.add(node, USAGE, total - free - (buffers ?? 0) - (cached ?? 0), USED);
      }
      round.add(node, AVAILABLE, bytes('MemAvailable'));
      round.add(node, SLAB, bytes('SReclaimable'), RECLAIMABLE);
      round.add(node, SLAB, bytes('SUnreclaim'), UNRECLAIMABLE);
      const swap = bytes('SwapTotal');
      const swapFree = bytes('SwapFree');
      round.add(node, SWAP, swapFree, SWAP_FREE);
      if (swap !== undefined && swapFree !== undefined) round.add(node, SWAP, swap - swapFree, SWAP_USED);
    }
    const vmstat = tree.read('/proc/vmstat');
    if (vmstat === undefined) return;
    const values = keyedNumbers(vmstat);
    round.add(node, OOM, values.get('oom_kill'));
    round.add(node, FAULTS, values.get('pgmajfault'), MAJOR);
    round.add(node, OPERATIONS, values.get('pswpin'), IN);
    round.add(node, OPERATIONS, values.get('pswpout'), OUT);
  };
}
