// Builds the page into dist/, from where the gantry binary embeds it.
// No asset is inlined and no polyfill is emitted: the page runs under `default-src 'self'`.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";
import { kustoScripts, styleElements } from "./build/editor.ts";
import { notices } from "./build/notices.ts";
import { packed } from "./build/packed.ts";

const licences = notices();
export default defineConfig({
  plugins: [svelte(), styleElements(), kustoScripts(), licences.page, packed()],
  worker: { format: "es", plugins: () => [kustoScripts(), licences.worker] },
  // `npm run dev`: what is optimised beforehand would pass by the plugins.
  optimizeDeps: {
    exclude: ["monaco-editor", "@kusto/monaco-kusto", "@kusto/language-service", "@kusto/language-service-next"],
    include: ["@kusto/monaco-kusto > xregexp", "@kusto/monaco-kusto > vscode-languageserver-types", "@kusto/monaco-kusto > lodash-es"],
  },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 9000 },
});
