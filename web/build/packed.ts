// Leaves compressed files alone in dist/assets, as `NAME.br`: the binary embeds them so, and serves them so.
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import type { Plugin } from "vite";

const compress = promisify(brotliCompress);
const KINDS = /\.(js|css|ttf|txt)$/;
/** The best quality, 11, takes twenty times as long and saves a tenth. */
const QUALITY = 9;

export const packed = (): Plugin => ({
  name: "packed",
  apply: "build",
  async writeBundle({ dir }) {
    const folder = join(dir!, "assets");
    const names = (await readdir(folder)).filter((name) => KINDS.test(name));
    await Promise.all(
      names.map(async (name) => {
        const plain = await readFile(join(folder, name));
        const params = { [constants.BROTLI_PARAM_QUALITY]: QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length };
        await writeFile(join(folder, `${name}.br`), await compress(plain, { params }));
        await rm(join(folder, name));
      }),
    );
  },
});
