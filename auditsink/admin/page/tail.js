// Events as they pass, one line each, that opens to the event itself.

import { ask, lots, Refused } from "./api.js";
import { byId, el, name, say, show, visible } from "./dom.js";
import { clock, day, time, zone } from "./time.js";
import { bytes, count } from "./words.js";
import { indented } from "./json.js";

const FIELDS = ["cluster", "user", "verb", "resource", "namespace", "code"];
const LINES = 500;
const FIRST = 50;
const OPENED = 262144;

let stopping = null;
let totals = { shown: 0, skipped: 0 };
let waiting = []; // lines that came while the list was scrolled, the newest first
let wanted = false; // it runs, or goes on when the page is seen again
let begun = false; // by itself or by hand: once
let seen = false;
let mayStart = () => false;

export function start() {
  byId("tail-filters").append(...FIELDS.map((field) => el("label", {}, field,
    el("input", { name: field, type: "text", autocomplete: "off", autocapitalize: "none", spellcheck: "false" }))));
  byId("tail-form").addEventListener("submit", (event) => { event.preventDefault(); follow(); });
  byId("tail-stop").addEventListener("click", () => { wanted = false; stop(); });
  byId("tail-clear").addEventListener("click", () => { waiting = []; byId("tail-lines").replaceChildren(); });
  byId("tail-newest").addEventListener("click", () => { byId("tail-lines").scrollTop = 0; flush(); });
  byId("tail-lines").addEventListener("scroll", () => paused() || flush());
  document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else if (wanted) follow(); });
  show(byId("tail-heads"), COLUMNS.map(([kind, head]) => el("span", { class: kind }, head ?? `time (${zone(new Date())})`)));
}

// On a destination's page it is not shown, and takes no listener's place there.
export function hide(yes) {
  if (yes) stop();
  else if (wanted && stopping?.signal.aborted) follow();
}

// Starts when it is seen first, and where it may: `may` says so. One that nobody looks at takes no listener's place.
export function startWhenSeen(may) {
  mayStart = may;
  new IntersectionObserver((entries) => {
    seen = entries.at(-1).isIntersecting;
    startNow();
  }).observe(byId("tail"));
}

export function startNow() {
  if (seen && !begun && mayStart()) follow();
}

function stop() {
  stopping?.abort();
}

async function follow() {
  stop();
  wanted = begun = true;
  const mine = stopping = new AbortController();
  const asked = new URLSearchParams({ last: FIRST, follow: 1 });
  for (const field of FIELDS) {
    for (const pattern of byId("tail-form").elements[field].value.split(/\s+/)) if (pattern) asked.append(field, pattern);
  }
  waiting = [];
  byId("tail-lines").replaceChildren();
  totals = { shown: 0, skipped: 0 };
  running(true);
  try {
    for await (const lot of lots(`tail?${asked}`, mine.signal)) if (mine === stopping) add(lot);
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

const paused = () => byId("tail-lines").scrollTop > 4;

// While somebody has scrolled down nothing moves: what comes waits, and is there when they are back at the top.
function add(lot) {
  const lines = lot.filter((line) => line.skipped || line.cluster).reverse();
  for (const line of lines) {
    if (line.skipped) totals.skipped += line.skipped;
    else totals.shown += 1;
  }
  waiting = [...lines, ...waiting].slice(0, LINES);
  if (!paused()) flush();
  else note();
}

function flush() {
  const list = byId("tail-lines");
  list.prepend(...waiting.map(item));
  waiting = [];
  while (list.childElementCount > LINES) list.lastElementChild.remove();
  note();
}

function note() {
  byId("tail-newest").hidden = waiting.length === 0;
  byId("tail-newest").textContent = `Paused while scrolled: show ${count(waiting.length)} new`;
  if (!byId("tail-stop").disabled) say("tail-note", `listening; ${told()}`);
}

function item(line) {
  if (line.skipped) return el("li", { class: "gap" }, `${count(line.skipped)} skipped`);
  const details = el("details", {}, el("summary", { class: "columns" }, COLUMNS.map(([kind, , cell]) => el("span", { class: kind }, cell(line)))));
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && open(details, line));
  return el("li", {}, details);
}

const text = (value) => (value ? name(value) : "");

const COLUMNS = [
  ["time", null, (line) => { const date = new Date(line.time); return time(date, { text: `${day(date)} ${clock(date, 4)}` }); }],
  ["cluster", "cluster", (line) => text(line.cluster)],
  ["source", "source address", (line) => text(line.source)],
  ["user", "user", (line) => text(line.impersonated ? `${line.user ?? ""} as ${line.impersonated}` : line.user)],
  ["verb", "verb", (line) => text(line.verb)],
  ["place", "object", (line) => text([line.resource, line.namespace, line.name].filter(Boolean).join("/") || line.uri || line.unreadable)],
  ["code", "code", (line) => (line.code ? el("span", { class: `code${Math.floor(line.code / 100)}` }, line.code) : "")],
  ["stage", "stage", (line) => text(line.stage)],
];

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
