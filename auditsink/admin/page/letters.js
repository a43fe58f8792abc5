// Dead letters: what a destination refused for good, why, and another try.

import { ask, change, get, Refused, token } from "./api.js";
import { byId, el, name, say, show, visible } from "./dom.js";
import { indented } from "./json.js";
import { chosen } from "./view.js";
import { sentence, time } from "./time.js";
import { bytes, count } from "./words.js";

const REASON = 200; // characters by which the sink groups
let rules = { token: false, open: false };
let latest = null;

export function start(access) {
  rules = access;
  byId("letters-load").addEventListener("click", load);
}

export async function load() {
  if (!rules.open && !token.get()) return say("letters-note", rules.token ? "enter the admin token above first" : "");
  say("letters-note", "loading");
  try {
    latest = await get("letters");
    say("letters-note", "");
    draw();
  } catch (problem) {
    say("letters-note", why(problem));
  }
}

// Those of the destination whose page is open, else all.
export function draw() {
  if (!latest) return;
  const some = latest.destinations.filter((one) => one.count && (!chosen() || chosen() === one.name));
  show(byId("letters-list"), some.length ? some.map(section) : el("p", { class: "note" }, chosen() ? ["There are none of ", name(chosen()), "."] : "There are none."));
}

const why = (problem) => (problem instanceof Refused ? problem.message : "the sink does not answer");
const mayChange = () => rules.token && token.get() !== "";

function section(one) {
  return el("div", { class: "card letter" },
    el("div", { class: "head" }, el("h3", {}, name(one.name)), el("span", { class: "note" }, `${count(one.count)} wait`),
      one.groups.length > 1 && buttons(one, () => ({ ids: null }), `all ${count(one.count)} of ${one.name}`, " all")),
    !one.configured && el("p", { class: "note" }, "This destination is not configured any more: its letters can only be dropped."),
    !mayChange() && el("p", { class: "note" }, rules.token ? "To replay or drop, enter the admin token above." :
      "To replay or drop from here, set admin.token_file; the command auditsink deadletter does both without."),
    one.groups.map((each) => group(one, each)),
    one.ungrouped > 0 && el("p", { class: "note" }, `${count(one.ungrouped)} more for other reasons still.`));
}

// What was refused for one reason: to be replayed or dropped together, of one cluster or of all.
function group(one, { reason, count: number, since, last, clusters }) {
  const names = Object.keys(clusters);
  const select = names.length > 1 && el("select", { "aria-label": "Of which cluster" }, el("option", { value: "" }, `all ${count(names.length)} clusters`),
    names.map((each) => el("option", { value: each }, `${each} (${count(clusters[each])})`)));
  const choice = () => ({ ids: null, reason, refused_until: last, ...(select && select.value ? { cluster: select.value } : {}) });
  const said = () => (select && select.value ? `${count(clusters[select.value])} of ${select.value}, ${reason}` : `${count(number)} x ${reason}`);
  const mine = one.letters.filter((letter) => [...letter.reason].slice(0, REASON).join("") === reason);
  return el("div", { class: "group" },
    el("p", {}, el("strong", {}, `${count(number)} x `), sentence(reason)),
    el("p", { class: "note" }, "Since ", time(since), since !== last && [", the last ", time(last)],
      names.length === 1 && [", of ", name(names[0])], "."),
    el("div", { class: "row" }, select, buttons(one, choice, said, " these")),
    mine.length > 0 && el("details", {}, el("summary", {}, `The newest ${count(mine.length)}, one by one`), mine.map((letter) => row(one, letter))));
}

function row(one, letter) {
  const details = el("details", {}, el("summary", {},
    el("span", { class: "time" }, time(letter.refused_at)), el("span", {}, name(letter.cluster)),
    el("span", {}, `sequence ${count(letter.sequence)}, ${bytes(letter.bytes)}`)));
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && open(details, one, letter));
  return el("div", { class: "letter" }, details);
}

async function open(details, one, letter) {
  const pre = el("pre", { tabindex: "0", "aria-label": "The event as JSON" }, letter.beginning);
  details.append(el("p", { class: "note" }, `${letter.id}: `, name(letter.reason)),
    buttons(one, () => ({ ids: [letter.id] }), letter.id, ""), pre);
  if (letter.bytes > 262144) return;
  try {
    const answer = await ask(`letters/event?${new URLSearchParams({ destination: one.name, id: letter.id })}`);
    pre.textContent = visible(indented(await answer.text()));
  } catch (problem) {
    pre.textContent = visible(why(problem));
  }
}

// `choose`: which ones, as the sink is told; `what`: the same in words, or a function that gives them.
function buttons(one, choose, what, these) {
  const words = typeof what === "function" ? what : () => what;
  const act = (path, ask) => async () => {
    if (ask && !window.confirm(visible(`Throw away for good what was never delivered: ${words()}?`))) return;
    say("letters-note", "working");
    try {
      const told = await change(path, { destination: one.name, ...choose() });
      await load();
      say("letters-note", summary(told));
    } catch (problem) {
      say("letters-note", why(problem));
    }
  };
  const can = mayChange();
  return el("span", { class: "row" },
    el("button", { type: "button", disabled: !can || !one.configured, "aria-label": `Replay${these} ${words()}`, onclick: act("letters/replay") }, `Replay${these}`),
    el("button", { type: "button", disabled: !can, "aria-label": `Drop${these} ${words()}`, onclick: act("letters/drop", true) }, `Drop${these}`));
}

function summary(told) {
  if (told.dropped != null) return `Dropped ${count(told.dropped)}.`;
  const again = told.refused.length ? ` ${count(told.refused.length)} refused again: ${told.refused[0].reason}` : "";
  return `Delivered ${count(told.delivered)} of ${count(told.of)}.${again}${told.stopped ? ` ${told.stopped}; the rest stays as it is.` : ""}`;
}
