// The sentence on top: how bad it is, since when, how long until events are lost, what to type; red when the sink is gone.

import { byId, el, name, say, show, visible } from "./dom.js";
import { sentence, time } from "./time.js";
import { chosen } from "./view.js";
import { ago, span } from "./words.js";

const SILENT = 9000; // four documents that did not come

let heard = null; // when the last document came, on the page's clock
let told = "";
let latest = null;
let trouble = "";
const opened = Date.now();

export function start() {
  setInterval(age, 1000);
}

export function draw(now) {
  heard = Date.now();
  trouble = "";
  latest = now;
  gone(false);
  const { level, text, since, until_loss_seconds: left } = now.verdict;
  const others = now.concerns.slice(1);
  document.title = `${{ good: "", look: "(!) ", bad: "(!!) " }[level]}${title()}`;
  byId("verdict").className = `verdict ${level}`;
  sentenceOnce(text, ...sentence(text), ".");
  show(byId("verdict-more"),
    (since || left != null) && el("p", {}, since && ["Since ", time(since), ` (${ago(since)}). `],
      left === 0 && "Events are being lost or refused now.", left > 0 && `Events are lost in about ${span(left)} if nothing changes.`),
    commands(now.verdict.commands, "verdict"),
    others.length > 0 && el("ul", {}, others.map((one) => el("li", { class: `${one.level}-mark` }, sentence(one.text), ".",
      one.since && el("span", { class: "note" }, " For ", ago(one.since), ".")))));
}

const title = () => (chosen() ? `${visible(chosen())} - auditsink` : "auditsink");

// A screen reader is told of another sentence only.
function sentenceOnce(text, ...parts) {
  if (told === text) return;
  told = text;
  show(byId("verdict-text"), parts);
}

export function commands(several, key) {
  return several.length > 0 && el("ul", { class: "commands plain" }, several.map((text) => el("li", {}, el("code", {}, name(text)),
    navigator.clipboard && el("button", { type: "button", class: "copy", "aria-label": `Copy ${text}`, "data-key": `copy ${key} ${text}`,
      onclick: async () => { await navigator.clipboard.writeText(text); say("connection", "copied"); } }, "Copy"))));
}

// The connection's words: "" while documents come.
export function problem(text) {
  trouble = text;
  age();
}

function age() {
  if (document.hidden) return;
  const silent = Date.now() - (heard ?? opened);
  if (!trouble && silent < SILENT) return;
  gone(true);
  document.title = `(gone) ${title()}`;
  byId("verdict").className = "verdict bad";
  const why = trouble || "the sink says nothing";
  if (heard == null) {
    sentenceOnce(`never ${why}`, `Nothing is known of the sink: ${why}.`);
    return show(byId("verdict-more"));
  }
  sentenceOnce(`gone ${why}`, "The sink is gone, or cannot be reached: ", name(why), ".");
  const verdict = latest.verdict.text;
  show(byId("verdict-more"), el("p", {}, "All below is as it was ", el("strong", {}, span(Math.floor(silent / 1000))), " ago, at ",
    time(new Date(heard)), ". Then: ", sentence(verdict), "."), commands(["auditsink doctor"], "gone"));
}

function gone(yes) {
  document.body.classList.toggle("gone", yes);
}
