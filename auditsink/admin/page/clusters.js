// A row for each cluster's ring: the first ones in the order that was asked for, or all of them; on a destination's page
// with what is there for that one.

import { get } from "./api.js";
import { byId, el, name, say, show } from "./dom.js";
import { chosen } from "./view.js";
import { bytes, count, rate, span } from "./words.js";

const ROWS = 20;
const PHONE_ROWS = 5;
const ASK_AGAIN = 5000;
const WANTED = "pending"; // the live document has those with the most of it

const phone = matchMedia("(max-width: 30rem)");
let order = { key: WANTED, down: true };
let whole = false; // all rows were asked for
let latest = null;
let all = { at: 0, clusters: null, rates: {} };
let asked = -ASK_AGAIN;

export function start() {
  byId("cluster-search").addEventListener("input", again);
  byId("cluster-all").addEventListener("click", () => { whole = !whole; again(); });
  phone.addEventListener("change", arrange);
  arrange();
}

// On a phone the clusters stand first, in the order of the keyboard too.
function arrange() {
  if (phone.matches) byId("destination").after(byId("clusters"));
  else byId("history").after(byId("clusters"));
  again();
}

const again = () => latest && draw(latest.now, latest.rates);

export function draw(now, rates) {
  latest = { now, rates };
  const wanted = byId("cluster-search").value.trim().toLowerCase();
  const total = now.cluster_count ?? now.clusters.length;
  // The live document's hundred are the right ones for the order that it is made in, and for no other.
  const partial = now.clusters.length < total && (wanted || whole || chosen() || order.key !== WANTED || !order.down);
  if (partial) fetchAll();
  const known = partial && all.clusters ? all : { clusters: now.clusters, rates: rates.clusters };
  const rows = known.clusters.map((one) => row(one, known.rates)).filter((one) => one.cluster.toLowerCase().includes(wanted));
  const columns = columnsOf(now);
  const key = columns.some(([each]) => each === order.key) ? order.key : WANTED;
  rows.sort((a, b) => (order.down ? -1 : 1) * (a[key] > b[key] ? 1 : a[key] < b[key] ? -1 : 0) || (a.cluster < b.cluster ? -1 : 1));
  const few = phone.matches ? PHONE_ROWS : ROWS;
  const shown = whole ? rows : rows.slice(0, few);
  const found = wanted ? rows.length : total;
  say("cluster-note", `${count(shown.length)} of ${count(found)} ${wanted ? "found" : "clusters"}` + (partial && !all.clusters ? ", loading all" : ""));
  byId("cluster-all").hidden = found <= few;
  byId("cluster-all").setAttribute("aria-pressed", String(whole));
  byId("cluster-all").textContent = whole ? `Show ${count(few)}` : `Show all ${count(found)}`;
  table(shown, columns, key);
}

async function fetchAll() {
  if (performance.now() - asked < ASK_AGAIN) return;
  asked = performance.now();
  try {
    const { clusters } = await get("status");
    const at = performance.now() / 1000;
    const before = new Map(all.clusters?.map((one) => [one.cluster, one.spool.next_sequence]));
    const slope = (one) => Math.max(0, one.spool.next_sequence - before.get(one.cluster)) / (at - all.at);
    const rates = Object.fromEntries(clusters.filter((one) => before.has(one.cluster)).map((one) => [one.cluster, slope(one)]));
    all = { at, clusters, rates };
    again();
  } catch { /* the next document asks again */ }
}

const ROOM = { ok: "ok", shared: "uses shared room", full: "full", removed: "removed" };

function row(one, rates) {
  const mine = one.destinations.filter((account) => !chosen() || account.name === chosen());
  const sum = (key) => mine.reduce((total, account) => total + account[key], 0);
  return {
    cluster: one.cluster,
    rate: rates[one.cluster] ?? -1,
    events: one.spool.next_sequence,
    bytes: one.spool.bytes,
    wanted: one.spool.wanted_bytes,
    oldest: one.spool.oldest_seconds,
    pending: sum("pending"),
    delivered: sum("delivered"),
    filtered: sum("filtered"),
    dead: sum("dead_lettered"),
    dropped: sum("dropped"),
    reserved: one.reservation?.reserved_bytes ?? 0,
    room: ROOM[one.reservation?.state] ?? "",
    ...Object.fromEntries(one.destinations.map((account) => [`to ${account.name}`, account.pending])),
  };
}

const CLUSTER = ["cluster", "Cluster", (one) => name(one.cluster)];
const PENDING = ["pending", "Pending", (one) => count(one.pending)];
const RATE = ["rate", "Events", (one) => rate(one.rate < 0 ? null : one.rate)];
const OLDEST = ["oldest", "Oldest", (one) => span(one.oldest)];

// What one looks for first stands first: a phone shows the others beside it when it is pushed.
function columnsOf(now) {
  if (chosen()) {
    const numbers = [["delivered", "Delivered"], ["filtered", "Filtered"], ["dead", "Dead-lettered"], ["dropped", "Dropped"]];
    return [CLUSTER, PENDING, RATE, ...numbers.map(([key, text]) => [key, text, (one) => count(one[key])])];
  }
  return [CLUSTER, PENDING, RATE, OLDEST,
    ["wanted", "Still needed", (one) => bytes(one.wanted)],
    ["bytes", "Ring", (one) => bytes(one.bytes)],
    ["events", "Accepted", (one) => count(one.events)],
    ...(now.reserved_bytes > 0 ? [ // only where some cluster has a reservation
      ["reserved", "Reserved", (one) => (one.reserved ? bytes(one.reserved) : "–")],
      ["room", "Room", (one) => one.room]] : []),
    ...now.destinations.map(({ name: to }) => [`to ${to}`, ["to ", name(to)], (one) => count(one[`to ${to}`] ?? 0)])];
}

function table(rows, columns, key) {
  const heads = columns.map(([each, text]) => el("th", { scope: "col", "aria-sort": each === key && (order.down ? "descending" : "ascending") },
    el("button", { type: "button", "data-key": each, onclick: () => sortBy(each, key) }, text)));
  const body = rows.map((one) => el("tr", {}, columns.map(([, , cell], place) => el(place ? "td" : "th", place ? {} : { scope: "row" }, cell(one)))));
  show(byId("cluster-table"), el("caption", { class: "hidden" }, "Clusters, their rings, and what is pending"),
    el("thead", {}, el("tr", {}, heads)), el("tbody", {}, body));
}

function sortBy(key, before) {
  order = { key, down: before === key ? !order.down : key !== "cluster" };
  again();
}
