// Where an axis has its lines: at round numbers of counts, bytes and durations, and at round times of day. Pure.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const SPANS = [2, 4, 10, 20, 40, MINUTE, 2 * MINUTE, 4 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR,
  12 * HOUR, DAY, 2 * DAY, 4 * DAY, 10 * DAY, 20 * DAY, 40 * DAY];
const STEPS = [MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];
const MOST_TIMES = 4;

// A round number that is not below the value, and whose half is round too.
function decimal(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((one) => one * power).find((top) => top >= value);
}

export const tops = {
  rate: (value) => Math.max(0.2, decimal(value)),
  count: (value) => Math.max(2, decimal(value)),
  bytes: (value) => {
    const unit = 1024 ** Math.max(0, Math.floor(Math.log2(value) / 10));
    return unit * ([2, 4, 10, 20, 40, 100, 200, 400].find((top) => top * unit >= value) ?? 1024);
  },
  span: (value) => SPANS.find((top) => top >= value) ?? decimal(value),
};

// The round local times between two moments (seconds since the epoch), four or so; the later one where none is between.
export function times(from, to) {
  const step = STEPS.find((one) => (to - from) / one <= MOST_TIMES) ?? DAY;
  const east = -MINUTE * new Date(from * 1000).getTimezoneOffset();
  const found = [];
  for (let at = Math.ceil((from + east) / step) * step - east; at <= to; at += step) found.push(at);
  return found.length ? found : [to];
}
