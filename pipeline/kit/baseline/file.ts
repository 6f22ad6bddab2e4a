/** Reads what `enginelight baseline` kept. */
import { readFile } from 'node:fs/promises';
import type { Baseline } from './baseline.ts';

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** Whether a text begins as a baseline does, without reading all of it. */
export const looksLikeBaseline = (head: string): boolean =>
  /^\s*\{\s*"schema"\s*:\s*"enginelight\.baseline\//.test(head);

/** The baseline in a text. Throws an Error that says what is wrong with it. */
export function parseBaseline(text: string): Baseline {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new Error(`it is no JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  if (!isObject(read) || read['schema'] !== 'enginelight.baseline/v1' || !Array.isArray(read['services'])) {
    const schema = isObject(read) ? JSON.stringify(read['schema']) : 'none';
    throw new Error(`it is no baseline (enginelight.baseline/v1); its schema is ${schema}`);
  }
  for (const service of read['services'] as unknown[]) {
    if (!isObject(service) || typeof service['service'] !== 'string' || !isObject(service['knee'])) {
      throw new Error('a service of the baseline has no name or no knee');
    }
  }
  return read as unknown as Baseline;
}

/** Reads a file. Rejects with the system's error, or an Error that says what is wrong with it. */
export const readBaseline = async (path: string): Promise<Baseline> => parseBaseline(await readFile(path, 'utf8'));

export interface MeasuredLimits {
  /** Requests at once at the knee, and up to which the objectives hold. */
  readonly knee?: number;
  readonly feasible?: number;
  /** Replicas that were measured; 0 if it is not known. */
  readonly replicas: number;
}

/** What is known of each service: nothing of those without a knee and without objectives. */
export function measuredLimits(baseline: Baseline): ReadonlyMap<string, MeasuredLimits> {
  const out = new Map<string, MeasuredLimits>();
  for (const s of baseline.services) {
    const knee = s.knee.load?.value;
    // A load up to which they held as far as it went is no limit.
    const feasible = s.feasible && !s.feasible.open ? (s.feasible.load ?? undefined) : undefined;
    if (knee === undefined && feasible === undefined) continue;
    out.set(s.service, {
      ...(knee !== undefined && { knee }),
      ...(feasible !== undefined && { feasible }),
      replicas: s.replicas,
    });
  }
  return out;
}
