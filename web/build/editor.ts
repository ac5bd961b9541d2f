// What the build changes in the editor of questions (docs/decisions/0022-the-editor-of-queries.md).
import type { Plugin } from "vite";

/** Kusto's language service is scripts that share globals through `this`, which a module does not have. */
export const kustoScripts = (): Plugin => ({
  name: "kusto-scripts",
  transform: {
    filter: { id: /@kusto\/language-service(-next)?\/.*\.js(\?|$)/ },
    handler: (code) => ({ code: `(function (module, define) {${code}\n}).call(globalThis);`, map: null }),
  },
});

/** Style elements do not count under the page's policy: src/lib/query/editor/environment.ts has something in their place. */
export const styleElements = (): Plugin => ({
  name: "style-elements",
  transform: {
    filter: { id: /(base\/browser\/dom|base\/browser\/ui\/contextview\/contextview|monaco-kusto\/release\/esm\/languageFeatures)\.js(\?|$)/ },
    handler(code, id) {
      const parts = code.split("document.createElement('style')");
      if (parts.length !== 2) this.error(`${id} makes its style elements in another way than expected`);
      return { code: parts.join("document.createElement('monaco-style')"), map: null };
    },
  },
});
