// Takes the one-time token out of the address bar before anything else can see or keep it.
const fragment = location.hash;
if (fragment.startsWith("#signin=")) history.replaceState(null, "", location.pathname + location.search);

import { mount } from "svelte";
import App from "./App.svelte";
import { signInToken } from "./lib/format";
import "uplot/dist/uPlot.min.css";
import "./app.css";

const token = fragment.startsWith("#signin=") ? signInToken(fragment) : null;
mount(App, { target: document.getElementById("app")!, props: { token } });
