// Prometheus' text format, as far as our own service writes it.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

// Name to its samples, each {labels, value}.
export function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const found = line[0] === "#" ? null : SAMPLE.exec(line);
    if (!found) continue;
    const [, name, words, value] = found;
    const labels = {};
    for (const [, key, quoted] of (words ?? "").matchAll(LABEL)) labels[key] = quoted.replace(/\\(.)/g, (_, each) => (each === "n" ? "\n" : each));
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({ labels, value: value === "+Inf" ? Infinity : Number(value) });
  }
  return families;
}

// The sum of the samples that carry these labels; null when there are none.
export function total(families, name, labels = {}) {
  const fitting = (families.get(name) ?? []).filter((each) => Object.entries(labels).every(([key, value]) => each.labels[key] === value));
  return fitting.length ? fitting.reduce((sum, each) => sum + each.value, 0) : null;
}

// The values a label takes.
export function values(families, name, label) {
  return [...new Set((families.get(name) ?? []).map(({ labels }) => labels[label]).filter((value) => value !== undefined))];
}

// What a share of the observations of a histogram between two readings did not exceed, interpolated within its bucket;
// null when there were none.
export function quantile(before, now, name, labels, share) {
  const counts = buckets(now, name, labels);
  const former = new Map(buckets(before, name, labels));
  const grown = counts.map(([edge, many]) => [edge, many - (former.get(edge) ?? 0)]);
  const all = grown.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const rank = share * all;
  let [lowerEdge, lowerCount] = [0, 0];
  for (const [edge, many] of grown) {
    if (many >= rank) {
      if (edge === Infinity) return lowerEdge;
      return lowerEdge + ((edge - lowerEdge) * (rank - lowerCount)) / Math.max(1, many - lowerCount);
    }
    [lowerEdge, lowerCount] = [edge, many];
  }
  return lowerEdge;
}

function buckets(families, name, labels) {
  const sums = new Map();
  for (const each of families?.get(`${name}_bucket`) ?? []) {
    if (!Object.entries(labels).every(([key, value]) => each.labels[key] === value)) continue;
    const edge = each.labels.le === "+Inf" ? Infinity : Number(each.labels.le);
    sums.set(edge, (sums.get(edge) ?? 0) + each.value);
  }
  return [...sums].sort((one, other) => one[0] - other[0]);
}
