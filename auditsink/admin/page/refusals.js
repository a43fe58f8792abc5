// Requests that were refused: why, since when, and by whom they were sent.

import { byId, el, name, show } from "./dom.js";
import { sentence, time } from "./time.js";
import { ago, count } from "./words.js";

const OVER = 60000; // refusals of one kind that are further apart do not belong together (receive/statistics.py)

export function draw(now) {
  const rows = [...now.refusals].sort((a, b) => b.last.localeCompare(a.last));
  byId("refusals").hidden = rows.length === 0;
  const heads = ["Reason", "Requests", "First", "Last", "From", "What they were told"];
  show(byId("refusal-table"),
    el("caption", { class: "hidden" }, "Refused requests by reason, the last row of each"),
    el("thead", {}, el("tr", {}, heads.map((text, place) => el("th", { scope: "col", class: place > 3 && "text" }, text)))),
    el("tbody", {}, rows.map((one) => row(one, now.rejected_requests[one.reason] ?? one.count))));
}

function row(one, total) {
  const over = Date.now() - new Date(one.last) > OVER;
  const peers = Object.entries(one.peers).sort((a, b) => b[1] - a[1]);
  return el("tr", { class: over ? "over" : "" },
    el("th", { scope: "row" }, el("span", { class: `pill ${over ? "off" : "bad"}` }, over ? "over" : "now"), " ", name(one.reason)),
    el("td", {}, count(one.count), total > one.count && el("span", { class: "note" }, ` of ${count(total)} since start`)),
    el("td", {}, time(one.since)),
    el("td", {}, time(one.last), el("span", { class: "note" }, ` ${ago(one.last)} ago`)),
    el("td", { class: "text" }, peers.map(([peer, number]) => el("div", {}, name(peer || "unknown"), ` x ${count(number)}`))),
    el("td", { class: "text" }, sentence(one.sentence), one.path && el("span", { class: "note" }, " Last posted to ", name(one.path))));
}
