// The editor of questions: Monaco with Kusto's language service. It is most of the page, so it is only ever imported
// dynamically, by `Editor.svelte`; the parts of Monaco that a question has no use for stay out.
import { styleLines } from "./environment";
import "monaco-editor/esm/vs/base/browser/ui/codicons/codiconStyles.js";
import "monaco-editor/esm/vs/editor/browser/coreCommands.js";
import "monaco-editor/esm/vs/editor/common/standaloneStrings.js";
import "monaco-editor/esm/vs/editor/contrib/bracketMatching/browser/bracketMatching.js";
import "monaco-editor/esm/vs/editor/contrib/clipboard/browser/clipboard.js";
import "monaco-editor/esm/vs/editor/contrib/comment/browser/comment.js";
import "monaco-editor/esm/vs/editor/contrib/contextmenu/browser/contextmenu.js";
import "monaco-editor/esm/vs/editor/contrib/cursorUndo/browser/cursorUndo.js";
import "monaco-editor/esm/vs/editor/contrib/find/browser/findController.js";
import "monaco-editor/esm/vs/editor/contrib/folding/browser/folding.js";
import "monaco-editor/esm/vs/editor/contrib/format/browser/formatActions.js";
import "monaco-editor/esm/vs/editor/contrib/gotoError/browser/gotoError.js";
import "monaco-editor/esm/vs/editor/contrib/gotoSymbol/browser/goToCommands.js";
import "monaco-editor/esm/vs/editor/contrib/hover/browser/hover.js";
import "monaco-editor/esm/vs/editor/contrib/indentation/browser/indentation.js";
import "monaco-editor/esm/vs/editor/contrib/linesOperations/browser/linesOperations.js";
import "monaco-editor/esm/vs/editor/contrib/multicursor/browser/multicursor.js";
import "monaco-editor/esm/vs/editor/contrib/rename/browser/rename.js";
import "monaco-editor/esm/vs/editor/contrib/suggest/browser/suggestController.js";
import "monaco-editor/esm/vs/editor/contrib/toggleTabFocusMode/browser/toggleTabFocusMode.js";
import "monaco-editor/esm/vs/editor/contrib/wordOperations/browser/wordOperations.js";
import "monaco-editor/esm/vs/editor/standalone/browser/quickAccess/standaloneCommandsQuickAccess.js";
import * as monaco from "monaco-editor/esm/vs/editor/editor.api";
import { getKustoWorker, kustoDefaults, themeNames, type showSchema } from "@kusto/monaco-kusto";

/** The database as `.show database schema as json` tells of it, and what surrounds a question. */
export interface Known {
  schema: showSchema.Result;
  parameters: { name: string; type: string }[];
}
/** What an editor starts with, and whom it tells. */
export interface Start {
  id: string;
  label: string;
  /** How high it is at least; it grows with its text. */
  rows: number;
  text: string;
  changed: (text: string) => void;
  run: () => void;
}
export type Opened = ReturnType<typeof open>;

const LINE_PX = 19;
const LINES_MAX = 24;
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => monaco.editor.setTheme(dark.matches ? themeNames.dark : themeNames.light);
dark.addEventListener("change", theme);
theme();
kustoDefaults.setLanguageSettings({ ...kustoDefaults.languageSettings, enableQueryWarnings: true });

/** Tells the language service what there is: completion, hover and errors follow. */
export async function know({ schema, parameters }: Known) {
  const [model] = monaco.editor.getModels();
  const name = Object.keys(schema.Databases)[0];
  if (!model || !name) return;
  const worker = await (await getKustoWorker())(model.uri);
  const normal = await worker.normalizeSchema(schema, location.origin, name);
  await worker.setSchema({ ...normal, globalScalarParameters: parameters.map(({ name, type }) => ({ name, type, cslType: type })) });
}

/**
 * The text that an editor of a name holds. It outlives the editor: the language service answers late, to a text that must still
 * be there then, and one can undo after the window was narrow for a while.
 */
function modelOf(id: string, text: string): monaco.editor.ITextModel {
  const uri = monaco.Uri.from({ scheme: "question", path: `/${id}` });
  const model = monaco.editor.getModel(uri) ?? monaco.editor.createModel(text, "kusto", uri);
  if (model.getValue() !== text) model.setValue(text);
  return model;
}

/** Opens an editor in a box. Its text area is called `id`, so that a label can name it. */
export function open(box: HTMLElement, { id, label, rows, text, changed, run }: Start) {
  const stop = styleLines(box);
  const model = modelOf(id, text);
  const fit = (height: number) => (box.style.height = `${Math.min(Math.max(height, rows * LINE_PX), LINES_MAX * LINE_PX)}px`);
  // Before it is there, so that it is laid out once.
  fit(model.getLineCount() * LINE_PX);
  const editor = monaco.editor.create(box, {
    model, ariaLabel: label, automaticLayout: true, fixedOverflowWidgets: true,
    fontSize: 13, lineHeight: LINE_PX, lineNumbersMinChars: 3, lineDecorationsWidth: 4, padding: { top: 6, bottom: 6 },
    minimap: { enabled: false }, scrollBeyondLastLine: false, overviewRulerLanes: 0, wordWrap: "on", wordBasedSuggestions: "off",
    links: false, scrollbar: { alwaysConsumeMouseWheel: false }, renderLineHighlight: "none", suggest: { showStatusBar: false },
  });
  box.querySelector("textarea")!.id = id;
  editor.onDidContentSizeChange(({ contentHeight }) => fit(contentHeight));
  editor.onDidChangeModelContent(() => changed(model.getValue()));
  editor.addAction({ id: "gantry.run", label: "Run the question", keybindings: [monaco.KeyMod.CtrlCmd | monaco.KeyCode.Enter, monaco.KeyMod.Shift | monaco.KeyCode.Enter], contextMenuGroupId: "navigation", run });
  return {
    /** Puts another text in, as a change that can be undone. */
    set(text: string) {
      if (text === model.getValue()) return;
      editor.executeEdits("page", [{ range: model.getFullModelRange(), text }]);
      editor.setPosition({ lineNumber: 1, column: 1 });
    },
    /** What is selected, as offsets; where the cursor is when nothing is. */
    selection(): [number, number] {
      const chosen = editor.getSelection()!;
      return [model.getOffsetAt(chosen.getStartPosition()), model.getOffsetAt(chosen.getEndPosition())];
    },
    focus(from: number, to: number) {
      editor.setSelection(monaco.Range.fromPositions(model.getPositionAt(from), model.getPositionAt(to)));
      editor.focus();
    },
    close() {
      stop();
      editor.dispose();
      box.style.height = "";
    },
  };
}
