// Puts the parts together: what comes from the sink goes to each of them.

import { get, token, watch } from "./api.js";
import * as charts from "./charts.js";
import * as clusters from "./clusters.js";
import * as destination from "./destination.js";
import { byId, say } from "./dom.js";
import * as flow from "./flow.js";
import * as letters from "./letters.js";
import * as refusals from "./refusals.js";
import * as tail from "./tail.js";
import * as verdict from "./verdict.js";
import * as view from "./view.js";

const WINDOW = 6; // documents over which a rate is taken: ten seconds
const seen = [];

function receive(now) {
  seen.push({ at: performance.now() / 1000, now });
  if (seen.length > WINDOW) seen.shift();
  draw();
}

function draw() {
  const now = seen.at(-1).now;
  const rates = rated(seen[0], seen.at(-1));
  verdict.draw(now);
  flow.draw(now, rates);
  refusals.draw(now);
  destination.draw(now, rates);
  clusters.draw(now, rates);
  say("version", `version ${now.version}`);
}

function rated(first, last) {
  const seconds = last.at - first.at;
  // A sink that was started anew counts from the disk: never backwards by much, and never shown as less than nothing.
  const slope = (before, after) => (seconds > 0.5 && before != null ? Math.max(0, after - before) / seconds : null);
  const by = (list, key, value) => Object.fromEntries(list.map((one) => [one[key], value(one)]));
  const delivered = by(first.now.destinations, "name", (one) => one.delivered);
  const accepted = by(first.now.clusters, "cluster", (one) => one.spool.next_sequence);
  return {
    accepted: slope(first.now.accepted_events, last.now.accepted_events),
    destinations: by(last.now.destinations, "name", (one) => slope(delivered[one.name], one.delivered)),
    clusters: by(last.now.clusters, "cluster", (one) => slope(accepted[one.cluster], one.spool.next_sequence)),
  };
}

function askForToken(rules) {
  byId("token").hidden = !rules.token;
  const note = () => say("token-note", token.get() ? "a token is in use" : "none entered");
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(byId("token-input").value.trim());
    byId("token-input").value = "";
    note();
    letters.load();
    tail.startNow();
  });
  byId("token-forget").addEventListener("click", () => { token.forget(); note(); });
  note();
  if (!rules.token && !rules.open) {
    for (const id of ["tail-note", "letters-note"]) say(id, "Not shown: this port listens to the network and has no token; set admin.token_file.");
    for (const id of ["tail-start", "letters-load"]) byId(id).disabled = true;
  }
}

function turned() {
  tail.hide(view.chosen() !== "");
  if (seen.length) draw();
  charts.draw();
  letters.draw();
}

tail.start();
clusters.start();
view.start(turned);
charts.start();
verdict.start();
byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("content").focus(); });
watch(receive, (how, problem) => { say("connection", how); if (problem) verdict.problem(problem); });
const rules = await get("access");
letters.start(rules);
askForToken(rules);
const may = () => rules.open || token.get() !== "";
if (may()) letters.load();
tail.startWhenSeen(may);
