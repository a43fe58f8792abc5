// Which page is shown, by the link: all of the sink, or one destination.

const PREFIX = "#destination/";

export const link = (destination) => PREFIX + encodeURIComponent(destination);

// The name of the destination whose page is shown; "" for none.
export function chosen() {
  if (!location.hash.startsWith(PREFIX)) return "";
  try {
    return decodeURIComponent(location.hash.slice(PREFIX.length));
  } catch {
    return "";
  }
}

export function start(changed) {
  let before = "";
  const turn = () => {
    const now = chosen();
    document.body.classList.toggle("one", now !== "");
    if (now !== before) {
      if (now) document.getElementById("destination").focus();
      scrollTo(0, 0);
      if (!now && location.hash) document.querySelector(location.hash)?.scrollIntoView();
    }
    before = now;
    changed();
  };
  addEventListener("hashchange", turn);
  turn();
}
