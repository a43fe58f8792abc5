// Numbers and states as a person reads them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);
export const brief = (value) => (Math.abs(value) < 10000 ? whole.format(value) : short.format(value));

export function rate(value) {
  if (value == null) return "–";
  return `${value > 0 && value < 10 && !Number.isInteger(value) ? value.toFixed(1) : brief(value)}/s`;
}

export function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < 4) { value /= 1024; unit += 1; }
  return `${value < 10 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

export function span(seconds) {
  if (seconds < 10) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(1)} s`;
  const parts = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  for (const [size, name, below, belowName] of parts) {
    const rest = Math.floor((seconds % size) / below);
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${belowName}` : ""}`;
  }
  return `${Math.floor(seconds)} s`;
}

// How long ago, to the second of now.
export const ago = (when) => span(Math.max(0, Math.floor((Date.now() - new Date(when)) / 1000)));

// What no forwarder has fetched of a topic: records are counted, the rest is estimated.
export const unfetched = (one) => `${count(one.records)} records, about ${brief(one.events)} events, ${bytes(one.bytes)}`;

export const percent = (part, all) => (all ? `${Math.round((100 * part) / all)} %` : "0 %");

const STATES = { retrying: "trying again", misconfigured: "needs you", stopped: "stopped" };

// How a destination stands, in two words. "All delivered" is said when that is so and never beside something amiss.
export function standing(one) {
  const waiting = one.dead_letters.waiting;
  if (STATES[one.state]) return STATES[one.state];
  if (one.level === "bad") return "events lost";
  if (waiting > 0) return `${count(waiting)} refused`;
  if (one.level === "look") return "behind";
  if (one.state === "delivering") return "delivering";
  return one.dropped + one.dead_lettered > 0 ? "all settled" : "all delivered";
}
