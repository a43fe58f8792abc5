// JSON laid out for reading, token by token and not by parsing: numbers, repeated keys and escapes stay as they are.

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/g;

export function indented(text) {
  const out = [];
  let depth = 0;
  let before = "";
  const line = () => out.push("\n", "  ".repeat(Math.min(depth, 40)));
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "}" || token === "]") {
      depth = Math.max(0, depth - 1);
      if (before !== "{" && before !== "[") line();
    } else if (before === "{" || before === "[" || before === ",") {
      line();
    }
    out.push(token, token === ":" ? " " : "");
    if (token === "{" || token === "[") depth += 1;
    before = token;
  }
  return out.join("");
}
