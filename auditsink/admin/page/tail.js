// Events as they pass, one line each, that opens to the event itself.

import { ask, lots, Refused } from "./api.js";
import { byId, el, name, say, visible } from "./dom.js";
import { bytes, count } from "./words.js";
import { indented } from "./json.js";

const FIELDS = ["cluster", "user", "verb", "resource", "namespace", "code"];
const LINES = 500;
const FIRST = 50;
const OPENED = 262144;

let stopping = null;
let totals = { shown: 0, skipped: 0 };

export function start() {
  byId("tail-filters").append(...FIELDS.map((field) => el("label", {}, field,
    el("input", { name: field, type: "text", autocomplete: "off", autocapitalize: "none", spellcheck: "false" }))));
  byId("tail-form").addEventListener("submit", (event) => { event.preventDefault(); follow(); });
  byId("tail-stop").addEventListener("click", stop);
  byId("tail-clear").addEventListener("click", () => byId("tail-lines").replaceChildren());
  document.addEventListener("visibilitychange", () => document.hidden && stop());
}

function stop() {
  stopping?.abort();
}

async function follow() {
  stop();
  const mine = stopping = new AbortController();
  const asked = new URLSearchParams({ last: FIRST, follow: 1 });
  for (const field of FIELDS) {
    for (const pattern of byId("tail-form").elements[field].value.split(/\s+/)) if (pattern) asked.append(field, pattern);
  }
  byId("tail-lines").replaceChildren();
  totals = { shown: 0, skipped: 0 };
  running(true);
  try {
    for await (const lot of lots(`tail?${asked}`, mine.signal)) add(lot);
    if (mine === stopping) say("tail-note", `the sink ended it; ${told()}`);
  } catch (problem) {
    if (mine === stopping) say("tail-note", mine.signal.aborted ? `stopped; ${told()}` : why(problem));
  }
  if (mine === stopping) running(false);
}

const why = (problem) => (problem instanceof Refused ? problem.message : "the connection broke; start again");
const told = () => `${count(totals.shown)} shown, ${count(totals.skipped)} skipped`;

function running(yes) {
  byId("tail-start").textContent = yes ? "Start again" : "Start";
  byId("tail-stop").disabled = !yes;
  if (yes) say("tail-note", "listening");
}

function add(lot) {
  const list = byId("tail-lines");
  const nodes = lot.map(item).filter(Boolean);
  list.prepend(...nodes.reverse());
  while (list.childElementCount > LINES) list.lastElementChild.remove();
  say("tail-note", `listening; ${told()}`);
}

function item(line) {
  if (line.skipped) {
    totals.skipped += line.skipped;
    return el("li", { class: "gap" }, `${count(line.skipped)} skipped`);
  }
  if (!line.cluster) return null;
  totals.shown += 1;
  const details = el("details", {}, el("summary", {}, words(line)));
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && open(details, line));
  return el("li", {}, details);
}

function words(line) {
  const part = (kind, text) => text !== "" && text != null && el("span", { class: kind }, name(text));
  const place = [line.resource, line.namespace, line.name].filter(Boolean).join("/") || line.uri;
  const user = line.impersonated ? `${line.user ?? ""} as ${line.impersonated}` : line.user;
  return [
    part("time", line.time.slice(11)), part("cluster", line.cluster), part("user", user), part("verb", line.verb),
    part("place", place ?? line.unreadable), line.code && part(`code code${Math.floor(line.code / 100)}`, line.code), part("stage", line.stage),
  ];
}

async function open(details, line) {
  const pre = el("pre", { tabindex: "0", "aria-label": "The event as JSON" }, "loading");
  details.append(pre);
  try {
    const answer = await ask(`event?${new URLSearchParams({ cluster: line.cluster, sequence: line.sequence ?? 0, most: OPENED })}`);
    const all = Number(answer.headers.get("X-Auditsink-Bytes"));
    const text = await answer.text();
    const whole = all <= OPENED;
    pre.textContent = visible(whole ? indented(text) : text);
    if (!whole) pre.before(el("p", { class: "note" }, `the first ${bytes(OPENED)} of ${bytes(all)}`));
  } catch (problem) {
    pre.textContent = visible(why(problem));
  }
}
