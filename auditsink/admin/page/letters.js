// Dead letters: what a destination refused for good, why, and another try.

import { ask, change, get, Refused, token } from "./api.js";
import { byId, el, name, say, show, visible } from "./dom.js";
import { indented } from "./json.js";
import { time } from "./time.js";
import { bytes, count } from "./words.js";

let rules = { token: false, open: false };

export function start(access) {
  rules = access;
  byId("letters-load").addEventListener("click", load);
}

export async function load() {
  say("letters-note", "loading");
  try {
    const { destinations } = await get("letters");
    show(byId("letters-list"), destinations.filter((one) => one.count).map(section));
    say("letters-note", destinations.some((one) => one.count) ? "" : "There are none.");
  } catch (problem) {
    say("letters-note", why(problem));
  }
}

const why = (problem) => (problem instanceof Refused ? problem.message : "the sink does not answer");
const mayChange = () => rules.token && token.get() !== "";

function section(one) {
  const all = `all ${count(one.count)} of ${one.name}`;
  return el("div", { class: "card letter" },
    el("div", { class: "head" }, el("h3", {}, name(one.name)),
      el("span", { class: "note" }, `${count(one.count)} refused` + (one.letters.length < one.count ? `, the newest ${one.letters.length} shown` : "")),
      buttons(one, null, all)),
    !one.configured && el("p", { class: "note" }, "This destination is not configured any more: its letters can only be dropped."),
    !mayChange() && el("p", { class: "note" }, rules.token ? "To replay or drop, enter the admin token above." :
      "To replay or drop from here, set admin.token_file; the command auditsink deadletter does both without."),
    one.letters.map((letter) => row(one, letter)));
}

function row(one, letter) {
  const details = el("details", {}, el("summary", {},
    el("span", { class: "time" }, time(letter.refused_at)), el("span", {}, name(letter.cluster)), el("span", {}, name(letter.reason))));
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && open(details, one, letter));
  return el("div", { class: "letter" }, details);
}

async function open(details, one, letter) {
  const pre = el("pre", { tabindex: "0", "aria-label": "The event as JSON" }, letter.beginning);
  details.append(el("p", { class: "note" }, `${letter.id}, sequence ${count(letter.sequence)}, ${bytes(letter.bytes)}`),
    buttons(one, [letter.id], letter.id), pre);
  if (letter.bytes > 262144) return;
  try {
    const answer = await ask(`letters/event?${new URLSearchParams({ destination: one.name, id: letter.id })}`);
    pre.textContent = visible(indented(await answer.text()));
  } catch (problem) {
    pre.textContent = visible(why(problem));
  }
}

function buttons(one, ids, what) {
  const act = (path, question) => async () => {
    if (question && !window.confirm(visible(question))) return;
    say("letters-note", "working");
    try {
      const told = await change(path, { destination: one.name, ids });
      await load();
      say("letters-note", summary(told));
    } catch (problem) {
      say("letters-note", why(problem));
    }
  };
  const can = mayChange();
  return el("span", { class: "row" },
    el("button", { type: "button", disabled: !can || !one.configured, "aria-label": `Replay ${what}`, onclick: act("letters/replay") }, ids ? "Replay" : "Replay all"),
    el("button", { type: "button", disabled: !can, "aria-label": `Drop ${what}`,
      onclick: act("letters/drop", `Throw away for good what was never delivered: ${what}?`) }, ids ? "Drop" : "Drop all"));
}

function summary(told) {
  if (told.dropped != null) return `Dropped ${count(told.dropped)}.`;
  const again = told.refused.length ? ` ${count(told.refused.length)} refused again: ${told.refused[0].reason}` : "";
  return `Delivered ${count(told.delivered)} of ${count(told.of)}.${again}${told.stopped ? ` ${told.stopped}; the rest stays as it is.` : ""}`;
}
