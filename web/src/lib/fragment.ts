// Takes the one-time token out of the address bar. Imported first by main.ts, because
// imported modules run before the code of the module that imports them.
const fragment = location.hash;
export const signInFragment = fragment.startsWith("#signin=") ? fragment : null;
/** The token of a link with which somebody chooses a password. */
export const passwordToken = /^#password=([\w-]+)$/.exec(fragment)?.[1] ?? null;
/** A foreign provider sent somebody back whom the platform did not take. */
export const wasRefused = fragment === "#refused";
if (signInFragment || passwordToken || wasRefused) history.replaceState(null, "", location.pathname + location.search);
