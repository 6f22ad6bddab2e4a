/**
 * The status that NCCL's RAS thread gives as JSON: communicators, their ranks, and how many operations each rank launched.
 * Source: NCCL src/ras/client_support.cc (rasDumpCommsToJSON), since 2.28.
 */

export interface RasStatus {
  readonly version: string;
  readonly communicators: readonly Communicator[];
  /** Processes that did not answer in time. */
  readonly timeouts: number;
}

export interface Communicator {
  /** The same on all ranks, and in the logs of the Inspector plug-in: `0x7f8c…`. */
  readonly id: string;
  readonly size: number;
  readonly ranks: readonly Rank[];
  readonly missing: readonly MissingRank[];
}

interface Process {
  readonly rank: number;
  readonly host: string;
  readonly pid: number | undefined;
  /** NVML's index of the GPU on its node. */
  readonly gpu: number | undefined;
}

export interface Rank extends Process {
  /** ncclResult_t: 0 is none, 7 is "in progress". */
  readonly asyncError: number;
  readonly aborted: boolean;
  /** Operations launched since the communicator was made, by NCCL's name. */
  readonly counts: ReadonlyMap<string, number>;
}

export interface MissingRank extends Process {
  readonly unresponsive: boolean;
  readonly dead: boolean;
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);
const list = (v: unknown): readonly Json[] => (Array.isArray(v) ? v.filter(isObject) : []);
const whole = (v: unknown): number | undefined =>
  Number.isSafeInteger(v) && (v as number) >= 0 ? (v as number) : undefined;
const text = (v: unknown): string => (typeof v === 'string' ? v.slice(0, 200) : '');

const MOST_COMMUNICATORS = 10_000;
const MOST_RANKS = 65_536;

/** Reads a status. Throws a SyntaxError, or an Error if it is something else. */
export function readStatus(body: string): RasStatus {
  const raw: unknown = JSON.parse(body);
  if (!isObject(raw) || !Array.isArray(raw['communicators'])) throw new Error('it has no communicators');
  const ras = isObject(raw['ras']) ? raw['ras'] : {};
  const communicators: Communicator[] = [];
  for (const comm of list(raw['communicators']).slice(0, MOST_COMMUNICATORS)) {
    const size = whole(comm['size']);
    if (text(comm['hash']) === '' || size === undefined) continue;
    communicators.push({
      id: text(comm['hash']),
      size,
      ranks: list(comm['ranks']).slice(0, MOST_RANKS).flatMap(readRank),
      missing: list(comm['missing_ranks']).slice(0, MOST_RANKS).flatMap(readMissing),
    });
  }
  return { version: text(raw['nccl_version']), communicators, timeouts: whole(ras['timeouts_count']) ?? 0 };
}

function readProcess(raw: Json): Process | undefined {
  const rank = whole(raw['rank']);
  if (rank === undefined) return undefined;
  return { rank, host: text(raw['host']), pid: whole(raw['pid']), gpu: whole(raw['nvml_dev']) };
}

function readRank(raw: Json): Rank[] {
  const process = readProcess(raw);
  if (!process) return [];
  const status = isObject(raw['status']) ? raw['status'] : {};
  const counts = new Map<string, number>();
  if (isObject(raw['collective_counts'])) {
    for (const [op, n] of Object.entries(raw['collective_counts']).slice(0, 64)) {
      const count = whole(n);
      if (count !== undefined) counts.set(op, count);
    }
  }
  return [
    { ...process, asyncError: whole(status['async_error']) ?? 0, aborted: status['abort_flag'] === true, counts },
  ];
}

function readMissing(raw: Json): MissingRank[] {
  const process = readProcess(raw);
  if (!process) return [];
  const status = isObject(raw['status']) ? raw['status'] : {};
  return [{ ...process, unresponsive: status['unresponsive'] === true, dead: status['considered_dead'] === true }];
}
