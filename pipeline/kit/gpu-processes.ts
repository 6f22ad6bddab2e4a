/** Whose the processes on a GPU are: an engine's, somebody else's, or nobody knows. Shared by the GPU receivers. */
import type { Attributes } from '../model.ts';
import { parseCgroup } from './cgroup.ts';
import type { GpuProcess, ProcessOwner } from './gpu-signals.ts';
import type { Tree } from './tree.ts';

export interface EnginePattern {
  readonly engine: string;
  /** Looked for in the command line. */
  readonly pattern: RegExp;
}

/** The engines we know, by how their processes call themselves. */
export const ENGINE_COMMANDS: readonly { readonly engine: string; readonly command: string }[] = [
  { engine: 'vllm', command: '(^|[ /])vllm( |$)|vllm\\.entrypoints|VLLM::' },
  { engine: 'sglang', command: 'sglang' },
  { engine: 'dynamo', command: 'dynamo\\.(frontend|router|vllm|sglang|trtllm|mocker)|dynamo-run' },
  { engine: 'trtllm', command: 'trtllm-serve|tensorrt_llm|tritonserver' },
  { engine: 'tgi', command: 'text-generation-(launcher|router|server)' },
  { engine: 'lmcache', command: 'lmcache' },
];

interface Known {
  readonly start: string;
  readonly engine: string | undefined;
  readonly place: string;
  readonly attributes: Attributes;
}

/** Ranks that engines write into the titles of their workers: `VLLM::Worker_TP3`, `sglang::scheduler_DP1_TP0`. */
const RANK = /(?:_|::)(TP|PP|DP|EP)(\d{1,4})(?=_|$|\s)/g;

export function ranksIn(title: string): Attributes {
  const found: Record<string, number> = {};
  for (const [, kind, rank] of title.matchAll(RANK)) found[`inference.rank.${kind!.toLowerCase()}`] = Number(rank);
  return found;
}

/** Of a process: whether it is there at all, and who its parent is. */
const PARENT = 1;
const START_TIME = 19;
const GENERATIONS = 6;
const REMEMBERED = 4096;

/**
 * A process is an engine's if its command line, or an ancestor's, says so, or if it shares its container with one that
 * does. Beside an engine on the same GPU, every other process is foreign; without one, nobody is.
 */
export function gpuProcessOwners(tree: Tree, patterns: readonly EnginePattern[]) {
  const known = new Map<number, Known>();

  const statOf = (pid: number): string[] | undefined => {
    const text = tree.read(`/proc/${pid}/stat`);
    return text?.slice(text.lastIndexOf(')') + 2).split(' ');
  };

  const words = (pid: number): string => tree.read(`/proc/${pid}/cmdline`)?.split('\0').join(' ').trim() ?? '';

  const engineOf = (pid: number): string | undefined => {
    let at = pid;
    for (let i = 0; i < GENERATIONS && at > 1; i++) {
      const title = words(at);
      const engine = patterns.find(({ pattern }) => pattern.test(title))?.engine;
      if (engine !== undefined) return engine;
      const parent = Number(statOf(at)?.[PARENT]);
      if (!Number.isInteger(parent)) return undefined;
      at = parent;
    }
    return undefined;
  };

  const look = (pid: number): Known | undefined => {
    const start = statOf(pid)?.[START_TIME];
    if (start === undefined) {
      known.delete(pid);
      return undefined;
    }
    const before = known.get(pid);
    if (before?.start === start) return before;
    const cgroup = parseCgroup(tree.read(`/proc/${pid}/cgroup`) ?? '');
    const engine = engineOf(pid);
    const name = tree.read(`/proc/${pid}/comm`)?.trim();
    const found: Known = {
      start,
      engine,
      place: cgroup.containerId ?? cgroup.podUid ?? '',
      attributes: {
        ...(name ? { 'process.executable.name': name.slice(0, 64) } : {}),
        ...(engine === undefined ? {} : { 'inference.engine': engine, ...ranksIn(words(pid)) }),
        ...(cgroup.containerId === undefined ? {} : { 'container.id': cgroup.containerId }),
        ...(cgroup.podUid === undefined ? {} : { 'k8s.pod.uid': cgroup.podUid }),
      },
    };
    if (known.size > REMEMBERED) known.clear();
    known.set(pid, found);
    return found;
  };

  return (processes: readonly GpuProcess[]): ProcessOwner[] => {
    const found = processes.map(({ pid }) => look(pid));
    const engines = found.filter((f) => f?.engine !== undefined);
    const places = new Set(engines.map((f) => f!.place).filter((place) => place !== ''));
    return found.map((f) => {
      if (!f) return { owner: 'unknown', attributes: {} };
      if (f.engine !== undefined || places.has(f.place)) return { owner: 'engine', attributes: f.attributes };
      return { owner: engines.length > 0 ? 'foreign' : 'unknown', attributes: f.attributes };
    });
  };
}
