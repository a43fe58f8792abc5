// One chart: curves over the time, an axis with numbers on each side, and the line at the moment that is pointed at.

import { times } from "./axis.js";
import { el, name, svg } from "./dom.js";
import { hours } from "./time.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP] = [340, 136, 52, 8, 18, 8];

// What part of the time a place on the screen stands for, 0 to 1, for any of the charts: they are drawn alike.
export function share(box, clientX) {
  const x = ((clientX - box.left) / box.width) * WIDTH;
  return Math.min(1, Math.max(0, (x - LEFT) / (WIDTH - LEFT - RIGHT)));
}

// `curves`: label, colour, values, one for each of `at` or null. Gives the figure, `point`, which puts the line at a
// place of `at` (null: nowhere), and `said`, the same in words.
export function chart(title, at, curves, words, topOf) {
  const values = curves.flatMap((curve) => curve.values.filter((value) => value != null));
  const top = topOf(Math.max(...values));
  const x = (time) => LEFT + ((WIDTH - LEFT - RIGHT) * (time - at[0])) / Math.max(1, at.at(-1) - at[0]);
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * value) / top;
  const newest = (curve) => curve.values.findLast((value) => value != null) ?? 0;
  const line = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM });
  const dots = curves.map((curve) => svg("circle", { class: `dot c${curve.colour % 6}`, r: 3.5 }));
  const cross = svg("g", { visibility: "hidden" }, line, dots);
  const shown = curves.map((curve) => el("span", {}, words(newest(curve))));
  const summary = `${title}, highest ${words(Math.max(...values))}; now ${curves.map((curve) => `${curve.label} ${words(newest(curve))}`).join(", ")}`;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary },
    [0, top / 2, top].map((value) => [
      svg("line", { class: value ? "grid" : "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, words(value))]),
    times(at[0], at.at(-1)).map((time) => [
      svg("line", { class: "axis", x1: x(time), x2: x(time), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
      svg("text", { x: x(time), y: HEIGHT - 3, "text-anchor": x(time) > WIDTH - 30 ? "end" : "middle" }, hours(new Date(time * 1000)))]),
    curves.map((curve) => svg("path", { class: `curve c${curve.colour % 6}`, d: path(curve.values, at, x, y) })), cross);

  function point(i) {
    cross.setAttribute("visibility", i == null ? "hidden" : "visible");
    if (i != null) for (const end of ["x1", "x2"]) line.setAttribute(end, x(at[i]));
    curves.forEach((curve, place) => {
      const value = i == null ? newest(curve) : curve.values[i];
      shown[place].textContent = value == null ? "–" : words(value);
      dots[place].setAttribute("visibility", i == null || value == null ? "hidden" : "inherit");
      if (i != null) dots[place].setAttribute("cx", x(at[i]));
      if (value != null) dots[place].setAttribute("cy", y(value));
    });
  }

  const said = (i) => `${title}: ${curves.map((curve) => `${curve.label} ${curve.values[i] == null ? "not known" : words(curve.values[i])}`).join(", ")}`;
  const legend = curves.map((curve, place) => el("span", {},
    el("span", { class: `key c${curve.colour % 6}`, "aria-hidden": "true" }), name(curve.label), " ", shown[place]));
  return { figure: el("figure", { class: "card" }, el("h3", {}, title), drawing, el("figcaption", { class: "legend" }, legend)), point, said };
}

function path(values, at, x, y) {
  let d = "";
  values.forEach((value, i) => { if (value != null) d += `${d ? "L" : "M"}${x(at[i]).toFixed(1)} ${y(value).toFixed(1)}`; });
  return d;
}
