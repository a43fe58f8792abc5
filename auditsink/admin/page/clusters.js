// A row for each cluster's ring: the heaviest ones of hundreds, or those whose name holds what was searched.

import { byId, el, name, say, show } from "./dom.js";
import { get } from "./api.js";
import { bytes, count, rate, span } from "./words.js";

const ROWS = 20;
const FOUND_ROWS = 200;
const ASK_AGAIN = 5000;

let order = { key: "pending", down: true };
let latest = null;
let all = { at: -ASK_AGAIN, clusters: null };

export function start() {
  byId("cluster-search").addEventListener("input", () => latest && draw(latest.now, latest.rates));
}

export function draw(now, rates) {
  latest = { now, rates };
  const wanted = byId("cluster-search").value.trim().toLowerCase();
  const total = now.cluster_count ?? now.clusters.length;
  const partial = now.clusters.length < total;
  if (wanted && partial) fetchAll();
  const known = wanted && partial && all.clusters ? all.clusters : now.clusters;
  const rows = known.map((one) => row(one, rates)).filter((one) => one.cluster.includes(wanted));
  rows.sort((a, b) => (order.down ? -1 : 1) * (a[order.key] > b[order.key] ? 1 : a[order.key] < b[order.key] ? -1 : 0));
  const shown = rows.slice(0, wanted ? FOUND_ROWS : ROWS);
  say("cluster-note", `${count(shown.length)} of ${count(wanted ? rows.length : total)} ${wanted ? "found" : "clusters"}` +
    (wanted || shown.length === total ? "" : ", those with the most pending; search for the others"));
  table(shown, now.destinations.map((one) => one.name));
}

async function fetchAll() {
  if (performance.now() - all.at < ASK_AGAIN) return;
  all.at = performance.now();
  try {
    all.clusters = (await get("status")).clusters;
    draw(latest.now, latest.rates);
  } catch { /* the next document asks again */ }
}

function row(one, rates) {
  const pending = one.destinations.map((account) => account.pending);
  return {
    cluster: one.cluster,
    rate: rates.clusters[one.cluster] ?? 0,
    events: one.spool.next_sequence,
    bytes: one.spool.bytes,
    wanted: one.spool.wanted_bytes,
    oldest: one.spool.oldest_seconds,
    pending: pending.reduce((sum, value) => sum + value, 0),
    by: Object.fromEntries(one.destinations.map((account) => [account.name, account.pending])),
    reserved: one.reservation?.reserved_bytes ?? 0,
    room: ROOM[one.reservation?.state] ?? "",
  };
}

const ROOM = { ok: "ok", shared: "uses shared room", full: "full", removed: "removed" };

// Only where some cluster has a reservation.
const RESERVED = [
  ["reserved", "Reserved", (one) => (one.reserved ? bytes(one.reserved) : "–")],
  ["room", "Room", (one) => one.room],
];

const COLUMNS = [
  ["cluster", "Cluster", (one) => name(one.cluster)],
  ["rate", "Events", (one) => rate(one.rate)],
  ["events", "Accepted", (one) => count(one.events)],
  ["bytes", "Ring", (one) => bytes(one.bytes)],
  ["wanted", "Still needed", (one) => bytes(one.wanted)],
  ["oldest", "Oldest", (one) => span(one.oldest)],
  ["pending", "Pending", (one) => count(one.pending)],
];

function table(rows, destinations) {
  const columns = latest.now.reserved_bytes > 0 ? [...COLUMNS, ...RESERVED] : COLUMNS;
  const heads = columns.map(([key, text]) => el("th", { scope: "col", "aria-sort": order.key === key && (order.down ? "descending" : "ascending") },
    el("button", { type: "button", "data-key": key, onclick: () => sortBy(key) }, text)));
  heads.push(...destinations.map((one) => el("th", { scope: "col" }, "to ", name(one))));
  const body = rows.map((one) => el("tr", {}, columns.map(([, , cell], place) => el(place ? "td" : "th", place ? {} : { scope: "row" }, cell(one))),
    destinations.map((destination) => el("td", {}, count(one.by[destination] ?? 0)))));
  show(byId("cluster-table"), el("caption", { class: "hidden" }, "Clusters, their rings, and what is pending for each destination"),
    el("thead", {}, el("tr", {}, heads)), el("tbody", {}, body));
}

function sortBy(key) {
  order = { key, down: order.key === key ? !order.down : key !== "cluster" };
  draw(latest.now, latest.rates);
}
