/**
 * What a restart must not lose: findings that fire, incidents that are open, and the past that baselines are made of (two files,
 * as the first changes often and is small). All of it is optional: what cannot be read is not there.
 */
import type { Logger } from '../../pipeline/kit/log.ts';
import { openStateFile } from '../../pipeline/kit/state-file.ts';
import type { Finding } from '../../pipeline/kit/verdict.ts';
import type { History, SavedTrack } from './history.ts';
import type { SavedIncident } from './incidents.ts';
import type { Remembered } from './machine.ts';

const VERSION = 1;
/** About 11 MiB of text. */
const MAX_TRACKS = 4_000;
const HISTORY_EVERY_MS = 300_000;
/** After a longer pause nothing that was open says anything about now. */
export const TOO_OLD_MS = 3_600_000;

export interface SavedFinding extends Remembered {
  /** Detector and entity, as the machine has it. */
  readonly key: string;
  /** As it was said last. */
  readonly finding: Finding;
}

export interface Keeper {
  readonly incidents: readonly SavedIncident[];
  /** Gives a finding of before the restart, once. */
  recall(key: string): Remembered | undefined;
  /** Findings of before that nobody recalled. */
  forgotten(): readonly Finding[];
  /** Writes what changed; `force` writes all. */
  keep(
    findings: readonly SavedFinding[],
    incidents: readonly SavedIncident[],
    now: number,
    force: boolean,
  ): Promise<void>;
}

export const NO_KEEPER: Keeper = {
  incidents: [],
  recall: () => undefined,
  forgotten: () => [],
  keep: async () => {},
};

interface OpenFile {
  readonly version?: unknown;
  readonly at?: unknown;
  readonly findings?: unknown;
  readonly incidents?: unknown;
  readonly tracks?: unknown;
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
const num = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);

const isFinding = (v: unknown): v is SavedFinding =>
  isObject(v) &&
  typeof v['key'] === 'string' &&
  typeof v['id'] === 'string' &&
  num(v['firstTrue']) &&
  num(v['firingAt']) &&
  num(v['confidence']) &&
  isObject(v['onset']) &&
  num(v['onset']['after']) &&
  num(v['onset']['by']) &&
  isObject(v['finding']) &&
  isObject(v['finding']['entity']);

const isIncident = (v: unknown): v is SavedIncident =>
  isObject(v) &&
  typeof v['id'] === 'string' &&
  typeof v['service'] === 'string' &&
  num(v['startedAt']) &&
  num(v['openedAt']) &&
  num(v['detectedAt']) &&
  Array.isArray(v['members']) &&
  isObject(v['last']) &&
  isObject(v['last']['impact']) &&
  isObject(v['last']['root']);

const isTrack = (v: unknown): v is SavedTrack =>
  Array.isArray(v) && typeof v[0] === 'string' && num(v[1]) && typeof v[2] === 'string';

/** Reads what is there; the past goes into `history`. Rejects if the folder cannot be used. */
export async function openKeeper(
  directory: string,
  id: string,
  history: History,
  now: number,
  log: Logger,
): Promise<Keeper> {
  const openFile = await openStateFile(directory, `${id}-open`, log);
  const pastFile = await openStateFile(directory, `${id}-past`, log);
  const read = async (file: typeof openFile): Promise<OpenFile> => {
    const value = await file.read();
    return isObject(value) && value['version'] === VERSION ? value : {};
  };
  const [was, past] = [await read(openFile), await read(pastFile)];
  const fresh = num(was.at) && was.at <= now && now - was.at <= TOO_OLD_MS;
  const findings = new Map(
    list(fresh ? was.findings : [])
      .filter(isFinding)
      .map((f) => [f.key, f]),
  );
  const incidents = list(fresh ? was.incidents : []).filter(isIncident);
  history.restore(list(past.tracks).filter(isTrack), now);
  if (incidents.length + findings.size > 0)
    log.info('Open incidents of before the restart go on.', { incidents: incidents.length, findings: findings.size });

  let text = '';
  let pastAt = now;
  let writing: Promise<unknown> | undefined;
  return {
    incidents,
    recall(key) {
      const found = findings.get(key);
      findings.delete(key);
      if (!found) return undefined;
      const { id, firstTrue, firingAt, onset, severity, confidence } = found;
      return { id, firstTrue, firingAt, onset, severity, confidence };
    },
    forgotten() {
      const left = [...findings.values()].map((f) => f.finding);
      findings.clear();
      return left;
    },
    async keep(firing, open, at, force) {
      if (writing && !force) return;
      await writing;
      const state = { findings: [...findings.values(), ...firing], incidents: open };
      const now = JSON.stringify(state);
      const writes: Promise<unknown>[] = [];
      if (force || now !== text) writes.push(openFile.write({ version: VERSION, at, ...state }));
      text = now;
      if (force || at - pastAt >= HISTORY_EVERY_MS) {
        pastAt = at;
        writes.push(pastFile.write({ version: VERSION, tracks: history.dump(MAX_TRACKS) }));
      }
      writing = Promise.all(writes);
      await writing;
      writing = undefined;
    },
  };
}
