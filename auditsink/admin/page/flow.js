// Receive, ring, destinations: where the events are, and how fast they move.

import { byId, el, name, show, svg } from "./dom.js";
import { sentence, time } from "./time.js";
import { link } from "./view.js";
import { ago, brief, bytes, count, percent, rate, span, standing, unfetched } from "./words.js";

const RADIUS = 78;
const TURN = 0.92; // of the circle is the whole room; the gap at the top is where it begins and ends
const START = (1 - TURN) / 2;
const NOTABLE = 0.5; // as in observe/verdict.py
const FULL = 0.9;

export function draw(now, rates) {
  receive(now, rates);
  ring(now);
  show(byId("destinations"), ...sorted(now.destinations).map(([one, place]) => destination(one, place, rates)));
}

const ORDER = { bad: 0, look: 1, good: 2 };

// Those in trouble first, the longest one before the others; each with its place in the configuration, which is its number.
function sorted(destinations) {
  const since = (one) => (one.since ? Date.parse(one.since) : Infinity);
  return destinations.map((one, place) => [one, place]).sort(([a, i], [b, j]) =>
    ORDER[a.level] - ORDER[b.level] || (since(a) === since(b) ? 0 : since(a) - since(b)) || i - j);
}

export const facts = (...pairs) => el("dl", {}, pairs.filter(Boolean).map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));

function receive(now, rates) {
  const refused = Object.entries(now.rejected_requests).filter(([, number]) => number > 0);
  show(byId("receive"),
    el("h3", {}, "Receive"),
    facts(
      ["events", rate(rates.accepted)],
      ["accepted", count(now.accepted_events)],
      ["batches", `${count(now.accepted_batches)} since start`],
      ["repeats", count(now.duplicate_batches)],
      ["refused", count(refused.reduce((sum, [, number]) => sum + number, 0))],
    ),
    refused.length > 0 && el("p", { class: "note" }, refused.map(([why, number]) => `${why}: ${count(number)}`).join(", "),
      now.refusals.length > 0 && [". ", el("a", { href: "#refusals", "data-key": "refusals" }, "By whom and why")]),
  );
}

function ring(now) {
  const spool = now.spool;
  const held = spool.next_sequence - spool.first_sequence;
  const share = (part) => (spool.max_bytes ? Math.min(1, part / spool.max_bytes) : 0); // a topic has no limit of ours
  const fill = share(spool.bytes);
  const wanted = share(spool.wanted_bytes);
  const tight = wanted >= FULL ? "bad-ring" : wanted >= NOTABLE ? "look-ring" : "";
  const places = now.destinations.map((one) => fill * (held ? 1 - Math.min(1, one.pending / held) : 1));
  const words = `Ring: ${percent(spool.wanted_bytes, spool.max_bytes)} still needed, ${percent(spool.bytes, spool.max_bytes)} held. ` +
    now.destinations.map((one) => `${one.name}: ${count(one.pending)} of ${count(held)} events still to go`).join("; ");
  show(byId("ring"),
    el("h3", {}, "Ring"),
    svg("svg", { class: `ring ${tight}`, viewBox: "-12 -12 244 244", role: "img", "aria-label": words },
      arc(0, 1, "track"), fill > 0 && arc(0, fill, "held"), wanted > 0 && arc(Math.max(0, fill - wanted), fill, "wanted"),
      svg("text", { x: 110, y: 108, "text-anchor": "middle", class: "big" }, percent(spool.wanted_bytes, spool.max_bytes)),
      svg("text", { x: 110, y: 126, "text-anchor": "middle" }, wanted >= FULL ? "FULL: still needed" : "still needed"),
      spool.max_bytes > 0 && svg("text", { x: 110, y: 140, "text-anchor": "middle" }, `of ${bytes(spool.max_bytes)}`),
      places.map((place, index) => cursor(place, index, places)),
    ),
    facts(
      ["held", `${count(held)} events, ${bytes(spool.bytes)}`],
      ["still needed", bytes(spool.wanted_bytes)],
      now.reserved_bytes > 0 && ["reserved, shared", `${bytes(now.reserved_bytes)}, ${bytes(spool.max_bytes - now.reserved_bytes)}`],
      ["oldest", span(spool.oldest_seconds)],
      ["rings", count(now.cluster_count ?? now.clusters.length)],
      ["damaged", spool.damaged_bytes ? bytes(spool.damaged_bytes) : "nothing"],
    ),
    el("p", { class: "note" }, "Clockwise from the oldest event to the newest; a number is where that destination is."),
  );
}

function point(share, radius) {
  const angle = 2 * Math.PI * (START + TURN * share) - Math.PI / 2;
  return [110 + radius * Math.cos(angle), 110 + radius * Math.sin(angle)].map((value) => value.toFixed(2));
}

function arc(from, to, kind) {
  const large = (to - from) * TURN > 0.5 ? 1 : 0;
  const d = `M${point(from, RADIUS).join(" ")}A${RADIUS} ${RADIUS} 0 ${large} 1 ${point(to, RADIUS).join(" ")}`;
  return svg("path", { class: kind, d, fill: "none", "stroke-width": 16 });
}

// Cursors at the same place stand beside each other, outwards and inwards in turn.
function cursor(place, index, places) {
  const before = places.slice(0, index).filter((other) => Math.abs(other - place) < 0.06).length;
  const [x, y] = point(place, RADIUS + [0, 19, -19, 36][before % 4]);
  return svg("g", { class: `c${index % 6}` },
    svg("circle", { class: "mark", cx: x, cy: y, r: 9.5, "stroke-width": 1.5 }),
    svg("text", { x, y: Number(y) + 4, "text-anchor": "middle" }, index + 1));
}

function destination(one, place, rates) {
  const waiting = one.dead_letters.waiting;
  return el("li", { class: `card edge ${one.level}-edge` },
    heading(one, place, "h3"),
    facts(
      ["delivered", `${rate(rates.destinations[one.name])}, ${brief(one.delivered)} in all`],
      ["pending", count(one.pending)],
      one.unfetched?.records > 0 && ["not fetched yet", unfetched(one.unfetched)],
      ["lag", span(one.lag_seconds)],
      one.since && ["takes nothing since", [time(one.since), ` (${ago(one.since)})`]],
      one.level !== "good" && ["delivered last", lastDelivered(one)],
      waiting > 0 && ["dead letters that wait", count(waiting)],
      one.dropped > 0 && ["dropped", count(one.dropped)],
      one.filtered > 0 && ["filtered", count(one.filtered)],
    ),
    lastError(one),
    one.advice?.length > 0 && el("ul", { class: "advice note" }, one.advice.map((text) => el("li", {}, text))));
}

// Number, name (on a card the link to its page), type, and how it stands.
export function heading(one, place, level) {
  const title = level === "h3" ? el("a", { href: link(one.name), "data-key": `page ${one.name}` }, name(one.name)) : name(one.name);
  return el("div", { class: "head" },
    el("span", { class: `badge c${place % 6}`, "aria-hidden": "true" }, place + 1),
    el(level, {}, title),
    el("span", { class: "note" }, one.type),
    el("span", { class: `pill ${one.level}` }, standing(one)));
}

export const lastDelivered = (one) =>
  (one.last_delivered_at ? [time(one.last_delivered_at), ` (${ago(one.last_delivered_at)} ago)`] : "never since the start");

export const nextAttempt = (one) => `in ${span(one.next_attempt_seconds)}`;

function lastError(one) {
  if (!one.last_error) return null;
  const wait = one.next_attempt_seconds > 0 ? `; next try ${nextAttempt(one)}` : "";
  return el("p", { class: one.last_error_over ? "error note" : "error" },
    one.last_error_over ? "Over: the last error was at " : "Last error, ", time(one.last_error_at), ": ", sentence(one.last_error), wait);
}
