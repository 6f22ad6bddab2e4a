/** What a catalogue file may say. The same declaration checks users' files and is what the reference shows. */
import { Type } from '@sinclair/typebox';
import { SOURCE_KINDS } from './catalog-types.ts';
import { t } from './schema.ts';

const anything = (description: string) => t.any({ description });
const texts = (description: string) => t.list(t.string({ description: 'One of them' }), { description });
const oneOrMore = (description: string) => Type.Unsafe<string | string[]>({ type: ['string', 'array'], description });
const fixed = (description: string) => t.map(anything('The value'), { description });

const INSTRUMENTS = ['gauge', 'counter', 'updowncounter', 'histogram', 'summary'] as const;
const form = {
  instrument: t.choice(INSTRUMENTS, { description: 'How its values behave' }),
  unit: t.string({ description: 'UCUM: s, By, 1, {request}' }),
};
const ranks = t.choice(['replicated', 'several', 'each'], {
  description: 'Whether ranks say the same thing, are kept apart when there are several, or always',
});
const population = t.choice(['live', 'at_completion'], { description: 'When the values move' });

const endpoint = t.item(
  {
    port: t.optional(t.integer({ description: 'Where it listens by default', minimum: 1, maximum: 65535 })),
    path: t.string({ description: 'The path of the metrics page' }),
    of: t.optional(t.string({ description: 'Which process or mode' })),
  },
  { description: 'Where it serves metrics' },
);

const spanRule = t.item(
  {
    match: t.item(
      {
        names: t.optional(texts('Names of the spans')),
        attributes: t.optional(texts('Attributes that all have to be there')),
        engine: t.optional(t.string({ description: 'Only in spans of this engine' })),
      },
      { description: 'Which spans' },
    ),
    set: t.optional(fixed('Attributes to add')),
    attributes: t.optional(
      t.map(t.string({ description: 'Its neutral name' }), { description: 'Attributes to rename' }),
    ),
  },
  { description: 'What spans of the source mean' },
);

const metric = t.item(
  {
    from: oneOrMore('Its names on the wire, newest first, each with its versions as in "name 1.0..2.0"'),
    to: Type.Unsafe<string | null>({ type: ['string', 'null'], description: 'The signal; null if there is none' }),
    type: oneOrMore('counter, gauge, histogram, summary or info'),
    unit: t.string({ description: 'The unit on the wire: ms, MiBy, %, {request}' }),
    brief: t.string({ description: 'What it says, in a few words' }),
    note: t.optional(t.string({ description: 'What to beware of' })),
    as: t.optional(t.choice(INSTRUMENTS, { description: 'What it really is, where its TYPE lies' })),
    take: t.optional(t.choice(['sum', 'count'], { description: 'The part of a histogram that is the value' })),
    scale: t.optional(t.number({ description: 'A factor that the units do not tell' })),
    when: t.optional(fixed('Labels it must have: a value, a list, "*" for any, "" for none, "!value"')),
    labels: t.optional(fixed('What labels become, over what the source says for all')),
    set: t.optional(fixed('Attributes that every point gets')),
    about: t.optional(fixed('Attributes that the resource gets')),
    unless: t.optional(texts('Metrics that make this one superfluous')),
    fallback: t.optional(t.boolean({ description: 'Only where no other source of the target gives the signal' })),
    times: t.optional(anything('A metric with the same labels that it is multiplied with')),
    over: t.optional(anything('A metric with the same labels that it is divided by')),
    plus: t.optional(t.list(anything('A metric'), { description: 'Metrics to add; "?" at the end: if there' })),
    minus: t.optional(t.list(anything('A metric'), { description: 'Metrics to take off' })),
    count: t.optional(anything('The counter of the events that this one is the sum over')),
    value: t.optional(anything('Labels that hold the value')),
    newest: t.optional(
      t.boolean({ description: 'Only the series with the largest value counts; the value is a time' }),
    ),
    expand: t.optional(anything('One series per bit or state')),
    epoch: t.optional(t.boolean({ description: 'The value is a Unix time; the signal is the time since then' })),
    valid: t.optional(
      t.item(
        {
          min: t.optional(t.number({ description: 'The least' })),
          max: t.optional(t.number({ description: 'The most' })),
        },
        { description: 'Values outside mean that there is none' },
      ),
    ),
    ranks: t.optional(ranks),
    population: t.optional(population),
  },
  { description: 'One metric and what it is' },
);

const signal = t.item(
  {
    name: t.string({ description: 'Its name' }),
    ...form,
    forms: t.optional(t.list(t.item(form, { description: 'A form' }), { description: 'Other shapes it is given in' })),
    attributes: t.optional(texts('Parts of a whole')),
    views: t.optional(texts('Other looks at the same thing')),
    ranks: t.optional(ranks),
    population: t.optional(population),
    tier: t.optional(t.choice(['core', 'extended'], { description: 'How common it is' })),
    otel: t.optional(t.choice(['semconv', 'semconv-genai', 'proposed'], { description: 'Whose name it is' })),
    group: t.optional(t.string({ description: 'Its chapter in the reference' })),
    meaning: t.string({ description: 'What it means' }),
  },
  { description: 'A signal that is not in the vocabulary yet' },
);

/** A whole file; `metrics` comes last in our own, because the rest is read first. */
export const catalogFileSchema = t.item(
  {
    name: t.string({ description: 'The name of the source: lower_snake_case', pattern: '^[a-z][a-z0-9_]*$' }),
    title: t.optional(t.string({ description: 'Its name as people write it' })),
    kind: t.choice(SOURCE_KINDS, { description: 'What sort of thing it is' }),
    engine: t.optional(t.string({ description: 'What inference.engine becomes' })),
    role: t.optional(t.string({ description: 'What inference.role becomes where nothing says it' })),
    prefixes: t.optional(texts('How its names begin')),
    names: t.optional(texts('Names of its own that begin otherwise')),
    wrappers: t.optional(texts('Words that others put in front of its names')),
    free_prefix: t.optional(
      t.item(
        {
          stands_for: t.string({ description: 'The prefix that a user may have replaced' }),
          known_by: texts('Names behind the prefix that have to be there'),
        },
        { description: 'A prefix that users can change' },
      ),
    ),
    recognise: t.optional(
      t.item(
        { any: t.optional(texts('One is enough')), all: t.optional(texts('All have to be there')) },
        { description: 'Its names are trusted only on pages with these' },
      ),
    ),
    replaces: t.optional(texts('Sources whose names it repeats; on its pages they are not taken for those')),
    endpoints: t.optional(t.list(endpoint, { description: 'Where it serves metrics; the usual place first' })),
    gauges_freeze_when_idle: t.optional(t.boolean({ description: 'Its gauges stand still while it is idle' })),
    when: t.optional(fixed('Labels that its series must have')),
    labels: t.optional(fixed('What its labels become')),
    about: t.optional(fixed('Attributes that the resource gets')),
    page: t.optional(
      t.map(t.string({ description: 'A label' }), { description: 'Attributes of the whole page, from a label' }),
    ),
    versions: t.optional(
      t.list(
        t.item(
          {
            says: t.string({ description: 'The version' }),
            has: texts('Names that are there'),
            lacks: t.optional(texts('Names that are not')),
          },
          { description: 'One conclusion' },
        ),
        { description: 'What its names say about its version; the first that fits' },
      ),
    ),
    variants: t.optional(
      t.list(
        t.item(
          { is: t.string({ description: 'What it is' }), has: texts('Names that give it away') },
          { description: 'A look-alike' },
        ),
        { description: 'Look-alikes and wrappers' },
      ),
    ),
    semantics: t.optional(fixed('What its values include')),
    blank: t.optional(
      t.item(
        {
          at_least: t.optional(t.number({ description: 'Values from here on' })),
          equals: t.optional(t.list(t.number({ description: 'A code' }), { description: 'These values' })),
        },
        { description: 'Codes that mean there is no value' },
      ),
    ),
    spans: t.optional(t.list(spanRule, { description: 'What its spans mean' })),
    signals: t.optional(t.list(signal, { description: 'Signals of its own' })),
    metrics: t.optional(t.list(metric, { description: 'Its metrics' })),
  },
  { description: 'What is known about one source of metrics' },
);
