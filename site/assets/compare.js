// Sets rows of the board side by side: those that the address names (#rows=ID,ID) or that are chosen in the list.
// The numbers come from the JSON in the page; only the differences between two rows are computed here.
"use strict";

// --- numbers, as formats.py and scoring.py have them ---

const EQUAL = 1e-9; // shares closer than this differ by rounding only
const MINUS = "−", NOTHING = "–", THIN = "\u202f";

// To the nearest whole number; of two equally near ones the even one.
const whole = (value) => Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);

const points = (gain) => {
  const tenths = whole(1000 * gain);
  return `${tenths > 0 ? "+" : tenths < 0 ? MINUS : ""}${(Math.abs(tenths) / 10).toFixed(1)}`;
};

// A sum that carries along what each addition rounds off (Neumaier).
const sum = (values) => {
  let total = 0, lost = 0;
  for (const value of values) {
    const next = total + value;
    lost += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
  }
  return total + lost;
};

// The mean and half its 95 % interval; none for a single value and for equal ones. t[0] is of one degree of freedom.
const estimate = (values, t) => {
  const n = values.length;
  if (n === 0) return null;
  const mean = sum(values) / n;
  if (Math.max(...values) - Math.min(...values) < EQUAL) return { mean, half: null, n };
  const variance = sum(values.map((value) => (value - mean) ** 2)) / (n - 1);
  return { mean, half: t[n - 2] * Math.sqrt(variance / n), n };
};

const spread = ({ half, n }) =>
  half !== null ? `±${THIN}${(whole(1000 * half) / 10).toFixed(1)}` : n === 1 ? "single pair" : `${n} equal pairs`;

// The differences of a row from another by seed, and whether both also had the same student and training videos.
const paired = (row, other) => {
  const known = new Map(other.runs.map(([seed, accuracy]) => [seed, accuracy]));
  const shared = row.runs.filter(([seed]) => known.has(seed));
  return { bySeed: new Map(shared.map(([seed, accuracy]) => [seed, accuracy - known.get(seed)])), same: row.place === other.place };
};

// --- elements ---

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// The name space of SVG is taken from the parser: no page names an address outside.
let space;
const draw = (tag, attributes = {}, ...children) => {
  space ??= new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI;
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// A table in a region that scrolls: heads are [text, what it means], the first cell of each line names it.
const table = (caption, heads, lines) => {
  const head = make("tr", {}, ...heads.map(([text, says], at) =>
    make("th", { scope: "col", ...(at ? {} : { class: "text" }) }, says ? make("abbr", { title: says }, text) : text)));
  const body = lines.map((line) => make("tr", {}, ...line.map((cell, at) =>
    make(at ? "td" : "th", at ? {} : { scope: "row" }, ...[cell].flat()))));
  const made = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, made);
};

// --- the chart, in the style of charts.py ---

const HEIGHT = 300, LEFT = 38, RIGHT = 14, TOP = 26, BOTTOM = 34;
const MARKERS = [
  ["circle", (x, y) => ({ cx: x, cy: y, r: 3.4 })],
  ["path", (x, y) => ({ d: `M${x} ${y}m-3-3h6v6h-6z` })],
  ["path", (x, y) => ({ d: `M${x} ${y}m0-4l4 7h-8z` })],
  ["path", (x, y) => ({ d: `M${x} ${y}m0-4.2l4.2 4.2l-4.2 4.2l-4.2-4.2z` })],
  ["circle", (x, y) => ({ cx: x, cy: y, r: 3, class: "open" })],
  ["path", (x, y) => ({ d: `M${x} ${y}m-3-3l6 6m0-6l-6 6`, class: "open" })],
  ["path", (x, y) => ({ d: `M${x} ${y}m-4 0h8m-4-4v8`, class: "open" })],
  ["path", (x, y) => ({ d: `M${x} ${y}m0 4l4-7h-8z` })],
];
const marker = (x, y, style) => draw(MARKERS[style][0], MARKERS[style][1](x, y));
const swatch = (style) =>
  draw("svg", { class: `swatch s${style}`, viewBox: "0 0 26 14", "aria-hidden": "true" },
    draw("path", { class: "line", d: "M1 7H25" }), marker(13, 7, style));

const roundStep = (span) => {
  const power = 10 ** Math.floor(Math.log10(span / 4));
  return [1, 2, 5, 10].map((factor) => power * factor).find((step) => step * 5 >= span);
};

const chart = (rows, data, width) => {
  const values = rows.flatMap((row) => row.curve.map((value) => value / 100));
  const low = Math.min(...values), high = Math.max(...values), step = roundStep(high - low || 10);
  const first = Math.max(0, Math.floor(low / step) * step), top = Math.ceil(high / step) * step;
  const last = top > first ? top : first + step, epochs = data.epochs, end = Math.max(2, epochs.at(-1));
  const short = (value) => Number(value.toFixed(1));
  const x = (epoch) => short(LEFT + (epoch - 1) / (end - 1) * (width - LEFT - RIGHT));
  const y = (value) => short(HEIGHT - BOTTOM - (value - first) / (last - first) * (HEIGHT - TOP - BOTTOM));
  const svg = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
    "aria-label": `1-view test accuracy over ${end} epochs of ${rows.length} rows; the numbers are in the table below` });
  for (let at = 0; at <= Math.round((last - first) / step); at++) {
    const tick = first + at * step;
    svg.append(draw("path", { class: "grid", d: `M${LEFT} ${y(tick)}H${width - RIGHT}` }),
      draw("text", { class: "y", x: LEFT - 6, y: y(tick), dy: ".32em" }, String(Number(tick.toPrecision(6)))));
  }
  const stride = Math.max(1, roundStep(Math.max(1, end)));
  for (let epoch = 1; epoch <= end; epoch = epoch === 1 && stride > 1 ? stride : epoch + stride) {
    svg.append(draw("text", { x: x(epoch), y: HEIGHT - BOTTOM + 15 }, String(epoch)));
  }
  svg.append(draw("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 4 }, "epoch"),
    draw("text", { class: "first", x: LEFT - 32, y: TOP - 14 }, "accuracy, %"));
  for (const [epoch, stage] of data.stages) {
    svg.append(draw("path", { class: "mark", d: `M${x(epoch)} ${TOP}V${HEIGHT - BOTTOM}` }),
      draw("text", { x: Math.min(x(epoch), width - 16), y: TOP - 5 }, stage));
  }
  const marked = new Set(data.stages.map(([epoch]) => epoch));
  [...rows.keys()].reverse().forEach((style) => { // the first row is drawn last, so that no other line covers it
    const spots = epochs.map((epoch, at) => [x(epoch), y(rows[style].curve[at] / 100)]);
    const path = "M" + spots.map((spot) => spot.join(" ")).join("L");
    const shown = spots.filter((_, at) => marked.has(epochs[at]) || at === 0);
    svg.append(draw("g", { class: `s${style}` }, draw("title", {}, nameOf(rows[style])),
      draw("path", { class: "line", d: path }), ...shown.map((spot) => marker(...spot, style)),
      draw("path", { class: "line hit", d: path })));
  });
  return svg;
};

// --- the page ---

const nameOf = (row) => `${row.place}: ${row.label}`;
const definitions = () => document.getElementById("compare").dataset.definitions;
const tags = (row) => [
  ...(row.more ? [" ", make("a", { class: "tag", href: `${definitions()}#privileged` }, "saw more")] : []),
  ...(row.own ? [" ", make("span", { class: "tag" }, "yours, not submitted")] : []),
];
const keyed = (row, style) => [swatch(style), nameOf(row), ...tags(row)];
const runLinks = (row) => row.runs.flatMap(([seed, , id], at) =>
  [...(at ? [" "] : []), make("a", { href: `runs/${encodeURIComponent(id)}.html`, "aria-label": `Run of seed ${seed}` }, String(seed))]);

const scoreTable = (rows, data) => table(
  "The chosen rows: accuracies in per cent, gains in points, with 95 % intervals over seeds",
  [["Row"], ["Seeds", "Each number links to its run"], ...data.columns],
  rows.map((row, style) => [keyed(row, style), runLinks(row), ...row.cells]));

const differenceTable = (rows, data, moveFirst) => {
  const [first, ...others] = rows;
  const pairs = others.map((row) => paired(row, first));
  const seeds = [...new Set(pairs.flatMap(({ bySeed }) => [...bySeed.keys()]))].sort((a, b) => a - b);
  const lines = others.map((row, at) => {
    const { bySeed, same } = pairs[at], mean = estimate([...bySeed.values()], data.t);
    const button = make("button", { type: "button", "aria-label": `Differences from ${nameOf(row)}` }, "make it the first");
    button.addEventListener("click", () => moveFirst(row.id));
    return [keyed(row, at + 1), ...seeds.map((seed) => bySeed.has(seed) ? points(bySeed.get(seed)) : NOTHING),
      mean ? [points(mean.mean), " ", make("small", {}, spread(mean))] : "no shared seed",
      mean ? (same ? "student and videos" : "seed and test videos only") : NOTHING, button];
  });
  return table(
    `Accuracy minus that of ${nameOf(first)}, in points: seed by seed, and the mean with its 95 % interval (Student's t)`,
    [["Row"], ...seeds.map((seed) => [`Seed ${seed}`]), ["Mean difference"],
      ["Equal in", "What the two runs of a pair share beside the protocol and the seed"], ["Order"]], lines);
};

const curveTable = (rows, data) => {
  const lines = data.epochs.map((epoch, at) => [String(epoch), ...rows.map((row) => (whole(row.curve[at] / 10) / 10).toFixed(1))]);
  const made = table("1-view test accuracy in per cent by epoch, mean over seeds", [["Epoch"], ...rows.map((row) => [nameOf(row)])], lines);
  return make("details", {}, make("summary", {}, "The curves as a table"), made);
};

const start = (data) => {
  const place = document.getElementById("compare"), shown = document.getElementById("shown");
  const said = document.getElementById("said"), choices = document.getElementById("choices");
  const find = document.getElementById("find"), most = Number(place.dataset.most);
  const byId = new Map(data.rows.map((row) => [row.id, row]));
  const boxes = new Map();
  let chosen = [];

  const width = () => Math.round(Math.min(760, Math.max(300, shown.clientWidth)));
  const figure = (rows) => make("figure", {}, make("figcaption", {}, "Learning curves, mean over seeds"), chart(rows, data, width()),
    make("ul", { class: "legend" }, ...rows.map((row, style) => make("li", {}, ...keyed(row, style)))));

  const savable = (rows) => {
    const made = figure(rows);
    offerFile(made);
    return made;
  };

  const show = (words = "") => {
    const rows = chosen.map((id) => byId.get(id));
    for (const [id, box] of boxes) box.checked = chosen.includes(id);
    said.textContent = [words, `${rows.length} of at most ${most} rows chosen.`].filter(Boolean).join(" ");
    shown.replaceChildren();
    if (rows.length) shown.append(savable(rows), scoreTable(rows, data));
    if (rows.length > 1) shown.append(make("h2", {}, "Differences"), differenceTable(rows, data, moveFirst));
    if (rows.length) shown.append(curveTable(rows, data));
  };
  const choose = (ids, words) => {
    chosen = ids;
    history.replaceState(null, "", ids.length ? `#rows=${ids.join(",")}` : "#rows=");
    show(words);
  };
  const moveFirst = (id) => {
    choose([id, ...chosen.filter((other) => other !== id)], `Differences are now from ${nameOf(byId.get(id))}.`);
    shown.querySelector("button:not(.save)").focus(); // the one that was pressed is gone
  };

  const fromAddress = () => {
    const wanted = /^#rows=(.*)$/.exec(location.hash);
    if (!wanted) return false;
    const ids = [...new Set(wanted[1].split(",").filter(Boolean))], known = ids.filter((id) => byId.has(id));
    const unknown = ids.length - known.length, left = known.length - most;
    chosen = known.slice(0, most);
    show([unknown ? `${unknown} of the rows in the address ${unknown === 1 ? "is" : "are"} not on this board.` : "",
      left > 0 ? `${left} more cannot be shown.` : ""].filter(Boolean).join(" "));
    return true;
  };

  for (const row of [...data.rows].sort((a, b) => (b.own ?? 0) - (a.own ?? 0))) { // the reader's own rows first
    const box = make("input", { type: "checkbox", value: row.id });
    const text = `${nameOf(row)}${row.own ? " (yours, not submitted)" : ""}`;
    const line = make("li", {}, make("label", {}, box, " ", text, " ", make("small", {}, `accuracy ${row.cells[2]}`)));
    line.dataset.text = text.toLowerCase();
    box.addEventListener("change", () => {
      if (!box.checked) return choose(chosen.filter((id) => id !== row.id));
      if (chosen.length < most) return choose([...chosen, row.id]);
      return show(`${nameOf(row)} was not added: take another row away first.`);
    });
    boxes.set(row.id, box);
    choices.append(line);
  }
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const line of choices.children) {
      line.hidden = !words.every((word) => line.dataset.text.includes(word));
      found += !line.hidden;
    }
    said.textContent = `${found} of ${data.rows.length} rows in the list.`;
  });
  document.getElementById("clear").addEventListener("click", () => choose([]));
  for (const line of document.querySelectorAll("tr[data-rows]")) {
    const link = make("a", { href: `#rows=${line.dataset.rows}` }, "compare");
    line.cells[1].append(" ", link);
    link.addEventListener("click", () => place.scrollIntoView());
  }
  window.addEventListener("hashchange", fromAddress);
  let drawn = 0;
  window.addEventListener("resize", () => {
    if (chosen.length && width() !== drawn) shown.firstElementChild.replaceWith(savable(chosen.map((id) => byId.get(id))));
    drawn = width();
  });
  place.hidden = false;
  if (!fromAddress()) {
    chosen = data.start.slice(0, most);
    show();
  }
};

const found = document.getElementById("rows");
if (found) start(JSON.parse(found.textContent));
