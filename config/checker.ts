/** What the checks share: where issues are collected, and what a configured component is before all is known to be well. */
import type { AnyDefinition, ComponentKind, Registry } from '../pipeline/component.ts';
import { formatPath, type Path } from './tree.ts';
import type { Issue, Place } from './types.ts';

/** Collects issues; `local` ones are about one value by itself, and stay true where the rest of a file is unreadable. */
export interface Checker {
  readonly registry: Registry;
  readonly issues: (Issue & { readonly local?: boolean })[];
  /** Sections that have the wrong shape: what they lack is no mistake of its own. */
  readonly unreadable: Set<Section>;
  /** Plug-ins that could not be loaded: what is unknown may be theirs. */
  readonly missingPlugins: string[];
}

export const SECTIONS = ['receivers', 'processors', 'exporters', 'extensions'] as const;
export type Section = (typeof SECTIONS)[number];

export const kindOf = (section: Section): ComponentKind => section.slice(0, -1) as ComponentKind;

/** A configured component before it is known whether everything else is right. */
export interface Configured {
  readonly id: string;
  readonly definition: AnyDefinition;
  readonly place: Place;
  /** The value before `resolve`; undefined if it has mistakes. */
  readonly value: unknown;
  readonly ok: boolean;
}

export type ConfiguredSections = Readonly<Record<Section, ReadonlyMap<string, Configured | undefined>>>;

export function report(
  checker: Checker,
  place: Place | undefined,
  path: Path,
  message: string,
  options: { hint?: string | undefined; severity?: Issue['severity']; local?: boolean } = {},
): void {
  checker.issues.push({
    severity: options.severity ?? 'error',
    ...(place ? { place } : {}),
    path: formatPath(path),
    message,
    ...(options.hint === undefined ? {} : { hint: options.hint }),
    ...(options.local ? { local: true } : {}),
  });
}

/** The definition that a type or one of its other spellings names. */
export const findDefinition = (section: Section, type: string, registry: Registry): AnyDefinition | undefined =>
  (registry[section] as readonly AnyDefinition[]).find((d) => d.type === type || d.aliases?.includes(type));
