// Starts the page. The first import must stay first: see there.
import { passwordToken, signInFragment, wasRefused } from "./lib/fragment";
import { mount } from "svelte";
import App from "./App.svelte";
import { signInToken } from "./lib/format";
import "uplot/dist/uPlot.min.css";
import "./app.css";

const token = signInFragment ? signInToken(signInFragment) : null;
mount(App, { target: document.getElementById("app")!, props: { token, passwordToken, wasRefused } });
