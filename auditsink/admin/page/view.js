// Which page is shown, by the link: all of the sink, or one destination.

import { byId } from "./dom.js";

const PREFIX = "#destination/";

export const link = (destination) => PREFIX + encodeURIComponent(destination);

const decoded = (text) => {
  try { return decodeURIComponent(text); } catch { return text; }
};

// The name of the destination whose page is shown; "" for none.
export const chosen = () => (location.hash.startsWith(PREFIX) ? decoded(location.hash.slice(PREFIX.length)) : "");

// `changed` is called at the start and whenever another page is shown.
export function start(changed) {
  let before = "";
  const turn = () => {
    const now = chosen();
    document.body.classList.toggle("one", now !== "");
    if (now === before) return;
    before = now;
    changed();
    if (!now) return byId(decoded(location.hash.slice(1)) || "flow")?.scrollIntoView();
    scrollTo(0, 0);
    byId("destination").focus({ preventScroll: true }); // a screen reader begins there
  };
  addEventListener("hashchange", turn);
  turn();
}
