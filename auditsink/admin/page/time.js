// Times in one format, wherever they stand on the page: local, with the zone; the same in UTC when pointed at.

import { el } from "./dom.js";

const two = (number, digits = 2) => String(number).padStart(digits, "0");
const zones = new Intl.DateTimeFormat([], { timeZoneName: "short" });

export const zone = (date) => zones.formatToParts(date).find((part) => part.type === "timeZoneName").value;
export const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
export const hours = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
export const clock = (date, parts = 3) => hours(date) +
  (parts > 2 ? `:${two(date.getSeconds())}` : "") + (parts > 3 ? `.${two(date.getMilliseconds(), 3)}` : "");
const utc = (date) => `${date.toISOString().replace("T", " ").replace(/(\.000)?Z$/, "")} UTC`;

// `parts`: 2 to the minute, 3 to the second, 4 to the millisecond. Today's date is left out, unless `dated`.
export function words(date, { parts = 3, dated = false } = {}) {
  const today = day(date) === day(new Date());
  return `${dated || !today ? `${day(date)} ` : ""}${clock(date, parts)} ${zone(date)}`;
}

export function time(value, options = {}) {
  const date = value instanceof Date ? value : new Date(value);
  if (Number.isNaN(date.getTime())) return el("span", {}, value);
  return el("time", { datetime: date.toISOString(), title: utc(date) }, options.text ?? words(date, options));
}

// A sentence of the sink's, which says times as "14:02 UTC" or "2026-11-23 14:02 UTC", with those as all others are.
export function sentence(text) {
  const today = new Date().toISOString().slice(0, 10);
  return text.split(/((?:\d{4}-\d\d-\d\d )?\d\d:\d\d UTC)/).map((part, place) => {
    if (place % 2 === 0) return part && el("bdi", {}, part);
    const [, date, minute] = /^(?:(\S+) )?(\d\d:\d\d) UTC$/.exec(part);
    return time(`${date ?? today}T${minute}:00Z`, { parts: 2 });
  });
}
