/** Scraping as a part: discoveries say what the targets are, each target is scraped by itself, none disturbs another. */
import { setMaxListeners } from 'node:events';
import type { Consumer, Context, Running } from '../component.ts';
import type { Discovery, TargetLabels } from './discovery/discovery.ts';
import { type ScrapedTarget, scrapeTarget, type TargetOptions } from './scrape-target.ts';
import { type Target, targetFrom, type WhoOptions } from './scrape-who.ts';

/** Targets that are scraped in the same way. */
export interface ScrapeJob {
  readonly name: string;
  readonly discoveries: readonly Discovery[];
  readonly who: WhoOptions;
  readonly target: TargetOptions;
  /** Targets at most; what is beyond is left out and said. 0 = as many as `MAX_TARGETS`. */
  readonly targetLimit: number;
}

/** However many a discovery finds. */
export const MAX_TARGETS = 10_000;

/** Starts every job. Resolves when the first look for targets has been taken; targets may come and go. */
export async function scrapeJobs(jobs: readonly ScrapeJob[], next: Consumer, context: Context): Promise<Running> {
  const running = new Set<ScrapedTarget>();
  const problems = new Map<string, string>();
  let stopping = false;

  const tell = () => {
    if (stopping) return;
    let failing = 0;
    let tried = 0;
    let example = '';
    for (const scraped of running) {
      const failure = scraped.failure();
      if (failure !== null) tried++;
      if (typeof failure === 'string') {
        failing++;
        if (example === '') example = `${scraped.target.url}: ${failure}`;
      }
    }
    const problem = [...problems.values()][0];
    const some = failing > 0 ? `${failing} of ${running.size} targets cannot be scraped: ${example}` : (problem ?? '');
    // One replica of many that is down is that replica's trouble, seen in `up`; not this receiver's.
    const bad = (failing > 0 && failing === tried) || (running.size === 0 && problem !== undefined);
    context.status(bad ? 'recoverable_error' : 'ok', some);
  };

  context.meter.gauge(
    'receiver_targets',
    'Targets by whether the latest scrape worked.',
    () => count('up'),
    '{target}',
    {
      state: 'up',
    },
  );
  context.meter.gauge(
    'receiver_targets',
    'Targets by whether the latest scrape worked.',
    () => count('down'),
    '{target}',
    {
      state: 'down',
    },
  );
  const count = (state: 'up' | 'down') =>
    [...running].filter((s) => (state === 'up' ? s.failure() === undefined : typeof s.failure() === 'string')).length;

  const started: { discoveries: Running[]; stop(deadline?: AbortSignal): Promise<void> }[] = [];
  for (const job of jobs) started.push(await startJob(job));

  async function startJob(job: ScrapeJob) {
    const lists: (readonly TargetLabels[])[] = job.discoveries.map(() => []);
    const own = new Map<string, ScrapedTarget>();
    const leaving = new Set<Promise<void>>();
    const complaints = new Set<string>();

    const complain = (message: string, fields: Record<string, unknown>) => {
      const key = JSON.stringify([message, fields]);
      if (complaints.has(key) || complaints.size > 1000) return;
      complaints.add(key);
      context.log.warn(message, { job: job.name, ...fields });
    };

    const reconcile = () => {
      if (stopping) return;
      const wanted = new Map<string, Target>();
      const limit = job.targetLimit > 0 ? Math.min(job.targetLimit, MAX_TARGETS) : MAX_TARGETS;
      let beyond = 0;
      for (const labels of lists.flat()) {
        const target = targetFrom(labels, job.who);
        if ('wrong' in target) {
          if (target.wrong !== 'dropped')
            complain('Not a target.', { address: labels['__address__'], error: target.wrong });
        } else if (wanted.size >= limit && !wanted.has(target.key)) beyond++;
        else wanted.set(target.key, target);
      }
      if (beyond > 0) complain('Too many targets, some are left out.', { limit, left_out: beyond });
      for (const [key, scraped] of own) {
        if (wanted.has(key)) continue;
        own.delete(key);
        running.delete(scraped);
        const gone = scraped.stop(true).finally(() => leaving.delete(gone));
        leaving.add(gone);
      }
      for (const [key, target] of wanted) {
        if (own.has(key)) continue;
        const scraped = scrapeTarget(target, job.target, next, context, tell);
        own.set(key, scraped);
        running.add(scraped);
      }
      tell();
    };

    const discoveries: Running[] = [];
    for (const [i, discovery] of job.discoveries.entries()) {
      discoveries.push(
        await discovery(
          (targets) => {
            lists[i] = targets;
            reconcile();
          },
          {
            clock: context.clock,
            log: context.log,
            problem: (message) => {
              const key = `${job.name} ${i}`;
              if (message === undefined) problems.delete(key);
              else problems.set(key, message);
              tell();
            },
          },
        ),
      );
    }
    return {
      discoveries,
      async stop(deadline?: AbortSignal) {
        await Promise.all([...own.values()].map((scraped) => scraped.stop(false, deadline)));
        await Promise.all(leaving);
      },
    };
  }

  tell();
  return {
    async stop(deadline) {
      stopping = true;
      // One signal of our own for all targets: thousands of listeners on a shared one would look like a leak.
      const late = new AbortController();
      setMaxListeners(0, late.signal);
      const give = () => late.abort();
      if (deadline?.aborted) give();
      deadline?.addEventListener('abort', give, { once: true });
      for (const job of started) await Promise.all(job.discoveries.map((d) => d.stop()));
      await Promise.all(started.map((job) => job.stop(late.signal)));
      deadline?.removeEventListener('abort', give);
    },
  };
}
