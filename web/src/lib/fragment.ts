// Takes the one-time token out of the address bar. Imported first by main.ts, because
// imported modules run before the code of the module that imports them.
const fragment = location.hash;
export const signInFragment = fragment.startsWith("#signin=") ? fragment : null;
if (signInFragment) history.replaceState(null, "", location.pathname + location.search);
