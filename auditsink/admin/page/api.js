// How the page talks to the sink: live documents with polling behind them, requests with the token, streams of lines.

const TOKEN = "auditsink-admin-token";
const POLL = 5000;
const AGAIN = 15000;
const SILENT = 8000;

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

export class Refused extends Error {
  constructor(status, why) { super(why); this.status = status; }
}

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  const text = await answer.text();
  let why = text.trim() || `the sink answered ${answer.status}`;
  try { why = JSON.parse(text).error ?? why; } catch { /* plain text */ }
  throw new Refused(answer.status, why);
}

export const get = async (path, options) => (await ask(path, options)).json();

export const change = async (path, body) =>
  (await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();

// Lines of NDJSON as they come, in lots: one lot for each piece from the network.
export async function* lots(path, signal) {
  const answer = await ask(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    if (parts.length) yield parts.filter(Boolean).map((line) => JSON.parse(line));
  }
}

// Calls `seen` with each status document. Server-sent events; while they do not come, polling. A page in the
// background listens to nothing. `said(how, problem)`: how documents come, and why they do not ("" while they do).
export function watch(seen, said) {
  let source = null;
  let timer = null;
  const later = (action, wait) => { clearTimeout(timer); timer = setTimeout(action, wait); };

  async function poll(until) {
    try {
      seen(await get("status", { signal: AbortSignal.timeout(POLL) }));
      said("polling", "");
    } catch (problem) {
      const why = problem instanceof Refused ? problem.message : "the sink does not answer";
      said(why, why);
    }
    later(() => (performance.now() > until ? listen() : poll(until)), POLL);
  }

  // A connection of which the other end has vanished says nothing, and no error either.
  const silent = () => { source.close(); poll(performance.now() + AGAIN); };

  function listen() {
    source?.close();
    source = new EventSource("stream");
    source.onmessage = (event) => { later(silent, SILENT); seen(JSON.parse(event.data)); said("live", ""); };
    source.onerror = silent;
    later(silent, SILENT);
  }

  function wake() {
    clearTimeout(timer);
    source?.close();
    if (document.hidden) said("paused in the background", ""); else listen();
  }

  document.addEventListener("visibilitychange", wake);
  wake();
}
