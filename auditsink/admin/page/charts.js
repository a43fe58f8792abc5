// The last hours as small curves.

import { byId, el, name, say, show, svg } from "./dom.js";
import { hours, words as timeWords } from "./time.js";
import { brief, bytes, rate, span } from "./words.js";
import { get } from "./api.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [320, 120, 4, 16, 14];
const clock = (seconds) => hours(new Date(seconds * 1000));
const REFRESH = 20000;
let chosen = "fine";
let history = null;

export function start() {
  for (const one of ["fine", "coarse"]) byId(`span-${one}`).addEventListener("click", () => choose(one));
  refresh();
}

function choose(span) {
  chosen = span;
  for (const one of ["fine", "coarse"]) byId(`span-${one}`).setAttribute("aria-pressed", String(one === span));
  render();
}

async function refresh() {
  if (!document.hidden) {
    try { history = await get("history"); render(); } catch { /* the next look may succeed */ }
  }
  setTimeout(refresh, history?.fine.at.length > 3 ? REFRESH : REFRESH / 4);
}

function render() {
  if (!history) return;
  const points = history[chosen];
  say("history-note", `Kept in memory since ${timeWords(new Date(history.since * 1000))}: a restart begins anew.`);
  const several = (kind, make) => points.destinations.map((one, place) => ({ label: one.name, colour: place, values: make(one[kind]) }));
  const own = (label, values) => ({ label, colour: 5, values });
  const slopes = (values) => perSecond(points.at, values);
  const asIs = (values) => values;
  show(byId("charts"),
    chart("Events a second", points.at, [own("accepted", slopes(points.accepted)), ...several("delivered", slopes)], rate),
    chart("Pending events", points.at, several("pending", asIs), brief),
    chart("Lag", points.at, several("lag_seconds", asIs), span),
    chart("Ring", points.at, [own("used", points.bytes), { label: "still needed", colour: 0, values: points.wanted_bytes }], bytes),
    chart("Lost or refused events a second", points.at, several("lost", slopes), rate),
    chart("Refused requests a second", points.at, [own("refused", slopes(points.refused))], rate),
  );
}

function perSecond(at, values) {
  return values.map((value, i) => (i ? Math.max(0, value - values[i - 1]) / Math.max(1, at[i] - at[i - 1]) : null));
}

function chart(title, at, curves, words) {
  const top = Math.max(1e-9, ...curves.flatMap((curve) => curve.values.filter((value) => value != null)));
  const shown = curves.flatMap((curve) => curve.values).some((value) => value > 0) ? top : 0;
  const x = (i) => LEFT + ((WIDTH - 2 * LEFT) * (at[i] - at[0])) / Math.max(1, at[at.length - 1] - at[0]);
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * value) / top;
  const last = (curve) => curve.values.findLast((value) => value != null);
  const summary = `${title}, highest ${words(shown)}; now ` +
    curves.map((curve) => `${curve.label} ${words(last(curve) ?? 0)}`).join(", ");
  const cross = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const values = curves.map((curve) => el("span", {}, words(last(curve) ?? 0)));
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary },
    svg("line", { class: "axis", x1: LEFT, x2: WIDTH - LEFT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    svg("text", { x: LEFT, y: 10 }, words(shown)),
    at.length > 1 && [svg("text", { x: LEFT, y: HEIGHT - 3 }, clock(at[0])),
      svg("text", { x: WIDTH - LEFT, y: HEIGHT - 3, "text-anchor": "end" }, clock(at[at.length - 1]))],
    curves.map((curve) => svg("path", { class: `curve c${curve.colour % 6}`, d: path(curve.values, x, y) })), cross);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const target = at[0] + ((event.clientX - box.left) / box.width) * (at[at.length - 1] - at[0]);
    const i = at.reduce((best, time, place) => (Math.abs(time - target) < Math.abs(at[best] - target) ? place : best), 0);
    for (const end of ["x1", "x2"]) cross.setAttribute(end, x(i));
    cross.setAttribute("visibility", "visible");
    curves.forEach((curve, place) => { values[place].textContent = `${words(curve.values[i] ?? 0)} at ${clock(at[i])}`; });
  });
  drawing.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    curves.forEach((curve, place) => { values[place].textContent = words(last(curve) ?? 0); });
  });
  const legend = curves.map((curve, place) => el("span", {},
    el("span", { class: `key c${curve.colour % 6}`, "aria-hidden": "true" }), name(curve.label), " ", values[place]));
  return el("figure", { class: "card" }, el("h3", {}, title), drawing, el("figcaption", { class: "legend" }, legend));
}

function path(values, x, y) {
  let d = "";
  values.forEach((value, i) => { if (value != null) d += `${d ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`; });
  return d;
}
