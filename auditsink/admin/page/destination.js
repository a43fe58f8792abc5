// The page of one destination: where it stands, what is wrong with it, its last errors, what it does not take.

import { byId, el, name, show } from "./dom.js";
import { facts, heading, lastDelivered, nextAttempt } from "./flow.js";
import { sentence, time } from "./time.js";
import { commands } from "./verdict.js";
import { chosen, link } from "./view.js";
import { ago, count, rate, span, unfetched } from "./words.js";

const MOST_HELD = 50;

export function draw(now, rates) {
  const wanted = chosen();
  show(byId("others"), el("a", { href: "#flow", "data-key": "all" }, "All of the sink"), now.destinations.map((one) => [" ",
    el("a", { href: link(one.name), "data-key": `to ${one.name}`, "aria-current": one.name === wanted && "page" }, name(one.name))]));
  if (!wanted) return;
  const place = now.destinations.findIndex((one) => one.name === wanted);
  show(byId("destination-body"), place < 0 ? unknown(wanted, now) : known(now.destinations[place], place, rates));
}

function unknown(wanted, now) {
  const held = now.removed_destinations.find((one) => one.name === wanted);
  return [el("h2", {}, name(wanted)), el("p", {}, "No destination has this name. ",
    held && `It was configured once, and ${count(held.undelivered)} events that it has not got are held for it.`)];
}

function known(one, place, rates) {
  const again = `auditsink replay --destination ${one.name} --since 1h`;
  return [
    heading(one, place, "h2"),
    one.concerns.map((each, number) => el("div", { class: `verdict ${each.level}` }, el("p", {}, sentence(each.text), ".",
      each.since && el("span", { class: "note" }, " For ", ago(each.since), ".")), commands(each.commands, `${number}`))),
    one.advice.length > 0 && el("ul", { class: "advice note" }, one.advice.map((text) => el("li", {}, text))),
    el("div", { class: "pair" },
      el("div", { class: "card" }, el("h3", {}, "Now"), facts(
        ["delivered", rate(rates.destinations[one.name])],
        ["pending", count(one.pending)],
        one.unfetched?.records > 0 && ["not fetched yet", unfetched(one.unfetched)],
        ["lag", span(one.lag_seconds)],
        one.since && ["takes nothing since", [time(one.since), ` (${ago(one.since)})`]],
        ["delivered last", lastDelivered(one)],
        one.next_attempt_seconds > 0 && ["next try", nextAttempt(one)],
        ["dead letters that wait", count(one.dead_letters.waiting)],
        one.dead_letters.thrown_away > 0 && ["dead letters thrown away", count(one.dead_letters.thrown_away)])),
      el("div", { class: "card" }, el("h3", {}, "Its events"), facts(...["accepted", "delivered", "filtered", "dead_lettered", "dropped", "pending"]
        .map((key) => [key.replace("_", "-"), count(one[key])])))),
    el("h3", { class: "later" }, "Last errors"),
    one.last_errors.length ? errors(one) : el("p", { class: "note" }, "None since the start."),
    one.held.length > 0 && [el("h3", { class: "later" }, "Clusters that it does not take"), held(one)],
    el("p", { class: "note" }, "What the ring still holds goes out once more with ", el("code", {}, name(again)), "."),
  ];
}

const table = (caption, heads, rows) => el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption, "data-key": caption },
  el("table", {}, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, heads.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows)));

// The newest first. While the destination is in trouble the newest one lasts; all others are over.
function errors(one) {
  return table("Last errors", ["Error", "Times", "First", "Last"], one.last_errors.map((each, place) => {
    const lasts = place === 0 && !one.last_error_over;
    return el("tr", { class: lasts ? "" : "over" },
      el("td", { class: "text" }, el("span", { class: `pill ${lasts ? one.level : "off"}` }, lasts ? "now" : "over"), " ", sentence(each.text)),
      el("td", {}, count(each.count)), el("td", {}, time(each.since)),
      el("td", {}, time(each.last), el("span", { class: "note" }, ` ${ago(each.last)} ago`)));
  }));
}

function held(one) {
  const more = one.held.length - MOST_HELD;
  return [table("Clusters that it does not take", ["Cluster", "Why", "Next try"], one.held.slice(0, MOST_HELD).map((each) => el("tr", {},
    el("th", { scope: "row" }, name(each.cluster)), el("td", { class: "text" }, sentence(each.why)),
    el("td", {}, `in ${span(each.next_attempt_seconds)}`)))),
  more > 0 && el("p", { class: "note" }, `And ${count(more)} more: `, el("code", {}, "auditsink status -o json"), " has all.")];
}
