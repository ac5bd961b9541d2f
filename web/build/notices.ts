// Writes the licences of what is in the bundle to dist/assets/licences.txt, as they ask for.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Plugin } from "vite";

const TEXTS = /^(licen[cs]e|notice|thirdpartynotices)(\.(md|txt))?$/i;
/** What packages hold of others without saying so in a file. */
const WITHIN: Record<string, string> = {
  "@kusto/language-service":
    "Holds Bridge.NET 17.10.1 and its Newtonsoft.Json 1.17.0, copyright 2008-2019 Object.NET, Inc., under the Apache License 2.0\n" +
    "(https://www.apache.org/licenses/LICENSE-2.0), and decimal.js, copyright Michael Mclaughlin, under the MIT licence.",
  "monaco-editor": "Its icons, codicons, are copyright Microsoft Corporation, under CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/).",
};

async function notice(folder: string): Promise<string> {
  const told = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { name: string; version: string; license?: string; author?: string | { name: string } };
  const files = (await readdir(folder)).filter((name) => TEXTS.test(name)).sort();
  const texts = await Promise.all(files.map((name) => readFile(join(folder, name), "utf8")));
  const author = typeof told.author === "string" ? told.author : (told.author?.name ?? "");
  const said = texts.length ? texts : [`Copyright ${author}. ${told.license} licence; the package has no text of it.`];
  return [`${told.name} ${told.version} (${told.license})`, WITHIN[told.name] ?? "", ...said].filter(Boolean).join("\n\n");
}

/** Two plugins that look at the page and at its workers, and write once both are known. */
export function notices(): { page: Plugin; worker: Plugin } {
  const folders = new Set<string>();
  const look = (ids: Iterable<string>) => {
    for (const id of ids) {
      const found = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id);
      if (found) folders.add(found[1]!);
    }
  };
  return {
    worker: { name: "notices-of-workers", generateBundle() { look(this.getModuleIds()); } },
    page: {
      name: "notices",
      apply: "build",
      async generateBundle() {
        look(this.getModuleIds());
        const all = await Promise.all([...folders].sort().map(notice));
        this.emitFile({ type: "asset", fileName: "assets/licences.txt", source: all.join(`\n\n${"=".repeat(80)}\n\n`) });
      },
    },
  };
}
