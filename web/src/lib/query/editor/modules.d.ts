// Modules that come without types of their own.
declare module "monaco-editor/esm/vs/*.js";
declare module "monaco-editor/esm/vs/editor/editor.worker?worker" {
  const construct: new () => Worker;
  export default construct;
}
