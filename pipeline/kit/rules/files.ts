/** Rule files from disk: those that come with enginelight, and the user's own, with a place for every mistake. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { configFile } from '../../../config/config-files.ts';
import { toPlain, valuePlace } from '../../../config/tree.ts';
import { parseYaml } from '../../../config/yaml.ts';
import { type ReadOptions, readRules } from './read.ts';
import type { RuleFile } from './rule.ts';

const MAX_BYTES = 4 << 20;

/** A mistake in a file, ready to be shown. */
export interface FileMistake {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface LoadedRules extends RuleFile {
  readonly file: string;
  readonly problems: readonly FileMistake[];
}

/** A config is checked before it runs, so that every file is read at least twice; its text is taken apart once. */
const parsed = new Map<string, ReturnType<typeof parseYaml>>();
const PARSED_KEPT = 16;

function parsedOnce(text: string, file: string): ReturnType<typeof parseYaml> {
  const key = `${file}\0${text}`;
  const known = parsed.get(key);
  if (known) return known;
  const fresh = parseYaml(text, (line, column) => ({ file, line, column }));
  if (parsed.size >= PARSED_KEPT) parsed.delete(parsed.keys().next().value!);
  parsed.set(key, fresh);
  return fresh;
}

/** Reads the text of one rule file. */
export function rulesFromText(text: string, options: ReadOptions): LoadedRules {
  const parsed = parsedOnce(text, options.file);
  const broken = parsed.issues.filter((issue) => issue.severity === 'error');
  if (broken.length > 0) {
    const problems = broken.map((i) => ({
      file: options.file,
      line: i.place?.line ?? 1,
      column: i.place?.column ?? 1,
      message: i.hint === undefined ? i.message : `${i.message}; ${i.hint}`,
    }));
    return { file: options.file, rules: [], inhibitions: [], tests: [], parameters: {}, mistakes: [], problems };
  }
  const read = readRules(toPlain(parsed.node), options);
  const problems = read.mistakes.map((m) => {
    const { line, column } = valuePlace(parsed.node, m.path);
    return { file: options.file, line, column, message: m.message };
  });
  return { ...read, file: options.file, problems };
}

/** Reads rule files and folders of them (`*.yaml`, `*.yml`). What cannot be read is a problem of the answer. */
export function rulesFromFiles(paths: readonly string[], options: Omit<ReadOptions, 'file'>): LoadedRules[] {
  return paths.flatMap((path) => {
    try {
      if (statSync(path).isDirectory()) {
        const files = readdirSync(path)
          .filter((name) => /\.ya?ml$/.test(name))
          .sort();
        return files.map((name) => one(join(path, name), options));
      }
      return [one(path, options)];
    } catch (error) {
      return [unreadable(path, error)];
    }
  });
}

function one(path: string, options: Omit<ReadOptions, 'file'>): LoadedRules {
  try {
    if (statSync(path).size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
    return rulesFromText(readFileSync(path, 'utf8'), { ...options, file: path });
  } catch (error) {
    return unreadable(path, error);
  }
}

const unreadable = (file: string, error: unknown): LoadedRules => ({
  file,
  rules: [],
  inhibitions: [],
  tests: [],
  parameters: {},
  mistakes: [],
  problems: [{ file, line: 0, column: 0, message: `cannot be read: ${(error as Error).message}` }],
});

/** Where the rules that come with enginelight are. */
export const packFolder = (): string => configFile('rules');

/** The rules that come with enginelight. */
export function packRules(options: Omit<ReadOptions, 'file' | 'builtIn'>): LoadedRules[] {
  return rulesFromFiles([packFolder()], { ...options, builtIn: true }).map((file) => ({
    ...file,
    file: basename(file.file),
  }));
}

/** `rules.yaml:12:5: …` */
export const shownMistake = (m: FileMistake): string =>
  m.line > 0 ? `${m.file}:${m.line}:${m.column}: ${m.message}` : `${m.file}: ${m.message}`;
