// The last hours as curves, of the sink or of one destination, with one line over all of them at the moment pointed at.

import { get } from "./api.js";
import { tops } from "./axis.js";
import { chart, share } from "./chart.js";
import { byId, say, show } from "./dom.js";
import { words as timeWords, zone } from "./time.js";
import { chosen } from "./view.js";
import { brief, bytes, rate, span } from "./words.js";

const REFRESH = 20000;
let series = "fine";
let history = null;
let drawn = []; // the charts that are shown
let at = []; // the times that they have in common
let pointed = null; // seconds since the epoch: where the line is

export function start() {
  for (const one of ["fine", "coarse"]) byId(`span-${one}`).addEventListener("click", () => choose(one));
  const charts = byId("charts");
  const move = (event) => {
    const drawing = event.target.closest("svg");
    if (drawing && at.length) point(at[0] + share(drawing.getBoundingClientRect(), event.clientX) * (at.at(-1) - at[0]));
  };
  charts.addEventListener("pointermove", move);
  charts.addEventListener("pointerdown", move);
  charts.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(null)); // a finger leaves to look
  charts.addEventListener("keydown", key);
  charts.addEventListener("blur", () => point(null));
  refresh();
}

function choose(one) {
  series = one;
  for (const each of ["fine", "coarse"]) byId(`span-${each}`).setAttribute("aria-pressed", String(each === one));
  draw();
}

async function refresh() {
  if (!document.hidden) {
    try { history = await get("history"); draw(); } catch { /* the next look may succeed */ }
  }
  setTimeout(refresh, history?.fine.at.length > 3 ? REFRESH : REFRESH / 4);
}

export function draw() {
  if (!history) return;
  const points = history[series];
  at = points.at;
  say("history-note", `Kept in memory since ${timeWords(new Date(history.since * 1000))}: a restart begins anew. Times are ${zone(new Date())}.`);
  const known = charts(points, chosen()).map(([title, curves, words, top]) => [title, curves.filter(rises), words, top]);
  const some = at.length > 1 ? known.filter(([, curves]) => curves.length) : [];
  drawn = some.map(([title, curves, words, top]) => chart(title, at, curves, words, top));
  show(byId("charts"), drawn.map((one) => one.figure));
  const flat = known.filter(([, curves]) => !curves.length).map(([title]) => title.toLowerCase());
  say("charts-flat", at.length < 2 ? "The first curves are here in half a minute." : flat.length ? `Zero all the time: ${flat.join(", ")}.` : "");
  point(pointed);
}

const rises = (curve) => curve.values.some((value) => value > 0);

// A curve keeps its destination's colour, which is that of its place in the configuration.
function charts(points, destination) {
  const slopes = (values) => perSecond(points.at, values);
  const own = (label, values, colour = 5) => ({ label, colour, values });
  const several = (kind, make) => points.destinations.map((one, place) => ({ label: one.name, colour: place, values: make(one[kind]) }))
    .filter((curve) => !destination || curve.label === destination);
  const asIs = (values) => values;
  const mine = [
    ["Events a second", [own("accepted", slopes(points.accepted)), ...several("delivered", slopes)], rate, tops.rate],
    ["Pending events", several("pending", asIs), brief, tops.count],
    ["Lag", several("lag_seconds", asIs), span, tops.span],
    ["Lost or refused events a second", several("lost", slopes), rate, tops.rate],
  ];
  return destination ? mine : [...mine,
    ["Ring", [own("used", points.bytes), own("still needed", points.wanted_bytes, 0)], bytes, tops.bytes],
    ["Refused requests a second", [own("refused", slopes(points.refused))], rate, tops.rate]];
}

function perSecond(at, values) {
  return values.map((value, i) => (i ? Math.max(0, value - values[i - 1]) / Math.max(1, at[i] - at[i - 1]) : null));
}

const nearest = (time) => at.reduce((best, one, i) => (Math.abs(one - time) < Math.abs(at[best] - time) ? i : best), 0);

// The line over all charts, at the sample that is nearest to a time.
function point(time) {
  pointed = drawn.length ? time : null;
  const i = pointed == null ? null : nearest(pointed);
  for (const one of drawn) one.point(i);
  say("charts-at", i == null ? "" : `at ${timeWords(new Date(at[i] * 1000))}`);
  return i;
}

function key(event) {
  if (!drawn.length) return;
  if (event.key === "Escape") return point(null);
  const from = pointed == null ? at.length - 1 : nearest(pointed);
  const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 30, PageDown: from + 30, Home: 0, End: at.length - 1 }[event.key];
  if (to == null) return;
  event.preventDefault();
  const i = point(at[Math.min(at.length - 1, Math.max(0, to))]);
  say("charts-said", `${byId("charts-at").textContent}. ${drawn.map((one) => one.said(i)).join(". ")}`);
}
