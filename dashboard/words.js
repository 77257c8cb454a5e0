// How states, times and amounts are put into words and signs. Colour only repeats what they say.

export const SIGNS = { good: "✓", bad: "✕", moving: "…", unknown: "?", ask: "⚑" };

// As reprovision.status judges a state: ONLINE is well, what is not known is not assumed.
export function judge(state) {
  if (state === null || state === undefined) {
    return "unknown";
  }
  return state === "ONLINE" ? "good" : state.startsWith("GOING-ONLINE") ? "moving" : "bad";
}

export const known = (value) => (value === null || value === undefined ? "?" : String(value));

export function size(bytes) {
  if (bytes === null || bytes === undefined) {
    return "?";
  }
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let amount = bytes;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${unit && amount < 100 ? amount.toFixed(1) : Math.round(amount)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) {
    return "unknown";
  }
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${seconds < 10 && seconds % 1 ? seconds.toFixed(1) : whole} s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  }
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

// A record's time is UTC; the reader gets both, since a ticket is written in the one and a night is lived in the other.
export function when(text) {
  if (!text) {
    return "?";
  }
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) {
    return text;
  }
  return `${text.replace("T", " ").replace("Z", " UTC")} (${ago(at)})`;
}

function ago(at) {
  const seconds = (Date.now() - at.getTime()) / 1000;
  const far = Math.abs(seconds);
  if (far < 60) {
    return "just now";
  }
  const text = far < 5400 ? `${Math.round(far / 60)} min`
    : far < 129600 ? `${Math.round(far / 3600)} h` : `${Math.round(far / 86400)} days`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

export const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
