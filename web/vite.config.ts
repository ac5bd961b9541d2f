// Builds the page into dist/, from where the gantry binary embeds it.
// No asset is inlined and no preload helper is emitted: the page runs under `default-src 'self'`.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";
import { packed } from "./build/packed.ts";

export default defineConfig({
  plugins: [svelte(), packed()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
