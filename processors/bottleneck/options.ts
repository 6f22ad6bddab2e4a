/** The options of `bottleneck`; those of each detector come from its own literal. */
import type { Static, TObject, TSchema } from '@sinclair/typebox';
import { options, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../../pipeline/component.ts';
import type { AnyDetector } from './detector.ts';
import { detectors } from './detectors/index.ts';

const slo = () =>
  t.section(
    {
      ttft: t.optional(t.duration({ description: 'Time to first token that a request may take.' })),
      itl: t.optional(t.duration({ description: 'Time between tokens that may pass.' })),
      e2e: t.optional(t.duration({ description: 'Time that a whole request may take.' })),
      objective: t.number({
        description: 'Share of requests that must meet each of them; the rest is the error budget.',
        default: 0.99,
        minimum: 0.5,
        maximum: 0.99999,
      }),
    },
    { description: 'Service level objectives. Without them impact is judged against the own past and the peers.' },
  );

const detectorSection = (d: AnyDetector): TSchema =>
  t.section(
    {
      mode: t.choice(['off', 'observe', 'on'], {
        description: 'off: not evaluated. observe: findings are emitted but never join an incident. on: everything.',
        default: 'on',
      }),
      ...(d.params as Record<string, TSchema>),
    },
    { description: `${d.meaning} Rule: ${d.rule}` },
  );

const detectorSections: Record<string, TSchema> = Object.fromEntries(detectors.map((d) => [d.id, detectorSection(d)]));

export const bottleneckOptions = options({
  evaluation_interval: t.duration({
    description: 'Distance of two evaluations of all detectors.',
    default: '15s',
    minimum: '1s',
  }),
  fast_interval: t.duration({
    description: 'Distance of two evaluations of the detectors that read hooks and GPU samples.',
    default: '5s',
    minimum: '1s',
  }),
  slo: slo(),
  services: t.map(t.item({ slo: slo() }, { description: 'What differs for this service.' }), {
    description: 'Objectives of single services, by service.name.',
    default: {},
  }),
  detectors: t.section(detectorSections, { description: 'Modes and parameters of single detectors.' }),
  overrides: t.list(
    t.item(
      {
        service: t.optional(t.string({ description: 'service.name it applies to.' })),
        pool: t.optional(t.string({ description: 'Pool it applies to.' })),
        role: t.optional(t.string({ description: 'Role of the replica: aggregated, prefill, decode.' })),
        model: t.optional(t.string({ description: 'Model of the GPU, or model served.' })),
        detectors: t.any({
          description: 'Parameters by detector id, as in `detectors`; only what differs.',
          default: {},
        }),
      },
      { description: 'Different numbers for some entities. Later entries win.' },
    ),
    { description: 'Parameters per service, pool, role or model.', default: [] },
  ),
  emit_pending: t.boolean({
    description: 'Also emit findings that are only pending.',
    default: false,
  }),
  repeat_interval: t.duration({
    description: 'A firing finding is emitted again, with fresh evidence, after this.',
    default: '5m',
  }),
  incident_wait: t.duration({
    description: 'How long symptoms wait for their cause before an incident is opened without one.',
    default: '2m',
  }),
  forget_after: t.duration({
    description: 'Entities without a sample for this long are forgotten.',
    default: '30m',
  }),
  storage: t.optional(
    t.section(
      { directory: t.path({ description: 'The folder, made if it is missing.', default: './enginelight-state' }) },
      { description: 'Keeps open incidents and what baselines are made of over a restart. Off unless written.' },
    ),
  ),
  limits: t.section(
    {
      entities: t.integer({
        description: 'Most entities kept; more are ignored and counted.',
        default: 50_000,
        minimum: 10,
      }),
      channels: t.integer({ description: 'Most series windows kept.', default: 200_000, minimum: 10 }),
      findings: t.integer({ description: 'Most findings alive at once.', default: 20_000, minimum: 10 }),
      causes: t.integer({
        description: 'Most findings that are reasoned about at once, the most severe first.',
        default: 400,
        minimum: 10,
      }),
    },
    { description: 'Bounds of memory.' },
  ),
});

export type BottleneckConfig = Static<typeof bottleneckOptions>;

/** Overrides name detectors and parameters that must exist; the schema cannot say so. */
export function checkOverrides(config: BottleneckConfig): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  config.overrides.forEach((o, i) => {
    const given = o.detectors as Record<string, unknown> | null;
    if (given === null || typeof given !== 'object' || Array.isArray(given)) {
      mistakes.push({ path: ['overrides', i, 'detectors'], message: 'must map detector ids to parameters.' });
      return;
    }
    for (const [id, params] of Object.entries(given)) {
      const detector = detectors.find((d) => d.id === id);
      if (!detector) {
        mistakes.push({ path: ['overrides', i, 'detectors', id], message: `"${id}" is not a detector.` });
        continue;
      }
      for (const key of Object.keys((params ?? {}) as object)) {
        if (key !== 'mode' && !Object.hasOwn(detector.params as object, key)) {
          mistakes.push({
            path: ['overrides', i, 'detectors', id, key],
            message: `"${key}" is not a parameter of ${id}; it has ${['mode', ...Object.keys(detector.params as object)].join(', ')}.`,
          });
        }
      }
    }
  });
  return mistakes;
}

export const detectorSchema = (id: string): TObject => detectorSections[id] as TObject;
