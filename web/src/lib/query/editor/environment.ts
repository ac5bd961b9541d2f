// What Monaco asks of its surroundings when it is loaded: whoever imports Monaco, dynamically, imports this first.
//
// The page runs under `default-src 'self'`: neither a style element nor a style attribute counts. Monaco makes both. So its
// style elements are constructed style sheets here (`build/editor.ts` puts STYLE_ELEMENT in their place), and the style
// attributes of the lines it writes as HTML are set through the object model, as it sets all others.
import EditorWorker from "monaco-editor/esm/vs/editor/editor.worker?worker";
import KustoWorker from "@kusto/monaco-kusto/release/esm/kusto.worker?worker";

const STYLE_ELEMENT = "monaco-style";
/** A style attribute within a tag. What is in the editor is escaped, so that a tag is one of Monaco's. */
const STYLE_ATTRIBUTE = /(<[a-z]+\b[^<>]*?) style="/g;

class StyleElement extends HTMLElement {
  readonly sheet = new CSSStyleSheet();

  override set textContent(css: string) {
    this.sheet.replaceSync(css);
  }
  override set innerText(css: string) {
    this.sheet.replaceSync(css);
  }
  override set innerHTML(css: string) {
    this.sheet.replaceSync(css);
  }
  #styled: DocumentOrShadowRoot | null = null;
  connectedCallback() {
    this.#styled = this.getRootNode() as Document | ShadowRoot;
    this.#styled.adoptedStyleSheets.push(this.sheet);
  }
  disconnectedCallback() {
    if (this.#styled) this.#styled.adoptedStyleSheets = this.#styled.adoptedStyleSheets.filter((sheet) => sheet !== this.sheet);
  }
}
customElements.define(STYLE_ELEMENT, StyleElement);

/** Sets what a style attribute said; what was set on the element meanwhile stays. */
function apply(element: HTMLElement | SVGElement) {
  element.style.cssText = `${element.dataset.style};${element.style.cssText}`;
  delete element.dataset.style;
}

/** Styles the lines of an editor as they come, until told to stop. Nothing is painted before. */
export function styleLines(box: HTMLElement): () => void {
  const observer = new MutationObserver(() => box.querySelectorAll<HTMLElement | SVGElement>("[data-style]").forEach(apply));
  observer.observe(box, { childList: true, subtree: true });
  return () => observer.disconnect();
}

self.MonacoEnvironment = {
  getWorker: (_, label) => (label === "kusto" ? new KustoWorker() : new EditorWorker()),
  createTrustedTypesPolicy: (name, policy) => ({
    name,
    createHTML: (html) => (name === "editorViewLayer" ? html.replace(STYLE_ATTRIBUTE, '$1 data-style="') : policy!.createHTML!(html)),
    createScript: (script) => policy!.createScript!(script),
    createScriptURL: (url) => policy!.createScriptURL!(url),
  }),
};
