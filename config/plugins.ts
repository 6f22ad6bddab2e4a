/**
 * Plug-ins: `service: { plugins: [./local.mjs, some-package] }`. A plug-in is a module whose default export is the lists of
 * what it adds, or a function that is given the package `enginelight` and returns them (so that a single file works where
 * nothing is installed beside it).
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AnyDefinition, Registry } from '../pipeline/component.ts';
import { extendCatalog } from './catalog.ts';
import { type Checker, findDefinition, kindOf, report, SECTIONS, type Section } from './checker.ts';
import { child, describeKind, isNull, type Node } from './tree.ts';

/** What a plug-in's module exports as its default. Made with the define functions of the package `enginelight`. */
export interface Plugin {
  readonly receivers?: Registry['receivers'];
  readonly processors?: Registry['processors'];
  readonly exporters?: Registry['exporters'];
  readonly extensions?: Registry['extensions'];
  /** More engine knowledge: paths of YAML files, relative to the plug-in's own, or what such a file would say. */
  readonly catalog?: readonly unknown[];
  /** More detectors; whoever runs detectors takes them from the registry. */
  readonly detectors?: readonly unknown[];
}

const PLUGIN_KEYS = [...SECTIONS, 'catalog', 'detectors'];

/** Loads what `service::plugins` names; a mistake of one does not keep the others out. */
export async function loadPlugins(root: Node, cwd: string, checker: Checker): Promise<Registry> {
  const list = child(child(root, 'service'), 'plugins');
  const path = ['service', 'plugins'];
  if (!list || isNull(list)) return checker.registry;
  if (list.kind !== 'list') {
    report(
      checker,
      list.place,
      path,
      `'plugins' source data must be an array or slice, got ${list.kind}: write a list, as in [./plugin.mjs]`,
      { local: true },
    );
    return checker.registry;
  }
  let registry = checker.registry;
  for (const [index, item] of list.items.entries()) {
    if (item.kind !== 'scalar' || typeof item.value !== 'string' || item.value === '') {
      if (item.kind === 'scalar' && item.failed) continue;
      report(
        checker,
        item.place,
        [...path, index],
        `expected the path of a module or the name of a package, found ${describeKind(item)}`,
        { local: true },
      );
      continue;
    }
    try {
      const { plugin, folder } = await importPlugin(item.value, configFolder(item, cwd), cwd);
      registry = extend(registry, plugin, folder);
    } catch (failure) {
      const { message, hint } = failure as PluginError;
      if (!(failure instanceof PluginError)) throw failure;
      checker.missingPlugins.push(item.value);
      report(checker, item.place, [...path, index], `plug-in "${item.value}" ${message}`, { hint });
    }
  }
  return registry;
}

class PluginError extends Error {
  readonly hint: string | undefined;
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** The folder of the file that names the plug-in; the working directory for `--set` and the like. */
function configFolder(item: Node, cwd: string): string {
  return item.place.line > 0 ? dirname(resolvePath(cwd, item.place.file)) : cwd;
}

/**
 * What was loaded, by file or package. Definitions must be the same objects as long as the file is the same: a reload
 * restarts what has another definition.
 */
const loaded = new Map<string, { readonly url: string; readonly plugin: Plugin }>();

async function importPlugin(name: string, base: string, cwd: string): Promise<{ plugin: Plugin; folder: string }> {
  const file = locate(name, base, cwd);
  const folder = file === undefined ? base : dirname(file);
  // The time of the last change makes a reload see an edited file; node keeps modules by URL.
  const url = file === undefined ? name : `${pathToFileURL(file)}?changed=${statSync(file).mtimeMs}`;
  const before = loaded.get(file ?? name);
  if (before?.url === url) return { plugin: before.plugin, folder };
  let exported: unknown;
  try {
    exported = ((await import(url)) as { default?: unknown }).default;
    if (typeof exported === 'function') {
      exported = await (exported as (api: unknown) => unknown)(await import('../pipeline/index.ts'));
    }
  } catch (failure) {
    const code = (failure as NodeJS.ErrnoException | undefined)?.code;
    if (file === undefined && code === 'ERR_MODULE_NOT_FOUND') {
      throw new PluginError('is not found', `install it where the config is: npm install ${name}`);
    }
    throw new PluginError(`throws when it is loaded: ${firstLine(failure)}`, whereThrown(failure));
  }
  const plugin = checkShape(exported);
  loaded.set(file ?? name, { url, plugin });
  return { plugin, folder };
}

const firstLine = (failure: unknown): string =>
  (failure instanceof Error ? `${failure.name}: ${failure.message}` : String(failure)).split('\n')[0]!;

/** The line of a module that an error came from, as far as node says it. */
function whereThrown(failure: unknown): string | undefined {
  const stack = failure instanceof Error ? (failure.stack ?? '') : '';
  const place = /file:\/\/[^\s)?]+(?:\?changed=[\d.]+)?:\d+(?::\d+)?/.exec(stack)?.[0];
  return place === undefined ? undefined : `at ${place.replace('file://', '').replace(/\?changed=[\d.]+/, '')}`;
}

/** The file of a plug-in; undefined leaves a package to node, which looks beside enginelight itself. */
function locate(name: string, base: string, cwd: string): string | undefined {
  if (name.startsWith('.') || isAbsolute(name) || name.startsWith('file:')) {
    const file = name.startsWith('file:') ? new URL(name).pathname : resolvePath(base, name);
    if (!existsSync(file))
      throw new PluginError(`is not found: no such file ${file}`, 'the path is relative to the config file');
    if (statSync(file).isDirectory()) throw new PluginError(`is a folder: ${file}`, 'name the file inside');
    return file;
  }
  for (const folder of new Set([base, cwd])) {
    try {
      return createRequire(join(folder, 'config')).resolve(name);
    } catch (failure) {
      // A package for `import` only: node has no stable way to ask for that from another folder.
      const entry =
        (failure as NodeJS.ErrnoException).code === 'ERR_PACKAGE_PATH_NOT_EXPORTED' && importEntry(name, folder);
      if (entry) return entry;
    }
  }
  return undefined;
}

function importEntry(name: string, folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    const manifest = join(at, 'node_modules', name, 'package.json');
    if (existsSync(manifest)) {
      const { exports } = JSON.parse(readFileSync(manifest, 'utf8')) as { exports?: unknown };
      const target = importTarget(exports);
      return target === undefined ? undefined : join(dirname(manifest), target);
    }
    if (dirname(at) === at) return undefined;
  }
}

/** What a package gives to `import` as its main module. */
function importTarget(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (typeof exports !== 'object' || exports === null) return undefined;
  const map = exports as Record<string, unknown>;
  for (const key of ['.', 'node', 'import', 'default']) {
    const target = Object.hasOwn(map, key) ? importTarget(map[key]) : undefined;
    if (target !== undefined) return target;
  }
  return undefined;
}

function checkShape(exported: unknown): Plugin {
  const remedy = `export default { ${PLUGIN_KEYS.join(', ')} }, each a list, or a function that returns it`;
  if (typeof exported !== 'object' || exported === null || Array.isArray(exported)) {
    throw new PluginError('is not a plug-in: it has no default export that is an object', remedy);
  }
  const plugin = exported as Record<string, unknown>;
  const unknown = Object.keys(plugin).find((key) => !PLUGIN_KEYS.includes(key));
  if (unknown !== undefined) throw new PluginError(`is not a plug-in: it exports the unknown key "${unknown}"`, remedy);
  if (Object.keys(plugin).length === 0) throw new PluginError('is not a plug-in: it adds nothing', remedy);
  for (const [key, list] of Object.entries(plugin)) {
    if (!Array.isArray(list)) throw new PluginError(`is not a plug-in: its "${key}" is not a list`, remedy);
  }
  for (const section of SECTIONS) {
    for (const definition of (plugin[section] ?? []) as readonly unknown[]) checkDefinition(section, definition);
  }
  return plugin;
}

function checkDefinition(section: Section, value: unknown): void {
  const kind = kindOf(section);
  const definition = (value ?? {}) as Partial<AnyDefinition>;
  const named = typeof definition.type === 'string' ? ` "${definition.type}"` : '';
  const make = `define${kind.charAt(0).toUpperCase()}${kind.slice(1)}`;
  const wrong = (what: string) =>
    new PluginError(`is not a plug-in: its ${kind}${named} ${what}`, `make it with ${make} of the package enginelight`);
  if (definition.kind !== kind)
    throw wrong(definition.kind === undefined ? `was not made with ${make}` : `is ${definition.kind}, not ${kind}`);
  if (typeof definition.type !== 'string' || !/^[a-z][a-z0-9_]{0,62}$/.test(definition.type))
    throw wrong('needs a type in lower_snake_case');
  if (typeof definition.start !== 'function') throw wrong('has no function start');
  if (typeof definition.config !== 'object') throw wrong('has no config: declare its options with options({ … })');
  if (kind !== 'extension' && !Array.isArray((definition as { signals?: unknown }).signals))
    throw wrong('has no list of signals');
}

function extend(registry: Registry, plugin: Plugin, folder: string): Registry {
  for (const section of SECTIONS) {
    const added = (plugin[section] ?? []) as readonly AnyDefinition[];
    added.forEach((definition, index) => {
      for (const type of [definition.type, ...(definition.aliases ?? [])]) {
        const own = added.slice(0, index).some((d) => d.type === type || d.aliases?.includes(type));
        if (!own && !findDefinition(section, type, registry)) continue;
        throw new PluginError(
          `adds the ${kindOf(section)} "${type}", but there is one of this type already`,
          'give it another type; built-in components cannot be replaced',
        );
      }
    });
  }
  let { catalog } = registry;
  for (const entry of plugin.catalog ?? []) {
    try {
      catalog = extendCatalog(catalog, entry, folder);
    } catch (failure) {
      const shown = typeof entry === 'string' ? ` "${entry}"` : '';
      const [first, ...more] = (failure instanceof Error ? failure.message : String(failure)).split('\n');
      throw new PluginError(
        `adds the catalogue entry${shown}, which is not well formed: ${first}`,
        more.length > 0 ? more.join('; ') : undefined,
      );
    }
  }
  const detectors = [...(registry.detectors ?? []), ...(plugin.detectors ?? [])];
  return {
    receivers: [...registry.receivers, ...(plugin.receivers ?? [])],
    processors: [...registry.processors, ...(plugin.processors ?? [])],
    exporters: [...registry.exporters, ...(plugin.exporters ?? [])],
    extensions: [...registry.extensions, ...(plugin.extensions ?? [])],
    catalog,
    ...(detectors.length > 0 ? { detectors } : {}),
  };
}
