/** A file and all that it imports as JavaScript, for a thread that cannot read TypeScript. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
};

/** Where the JavaScript of `file` (a path from the root of the repository) is, and how to take it away. */
export function compiled(file: string): { readonly url: URL; remove(): void } {
  // Inside of the repository, so that packages are found.
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  const folder = mkdtempSync(join(ROOT, 'build', 'compiled-'));
  const seen = new Set<string>();
  const queue = [join(ROOT, file)];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (seen.has(path) || !existsSync(path)) continue;
    seen.add(path);
    const text = readFileSync(path, 'utf8');
    const to = join(folder, relative(ROOT, path)).replace(/\.ts$/, '.js');
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, ts.transpileModule(text, { compilerOptions: OPTIONS, fileName: path }).outputText);
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      if (fileName.startsWith('.')) queue.push(join(dirname(path), fileName));
    }
  }
  return {
    url: pathToFileURL(join(folder, file.replace(/\.ts$/, '.js'))),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
