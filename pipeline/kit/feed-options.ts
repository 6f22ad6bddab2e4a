/** Options that every receiver of files shares, named as those of the Collector's filelog receiver. */
import { options, t } from '../../config/schema.ts';

/** `what` completes "Paths of …"; more options may follow. */
export const feedOptions = <P extends Parameters<typeof options>[0]>(
  what: string,
  defaults: { readonly include?: readonly string[]; readonly interval: string },
  more: P,
) =>
  options({
    include: t.list(t.path({ description: 'A path; `*` and `?` stand for characters within one part of it.' }), {
      description: `Paths of ${what}. Files may come, be renamed, emptied and go.`,
      ...(defaults.include ? { default: [...defaults.include] } : { minItems: 1 }),
    }),
    start_at: t.choice(['end', 'beginning'], {
      description:
        'Where reading begins in files that are there at the start and of which no checkpoint tells how far they were read. Files that come later are read whole.',
      default: 'end',
    }),
    poll_interval: t.duration({
      description: 'How often files are looked for and read.',
      default: defaults.interval,
      minimum: '100ms',
    }),
    max_files: t.integer({ description: 'Files that are open at most.', default: 256, minimum: 1, maximum: 10_000 }),
    labels: t.map(t.string({ description: 'A value.' }), {
      description:
        'Whom the files are about: `replica`, `node`, `role`, `service`, … as for targets. Without `replica`, everything read here counts as one replica that is called like the host; ranks of one group on several hosts need the same.',
      default: {},
    }),
    storage: t.optional(
      t.section(
        { directory: t.path({ description: 'The folder, made if it is missing.', default: './enginelight-state' }) },
        { description: 'Keeps how far files were read over a restart. Off unless written.' },
      ),
    ),
    ...more,
  });

export const maxLine = (example: string) =>
  t.size({ description: `Longer lines are left out and counted. ${example}`, default: '1MiB' });

export interface FeedConfig {
  readonly include: readonly string[];
  readonly start_at: 'end' | 'beginning';
  readonly poll_interval: number;
  readonly max_files: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly storage?: { readonly directory: string } | undefined;
}
