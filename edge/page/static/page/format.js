// Numbers and times as people read them.

export function number(value, digits = 1) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function count(value, word, many = `${word}s`) {
  return `${value.toLocaleString("en")} ${value === 1 ? word : many}`;
}

export function percent(share, digits = 0) {
  return share === null || share === undefined ? "–" : `${number(share * 100, digits)} %`;
}

export function bytes(size) {
  const steps = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (size >= 1000 && step < steps.length - 1) {
    size /= 1000;
    step += 1;
  }
  return `${number(size, step && size < 100 ? 1 : 0)} ${steps[step]}`;
}

// How long something took or lasts: 0.2 s, 48 s, 3 min, 2 h 5 min, 4 days.
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${number(Math.max(0, seconds), 1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

export function clock(date, { seconds = true } = {}) {
  return date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });
}

// The time alone for today, with the day before it for others.
export function moment(date) {
  const today = new Date().toDateString() === date.toDateString();
  if (today) return clock(date);
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: date.getFullYear() === new Date().getFullYear() ? undefined : "numeric" })}, ${clock(date)}`;
}

// "3 person, 1 car": the class names are the model's words and stay as they are.
export function summary(detections) {
  const counts = new Map();
  for (const each of detections) counts.set(each.class, (counts.get(each.class) ?? 0) + 1);
  const words = [...counts].sort((one, other) => other[1] - one[1]).map(([name, many]) => `${many} ${name}`);
  return words.join(", ") || "nothing found";
}
